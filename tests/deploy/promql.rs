//! What a query of PromQL means: the series that it reads, how it reads them, and in what its answer is.

use std::collections::BTreeSet;

use promql_parser::{
    label::Matcher,
    parser::{self, AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, VectorSelector},
};
use tandem::metrics::{Kind, Series, TABLE, Unit};

/// How often each unit is a factor: `[seconds, bytes, currency, things]`.
pub type Dimension = [i8; 4];

const RATIO: Dimension = [0; 4];
const SECONDS: Dimension = [1, 0, 0, 0];
const BYTES: Dimension = [0, 1, 0, 0];
const CURRENCY: Dimension = [0, 0, 1, 0];
const THINGS: Dimension = [0, 0, 0, 1];

/// The answer to a query, or to a part of it.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Nothing for bare numbers, which take any.
    pub dimension: Option<Dimension>,
    /// The labels that its series have.
    pub labels: BTreeSet<String>,
    /// Whether it is buckets of a histogram.
    buckets: bool,
}

impl Answer {
    /// Whether a unit of Grafana says what this is.
    pub fn is_shown_as(&self, unit: &str) -> bool {
        let units: &[&str] = match self.dimension {
            Some(RATIO) => &["percentunit", "none", "short"],
            Some(SECONDS) => &["s", "dtdurations"],
            Some(BYTES) => &["bytes"],
            // By the second, and so by the hour after a multiplication.
            Some(CURRENCY | [-1, 0, 1, 0]) => &["currency:¤"],
            Some(THINGS) => &["short", "none"],
            Some([-1, 0, 0, 1]) => &["cps"],
            // Seconds for each thing, and the share of its time.
            Some([1, 0, 0, -1]) => &["s"],
            Some([0, 0, 0, -1]) => &["percentunit", "short"],
            _ => &[],
        };
        units.contains(&unit)
    }
}

/// The row of a name, whole or without what a histogram adds to it.
pub fn row(name: &str) -> Option<&'static Series> {
    let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
    let histogram = TABLE.iter().find(|row| Some(row.name) == of_histogram && matches!(row.kind, Kind::Histogram(_)));
    histogram.or_else(|| TABLE.iter().find(|row| row.name == name && !matches!(row.kind, Kind::Histogram(_))))
}

/// The tree of a query, in which Grafana's own variables have been given values.
pub fn parse(query: &str) -> Result<Expr, String> {
    let times = query.replace("$__rate_interval", "5m").replace("$__range", "1h");
    parser::parse(&times).map_err(|error| format!("{error}: {query}"))
}

/// Every selector of a query: the name of its series and what is asked of their labels.
pub fn selectors(expr: &Expr) -> Vec<&VectorSelector> {
    match expr {
        Expr::VectorSelector(selector) => vec![selector],
        Expr::MatrixSelector(matrix) => vec![&matrix.vs],
        Expr::Aggregate(AggregateExpr { expr, .. }) => selectors(expr),
        Expr::Paren(paren) => selectors(&paren.expr),
        Expr::Unary(unary) => selectors(&unary.expr),
        Expr::Subquery(subquery) => selectors(&subquery.expr),
        Expr::Binary(BinaryExpr { lhs, rhs, .. }) => [selectors(lhs), selectors(rhs)].concat(),
        Expr::Call(call) => call.args.args.iter().flat_map(|arg| selectors(arg)).collect(),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => Vec::new(),
    }
}

/// The name of what a selector reads.
pub fn name(selector: &VectorSelector) -> &str {
    selector.name.as_deref().unwrap_or_default()
}

/// What is asked of a label that is not there, of series of the table.
pub fn strange_label<'a>(selector: &'a VectorSelector, row: &Series) -> Option<&'a Matcher> {
    let known = |label: &str| ["job", "instance"].contains(&label) || row.labels.contains(&label);
    let of_bucket = name(selector).ends_with("_bucket");
    selector.matchers.matchers.iter().find(|asked| !(known(&asked.name) || of_bucket && asked.name == "le"))
}

