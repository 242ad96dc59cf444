//! The one thread of the simulated server: while the model makes a step, nobody is served.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Waits until a time, and not at all if it is past: the timer alone would round it up to the next millisecond.
pub async fn until(time: Instant) {
    if time > Instant::now() {
        sleep_until(time).await;
    }
}

/// Until when the whole server stands still.
#[derive(Debug)]
pub struct EventLoop {
    blocked_until: Mutex<Instant>,
}

impl EventLoop {
    /// An event loop that is free now.
    pub fn new() -> Self {
        Self { blocked_until: Mutex::new(Instant::now()) }
    }

    /// Waits until no step is running: what every answer to anybody has to do first.
    pub async fn turn(&self) {
        loop {
            let free_at = *self.blocked_until.lock().unwrap_or_else(PoisonError::into_inner);
            if free_at <= Instant::now() {
                return;
            }
            until(free_at).await;
        }
    }

    fn block(&self, until: Instant) {
        let mut blocked_until = self.blocked_until.lock().unwrap_or_else(PoisonError::into_inner);
        *blocked_until = until.max(*blocked_until);
    }
}

/// The time of one call's model work, which adds up without the timer's rounding.
#[derive(Debug)]
pub struct ModelClock<'a> {
    event_loop: &'a EventLoop,
    now: Instant,
}

impl<'a> ModelClock<'a> {
    /// A clock that starts now.
    pub fn new(event_loop: &'a EventLoop) -> Self {
        Self { event_loop, now: Instant::now() }
    }

    /// When this clock has come to the present.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Goes on from the present after a time in which there was nothing to do.
    pub fn catch_up(&mut self) {
        self.now = self.now.max(Instant::now());
    }

    /// Lets a time pass in which others are served.
    pub fn skip(&mut self, time: Duration) {
        self.now += time;
    }

    /// Works for a time in which nobody is served.
    pub async fn work(&mut self, time: Duration) {
        self.now += time;
        if time.is_zero() {
            // Others get their turn between the steps of a model that needs no time, too.
            tokio::task::yield_now().await;
        } else {
            self.event_loop.block(self.now);
            until(self.now).await;
        }
    }
}
