//! The two text formats in which metrics are shown, and which of them is asked for.

use std::fmt::Write;

use super::{
    registry::{Cell, Registry, Value},
    series::{Kind, Series},
};

use std::sync::atomic::Ordering;

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The text format of Prometheus, version 0.0.4.
    Text,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What an `Accept` header prefers (RFC 9110, 12.5.1); several are joined by commas.
    ///
    /// OpenMetrics only where it is named and wanted at least as much as the text format, which is given to everybody else,
    /// those included who accept neither.
    pub fn of(accept: &str) -> Self {
        let ranges: Vec<Range> = accept.split(',').filter_map(Range::parse).collect();
        let wanted = |kind: &str, versions: &[&str]| {
            let named = ranges.iter().filter(|range| range.names(kind, versions)).map(|range| range.quality);
            named.max_by(f32::total_cmp)
        };
        let open = wanted("application/openmetrics-text", &["1.0.0", "0.0.1"]);
        let wild = |kind: &str| wanted(kind, &[]);
        let text = wanted("text/plain", &["0.0.4"]).or_else(|| wild("text/*")).or_else(|| wild("*/*"));
        match open {
            Some(open) if open > 0.0 && open >= text.unwrap_or(0.0) => Self::OpenMetrics,
            _ => Self::Text,
        }
    }
}

/// One alternative of an `Accept` header.
struct Range<'a> {
    kind: &'a str,
    version: Option<&'a str>,
    quality: f32,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let kind = parts.next().filter(|kind| kind.contains('/'))?;
        let mut range = Self { kind, version: None, quality: 1.0 };
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            let (key, value) = (key.trim(), value.trim().trim_matches('"'));
            if key.eq_ignore_ascii_case("q") {
                // What is no quality is none at all.
                range.quality = value.parse().ok().filter(|quality| (0.0..=1.0).contains(quality)).unwrap_or(0.0);
            } else if key.eq_ignore_ascii_case("version") {
                range.version = Some(value);
            }
        }
        Some(range)
    }

    fn names(&self, kind: &str, versions: &[&str]) -> bool {
        self.kind.eq_ignore_ascii_case(kind) && self.version.is_none_or(|version| versions.contains(&version))
    }
}

/// Writes everything that has been counted.
pub(super) fn render(registry: &Registry, format: Format) -> String {
    let mut page = Page { text: String::new(), format };
    for (row, cells) in registry.families() {
        page.head(row);
        for (values, cell) in cells {
            page.cell(row, &values, &cell);
        }
    }
    if format == Format::OpenMetrics {
        page.text.push_str("# EOF\n");
    }
    page.text
}

/// A page that is being written.
struct Page {
    text: String,
    format: Format,
}

impl Page {
    /// What the numbers mean. In OpenMetrics a family is called without what is told by its type.
    fn head(&mut self, row: &Series) {
        let (name, kind) = match (self.format, row.kind) {
            (Format::OpenMetrics, Kind::Info) => (without(row.name, "_info"), "info"),
            (Format::OpenMetrics, kind) => (without(row.name, "_total"), kind.code()),
            (Format::Text, kind) => (row.name, kind.code()),
        };
        let quoted = self.format == Format::OpenMetrics;
        self.line(format_args!("# HELP {name} {}", escaped(row.help, quoted)));
        self.line(format_args!("# TYPE {name} {kind}"));
        if let (Format::OpenMetrics, Some(unit)) = (self.format, row.unit.suffix()) {
            self.line(format_args!("# UNIT {name} {unit}"));
        }
    }

    fn cell(&mut self, row: &Series, values: &[Value], cell: &Cell) {
        let labels = labels(row, values);
        let name = row.name;
        match cell {
            Cell::Count(count) => {
                self.line(format_args!("{name}{} {}", braced(&labels), count.load(Ordering::Relaxed)));
            }
            Cell::Amount(bits) => {
                let amount = number(f64::from_bits(bits.load(Ordering::Relaxed)));
                self.line(format_args!("{name}{} {amount}", braced(&labels)));
            }
            Cell::Distribution(distribution) => {
                let mut all = 0;
                let comma = if labels.is_empty() { "" } else { "," };
                for (bound, count) in distribution.cumulative() {
                    let bound = self.bound(bound);
                    self.line(format_args!("{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}"));
                    all = count;
                }
                self.line(format_args!("{name}_sum{} {}", braced(&labels), number(distribution.sum())));
                self.line(format_args!("{name}_count{} {all}", braced(&labels)));
            }
        }
    }

    /// A bucket's bound. OpenMetrics wants a point in every number, so that all write it in the same way.
    fn bound(&self, bound: f64) -> String {
        match self.format {
            Format::OpenMetrics if bound.is_finite() && bound.fract() == 0.0 => format!("{bound:.1}"),
            _ => number(bound),
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // A string takes whatever is written to it.
        let _ = writeln!(self.text, "{line}");
    }
}

fn without<'a>(name: &'a str, end: &str) -> &'a str {
    name.strip_suffix(end).unwrap_or(name)
}