/// What comes of a query, or why nothing sensible does.
pub fn answer(expr: &Expr, recorded: &BTreeSet<String>) -> Result<Answer, String> {
    match expr {
        Expr::Paren(paren) => answer(&paren.expr, recorded),
        Expr::Unary(unary) => answer(&unary.expr, recorded),
        Expr::NumberLiteral(_) => Ok(Answer::default()),
        Expr::VectorSelector(selector) => at_once(selector, recorded),
        Expr::Aggregate(aggregate) => aggregated(aggregate, recorded),
        Expr::Binary(binary) => combined(binary, recorded),
        Expr::Call(call) => called(call, recorded),
        other => Err(format!("this is not used here: {other}")),
    }
}

/// A selector outside of functions of time: what only ever grows says nothing there.
fn at_once(selector: &VectorSelector, recorded: &BTreeSet<String>) -> Result<Answer, String> {
    let name = name(selector);
    let labelled = |dimension, labels: &[&str]| Answer {
        dimension: Some(dimension),
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        buckets: false,
    };
    match name {
        "ALERTS" => return Ok(labelled(THINGS, &["alertname", "alertstate", "job", "severity"])),
        "up" => return Ok(labelled(THINGS, &["job", "instance"])),
        _ => {}
    }
    if name.contains(':') {
        let dimension = if name.contains(":ratio_") { RATIO } else { THINGS };
        return recorded.contains(name).then(|| labelled(dimension, &["job"])).ok_or(format!("nothing records {name}"));
    }
    match read(selector)? {
        (_, true) => Err(format!("{name} only ever grows and is read as it is")),
        (answer, false) => Ok(answer),
    }
}

/// What a selector of the table reads, and whether that only makes sense as growth.
fn read(selector: &VectorSelector) -> Result<(Answer, bool), String> {
    let name = name(selector);
    let row = row(name).ok_or(format!("there is no series {name}"))?;
    if let Some(strange) = strange_label(selector, row) {
        return Err(format!("{name} has no label {}", strange.name));
    }
    // One bucket alone is a count of what it holds.
    let one = selector.matchers.matchers.iter().any(|asked| asked.name == "le");
    let (buckets, counts) = (name.ends_with("_bucket") && !one, name.ends_with("_count") || one);
    let histogram = matches!(row.kind, Kind::Histogram(_));
    let dimension = match row.unit {
        _ if histogram && counts => THINGS,
        Unit::Seconds => SECONDS,
        Unit::Bytes => BYTES,
        Unit::Currency => CURRENCY,
        Unit::Factor => RATIO,
        Unit::Count | Unit::State => THINGS,
    };
    let labels = row.labels.iter().copied().chain(["job", "instance"]).chain(buckets.then_some("le"));
    let labels = labels.map(str::to_owned).collect();
    let grows = histogram || matches!(row.kind, Kind::Counter | Kind::Time);
    Ok((Answer { dimension: Some(dimension), labels, buckets: histogram && buckets }, grows))
}

/// Gauges that are sums of money only ever grow, and say so.
fn is_growing_gauge(name: &str) -> bool {
    row(name).is_some_and(|row| row.help.contains("only ever grows"))
}

fn called(call: &Call, recorded: &BTreeSet<String>) -> Result<Answer, String> {
    let args: Vec<&Expr> = call.args.args.iter().map(AsRef::as_ref).collect();
    match (call.func.name, args.as_slice()) {
        ("time", []) => Ok(Answer { dimension: Some(SECONDS), ..Answer::default() }),
        ("vector", [_]) => Ok(Answer::default()),
        ("clamp_min", [of, _]) => answer(of, recorded),
        ("absent", [of]) => Ok(Answer { dimension: Some(THINGS), ..answer(of, recorded)? }),
        ("histogram_quantile", [_, of]) => {
            let of = answer(of, recorded)?;
            let whole = of.buckets && of.labels.contains("le");
            let labels = of.labels.into_iter().filter(|label| label != "le").collect();
            let quantile = Answer { dimension: of.dimension, labels, buckets: false };
            whole.then_some(quantile).ok_or("a quantile needs buckets with their le".to_owned())
        }
        (function, [Expr::MatrixSelector(matrix)]) => over_time(function, &matrix.vs),
        (function, _) => Err(format!("{function} is not used here")),
    }
}

