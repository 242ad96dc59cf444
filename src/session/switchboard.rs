//! The live sessions: who is in a call, and how to reach it from another thread.

mod no_seat;
mod oversight;
mod reach;

use self::reach::Reachable;
pub use no_seat::NoSeat;
pub use oversight::LiveCall;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix::{Addr, Message, Recipient};
use dashmap::DashMap;
use tokio::{
    sync::Notify,
    time::{Instant, timeout, timeout_at},
};
use tracing::Span;
use uuid::Uuid;

use crate::{
    pool::{
        actor::{Acquire, HowMuch, PoolActor, Slots},
        quota::{Booking, QuotaSettings, Quotas},
        roster::{Ask, NoSlot, SlotSnapshot},
        wait::{News, Outcome, Wait},
    },
    protocol::{ending::Ending, native::ResumeTerms},
    session::{
        glance::Glance,
        leg::{client::Line, format::AudioFormat},
        machine::millis,
        resume::{NoResume, Offers, ResumeBox, ResumeToken, TokenHash},
    },
};

pub use super::admission::Admission;
pub use crate::pool::{
    actor::Demand,
    endpoint::Needs,
    quota::{Allowance, Exceeded, Limit, Payer},
    roster::UserHash,
};

/// The pool answers from memory: an answer that takes longer will not come.
const POOL_TIMEOUT: Duration = Duration::from_secs(2);

/// A session answers between two inputs: an answer that takes longer will not come.
const SESSION_TIMEOUT: Duration = Duration::from_secs(2);

/// What can be said to a live session from outside.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub enum Control {
    /// Tandem shuts down: the call may go on until then.
    Drain(Instant),
    /// End the call now.
    End(Ending),
}

/// Another socket of the caller is, or will be, at the other end of this line. The answer is the call's
/// span in the log if it is taken.
#[derive(Message)]
#[rtype(result = "Option<Span>")]
pub struct Attach {
    /// Speaks to the socket.
    pub line: Line,
    /// What it was let in with.
    pub token: TokenHash,
}

/// What a caller may come back to, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct ResumeOffer {
    /// In this format only.
    pub format: AudioFormat,
    /// How long a call waits for a caller whose connection broke.
    pub grace: Duration,
}

/// A call that its caller may come back to.
#[derive(Clone, Debug)]
struct Resumable {
    user: UserHash,
    format: AudioFormat,
    session: Recipient<Attach>,
}

/// How many calls there may be.
#[derive(Clone, Copy, Debug)]
pub struct SeatLimits {
    /// In this process.
    pub total: usize,
    /// Of one user and of one tenant, and for how long. Of this process too: others do not know of them.
    pub quota: QuotaSettings,
}

/// The live sessions of this process.
#[derive(Debug)]
pub struct Switchboard {
    total: AtomicUsize,
    pool: Addr<PoolActor>,
    taken: AtomicUsize,
    quotas: Mutex<Quotas>,
    reach: DashMap<Uuid, Reachable>,
    resumable: ResumeBox<Resumable>,
    drain_by: OnceLock<Instant>,
    left: Notify,
}

impl Switchboard {
    /// An empty switchboard over this pool.
    pub fn new(limits: SeatLimits, pool: Addr<PoolActor>) -> Arc<Self> {
        Arc::new(Self {
            total: AtomicUsize::new(limits.total),
            pool,
            taken: AtomicUsize::new(0),
            quotas: Mutex::new(Quotas::new(limits.quota, Instant::now().into_std())),
            reach: DashMap::new(),
            resumable: ResumeBox::default(),
            drain_by: OnceLock::new(),
            left: Notify::new(),
        })
    }

    /// Puts other limits in place of those before, for calls that begin from now on.
    pub fn set_limits(&self, limits: SeatLimits) {
        self.total.store(limits.total, Ordering::SeqCst);
        self.quotas().limit(limits.quota);
    }

