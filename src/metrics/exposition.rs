//! The two text formats in which metrics are shown, and which of them is asked for.

use std::{collections::BTreeMap, fmt::Write};

use super::{
    registry::Registry,
    series::{Kind, Series},
};

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

/// Writes everything that has been counted, in the order of the table.
pub(super) fn render(registry: &Registry, format: Format) -> String {
    let mut cells = Cells::default();
    let pages = registry.pages();
    for line in pages.iter().flat_map(|page| page.lines()) {
        cells.take(line, registry.table);
    }
    let mut page = Page { text: String::new(), format };
    for row in registry.table {
        let Some(cells) = cells.of.remove(row.name) else { continue };
        page.head(row);
        for line in cells.into_values().flatten() {
            page.sample(line);
        }
    }
    if format == Format::OpenMetrics {
        page.text.push_str("# EOF\n");
    }
    page.text
}

/// The lines of each row, by the labels of their cell.
#[derive(Default)]
struct Cells<'a> {
    of: BTreeMap<&'static str, BTreeMap<&'a str, Vec<&'a str>>>,
}

impl<'a> Cells<'a> {
    /// Lines of a cell stay in the order in which they come; what the recorder says of rows is said by the table here.
    fn take(&mut self, line: &'a str, table: &'static [Series]) {
        let end = line.find(['{', ' ']).unwrap_or(0);
        let (name, rest) = line.split_at(end);
        if name.is_empty() || name == "#" {
            return;
        }
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
        let is_row = |row: &&Series| match row.kind {
            Kind::Histogram(_) => Some(row.name) == base,
            _ => row.name == name,
        };
        if let Some(row) = table.iter().find(is_row) {
            let labels = labels(rest);
            self.of.entry(row.name).or_default().entry(labels).or_default().push(line);
        }
    }
}

/// The labels of a sample without the bound of its bucket, which is the last one.
fn labels(rest: &str) -> &str {
    let labels = rest.rsplit_once(' ').map_or("", |(labels, _)| labels);
    let labels = labels.strip_prefix('{').and_then(|labels| labels.strip_suffix('}')).unwrap_or_default();
    match labels.rfind(BOUND) {
        Some(0) => "",
        Some(at) if labels.as_bytes().get(at - 1) == Some(&b',') => &labels[..at - 1],
        _ => labels,
    }
}

/// How the bound of a bucket begins.
const BOUND: &str = "le=\"";

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

    /// One sample. OpenMetrics wants a point in every bound, so that all write it in the same way.
    fn sample(&mut self, line: &str) {
        let (series, value) = line.rsplit_once(' ').unwrap_or((line, ""));
        let value = match value {
            "inf" => "+Inf",
            "-inf" => "-Inf",
            value => value,
        };
        let whole = series.strip_suffix("\"}").and_then(|series| {
            let bound = series.rsplit_once(BOUND)?.1;
            bound.bytes().all(|digit| digit.is_ascii_digit()).then_some(series)
        });
        match whole.filter(|_| self.format == Format::OpenMetrics) {
            Some(whole) => self.line(format_args!("{whole}.0\"}} {value}")),
            None => self.line(format_args!("{series} {value}")),
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

fn escaped(text: &str, quoted: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if quoted { text.replace('"', "\\\"") } else { text }
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
