//! Who waits for a slot, and in which order.
//!
//! Live calls that need another slot come before new callers. Within a class, order is by arrival; every call or place
//! that a user has already counts as [`HEAD_START`] of later arrival, so that nobody fills the queue's front alone, and
//! nobody is passed for ever.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use super::{Ask, Class, Eta, Place, UserHash, Waited, WaiterId};

/// What each of a user's other calls and places costs in order of arrival.
pub const HEAD_START: Duration = Duration::from_secs(30);

/// Sorts before another: class, fair time of arrival, number of arrival.
pub type Order = (Class, Instant, u64);

/// One who waits.
#[derive(Clone, Debug)]
pub struct Waiter {
    /// Who.
    pub id: WaiterId,
    /// What for.
    pub ask: Ask,
    /// Where in the order.
    pub order: Order,
    /// Since when.
    pub since: Instant,
    /// What it was told last, and when.
    pub told: Option<(Place, Instant)>,
    /// How long it was told first that it would wait.
    pub promised: Option<Eta>,
}

impl Waiter {
    /// How it has waited until now.
    pub fn waited(&self, now: Instant) -> Waited {
        Waited { time: now.saturating_duration_since(self.since), promised: self.promised }
    }
}

/// Everybody who waits, in order.
#[derive(Debug, Default)]
pub struct Queue {
    waiters: BTreeMap<Order, Waiter>,
    orders: HashMap<WaiterId, Order>,
    arrivals: u64,
}

impl Queue {
    /// A new waiter at the place that is fair to a user who has `others` calls and places already.
    pub fn arrive(&mut self, id: WaiterId, ask: Ask, others: usize, now: Instant) {
        self.arrivals += 1;
        let head_starts = u32::try_from(others).unwrap_or(u32::MAX).min(1_000);
        let order = (ask.class, now + HEAD_START * head_starts, self.arrivals);
        self.put_back(Waiter { id, ask, order, since: now, told: None, promised: None });
    }

    /// A waiter returns to the place it had.
    pub fn put_back(&mut self, waiter: Waiter) {
        self.orders.insert(waiter.id, waiter.order);
        self.waiters.insert(waiter.order, waiter);
    }

    /// Takes a waiter out.
    pub fn remove(&mut self, id: WaiterId) -> Option<Waiter> {
        self.waiters.remove(&self.orders.remove(&id)?)
    }

    /// Everybody in order.
    pub fn iter(&self) -> impl Iterator<Item = &Waiter> {
        self.waiters.values()
    }

    /// Everybody in order, to be told something.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Waiter> {
        self.waiters.values_mut()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiters.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// How many of `class` wait.
    pub fn count(&self, class: Class) -> usize {
        self.waiters.values().filter(|waiter| waiter.ask.class == class).count()
    }

    /// How many places `user` has.
    pub fn count_of(&self, user: &UserHash) -> usize {
        self.waiters.values().filter(|waiter| waiter.ask.user == *user).count()
    }
}
