//! What a fleet needs from outside.

use std::{future::Future, pin::Pin, time::Duration};

use crate::{
    fleet::{account::Money, provider::Provider},
    pool::{
        actor::{Moved, PowerChanged, Retire, WarmUp},
        endpoint::{Endpoint, Upstream},
    },
};

/// Asks a model server whether it answers, without a call. The fleet defines it, the session's legs provide it.
pub trait Readiness {
    /// What comes of asking; bounded in time.
    fn answers(&self, endpoint: &Endpoint) -> Pin<Box<dyn Future<Output = bool>>>;
}

/// Who is told what the fleet does, in order to count it. Must not block.
pub trait FleetObserver {
    /// A machine is in another state.
    fn state(&self, _upstream: &str, _state: &'static str) {}
    /// A wake took so long.
    fn woke(&self, _upstream: &str, _took: Duration) {}
    /// A wake failed.
    fn wake_failed(&self, _upstream: &str, _why: &'static str) {}
    /// A restart is over: `ready`, or why it came to nothing.
    fn restarted(&self, _upstream: &str, _result: &'static str) {}
    /// A wake ended before the 90th percentile that was told as it began, or did not.
    fn wake_promised(&self, _kept: bool) {}
    /// A machine was so many seconds more leased, idle or asleep.
    fn spent(&self, _upstream: &str, _what: &'static str, _seconds: u64) {}
    /// What an hour of a machine costs, what it has cost since the process began, and what was saved against always-on.
    fn bill(&self, _upstream: &str, _per_hour: Money, _cost: Money, _saving: Money) {}
    /// A machine is not one of the fleet's any more.
    fn gone(&self, _upstream: &str) {}
    /// A provider was asked, and what came of it.
    fn asked(&self, _provider: &'static str, _what: &'static str, _result: &'static str) {}
}

/// Finds who starts and stops the machine of an upstream; none for one that is always on.
pub type FindProvider = Box<dyn Fn(&Upstream) -> Option<Box<dyn Provider>>>;

/// What a fleet needs from outside.
pub struct Ports {
    /// Which machines there are.
    pub find: FindProvider,
    /// Whether model servers answer.
    pub readiness: Box<dyn Readiness>,
    /// Who counts.
    pub observer: Box<dyn FleetObserver>,
    /// Who gives out slots.
    pub pool: Box<dyn PoolPort>,
}

/// The pool, as the fleet sees it. Must not block.
pub trait PoolPort {
    /// What became of a machine.
    fn power(&self, changed: PowerChanged);
    /// Lets go of a machine if nobody needs it.
    fn retire(&self, retire: Retire);
    /// Makes a call without a caller.
    fn warm_up(&self, warm_up: WarmUp);
    /// Where the server of a machine is reached.
    fn moved(&self, moved: Moved);
}