fn over_time(function: &str, selector: &VectorSelector) -> Result<Answer, String> {
    let name = name(selector);
    let (mut answer, grows) = read(selector)?;
    let mut dimension = answer.dimension.unwrap_or_default();
    match function {
        "rate" | "increase" if !grows && !is_growing_gauge(name) => {
            return Err(format!("{name} goes up and down: it has no {function}"));
        }
        // A quantile is in the unit of what was sorted into the buckets, however fast they fill.
        "rate" if !answer.buckets => dimension[0] -= 1,
        "rate" | "increase" => {}
        _ if grows => return Err(format!("{name} only ever grows: it has no {function}")),
        "changes" => dimension = THINGS,
        "avg_over_time" | "max_over_time" => {}
        _ => return Err(format!("{function} is not used here")),
    }
    answer.dimension = Some(dimension);
    Ok(answer)
}

fn aggregated(aggregate: &AggregateExpr, recorded: &BTreeSet<String>) -> Result<Answer, String> {
    let of = answer(&aggregate.expr, recorded)?;
    let kept: BTreeSet<String> = match &aggregate.modifier {
        None => BTreeSet::new(),
        Some(LabelModifier::Include(by)) => by.labels.iter().cloned().collect(),
        Some(LabelModifier::Exclude(_)) => return Err("what is kept is to be said: by, not without".to_owned()),
    };
    if let Some(strange) = kept.difference(&of.labels).next() {
        return Err(format!("there is no label {strange} to sum by: {aggregate}"));
    }
    let dimension = if aggregate.op.to_string() == "count" { Some(THINGS) } else { of.dimension };
    Ok(Answer { dimension, labels: kept, buckets: of.buckets })
}

fn combined(binary: &BinaryExpr, recorded: &BTreeSet<String>) -> Result<Answer, String> {
    let (left, right) = (answer(&binary.lhs, recorded)?, answer(&binary.rhs, recorded)?);
    if left.buckets || right.buckets {
        return Err(format!("buckets belong into a quantile: {binary}"));
    }
    let op = binary.op.to_string();
    let same = || match (left.dimension, right.dimension) {
        (Some(a), Some(b)) if a != b => Err(format!("{a:?} and {b:?} are not of one kind: {binary}")),
        (a, b) => Ok(a.or(b)),
    };
    let dimension = match op.as_str() {
        "*" => merge(left.dimension, right.dimension, 1),
        "/" => merge(left.dimension, right.dimension, -1),
        // What is on the right only decides whether what is on the left is told.
        "and" | "unless" => left.dimension,
        _ => same()?,
    };
    if left.dimension.is_some() && right.dimension.is_some() && !binary.op.is_set_operator() {
        meet(binary, &left.labels, &right.labels)?;
    }
    let labels = if left.dimension.is_some() { left.labels } else { right.labels };
    Ok(Answer { dimension, labels, buckets: false })
}

fn merge(left: Option<Dimension>, right: Option<Dimension>, sign: i8) -> Option<Dimension> {
    match (left, right) {
        (None, None) => None,
        (left, right) => {
            let (left, right) = (left.unwrap_or(RATIO), right.unwrap_or(RATIO));
            Some(std::array::from_fn(|at| left[at] + sign * right[at]))
        }
    }
}

/// Series of both sides meet only where the labels by which they are matched are the same.
fn meet(binary: &BinaryExpr, left: &BTreeSet<String>, right: &BTreeSet<String>) -> Result<(), String> {
    // The time is no vector.
    if binary.lhs.to_string() == "time()" {
        return Ok(());
    }
    let meets = match binary.modifier.as_ref().and_then(|modifier| modifier.matching.as_ref()) {
        None => left == right,
        Some(LabelModifier::Include(on)) => on.labels.iter().all(|label| left.contains(label) && right.contains(label)),
        Some(LabelModifier::Exclude(ignored)) => {
            let rest = |side: &BTreeSet<String>| -> BTreeSet<String> {
                side.iter().filter(|label| !ignored.labels.contains(label)).cloned().collect()
            };
            rest(left) == rest(right)
        }
    };
    meets.then_some(()).ok_or(format!("{left:?} and {right:?} do not meet: {binary}"))
}

