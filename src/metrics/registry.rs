//! Where the numbers are: recorders of `metrics-exporter-prometheus`, one of the gateway's own and two of each model server.
//!
//! **Invariant:** a label's value is a word of the program, or the name of a model server that is a member of the pool.
//! A server that leaves takes its recorders along, and whatever is said of it afterwards counts for nothing.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder as _};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};

use super::{
    fleet,
    series::{Kind, Series},
};

/// A label's value: a word of the program, or a server's name.
pub type Value = Cow<'static, str>;

/// The label whose values are the names of model servers.
pub(super) const UPSTREAM: &str = "upstream";

static METADATA: Metadata<'static> = Metadata::new("tandem", Level::INFO, None);

/// Every number of one gateway.
pub(super) struct Registry {
    pub(super) table: &'static [Series],
    own: PrometheusRecorder,
    members: RwLock<BTreeMap<String, Member>>,
}

/// What is counted of one model server. Its machine may leave before it does, and come back.
struct Member {
    server: PrometheusRecorder,
    machine: PrometheusRecorder,
}

impl Registry {
    pub(super) fn new(table: &'static [Series]) -> Self {
        Self { table, own: recorder(table), members: RwLock::default() }
    }

    pub(super) fn counter(&self, row: &Series, values: &[Value]) -> Counter {
        let register = |recorder: &PrometheusRecorder| recorder.register_counter(&key(row, values), &METADATA);
        self.with(row, values, register).unwrap_or_else(Counter::noop)
    }

    pub(super) fn gauge(&self, row: &Series, values: &[Value]) -> Gauge {
        let register = |recorder: &PrometheusRecorder| recorder.register_gauge(&key(row, values), &METADATA);
        self.with(row, values, register).unwrap_or_else(Gauge::noop)
    }

    pub(super) fn histogram(&self, row: &Series, values: &[Value]) -> Histogram {
        let register = |recorder: &PrometheusRecorder| recorder.register_histogram(&key(row, values), &METADATA);
        self.with(row, values, register).unwrap_or_else(Histogram::noop)
    }

