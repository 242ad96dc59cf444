//! What the servers cost while a call has their slots.

use std::time::{Duration, Instant};

use super::Price;

/// An hour, in nanoseconds.
const HOUR_NANOS: u128 = 3_600_000_000_000;

/// One server that the call has had.
#[derive(Debug)]
struct Server {
    name: String,
    model: Option<String>,
    price: Option<Price>,
    /// For how long its slots were held.
    held: Duration,
}

/// A slot that is held.
#[derive(Debug)]
struct Slot {
    attempt: u32,
    server: usize,
    since: Instant,
}

/// What the call has paid for so far.
#[derive(Debug, Default)]
pub(super) struct Costs {
    servers: Vec<Server>,
    slots: Vec<Slot>,
    /// What was said of the slot that was granted last.
    offered: Option<(Option<String>, Option<Price>)>,
}

impl Costs {
    /// What is said of the server of the slot that is opened next; nothing if it is the call's own that it kept.
    pub(super) fn offered(&mut self, model: Option<String>, price: Option<Price>) {
        self.offered = Some((model, price));
    }

    pub(super) fn opened(&mut self, attempt: u32, name: &str, now: Instant) {
        let (model, price) = self.offered.take().unwrap_or_default();
        let server = self.servers.iter().position(|server| server.name == name).unwrap_or_else(|| {
            self.servers.push(Server { name: name.to_owned(), model: None, price: None, held: Duration::ZERO });
            self.servers.len() - 1
        });
        let known = &mut self.servers[server];
        (known.model, known.price) = (model.or(known.model.take()), price.or(known.price));
        self.slots.push(Slot { attempt, server, since: now });
    }

    /// The model of the server of this attempt.
    pub(super) fn model(&self, attempt: u32) -> Option<&str> {
        let slot = self.slots.iter().find(|slot| slot.attempt == attempt)?;
        self.servers[slot.server].model.as_deref()
    }

    /// Only these slots are held from now on.
    pub(super) fn holds(&mut self, held: impl Fn(u32) -> bool, now: Instant) {
        for slot in self.slots.extract_if(.., |slot| !held(slot.attempt)) {
            self.servers[slot.server].held += now.saturating_duration_since(slot.since);
        }
    }

    /// All of it in millionths; none if there was no server, or one of them has no price.
    pub(super) fn millionths(&self) -> Option<u64> {
        let of = |server: &Server| Some(server.held.as_nanos().saturating_mul(server.price?.millionths().into()));
        let all = self.servers.iter().map(of).try_fold(0_u128, |sum, cost| Some(sum.saturating_add(cost?)))?;
        (!self.servers.is_empty()).then(|| u64::try_from(all / HOUR_NANOS).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "an origin for the test's own time line")]
    fn minutes() -> impl Fn(u64) -> Instant {
        let origin = Instant::now();
        move |minutes| origin + Duration::from_secs(60 * minutes)
    }

    fn offered(costs: &mut Costs, price: Option<&str>) {
        costs.offered(Some("plex".to_owned()), price.map(|price| price.parse().unwrap()));
    }

    #[test]
    fn slots_cost_while_they_are_held_and_one_without_a_price_makes_the_sum_unknown() {
        let (mut costs, at) = (Costs::default(), minutes());
        assert_eq!(costs.millionths(), None);
        offered(&mut costs, Some("0.60"));
        costs.opened(1, "a", at(0));
        assert_eq!(costs.model(1), Some("plex"));
        // Beside it another one gets ready and takes over.
        offered(&mut costs, Some("1.20"));
        costs.opened(2, "b", at(10));
        costs.holds(|_| true, at(12));
        costs.holds(|attempt| attempt == 2, at(20));
        // Its own slot is kept: nothing new is said of it.
        costs.holds(|_| false, at(30));
        costs.opened(3, "b", at(30));
        assert_eq!(costs.model(3), Some("plex"));
        costs.holds(|_| false, at(40));
        costs.holds(|_| false, at(50));
        assert_eq!(costs.millionths(), Some(200_000 + 2 * 200_000 + 200_000));
        offered(&mut costs, None);
        costs.opened(4, "c", at(50));
        costs.holds(|_| false, at(51));
        assert_eq!(costs.millionths(), None);
    }
}
