//! Restarts that do not show yet: until they do, what a provider says to run is the process of before.

use std::{cell::RefCell, time::Duration};

use tokio::time::Instant;

use super::{Address, PowerState, ProviderError};

/// What tells one run of a machine from the one before it, as far as its provider says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    /// When it began, or another mark that it alone has.
    pub(super) began: Option<String>,
    /// For how long it runs, in seconds.
    pub(super) uptime: Option<u64>,
    /// Where it is reached.
    pub(super) address: Option<Address>,
}

impl Run {
    /// Whether it is certainly another one than that, and later.
    fn follows(&self, before: &Self) -> bool {
        fn differ<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
            one.zip(other).is_some_and(|(one, other)| one != other)
        }
        differ(self.began.as_ref(), before.began.as_ref())
            || differ(self.address.as_ref(), before.address.as_ref())
            || self.uptime.zip(before.uptime).is_some_and(|(now, then)| now < then)
    }
}

/// Where nothing tells runs apart, and no state between them was seen, a restart counts as done after so long.
pub(super) const UNTOLD: Duration = Duration::from_secs(60);

/// A machine's last restart, while it does not show.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    seen: RefCell<Run>,
    awaited: RefCell<Option<(Run, Instant)>>,
}

impl Renewal {
    /// A restart is about to be asked for: until another run than the last one is seen, nothing runs, but for so long at the
    /// most.
    pub(super) fn begin(&self, patience: Duration) {
        self.awaited.replace(Some((self.seen.borrow().clone(), Instant::now() + patience)));
    }

    /// What was answered. Where the restart may still happen, it is waited for.
    pub(super) fn answered<T>(&self, answer: Result<T, &ProviderError>) {
        if answer.is_err_and(|error| !matches!(error, ProviderError::Timeout | ProviderError::Transient(_))) {
            self.forget();
        }
    }

    /// Nothing is waited for any more.
    pub(super) fn forget(&self) {
        self.awaited.replace(None);
    }

    /// Whether this is still the run of before a restart.
    #[cfg(any(test, feature = "docker"))]
    pub(super) fn is_before(&self, run: &Run) -> bool {
        let awaited = self.awaited.borrow();
        awaited.as_ref().is_some_and(|(before, until)| Instant::now() < *until && !run.follows(before))
    }

    /// What this state of this run means. Any other state than running shows that the restart is under way.
    pub(super) fn see(&self, state: PowerState, run: Run) -> PowerState {
        let mut awaited = self.awaited.borrow_mut();
        let state = match (&*awaited, state) {
            (Some((before, until)), PowerState::Running) if Instant::now() < *until && !run.follows(before) => {
                PowerState::Starting
            }
            (Some(_), PowerState::Unknown) => state,
            _ => {
                *awaited = None;
                state
            }
        };
        self.seen.replace(run);
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn began(at: &str) -> Run {
        Run { began: Some(at.to_owned()), ..Run::default() }
    }

    /// A machine whose run was seen, and that is to begin anew.
    fn restarting(before: &Run) -> Renewal {
        let it = Renewal::default();
        assert_eq!(it.see(PowerState::Running, before.clone()), PowerState::Running);
        it.begin(UNTOLD);
        it
    }

    #[tokio::test(start_paused = true)]
    async fn the_run_of_before_does_not_count_until_another_is_seen() {
        let at = |port| Run { address: Address::read("host", port), ..Run::default() };
        let up = |uptime| Run { uptime: Some(uptime), ..Run::default() };
        for (before, same, after) in [
            (began("one"), began("one"), began("two")),
            (up(100), up(104), up(3)),
            (at(1), at(1), at(2)),
            (at(1), Run::default(), at(2)),
        ] {
            let it = restarting(&before);
            assert_eq!(it.see(PowerState::Running, same.clone()), PowerState::Starting);
            assert!(it.is_before(&same) && !it.is_before(&after));
            assert_eq!(it.see(PowerState::Running, same), PowerState::Starting);
            assert_eq!(it.see(PowerState::Running, after.clone()), PowerState::Running);
            assert_eq!(it.see(PowerState::Running, after), PowerState::Running);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_tells_them_apart_another_state_does_or_time() {
        for between in [PowerState::Starting, PowerState::Stopping, PowerState::Stopped, PowerState::Failed] {
            let it = restarting(&Run::default());
            assert_eq!(it.see(PowerState::Running, Run::default()), PowerState::Starting);
            assert_eq!(it.see(PowerState::Unknown, Run::default()), PowerState::Unknown);
            assert_eq!(it.see(PowerState::Running, Run::default()), PowerState::Starting, "it was not said");
            assert_eq!(it.see(between, Run::default()), between);
            assert_eq!(it.see(PowerState::Running, Run::default()), PowerState::Running);
        }
        let it = restarting(&began("one"));
        tokio::time::advance(UNTOLD - Duration::from_secs(1)).await;
        assert_eq!(it.see(PowerState::Running, began("one")), PowerState::Starting);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(it.see(PowerState::Running, began("one")), PowerState::Running);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_ends_the_wait_and_an_answer_that_did_not_come_does_not() {
        for (error, state) in [
            (ProviderError::Auth, PowerState::Running),
            (ProviderError::permanent("x"), PowerState::Running),
            (ProviderError::transient("x"), PowerState::Starting),
            (ProviderError::Timeout, PowerState::Starting),
        ] {
            let it = restarting(&began("one"));
            it.answered::<()>(Err(&error));
            assert_eq!(it.see(PowerState::Running, began("one")), state, "{error}");
        }
        let it = restarting(&began("one"));
        it.answered(Ok(()));
        assert_eq!(it.see(PowerState::Running, began("one")), PowerState::Starting);
    }
}
