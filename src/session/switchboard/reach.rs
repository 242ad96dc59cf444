//! The live calls of one user: reached, ended and waited for.

use std::{sync::Arc, time::Duration};

use actix::Recipient;
use tokio::time::{Instant, timeout_at};

use super::{Control, Switchboard, UserHash};
use crate::{protocol::ending::Ending, session::glance::Glance};

/// A live call, as it is reached from outside.
#[derive(Clone, Debug)]
pub(super) struct Reachable {
    pub(super) user: UserHash,
    pub(super) session: Recipient<Control>,
    pub(super) glance: Arc<Glance>,
}

impl Reachable {
    /// Has the call hear this. A sender that is used once has room for its message however full the mailbox is; one that
    /// was used before may have to wait, and then this would be lost.
    pub(super) fn tell(&self, control: Control) {
        // One that is gone has heard enough.
        let _ = self.session.clone().try_send(control);
    }
}

impl Switchboard {
    /// Ends the live calls of a user here, and waits until they are over, but not for longer than `patience`. Gives their
    /// number.
    pub async fn end_calls_of(&self, user: UserHash, ending: Ending, patience: Duration) -> usize {
        let deadline = Instant::now() + patience;
        let ended = self.calls_of(user);
        for call in &self.reach {
            if call.user == user {
                call.tell(Control::End(ending));
            }
        }
        while self.calls_of(user) > 0 {
            let left = self.left.notified();
            if self.calls_of(user) == 0 || timeout_at(deadline, left).await.is_err() {
                break;
            }
        }
        ended
    }

    fn calls_of(&self, user: UserHash) -> usize {
        self.reach.iter().filter(|call| call.user == user).count()
    }
}

#[cfg(test)]
mod tests {
    use actix::{Actor, ActorContext as _, AsyncContext as _};

    use super::super::{
        Seat,
        tests::{A, B, board},
    };
    use super::*;

    #[actix::test]
    async fn the_calls_of_one_user_are_ended_and_waited_for_but_not_for_ever() {
        /// Ends when it is told to, unless it is deaf.
        struct Call {
            _seat: Seat,
            deaf: bool,
        }
        impl Actor for Call {
            type Context = actix::Context<Self>;
        }
        impl actix::Handler<Control> for Call {
            type Result = ();
            fn handle(&mut self, control: Control, ctx: &mut Self::Context) {
                assert!(matches!(control, Control::End(Ending::ClientLeft)));
                if !self.deaf {
                    ctx.stop();
                }
            }
        }
        tokio::time::pause();
        let board = board(10, 10);
        let call = |payer, deaf| {
            let seat = board.take_seat(payer).unwrap();
            Call::create(|ctx| {
                seat.answer_at(ctx.address().recipient(), Arc::new(Glance::new(String::new(), "native", 0)));
                Call { _seat: seat, deaf }
            })
        };
        let (patience, began) = (Duration::from_secs(5), Instant::now());
        let (first, second, other) = (call(A, false), call(A, false), call(B, false));
        tokio::task::yield_now().await;
        assert_eq!(board.end_calls_of(A.user, Ending::ClientLeft, patience).await, 2);
        assert_eq!((board.active(), began.elapsed()), (1, Duration::ZERO), "nobody else's, and without a wait");
        assert_eq!(board.end_calls_of(A.user, Ending::ClientLeft, patience).await, 0);
        let deaf = call(A, true);
        tokio::task::yield_now().await;
        assert_eq!(board.end_calls_of(A.user, Ending::ClientLeft, patience).await, 1);
        assert_eq!((board.active(), began.elapsed() >= patience), (2, true));
        drop((first, second, other, deaf));
    }
}
