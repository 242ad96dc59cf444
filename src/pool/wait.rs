//! One request for a slot, from the asking side: where it stands, and how it comes out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::{oneshot, watch};

use super::{
    lease::Lease,
    roster::{NoSlot, Offer, Place},
};

/// How a request for a slot comes out.
#[derive(Debug)]
pub enum Outcome {
    /// A slot, and what is known of its server.
    Granted(Lease, Offer),
    /// None, and when another try makes sense.
    Refused(NoSlot, Duration),
}

/// A request that is under way. Dropped, it gives its place up; a lease that was on its way goes back by itself.
pub struct Wait {
    outcome: oneshot::Receiver<Outcome>,
    place: watch::Receiver<Option<Place>>,
    leave: Leave,
}

/// Says of a [`Wait`] that is elsewhere why it will be dropped.
#[derive(Clone, Debug)]
pub struct Patience(Arc<AtomicBool>);

impl Patience {
    /// It waited for as long as it may.
    pub fn exhausted(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Wait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wait").field("place", &*self.place.borrow()).finish_non_exhaustive()
    }
}

/// Tells the pool when it is dropped.
struct Leave {
    tell: Option<Box<dyn FnOnce(bool) + Send>>,
    exhausted: Arc<AtomicBool>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        if let Some(tell) = self.tell.take() {
            tell(self.exhausted.load(Ordering::Relaxed));
        }
    }
}

/// The pool's end of a [`Wait`].
#[derive(Debug)]
pub(super) struct Asked {
    outcome: oneshot::Sender<Outcome>,
    place: watch::Sender<Option<Place>>,
}

impl Asked {
    /// Both ends; `leave` is called when the asking one is dropped, with whether its patience was at its end.
    pub(super) fn new(leave: impl FnOnce(bool) + Send + 'static) -> (Self, Wait) {
        let (outcome, outcome_rx) = oneshot::channel();
        let (place, place_rx) = watch::channel(None);
        let leave = Leave { tell: Some(Box::new(leave)), exhausted: Arc::default() };
        (Self { outcome, place }, Wait { outcome: outcome_rx, place: place_rx, leave })
    }

    /// Says where it stands.
    pub(super) fn stands(&self, place: Place) {
        self.place.send_replace(Some(place));
    }

    /// Says how it came out. A lease that nobody waits for goes back by itself.
    pub(super) fn ends(self, outcome: Outcome) {
        let _ = self.outcome.send(outcome);
    }
}

/// News of a [`Wait`].
#[derive(Debug)]
pub enum News {
    /// Where it stands now.
    Place(Place),
    /// How it came out; the last news. `None`: the pool is gone.
    Outcome(Option<Outcome>),
}

impl Wait {
    /// A way to say why it ends, while it is waited on.
    pub fn patience(&self) -> Patience {
        Patience(Arc::clone(&self.leave.exhausted))
    }

    /// The next news. To be called until the outcome came. Cancel-safe.
    pub async fn news(&mut self) -> News {
        tokio::select! {
            biased;
            outcome = &mut self.outcome => News::Outcome(outcome.ok()),
            Ok(()) = self.place.changed() => match *self.place.borrow_and_update() {
                Some(place) => News::Place(place),
                None => News::Outcome(None),
            },
            else => News::Outcome(None),
        }
    }
}