/// The labels without their braces.
fn labels(row: &Series, values: &[Value]) -> String {
    let pairs = row.labels.iter().zip(values).map(|(name, value)| format!("{name}=\"{}\"", escaped(value, true)));
    pairs.collect::<Vec<_>>().join(",")
}

fn braced(labels: &str) -> String {
    if labels.is_empty() { String::new() } else { format!("{{{labels}}}") }
}

fn escaped(text: &str, quoted: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if quoted { text.replace('"', "\\\"") } else { text }
}

/// A number as both formats spell it.
fn number(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::series::{Unit, series};
    use super::*;

    const ROWS: &[Series] = &[
        series("calls_total", Kind::Counter, Unit::Count, &["upstream"], "Calls \"in\" all.\\"),
        series("talk_seconds_total", Kind::Time, Unit::Seconds, &[], "Talk."),
        series("limit", Kind::Gauge, Unit::Count, &[], "Files."),
        series("wait_seconds", Kind::Histogram(&[0.5, 1.0]), Unit::Seconds, &["upstream"], "Waits."),
        series("never_total", Kind::Counter, Unit::Count, &[], "Nothing."),
        series("build_info", Kind::Info, Unit::State, &["version"], "What runs."),
    ];

    fn counted() -> Registry {
        let registry = Registry::new(ROWS);
        let name = "a\"b\\c\nd".to_owned();
        registry.joins(&name);
        registry.counter(&ROWS[0], &[name.clone().into()]).increment(3);
        registry.gauge(&ROWS[1], &[]).increment(1.25);
        registry.gauge(&ROWS[2], &[]).set(f64::INFINITY);
        registry.histogram(&ROWS[3], &[name.into()]).record(0.75);
        registry.gauge(&ROWS[5], &["1.0".into()]).set(1.0);
        registry
    }

    #[test]
    fn the_text_format_is_as_it_is_read() {
        let expected = r#"# HELP calls_total Calls "in" all.\\
# TYPE calls_total counter
calls_total{upstream="a\"b\\c\nd"} 3
# HELP talk_seconds_total Talk.
# TYPE talk_seconds_total counter
talk_seconds_total 1.25
# HELP limit Files.
# TYPE limit gauge
limit +Inf
# HELP wait_seconds Waits.
# TYPE wait_seconds histogram
wait_seconds_bucket{upstream="a\"b\\c\nd",le="0.5"} 0
wait_seconds_bucket{upstream="a\"b\\c\nd",le="1"} 1
wait_seconds_bucket{upstream="a\"b\\c\nd",le="+Inf"} 1
wait_seconds_sum{upstream="a\"b\\c\nd"} 0.75
wait_seconds_count{upstream="a\"b\\c\nd"} 1
# HELP build_info What runs.
# TYPE build_info gauge
build_info{version="1.0"} 1
"#;
        assert_eq!(render(&counted(), Format::Text), expected);
    }

    #[test]
    fn openmetrics_names_families_without_their_suffix_and_has_units_and_an_end() {
        let text = render(&counted(), Format::OpenMetrics);
        for lines in [
            "# HELP calls Calls \\\"in\\\" all.\\\\\n# TYPE calls counter\ncalls_total{upstream=",
            "# TYPE talk_seconds counter\n# UNIT talk_seconds seconds\ntalk_seconds_total 1.25\n",
            "# TYPE build info\nbuild_info{version=\"1.0\"} 1\n# EOF\n",
            "le=\"0.5\"} 0\n",
            "le=\"1.0\"} 1\n",
        ] {
            assert!(text.contains(lines), "{lines} is not in\n{text}");
        }
        assert!(text.ends_with("\n# EOF\n") && !text.contains("\n\n") && !text.contains("never"), "{text}");
    }

    #[test]
    fn who_asks_for_openmetrics_gets_it_and_everybody_else_the_text() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,\
            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, expected) in [
            (prometheus, Format::OpenMetrics),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\"", Format::OpenMetrics),
            ("text/plain;q=0.5, application/openmetrics-text;q=0.5", Format::OpenMetrics),
            ("application/openmetrics-text;q=0.1", Format::OpenMetrics),
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/html", Format::Text),
            ("application/json", Format::Text),
            ("text/plain, application/openmetrics-text;q=0.9", Format::Text),
            ("text/*, application/openmetrics-text;q=0.9", Format::Text),
            ("application/openmetrics-text;q=0", Format::Text),
            ("application/openmetrics-text;q=nothing", Format::Text),
            ("application/openmetrics-text;q=7", Format::Text),
            ("application/openmetrics-text;version=2.0.0", Format::Text),
            ("application/openmetrics-text-x", Format::Text),
        ] {
            assert_eq!(Format::of(accept), expected, "{accept}");
        }
    }

    proptest! {
        #[test]
        fn any_wish_is_answered(accept in ".{0,80}", named in "(, ?application/openmetrics-text(;[a-z]=?.{0,9})?)?") {
            let format = Format::of(&(accept.clone() + &named));
            prop_assert!(format == Format::Text || (accept + &named).to_lowercase().contains("openmetrics"));
        }
    }
}