    /// Admits one call of `payer`: a seat, and a slot or a place in the queue, of a server that has what the call needs
    /// for as long as it lasts. The seat's drop gives all back.
    pub async fn admit(self: &Arc<Self>, payer: Payer, needs: Needs, waits: bool) -> Result<Seat, NoSeat> {
        let mut seat = self.take_seat(payer)?;
        seat.needs = needs;
        let ask = Ask { waits, ..Ask::new(payer.user) };
        let admission = async {
            let mut wait = seat.ask(ask).await.ok_or(NoSeat::PoolLost)?;
            match wait.news().await {
                News::Place(place) => Ok(Admission::Waiting(wait, place)),
                News::Outcome(Some(Outcome::Granted(lease, offer))) => Ok(Admission::Granted(lease, offer)),
                News::Outcome(Some(Outcome::Refused(NoSlot::NoLedger, _))) => Err(NoSeat::NoLedger),
                News::Outcome(Some(Outcome::Refused(NoSlot::NotTold, _))) => Err(NoSeat::NotTold),
                News::Outcome(None) => Err(NoSeat::PoolLost),
                News::Outcome(Some(Outcome::Refused(_, later))) => Err(NoSeat::NoSlot(later)),
            }
        };
        // The pool answers from memory, but for what has to be written down first.
        let admission = timeout(POOL_TIMEOUT, admission).await.unwrap_or(Err(NoSeat::NoLedger))?;
        seat.admission = Some(admission);
        Ok(seat)
    }

    /// Hands `line` to the call that `token` stands for, if it is one of `user`, in the same format.
    ///
    /// No seat and no slot is taken: the call has them. Gives the call's span in the log. The token is good until the new socket has shown life.
    pub async fn resume(&self, token: &str, user: UserHash, format: AudioFormat, line: Line) -> Result<Span, NoResume> {
        let (token, call) = self.resumable.find(token, |call| match () {
            () if call.user != user => Err(NoResume::Unknown),
            () if call.format != format => Err(NoResume::WrongFormat),
            () => Ok(()),
        })?;
        match timeout(SESSION_TIMEOUT, call.session.send(Attach { line, token })).await {
            Ok(Ok(Some(span))) => Ok(span),
            // The call ended in this very moment, or the token was used by somebody else.
            Ok(_) => Err(NoResume::Unknown),
            // The session will find that nobody is at the other end of the line any more.
            Err(_) => Err(NoResume::NoAnswer),
        }
    }

    /// Every slot and what it is doing; `None` if the pool does not answer.
    pub async fn slots(&self) -> Option<Vec<SlotSnapshot>> {
        timeout(POOL_TIMEOUT, self.pool.send(Slots)).await.ok()?.ok()
    }

    /// How much is asked of the model servers; `None` if the pool does not answer.
    pub async fn demand(&self) -> Option<Demand> {
        timeout(POOL_TIMEOUT, self.pool.send(HowMuch)).await.ok()?.ok()
    }

