//! Where the numbers are: a cell for each name and each set of labels, as many as are known beforehand and no more.
//!
//! **Invariant:** a label's value is a word of the program, or the name of a model server that is a member of the pool.
//! A server that leaves takes its cells along, and whatever is said of it afterwards counts for nothing.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use metrics::{Counter, Gauge, GaugeFn, Histogram, HistogramFn};

use super::series::{Buckets, Kind, Series};

/// A label's value: a word of the program, or a server's name.
pub type Value = Cow<'static, str>;

/// The label whose values are the names of model servers.
pub(super) const UPSTREAM: &str = "upstream";

/// Every cell of one gateway.
pub(super) struct Registry {
    table: &'static [Series],
    families: HashMap<&'static str, RwLock<Family>>,
    /// The servers that may be named.
    members: RwLock<BTreeSet<String>>,
}

/// The cells of one row, by the values of its labels.
type Family = BTreeMap<Vec<Value>, Cell>;

/// One number, or the numbers of one histogram.
#[derive(Clone)]
pub(super) enum Cell {
    /// A whole number.
    Count(Arc<AtomicU64>),
    /// The bits of a number that need not be whole.
    Amount(Arc<AtomicU64>),
    /// How many values fell into which bucket.
    Distribution(Arc<Distribution>),
}

impl Cell {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Self::Count(Arc::default()),
            Kind::Time | Kind::Gauge | Kind::Info => Self::Amount(Arc::default()),
            Kind::Histogram(bounds) => Self::Distribution(Arc::new(Distribution::new(bounds))),
        }
    }
}

/// What fell into which bucket of a histogram. Recording takes no lock and keeps nothing that somebody would have to fold.
pub(super) struct Distribution {
    bounds: Buckets,
    /// One for each bound, and one for what is above all of them.
    counts: Box<[AtomicU64]>,
    /// The bits of the sum.
    sum: AtomicU64,
}

impl Distribution {
    fn new(bounds: Buckets) -> Self {
        Self { bounds, counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0) }
    }

    /// Each bound, the last of which is infinite, and how many values were not above it.
    pub(super) fn cumulative(&self) -> Vec<(f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let counts = self.counts.iter().scan(0, |sum, count| {
            *sum += count.load(Ordering::Relaxed);
            Some(*sum)
        });
        bounds.zip(counts).collect()
    }

    /// The sum of all values.
    pub(super) fn sum(&self) -> f64 {
        f64::from_bits(self.sum.load(Ordering::Relaxed))
    }
}

impl HistogramFn for Distribution {
    fn record(&self, value: f64) {
        // No bucket has what is no number.
        if value.is_nan() {
            return;
        }
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
            GaugeFn::increment(&self.sum, value);
        }
    }
}

impl Registry {
    pub(super) fn new(table: &'static [Series]) -> Self {
        let families = table.iter().map(|row| (row.name, RwLock::default())).collect();
        Self { table, families, members: RwLock::default() }
    }

    pub(super) fn counter(&self, row: &Series, values: &[Value]) -> Counter {
        match self.cell(row, values) {
            Some(Cell::Count(count)) => Counter::from_arc(count),
            _ => Counter::noop(),
        }
    }

    pub(super) fn gauge(&self, row: &Series, values: &[Value]) -> Gauge {
        match self.cell(row, values) {
            Some(Cell::Amount(amount)) => Gauge::from_arc(amount),
            _ => Gauge::noop(),
        }
    }

    pub(super) fn histogram(&self, row: &Series, values: &[Value]) -> Histogram {
        match self.cell(row, values) {
            Some(Cell::Distribution(distribution)) => Histogram::from_arc(distribution),
            _ => Histogram::noop(),
        }
    }

    /// The cell with these labels, made if need be; none of a server that is no member.
    fn cell(&self, row: &Series, values: &[Value]) -> Option<Cell> {
        debug_assert_eq!(row.labels.len(), values.len(), "{}", row.name);
        let family = self.families.get(row.name);
        debug_assert!(family.is_some(), "{} is not in the table", row.name);
        // Held until the cell is there: a server that leaves meanwhile takes it along.
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        let is_known = |(label, value): (&&str, &Value)| match value {
            Value::Borrowed(_) => *label != UPSTREAM || members.contains(value.as_ref()),
            Value::Owned(name) => *label == UPSTREAM && members.contains(name),
        };
        if !row.labels.iter().zip(values).all(is_known) {
            return None;
        }
        let family = family?;
        if let Some(cell) = family.read().unwrap_or_else(PoisonError::into_inner).get(values) {
            return Some(cell.clone());
        }
        let mut family = family.write().unwrap_or_else(PoisonError::into_inner);
        Some(family.entry(values.to_vec()).or_insert_with(|| Cell::new(row.kind)).clone())
    }

