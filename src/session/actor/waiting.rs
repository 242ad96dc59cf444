//! How a call gets its slots: what admitted it, and what it hears from the queue.

use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};

use super::SessionActor;
use crate::{
    pool::{
        lease::Lease,
        roster::{Ask, Class, NoSlot, Offer, Place},
        wait::{News, Outcome, Wait},
    },
    session::{machine::Input, switchboard::Admission},
};

impl SessionActor {
    pub(super) fn acquire(&mut self, class: Class, elsewhere: bool, retry: bool, ctx: &mut Context<Self>) {
        self.stop_waiting(ctx);
        match self.seat.take_admission().filter(|_| class == Class::New && !elsewhere) {
            // Told in turns of their own: effects never nest.
            Some(Admission::Granted(lease, offer)) => ctx.notify(FromPool(Some(Outcome::Granted(lease, offer)))),
            Some(Admission::Waiting(wait, place)) => {
                ctx.notify(Stands(place));
                self.wait(wait, ctx);
            }
            None => {
                let avoid = match class {
                    Class::Failover => self.upstreams.avoided(),
                    Class::New | Class::Rotation => self.upstreams.last().filter(|_| elsewhere).into_iter().collect(),
                };
                let ongoing = self.upstreams.ongoing();
                let asking = self.seat.ask(Ask { class, avoid, retry, ongoing, ..Ask::new(self.seat.user()) });
                let asking = ctx.spawn(asking.into_actor(self).map(|wait, actor, ctx| match wait {
                    Some(wait) => actor.wait(wait, ctx),
                    None => actor.take_outcome(None, ctx),
                }));
                self.waiting = Some((asking, None));
            }
        }
    }

    /// Leaves the queue at once, or whatever else was asked for a slot.
    pub(super) fn withdraw(&mut self, ctx: &mut Context<Self>) {
        drop(self.seat.take_admission());
        self.stop_waiting(ctx);
    }

    /// Hears no more of what was asked for last. At most one request is out at a time.
    pub(super) fn stop_waiting(&mut self, ctx: &mut Context<Self>) {
        self.requests += 1;
        if let Some((waiting, patience)) = self.waiting.take() {
            if let Some(patience) = patience.filter(|_| self.machine.is_out_of_patience()) {
                patience.exhausted();
            }
            ctx.cancel_future(waiting);
        }
    }

    /// The call's own slot is back from its leg, or it is not.
    pub(super) fn take_kept(&mut self, lease: Option<Lease>, ctx: &mut Context<Self>) {
        match lease {
            Some(lease) => self.take_outcome(Some(Outcome::Granted(lease, Offer::default())), ctx),
            None => self.drive(Input::NoSlot(NoSlot::Busy), ctx),
        }
    }

    /// Hears of a request until its outcome. A call that ends in the meantime drops it, and its place with it.
    fn wait(&mut self, mut wait: Wait, ctx: &mut Context<Self>) {
        let patience = wait.patience();
        let hearing = async move {
            let news = wait.news().await;
            (news, wait)
        };
        let hearing = hearing.into_actor(self).map(|(news, wait), actor, ctx| match news {
            News::Place(place) => {
                let request = actor.requests;
                actor.drive(Input::Queued(place), ctx);
                // Dropped, it leaves the queue: the news may have been what ended it.
                if actor.requests == request && !actor.machine.is_closed() {
                    actor.wait(wait, ctx);
                }
            }
            News::Outcome(outcome) => actor.take_outcome(outcome, ctx),
        });
        self.waiting = Some((ctx.spawn(hearing), Some(patience)));
    }

    pub(super) fn take_outcome(&mut self, outcome: Option<Outcome>, ctx: &mut Context<Self>) {
        match outcome {
            Some(Outcome::Granted(lease, offer)) => {
                self.lease = Some(lease);
                self.entry.chronicle.granted(&offer);
                self.drive(Input::Leased(offer), ctx);
                // Not taken up by a call that is ending: it goes back at once.
                self.lease = None;
            }
            Some(Outcome::Refused(why, _)) => self.drive(Input::NoSlot(why), ctx),
            None => self.drive(Input::NoAnswer, ctx),
        }
    }
}

/// What admitted the call: a slot.
struct FromPool(Option<Outcome>);

impl actix::Message for FromPool {
    type Result = ();
}

impl Handler<FromPool> for SessionActor {
    type Result = ();

    fn handle(&mut self, FromPool(outcome): FromPool, ctx: &mut Self::Context) {
        self.take_outcome(outcome, ctx);
    }
}

/// What admitted the call: a place in the queue.
struct Stands(Place);

impl actix::Message for Stands {
    type Result = ();
}

impl Handler<Stands> for SessionActor {
    type Result = ();

    fn handle(&mut self, Stands(place): Stands, ctx: &mut Self::Context) {
        self.drive(Input::Queued(place), ctx);
    }
}

/// What was booked of the caller's quota.
pub(super) struct Booked(pub(super) Duration);

impl actix::Message for Booked {
    type Result = ();
}

impl Handler<Booked> for SessionActor {
    type Result = ();

    fn handle(&mut self, Booked(more): Booked, ctx: &mut Self::Context) {
        self.drive(Input::Booked(more), ctx);
    }
}
