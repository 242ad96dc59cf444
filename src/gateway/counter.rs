//! Counts what the pool tells. Every label is from a closed set, or the name of a configured server.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use crate::{
    metrics::{Metrics, QueueWait},
    pool::{
        actor::{PoolObserver, Ungranted},
        breaker::Trust,
        endpoint::Upstream,
        lease::Return,
        roster::{Class, QuarantineReason, SlotLabel, SlotSnapshot, WaitEnd, Waited},
    },
    session::machine::UpstreamEnd,
};

/// The pool's ear in the metrics.
pub(super) struct Counter(Arc<Metrics>);

impl Counter {
    /// Begins every closed set at zero: a rate needs the zero before the first event.
    pub(super) fn new(metrics: Arc<Metrics>, queue_limit: usize) -> Self {
        metrics.queue_limit(queue_limit);
        for reason in QuarantineReason::ALL {
            metrics.quarantined(reason.code(), 0);
        }
        for why in Ungranted::ALL {
            metrics.lease_conflicts(why.code(), 0);
        }
        let counter = Self(metrics);
        counter.slots(&[]);
        for class in Class::ALL {
            counter.waiting(class, 0);
        }
        counter
    }
}

impl PoolObserver for Counter {
    fn slots(&self, slots: &[SlotSnapshot]) {
        for label in SlotLabel::ALL {
            self.0.slots(label.code(), slots.iter().filter(|slot| slot.label == label).count());
        }
        for slot in slots {
            self.0.upstream_slow(slot.upstream.clone(), slot.slow);
            self.0.circuit_state(slot.upstream.clone(), slot.trust.level());
        }
        self.0.upstreams(slots.iter().map(|slot| slot.upstream.as_str()).collect::<BTreeSet<_>>().len());
    }

    fn waiting(&self, class: Class, count: usize) {
        self.0.queue_depth(class.code(), count);
    }

    fn cleared(&self, after: Duration) {
        self.0.cleared(after);
    }

    fn waited(&self, class: Class, end: WaitEnd, waited: Waited) {
        let expected = waited.promised.filter(|_| end == WaitEnd::Granted).map(|eta| eta.median);
        let (time, kept) = (waited.time, waited.kept(end));
        self.0.queue_wait(QueueWait { class: class.code(), outcome: end.code(), time, expected, kept });
    }

    fn retried(&self, allowed: bool) {
        self.0.retry(allowed);
    }

    fn rehearsed(&self, passed: bool) {
        self.0.rehearsed(passed);
    }

    fn ungranted(&self, why: Ungranted) {
        self.0.lease_conflicts(why.code(), 1);
    }

    fn trust(&self, upstream: &str, trust: Trust) {
        self.0.circuit_changed(upstream.to_owned(), trust.code());
    }

    fn joined(&self, upstream: &Upstream, stays: bool) {
        let name = &upstream.endpoint.name;
        self.0.upstream(name);
        let ends = UpstreamEnd::ALL.map(UpstreamEnd::code);
        for result in ["ready", "handshake_timeout"].into_iter().chain(ends) {
            self.0.attempts(name, result, 0);
        }
        self.0.upstream_joined(stays);
    }

    fn gone(&self, upstream: &str) {
        self.0.upstream_left(upstream);
    }