    /// A server of this name may be counted from now on.
    pub(super) fn joins(&self, upstream: &str) {
        self.members.write().unwrap_or_else(PoisonError::into_inner).insert(upstream.to_owned());
    }

    /// The server of this name is gone, and all that was counted of it.
    pub(super) fn leaves(&self, upstream: &str) {
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        members.remove(upstream);
        self.forget(upstream, self.table);
    }

    /// What these rows say of a server is taken out. A handle that somebody still has counts for nothing.
    pub(super) fn forget(&self, upstream: &str, rows: &[Series]) {
        for row in rows {
            let at = row.labels.iter().position(|label| *label == UPSTREAM);
            if let Some((at, family)) = at.zip(self.families.get(row.name)) {
                let mut family = family.write().unwrap_or_else(PoisonError::into_inner);
                family.retain(|values, _| values.get(at).is_none_or(|name| name != upstream));
            }
        }
    }

    /// Every row that has cells, in the order of the table, with its cells in the order of their labels.
    pub(super) fn families(&self) -> impl Iterator<Item = (&'static Series, Vec<(Vec<Value>, Cell)>)> {
        self.table.iter().filter_map(|row| {
            let family = self.families.get(row.name)?.read().unwrap_or_else(PoisonError::into_inner);
            let cells: Vec<_> = family.iter().map(|(values, cell)| (values.clone(), cell.clone())).collect();
            (!cells.is_empty()).then_some((row, cells))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::series::{Unit, series};
    use super::*;

    const CALLS: Series = series("calls_total", Kind::Counter, Unit::Count, &[UPSTREAM, "result"], "Calls.");
    const WAIT: Series = series("wait_seconds", Kind::Histogram(&[0.1, 1.0]), Unit::Seconds, &[], "Waits.");
    const ROWS: &[Series] = &[CALLS, WAIT];

    fn names(registry: &Registry) -> Vec<String> {
        registry.families().flat_map(|(_, cells)| cells).map(|(values, _)| values.join(" ")).collect()
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
            count(&registry, upstream, "failed");
        }
        assert_eq!(names(&registry), ["a failed", "a ok", "b failed", "b ok"]);
        let held = registry.counter(&CALLS, &["a".to_owned().into(), "ok".into()]);
        registry.leaves("a");
        held.increment(1);
        count(&registry, "a", "late");
        assert_eq!(names(&registry), ["b failed", "b ok"]);
        registry.joins("a");
        count(&registry, "a", "ok");
        let cells = registry.families().next().unwrap().1;
        let Cell::Count(again) = &cells[0].1 else { panic!("a counter") };
        assert_eq!((cells[0].0.join(" ").as_str(), again.load(Ordering::Relaxed)), ("a ok", 1), "it begins anew");
    }

    #[test]
    fn a_word_that_is_not_of_the_program_is_no_label() {
        let registry = Registry::new(ROWS);
        registry.joins("a");
        let said_by_somebody = format!("ann {}", registry.families().count());
        registry.counter(&CALLS, &["a".to_owned().into(), said_by_somebody.into()]).increment(1);
        assert_eq!(registry.families().count(), 0);
    }

    #[test]
    fn each_value_is_in_the_bucket_of_the_first_bound_that_it_does_not_exceed() {
        let registry = Registry::new(ROWS);
        for value in [0.0, 0.1, 0.1000001, 1.0, 7.0, f64::NAN] {
            registry.histogram(&WAIT, &[]).record(value);
        }
        let (_, cells) = registry.families().next().unwrap();
        let Cell::Distribution(waits) = &cells[0].1 else { panic!("a histogram") };
        assert_eq!(waits.cumulative(), [(0.1, 2), (1.0, 4), (f64::INFINITY, 5)]);
        assert!((waits.sum() - 8.2).abs() < 1e-3, "{}", waits.sum());
    }
}
