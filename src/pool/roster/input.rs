//! What can happen to a roster, and what it has done about it.

use std::time::Duration;

use super::{
    Ask, Class, Grant, NoSlot, Place, PowerNews, Probed, QuarantineReason, Tuning, UpstreamId, Verdict, WaitEnd,
    Waited, Waiter, WaiterId,
};
use crate::pool::{
    breaker::Trust,
    endpoint::{Endpoint, Upstream},
    pace::Measured,
};

/// Everything that can happen to a roster.
#[derive(Clone, Debug)]
pub enum Input {
    /// Somebody wants a slot.
    Ask(WaiterId, Ask),
    /// Somebody who asked does not want one any more. A grant that is on its way comes back by itself.
    Leave(WaiterId),
    /// The same of one whose patience is at its end.
    TimedOut(WaiterId),
    /// The server of this grant has no socket of ours any more, or never had one.
    Release(Grant),
    /// The end of this grant's socket was not acknowledged.
    Quarantine(Grant, QuarantineReason),
    /// The ledger says that another process holds the slot of this grant: who got it returns to its place.
    Contested(Grant, Option<Waiter>),
    /// The ledger says who else holds which slot of an upstream, or that nobody does.
    HeldElsewhere(UpstreamId, u16, bool),
    /// A dead process left this slot open.
    Orphaned(UpstreamId, u16),
    /// What became of this grant's use.
    Judge(Grant, Verdict),
    /// What the call under this grant measured of its server's pace.
    Measured(Grant, Measured),
    /// The rehearsal under this grant reached the server's handshake.
    Passed(Grant),
    /// What the probe found.
    Probed(UpstreamId, Probed),
    /// The fleet says what became of the machine of this upstream.
    Power(UpstreamId, PowerNews),
    /// The fleet wants to stop the machine of this upstream; [`Effect::Retired`] says whether it may.
    Retire(UpstreamId),
    /// The fleet wants to restart it, and with `true` only if it is stuck; [`Effect::Retired`] says whether it may.
    Vacate(UpstreamId, bool),
    /// The fleet wants a call without a caller; [`Effect::WarmedUp`] says how it went.
    WarmUp(UpstreamId),
    /// The server of this machine is another process now, at this place.
    Moved(UpstreamId, Endpoint),
    /// A server is added under this id, or the one of this id does not leave after all.
    Join(UpstreamId, Upstream),
    /// A server takes no more calls, and goes when its last one is over.
    Part(UpstreamId),
    /// These settings hold from now on.
    Tune(Tuning),
    /// An operator keeps calls away from a server, or does not any more. Those that it has go on.
    Withhold(UpstreamId, bool),
    /// The deadline came.
    Tick,
}

/// What the actor has to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Hand this grant to who asked. The waiter is kept for [`Input::Contested`].
    Grant(Waiter, Grant, Waited),
    /// Tell who waits where it stands.
    Place(WaiterId, Place),
    /// Tell who asked that there is no slot, and when another try makes sense.
    Refuse(WaiterId, NoSlot, Duration),
    /// Count a wait that ended without a grant. One with a grant is counted when it is handed over.
    Waited(Class, WaitEnd, Waited),
    /// Count a request for another try: whether the budget allowed it.
    Retried(bool),
    /// Test a quarantined slot under this grant.
    Rehearse(Grant),
    /// The test of a slot of this upstream is over: whether it passed.
    Rehearsed(UpstreamId, bool),
    /// Count a slot that was in quarantine for so long as usable again.
    Cleared(Duration),
    /// Count a slot of this upstream as quarantined: a dead process left it open.
    Orphaned(UpstreamId),
    /// Wake the machine of this upstream: somebody waits.
    Wake(UpstreamId),
    /// Whether calls use the machine of this upstream, or wait for it, changed.
    Used(UpstreamId, bool),
    /// Whether a call has a slot on the machine of this upstream changed.
    Leased(UpstreamId, bool),
    /// Whether the machine of this upstream may be stopped: then no call gets there any more.
    Retired(UpstreamId, bool),
    /// Make a call without a caller under this grant, on a slot that was free.
    WarmUp(Grant),
    /// Whether the call without a caller on this upstream went well.
    WarmedUp(UpstreamId, bool),
    /// No slot of this upstream can be used, for long, and nobody is there: a restart of its machine may help.
    Stuck(UpstreamId),
    /// The breaker of this upstream changed.
    Trust(UpstreamId, Trust),
    /// This upstream became slower than real time, or fast again.
    Pace(UpstreamId, Measured),
    /// This upstream is gone.
    Gone(UpstreamId, Upstream),
}