    /// Takes a seat for one call of `payer`. The seat's drop gives it back.
    fn take_seat(self: &Arc<Self>, payer: Payer) -> Result<Seat, NoSeat> {
        if self.is_draining() {
            return Err(NoSeat::Draining);
        }
        let under = |taken: usize| (taken < self.total.load(Ordering::SeqCst)).then_some(taken + 1);
        if self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, under).is_err() {
            return Err(NoSeat::Full);
        }
        let booking = self.quotas().begin(payer, Instant::now().into_std()).map_err(|exceeded| {
            self.taken.fetch_sub(1, Ordering::SeqCst);
            self.left.notify_waiters();
            NoSeat::Quota(exceeded)
        })?;
        // From here on the drop of the seat undoes everything.
        let seat = Seat {
            board: Arc::clone(self),
            id: Uuid::new_v4(),
            user: payer.user,
            needs: Needs::default(),
            booking: Some(booking),
            listened_since: None,
            talked: Duration::ZERO,
            admission: None,
            offers: Offers::default(),
        };
        // Checked again at last: a drain that begins later finds the seat taken and waits for it.
        if self.is_draining() {
            return Err(NoSeat::Draining);
        }
        Ok(seat)
    }

    /// One lock for all accounts: calls begin rarely, and a user's two limits and a tenant's two go together.
    fn quotas(&self) -> MutexGuard<'_, Quotas> {
        self.quotas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls in progress.
    pub fn active(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }

    /// Calls that there may be at a time.
    pub fn limit(&self) -> usize {
        self.total.load(Ordering::SeqCst)
    }

    /// Calls in progress that their callers could come back to.
    pub fn resumable(&self) -> usize {
        self.resumable.len()
    }

    /// Whether new calls are refused because the process shuts down.
    pub fn is_draining(&self) -> bool {
        self.drain_by.get().is_some()
    }

    /// Ends every call now.
    pub fn end_all(&self, ending: Ending) {
        self.reach.iter().for_each(|call| call.tell(Control::End(ending)));
    }

    /// Refuses new calls, tells the live ones, and waits until they are over or `deadline` and `grace` have passed.
    /// Gives the number of calls that are left.
    pub async fn drain(&self, deadline: Instant, grace: Duration) -> usize {
        let deadline = *self.drain_by.get_or_init(|| deadline);
        self.reach.iter().for_each(|call| call.tell(Control::Drain(deadline)));
        self.emptied(deadline + grace).await
    }

    /// Waits until all calls are over, but not for longer than until then. Gives the number of those that are left.
    pub async fn emptied(&self, until: Instant) -> usize {
        while self.active() > 0 {
            let left = self.left.notified();
            if self.active() == 0 || timeout_at(until, left).await.is_err() {
                break;
            }
        }
        self.active()
    }
}

/// One call's place on the switchboard.
#[derive(Debug)]
pub struct Seat {
    board: Arc<Switchboard>,
    id: Uuid,
    user: UserHash,
    /// What each of the call's servers must have.
    needs: Needs,
    /// What the call has booked of its payer's quota, until it is given back.
    booking: Option<Booking>,
    /// Since when the model listens, which is what a quota counts.
    listened_since: Option<Instant>,
    /// For how long it had listened before.
    talked: Duration,
    admission: Option<Admission>,
    /// The tokens with which the caller may come back.
    offers: Offers,
}

impl Seat {
    /// What admitted the call, once.
    pub fn take_admission(&mut self) -> Option<Admission> {
        self.admission.take()
    }

    /// Whether what admitted the call is a place in the queue.
    pub fn is_queued(&self) -> bool {
        matches!(self.admission, Some(Admission::Waiting(..)))
    }

    /// Asks the pool for a slot of a server that has what the call needs; `None` if the pool does not answer.
    pub fn ask(&self, ask: Ask) -> impl Future<Output = Option<Wait>> + use<> {
        let ask = Ask { needs: self.needs.clone(), ..ask };
        let asking = timeout(POOL_TIMEOUT, self.board.pool.send(Acquire(ask)));
        async move { asking.await.ok()?.ok() }
    }

    /// Whether the process shuts down.
    pub fn is_draining(&self) -> bool {
        self.board.is_draining()
    }

    /// Whose call it is.
    pub fn user(&self) -> UserHash {
        self.user
    }

    /// For how long the call may talk, where a quota limits that.
    pub fn allowance(&self) -> Option<Allowance> {
        self.booking.as_ref().and_then(Booking::allowance)
    }

    /// Books more of the quota, and says how much.
    pub fn book_more(&mut self) -> Duration {
        let now = Instant::now().into_std();
        self.booking.as_mut().map_or(Duration::ZERO, |booking| self.board.quotas().extend(booking, now))
    }

    /// Whether a model listens: while it does, the call uses up what it has booked.
    pub fn is_listened_to(&mut self, listens: bool) {
        match (self.listened_since, listens) {
            (None, true) => self.listened_since = Some(Instant::now()),
            (Some(since), false) => {
                self.talked += since.elapsed();
                self.listened_since = None;
            }
            _ => {}
        }
    }