    /// The handle with these labels; none of a server that is no member.
    fn with<T>(&self, row: &Series, values: &[Value], register: impl FnOnce(&PrometheusRecorder) -> T) -> Option<T> {
        debug_assert_eq!(row.labels.len(), values.len(), "{}", row.name);
        let mut upstream = None;
        for (label, value) in row.labels.iter().zip(values) {
            match value {
                _ if *label == UPSTREAM => upstream = Some(value.as_ref()),
                Value::Borrowed(_) => {}
                Value::Owned(_) => return None,
            }
        }
        let Some(upstream) = upstream else { return Some(register(&self.own)) };
        let members = self.read();
        let member = members.get(upstream)?;
        Some(register(if fleet::is_of_machine(row) { &member.machine } else { &member.server }))
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Member>> {
        self.members.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A server of this name may be counted from now on.
    pub(super) fn joins(&self, upstream: &str) {
        let fresh = || Member { server: recorder(self.table), machine: recorder(self.table) };
        self.members.write().unwrap_or_else(PoisonError::into_inner).entry(upstream.to_owned()).or_insert_with(fresh);
    }

    /// The server of this name is gone, and all that was counted of it.
    pub(super) fn leaves(&self, upstream: &str) {
        self.members.write().unwrap_or_else(PoisonError::into_inner).remove(upstream);
    }

    /// The machine of this server is gone. A handle that somebody still has counts for nothing.
    pub(super) fn machine_leaves(&self, upstream: &str) {
        if let Some(member) = self.members.write().unwrap_or_else(PoisonError::into_inner).get_mut(upstream) {
            member.machine = recorder(self.table);
        }
    }

    /// Folds samples of histograms; to be called every few seconds, or they pile up unread.
    pub(super) fn upkeep(&self) {
        self.each(|recorder| recorder.handle().run_upkeep());
    }

    /// What each recorder tells, in the text format 0.0.4.
    pub(super) fn pages(&self) -> Vec<String> {
        let mut pages = Vec::new();
        self.each(|recorder| pages.push(recorder.handle().render()));
        pages
    }

    fn each(&self, mut look: impl FnMut(&PrometheusRecorder)) {
        look(&self.own);
        for member in self.read().values() {
            look(&member.server);
            look(&member.machine);
        }
    }
}

/// A recorder that knows the buckets of the table.
fn recorder(table: &[Series]) -> PrometheusRecorder {
    let mut builder = PrometheusBuilder::new();
    for row in table {
        if let Kind::Histogram(bounds) = row.kind {
            let name = Matcher::Full(row.name.to_owned());
            // Refused are no bounds at all, and a test of the table sees to that.
            builder = builder.set_buckets_for_metric(name, bounds).unwrap_or_default();
        }
    }
    builder.build_recorder()
}

fn key(row: &Series, values: &[Value]) -> Key {
    let labels = row.labels.iter().zip(values).map(|(name, value)| Label::new(*name, value.clone()));
    Key::from_parts(row.name, labels.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::super::series::{Unit, series};
    use super::*;

    const CALLS: Series = series("calls_total", Kind::Counter, Unit::Count, &[UPSTREAM, "result"], "Calls.");
    const WAIT: Series = series("wait_seconds", Kind::Histogram(&[0.1, 1.0]), Unit::Seconds, &[], "Waits.");
    const ROWS: &[Series] = &[CALLS, WAIT];

    fn lines(registry: &Registry) -> Vec<String> {
        let mut lines = Vec::new();
        for page in registry.pages() {
            lines.extend(page.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_owned));
        }
        lines.sort();
        lines
    }

    fn count(registry: &Registry, upstream: &str, result: &'static str) {
        registry.counter(&CALLS, &[upstream.to_owned().into(), result.into()]).increment(1);
    }

    #[test]
    fn who_is_no_member_is_not_counted_and_who_leaves_takes_all_along() {
        let registry = Registry::new(ROWS);
        count(&registry, "a", "ok");
        registry.joins("a");
        registry.joins("b");
        for upstream in ["a", "b", "stranger"] {
            count(&registry, upstream, "ok");
        }
        registry.joins("a");
        assert_eq!(
            lines(&registry),
            [r#"calls_total{upstream="a",result="ok"} 1"#, r#"calls_total{upstream="b",result="ok"} 1"#],
            "who is there already goes on"
        );
        let held = registry.counter(&CALLS, &["a".to_owned().into(), "ok".into()]);
        registry.leaves("a");
        held.increment(1);
        count(&registry, "a", "late");
        assert_eq!(lines(&registry), [r#"calls_total{upstream="b",result="ok"} 1"#]);
        registry.joins("a");
        count(&registry, "a", "ok");
        assert_eq!(lines(&registry)[0], r#"calls_total{upstream="a",result="ok"} 1"#, "it begins anew");
    }

    #[test]
    fn a_word_that_is_not_of_the_program_is_no_label() {
        let registry = Registry::new(ROWS);
        registry.joins("a");
        let said_by_somebody = "ann".to_owned();
        registry.counter(&CALLS, &["a".to_owned().into(), said_by_somebody.into()]).increment(1);
        assert_eq!(lines(&registry), Vec::<String>::new());
    }

    #[test]
    fn each_value_is_in_the_bucket_of_the_first_bound_that_it_does_not_exceed() {
        let registry = Registry::new(ROWS);
        for value in [0.0, 0.1, 0.125, 1.0, 7.0] {
            registry.histogram(&WAIT, &[]).record(value);
            registry.upkeep();
        }
        let expected = [
            r#"wait_seconds_bucket{le="+Inf"} 5"#,
            r#"wait_seconds_bucket{le="0.1"} 2"#,
            r#"wait_seconds_bucket{le="1"} 4"#,
            "wait_seconds_count 5",
            "wait_seconds_sum 8.225",
        ];
        assert_eq!(lines(&registry), expected);
    }
}