#[test]
fn what_cannot_be_meant_is_found() {
    let recorded = BTreeSet::from(["tandem:a:ratio_rate5m".to_owned()]);
    for (query, said) in [
        ("sum(rate(tandem_sessions_active[5m]))", "goes up and down"),
        ("sum(tandem_frames_total)", "only ever grows"),
        ("avg_over_time(tandem_frames_total[5m])", "only ever grows"),
        ("sum by (reason) (rate(tandem_frames_total[5m]))", "no label reason"),
        ("rate(tandem_frames_total{upstream=\"1\"}[5m])", "no label upstream"),
        ("sum(rate(tandem_calls_total[5m]))", "no series tandem_calls_total"),
        ("tandem_audio_lag_seconds", "no series tandem_audio_lag_seconds"),
        ("tandem:b:ratio_rate5m", "nothing records"),
        ("histogram_quantile(0.5, sum(rate(tandem_audio_lag_seconds_bucket[5m])))", "needs buckets with their le"),
        ("histogram_quantile(0.5, rate(tandem_audio_lag_seconds_sum[5m]))", "needs buckets"),
        ("process_open_fds + process_resident_memory_bytes", "not of one kind"),
        ("sum by (state) (tandem_upstream_slots) / sum(tandem_upstream_slots)", "do not meet"),
        ("deriv(process_open_fds[5m])", "not used here"),
        ("sum without (job) (process_open_fds)", "by, not without"),
        ("sum(rate(tandem_frames_total[5m])", "unclosed left parenthesis"),
    ] {
        let error = parse(query).and_then(|expr| answer(&expr, &recorded)).expect_err(query);
        assert!(error.contains(said), "{query}: {error}");
    }
}

#[test]
fn an_answer_is_in_the_unit_of_what_was_asked() {
    let all = ["s", "dtdurations", "bytes", "cps", "short", "none", "percentunit", "currency:¤", "decbytes"];
    let recorded = BTreeSet::from(["tandem:a:ratio_rate5m".to_owned()]);
    for (query, units) in [
        ("sum(rate(tandem_frames_total[5m]))", "cps"),
        ("sum(increase(tandem_frames_total[$__rate_interval]))", "short none"),
        ("sum(rate(process_cpu_seconds_total[5m]))", "short none percentunit"),
        ("histogram_quantile(0.5, sum by (le) (rate(tandem_upstream_prompt_bytes_bucket[5m])))", "bytes"),
        ("sum(rate(tandem_machine_cost[5m])) * 3600", "currency:¤"),
        ("time() - max(process_start_time_seconds)", "s dtdurations"),
        ("sum(tandem_machine_price_per_hour) or vector(0)", "currency:¤"),
        ("sum(rate(tandem_client_rtt_seconds_sum[5m])) / sum(rate(tandem_client_rtt_seconds_count[5m]))", "s"),
        ("sum(tandem_upstream_slots) / clamp_min(sum(tandem_queue_limit), 1)", "short none percentunit"),
        ("sum(rate(tandem_audio_underrun_seconds_total[5m])) / sum(tandem_sessions_active)", "short percentunit"),
        ("tandem:a:ratio_rate5m / 0.01", "short none percentunit"),
        ("count(ALERTS{alertstate=\"firing\"})", "short none"),
    ] {
        let answer = answer(&parse(query).unwrap(), &recorded).unwrap();
        let fits: BTreeSet<&str> = all.into_iter().filter(|unit| answer.is_shown_as(unit)).collect();
        assert_eq!(fits, units.split(' ').collect(), "{query}: {answer:?}");
    }
}