    /// The session's id.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Makes a new token with which the caller may come back to `session`, told on a leg that was opened with `opener`.
    ///
    /// That one is good too until the leg [has shown life](Self::leg_lives); older ones are not any more.
    pub fn offer_resume(
        &mut self,
        offer: ResumeOffer,
        session: Recipient<Attach>,
        opener: Option<TokenHash>,
    ) -> ResumeTerms {
        let token = ResumeToken::new();
        let call = Resumable { user: self.user, format: offer.format, session };
        let newest = self.board.resumable.keep(&token, call);
        self.offers.opened(opener, newest).for_each(|hash| self.board.resumable.forget(&hash));
        ResumeTerms { token: token.expose().to_owned(), grace_ms: millis(offer.grace) }
    }

    /// Whether the caller may come back with this token now.
    pub fn accepts(&self, token: &TokenHash) -> bool {
        self.offers.holds(token)
    }

    /// The caller's leg has shown life: the token that opened it is used up.
    pub fn leg_lives(&mut self) {
        if let Some(hash) = self.offers.lives() {
            self.board.resumable.forget(&hash);
        }
    }

    /// Makes the session reachable; one that comes during a drain is told at once.
    pub fn answer_at(&self, recipient: Recipient<Control>, glance: Arc<Glance>) {
        self.board.reach.insert(self.id, Reachable { user: self.user, session: recipient.clone(), glance });
        if let Some(deadline) = self.board.drain_by.get() {
            let _ = recipient.try_send(Control::Drain(*deadline));
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.offers.withdraw().for_each(|hash| self.board.resumable.forget(&hash));
        self.board.reach.remove(&self.id);
        if let Some(booking) = self.booking.take() {
            self.is_listened_to(false);
            let forgotten = self.board.quotas().end(booking, self.talked, Instant::now().into_std());
            if forgotten > 0 {
                tracing::warn!(forgotten, "too many users have talked within the window: what some used is forgotten");
            }
        }
        self.board.taken.fetch_sub(1, Ordering::SeqCst);
        self.board.left.notify_waiters();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use actix::{Actor, ActorContext as _, AsyncContext as _};

    use super::*;
    use crate::pool::{
        actor::{PoolObserver, Ports},
        endpoint::{Endpoint, Labels, Upstream},
        roster::RosterSettings,
    };

    pub(super) const A: Payer = Payer { user: [1; 32], tenant: [0; 32] };
    pub(super) const B: Payer = Payer { user: [2; 32], ..A };
    const C: Payer = Payer { user: [3; 32], ..A };
    const D: Payer = Payer { user: [4; 32], ..A };

    const OPEN: QuotaSettings = QuotaSettings {
        user_calls: 10,
        tenant_calls: 0,
        user_time: Duration::ZERO,
        tenant_time: Duration::ZERO,
        window: Duration::from_secs(86_400),
        longest: Duration::from_secs(1_800),
    };

    pub(super) fn board(total: usize, per_user: usize) -> Arc<Switchboard> {
        board_with(total, QuotaSettings { user_calls: per_user, ..OPEN })
    }

    fn board_with(total: usize, quota: QuotaSettings) -> Arc<Switchboard> {
        struct Nobody;
        impl PoolObserver for Nobody {}
        let endpoint = Endpoint::plain("1", "h", 1);
        let upstream = Upstream { endpoint, capacity: 1, labels: Labels::default() };
        let ports = Ports { observer: Box::new(Nobody), rehearser: None, prober: None, ledger: None, fleet: None };
        let pool = PoolActor::new(vec![upstream], RosterSettings::default(), ports).start();
        Switchboard::new(SeatLimits { total, quota }, pool)
    }

    #[actix::test]
    async fn a_call_that_finds_no_slot_keeps_no_seat() {
        let board = board(10, 10);
        let mut first = board.admit(A, Needs::default(), true).await.unwrap();
        assert!(matches!(board.admit(B, Needs::default(), false).await.err(), Some(NoSeat::NoSlot(_))));
        assert_eq!(board.active(), 1);
        assert!(first.take_admission().is_some() && first.take_admission().is_none());
        assert!(board.admit(B, Needs::default(), false).await.is_ok(), "the unused slot came back");
    }

    #[actix::test]
    async fn seats_are_bounded_and_come_back() {
        let board = board(3, 2);
        let (a, b) = (board.take_seat(A).unwrap(), board.take_seat(A).unwrap());
        let busy = Exceeded { limit: Limit::UserCalls, value: 2, window: None, later: None };
        assert_eq!(board.take_seat(A).err(), Some(NoSeat::Quota(busy)));
        assert_eq!(board.active(), 2, "a refused seat is given back");
        let c = board.take_seat(C).unwrap();
        assert_eq!(board.take_seat(D).err(), Some(NoSeat::Full));
        drop((a, b, c));
        assert_eq!(board.active(), 0);
        assert!(board.take_seat(A).is_ok());
    }

    #[actix::test]
    async fn a_race_for_one_users_seats_has_exactly_as_many_winners() {
        let board = board(1000, 2);
        let held: Vec<_> = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..16).map(|_| scope.spawn(|| board.take_seat(A).ok())).collect();
            tries.into_iter().filter_map(|one| one.join().unwrap()).collect()
        });
        assert_eq!((held.len(), board.active()), (2, 2));
    }

    #[actix::test]
    async fn a_race_for_the_rest_of_a_users_time_has_one_winner_and_it_comes_back_with_the_seat() {
        let (minute, second) = (Duration::from_secs(60), Duration::from_secs(1));
        let board = board_with(1000, QuotaSettings { user_calls: 100, user_time: minute * 2, ..OPEN });
        let held: Vec<_> = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..16).map(|_| scope.spawn(|| board.take_seat(A).ok())).collect();
            tries.into_iter().filter_map(|one| one.join().unwrap()).collect()
        });
        assert_eq!((held.len(), board.active()), (2, 2), "a minute for each");
        tokio::time::pause();
        tokio::time::advance(minute * 60).await;
        drop(held);
        let mut seat = board.take_seat(A).unwrap();
        let all = Allowance { booked: minute, left: minute * 2 };
        assert_eq!(seat.allowance(), Some(all), "calls to which no model ever listened cost nothing");
        assert_eq!((seat.book_more(), seat.book_more()), (minute, Duration::ZERO));
        for (listens, time) in [(true, 30), (true, 10), (false, 500), (true, 20)] {
            seat.is_listened_to(listens);
            tokio::time::advance(second * time).await;
        }
        drop(seat);
        let rest = board.take_seat(A).unwrap().allowance().unwrap();
        assert_eq!(rest.left, minute, "a minute was talked, and the rest nobody listened");
    }

    #[actix::test]
    async fn a_drain_refuses_newcomers_and_waits_for_the_last_call() {
        tokio::time::pause();
        let board = board(10, 10);
        let seat = board.take_seat(A).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let draining = tokio::spawn({
            let board = Arc::clone(&board);
            async move { board.drain(deadline, Duration::from_secs(1)).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(board.take_seat(B).err(), Some(NoSeat::Draining));
        drop(seat);
        assert_eq!(draining.await.unwrap(), 0);
        assert!(Instant::now() < deadline, "nobody waits for an empty board");
    }

    #[actix::test]
    async fn a_call_that_is_busy_hears_of_a_drain_and_of_its_end_later_however_much_else_waits_for_it() {
        /// Hears nothing for a second, and notes what it hears then.
        struct Busy {
            _seat: Seat,
            heard: Arc<Mutex<Vec<Control>>>,
        }
        impl Actor for Busy {
            type Context = actix::Context<Self>;
            fn started(&mut self, ctx: &mut Self::Context) {
                let busy = timeout(Duration::from_secs(1), std::future::pending::<()>());
                ctx.wait(actix::fut::ActorFutureExt::map(actix::fut::wrap_future(busy), |_, _, _| ()));
            }
        }
        impl actix::Handler<Control> for Busy {
            type Result = ();
            fn handle(&mut self, control: Control, ctx: &mut Self::Context) {
                self.heard.lock().unwrap().push(control);
                if matches!(control, Control::End(Ending::Drained)) {
                    ctx.stop();
                }
            }
        }
        tokio::time::pause();
        let (board, heard) = (board(10, 10), Arc::new(Mutex::new(Vec::new())));
        let (seat, deadline) = (board.take_seat(A).unwrap(), Instant::now());
        let call = Busy::create(|ctx| {
            seat.answer_at(ctx.address().recipient(), Arc::new(Glance::new(String::new(), "native", 0)));
            Busy { _seat: seat, heard: Arc::clone(&heard) }
        });
        while call.try_send(Control::End(Ending::Admin)).is_ok() {}
        assert_eq!(board.drain(deadline, Duration::ZERO).await, 1, "it is busy");
        board.end_all(Ending::Drained);
        assert_eq!(board.emptied(deadline + Duration::from_secs(2)).await, 0);
        let heard = heard.lock().unwrap();
        assert!(
            matches!(heard[heard.len() - 2..], [Control::Drain(at), Control::End(Ending::Drained)] if at == deadline)
        );
    }

    #[actix::test]
    async fn a_drain_ends_at_its_deadline() {
        tokio::time::pause();
        let board = board(10, 10);
        let _seat = board.take_seat(A).unwrap();
        assert_eq!(board.drain(Instant::now() + Duration::from_secs(30), Duration::from_secs(1)).await, 1);
    }

    #[actix::test]
    async fn a_call_that_does_not_answer_in_time_costs_no_token_and_gets_no_dead_socket() {
        /// Too busy to answer.
        struct Busy(Option<Line>);
        impl Actor for Busy {
            type Context = actix::Context<Self>;
        }
        impl actix::Handler<Attach> for Busy {
            type Result = actix::ResponseFuture<Option<Span>>;
            fn handle(&mut self, attach: Attach, _: &mut Self::Context) -> Self::Result {
                self.0 = Some(attach.line);
                Box::pin(std::future::pending())
            }
        }
        #[derive(Message)]
        #[rtype(result = "bool")]
        struct IsGone;
        impl actix::Handler<IsGone> for Busy {
            type Result = bool;
            fn handle(&mut self, _: IsGone, _: &mut Self::Context) -> bool {
                self.0.as_ref().unwrap().handle.is_gone()
            }
        }
        tokio::time::pause();
        let (board, busy) = (board(10, 10), Busy(None).start());
        let mut seat = board.take_seat(A).unwrap();
        let offer = ResumeOffer { format: AudioFormat::Opus, grace: Duration::from_secs(20) };
        let token = seat.offer_resume(offer, busy.clone().recipient(), None).token;
        for _ in 0..2 {
            let (line, jack) = crate::session::leg::client::line();
            assert_eq!(board.resume(&token, B.user, offer.format, line).await, Err(NoResume::Unknown));
            drop(jack);
            let (line, jack) = crate::session::leg::client::line();
            assert_eq!(board.resume(&token, A.user, offer.format, line).await, Err(NoResume::NoAnswer));
            assert!(!busy.send(IsGone).await.unwrap());
            drop(jack);
            assert!(busy.send(IsGone).await.unwrap(), "so that the call refuses it when it gets to it");
        }
        // Users whose pseudonyms are the same are not the same.
        let mut like_a = A;
        like_a.user[31] += 1;
        let (line, _jack) = crate::session::leg::client::line();
        assert_eq!(board.resume(&token, like_a.user, offer.format, line).await, Err(NoResume::Unknown));
        assert!(board.take_seat(like_a).is_ok());
        drop(seat);
        let (line, _jack) = crate::session::leg::client::line();
        assert_eq!(board.resume(&token, A.user, offer.format, line).await, Err(NoResume::Unknown));
        assert!(board.resumable.is_empty());
    }
}
