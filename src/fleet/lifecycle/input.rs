//! What can happen to a machine, and what has to be done about it.

use std::time::Duration;

use super::{Policy, WakeFailure};
use crate::fleet::{provider::PowerState, wakes::WakeEta};

/// Why a provider did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It has no room for the machine now.
    Capacity(Option<Duration>),
    /// It was asked too often.
    RateLimited(Option<Duration>),
    /// It refuses the credential.
    Auth,
    /// It does not know the machine.
    NotFound,
    /// No answer, or one that another try may better.
    Passing,
    /// It will never do so.
    Refused,
    /// It has no such thing.
    Unsupported,
}

/// Everything that can happen to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Somebody wants it awake, and for so long from now on.
    Wake(Duration),
    /// An operator wants it to sleep as soon as nobody uses it.
    Sleep,
    /// Whether calls use it or wait for it.
    Used(bool),
    /// Whether the hours are on in which it is to be awake.
    KeepWarm(bool),
    /// The provider's answer to a start.
    Started(Result<(), Trouble>),
    /// The provider's answer to a stop.
    Stopped(Result<(), Trouble>),
    /// The provider's answer to a look.
    Seen(Result<PowerState, Trouble>),
    /// Whether the model server answered.
    Probed(bool),
    /// The provider's answer to a restart.
    Restarted(Result<(), Trouble>),
    /// Whether the pool let go of it: then no call gets there any more.
    Retired(bool),
    /// Whether the call without a caller went well.
    Rehearsed(bool),
    /// The provider says that its model server is reached elsewhere than before.
    Moved,
    /// The pool says that no slot can be used, for long, and that nobody is there.
    Stuck,
    /// An operator wants it to begin anew, unless somebody uses it.
    Restart,
    /// It is dealt with in this way from now on.
    Tune(Policy),
    /// Time passed.
    Tick,
}

/// What has to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask the provider to start it.
    Start,
    /// Ask the provider to stop it.
    Stop,
    /// Ask the provider what it does.
    Look,
    /// Ask its model server whether it answers.
    Probe,
    /// Ask the provider to let it begin anew.
    Restart,
    /// Ask the pool to let go of it, if nobody uses it.
    Retire,
    /// Ask the pool to let go of it for a restart, if nobody uses it, whoever waits.
    Vacate {
        /// Only if it is still as the pool said: stuck.
        stuck: bool,
    },
    /// Ask the pool to make a call there without a caller.
    Rehearse,
    /// Tell the pool that it is waking, and will be there after so long.
    Wakes(WakeEta),
    /// Tell the pool that its provider does not start it for now.
    Delayed,
    /// Tell the pool that it takes calls.
    Serves,
    /// Tell the pool that it has begun anew and takes calls: nobody has an older socket there.
    ServesAnew,
    /// Tell the pool that it is off: nobody has a socket there.
    Off,
    /// Tell the pool that it takes no calls for now.
    Away,
    /// Tell the pool that it could not be woken, and for how long it is not tried again.
    Fails(WakeFailure, Duration),
    /// Count a wake that took so long.
    Woke(Duration),
    /// Tell who asked for a restart whether it begins.
    Restarts(bool),
    /// Count a restart that took so long.
    Restarted(Duration),
    /// The same as [`Effect::Fails`], of a restart.
    RestartFails(WakeFailure, Duration),
}

/// What the provider, the server or the pool is asked, and has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Start,
    Stop,
    Look,
    Restart,
    Probe,
    Retire,
    Vacate,
    Rehearse,
}