    fn returned(&self, what: Return) {
        if let Return::Quarantined(reason) = what {
            self.0.quarantined(reason.code(), 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::{
        endpoint::{Endpoint, Labels},
        roster::{Eta, NoSlot, SlotState},
    };

    fn counter() -> (Counter, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new());
        (Counter::new(Arc::clone(&metrics), 100), metrics)
    }

    #[track_caller]
    fn assert_says(metrics: &Metrics, lines: &[&str]) {
        let text = metrics.render();
        for line in lines {
            assert!(text.lines().any(|said| said == *line), "{line} is not in\n{text}");
        }
    }

    fn slot(upstream: &str, label: SlotLabel, trust: Trust) -> SlotSnapshot {
        let state = if label == SlotLabel::Leased { SlotState::Leased } else { SlotState::Free };
        SlotSnapshot { upstream: upstream.into(), state, label, trust, slow: false, realtime_factor: None }
    }

    #[test]
    fn a_state_that_no_slot_is_in_any_more_falls_back_to_zero() {
        let (counter, metrics) = counter();
        for label in SlotLabel::ALL {
            assert_says(&metrics, &[&format!("tandem_upstream_slots{{state=\"{}\"}} 0", label.code())]);
        }
        for name in ["1", "2"] {
            metrics.upstream(name);
        }
        let slots = SlotLabel::ALL.map(|label| slot("1", label, Trust::Closed));
        counter.slots(&slots);
        counter.slots(&[slot("1", SlotLabel::Leased, Trust::Closed), slot("2", SlotLabel::Leased, Trust::HalfOpen)]);
        assert_says(
            &metrics,
            &[
                "tandem_upstream_slots{state=\"leased\"} 2",
                "tandem_upstream_slots{state=\"unhealthy\"} 0",
                "tandem_upstream_slots{state=\"elsewhere\"} 0",
                "tandem_upstreams 2",
                "tandem_upstream_circuit_state{upstream=\"1\"} 0",
                "tandem_upstream_circuit_state{upstream=\"2\"} 1",
            ],
        );
    }

    #[test]
    fn waits_are_counted_by_class_and_outcome_and_estimates_by_whether_they_were_kept() {
        let (counter, metrics) = counter();
        assert_says(&metrics, &["tandem_queue_depth{class=\"rotation\"} 0", "tandem_queue_limit 100"]);
        let seconds = Duration::from_secs;
        let promised = Some(Eta { median: seconds(10), p90: seconds(20) });
        counter.waiting(Class::New, 3);
        counter.waited(Class::New, WaitEnd::Granted, Waited { time: seconds(12), promised });
        counter.waited(Class::New, WaitEnd::Granted, Waited { time: seconds(25), promised });
        counter.waited(Class::New, WaitEnd::Left, Waited { time: seconds(4), promised });
        counter.waited(Class::New, WaitEnd::TimedOut, Waited { time: seconds(300), promised });
        counter.waited(Class::Failover, WaitEnd::Refused(NoSlot::RetriesSpent), Waited::default());
        assert_says(
            &metrics,
            &[
                "tandem_queue_depth{class=\"new\"} 3",
                "tandem_queue_wait_seconds_bucket{class=\"new\",outcome=\"granted\",le=\"20\"} 1",
                "tandem_queue_wait_seconds_count{class=\"new\",outcome=\"granted\"} 2",
                "tandem_queue_wait_seconds_count{class=\"new\",outcome=\"left\"} 1",
                "tandem_queue_wait_seconds_count{class=\"new\",outcome=\"timed_out\"} 1",
                "tandem_queue_wait_seconds_count{class=\"failover\",outcome=\"retries_spent\"} 1",
                "tandem_queue_eta_kept_total{kept=\"yes\"} 1",
                "tandem_queue_eta_kept_total{kept=\"no\"} 2",
                "tandem_queue_eta_error_seconds_sum{side=\"late\"} 17",
            ],
        );
    }

    #[test]
    fn what_becomes_of_servers_and_slots_is_counted() {
        let (counter, metrics) = counter();
        let endpoint = Endpoint::plain("7", "h", 1);
        let upstream = Upstream { endpoint, capacity: 1, labels: Labels::default() };
        counter.joined(&upstream, false);
        for result in ["ready", "handshake_timeout", "connect_failed", "hung_up"] {
            let line = format!("tandem_upstream_attempts_total{{upstream=\"7\",result=\"{result}\"}} 0");
            assert_says(&metrics, &[&line]);
        }
        counter.joined(&upstream, true);
        counter.slots(&[slot("7", SlotLabel::Unhealthy, Trust::Open)]);
        counter.trust("7", Trust::Open);
        counter.rehearsed(true);
        counter.rehearsed(false);
        counter.retried(false);
        counter.ungranted(Ungranted::HeldElsewhere);
        counter.returned(Return::Released);
        counter.cleared(Duration::from_secs(20));
        counter.returned(Return::Quarantined(QuarantineReason::HolderGone));
        let (state, changes) = ("tandem_upstream_circuit_state", "tandem_upstream_circuit_changes_total");
        let state = format!("{state}{{upstream=\"7\"}} 2");
        assert_says(&metrics, &[&state, &format!("{changes}{{upstream=\"7\",to=\"open\"}} 1")]);
        counter.gone("7");
        assert!(!metrics.render().contains("upstream=\"7\""), "it takes along what was counted of it");
        counter.slots(&[]);
        assert_says(
            &metrics,
            &[
                "tandem_upstreams 0",
                "tandem_upstream_changes_total{change=\"joined\"} 1",
                "tandem_upstream_changes_total{change=\"stayed\"} 1",
                "tandem_upstream_changes_total{change=\"left\"} 1",
                "tandem_rehearsals_total{result=\"passed\"} 1",
                "tandem_rehearsals_total{result=\"failed\"} 1",
                "tandem_retries_total{result=\"allowed\"} 0",
                "tandem_retries_total{result=\"refused\"} 1",
                "tandem_lease_conflicts_total{reason=\"held_elsewhere\"} 1",
                "tandem_lease_conflicts_total{reason=\"no_ledger\"} 0",
                "tandem_lease_quarantined_total{reason=\"holder_gone\"} 1",
                "tandem_lease_quarantined_total{reason=\"vanished\"} 0",
                "tandem_lease_quarantine_seconds_sum 20",
            ],
        );
    }
}
