//! The outgoing queue of one leg: bounded in milliseconds of audio, paid for with the leg's credit.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Messages that a leg's task holds at most; each one that it has written comes back as credit.
pub const LEG_CREDIT: usize = 2;

/// Messages other than audio that may wait. Ten seconds of text at 12.5 pieces a second are 125.
const MAX_WAITING: usize = 256;

/// The queue is full of messages that may not be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Audio that was dropped to keep the bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// How many packets.
    pub packets: u64,
    /// How long they were together.
    pub duration: Duration,
}

impl std::ops::AddAssign for Dropped {
    fn add_assign(&mut self, more: Self) {
        self.packets += more.packets;
        self.duration += more.duration;
    }
}

/// What waits for one leg. Audio has a bound in time and drops its oldest; everything else is kept in order.
#[derive(Debug)]
pub struct Outbox<T> {
    items: VecDeque<(T, Option<Duration>)>,
    /// Since when each message other than audio has waited, in the order of `items`.
    waiting_since: VecDeque<Instant>,
    audio: Duration,
    audio_bound: Duration,
    credit: usize,
    blocked_since: Option<Instant>,
}

impl<T> Outbox<T> {
    /// An empty queue for a leg that is ready to write.
    pub fn new(audio_bound: Duration) -> Self {
        let (items, waiting_since) = (VecDeque::new(), VecDeque::new());
        Self { items, waiting_since, audio: Duration::ZERO, audio_bound, credit: LEG_CREDIT, blocked_since: None }
    }

    /// Adds audio; gives back what of the oldest was dropped to keep the bound.
    pub fn push_audio(&mut self, item: T, duration: Duration, now: Instant) -> Dropped {
        self.items.push_back((item, Some(duration)));
        self.audio += duration;
        let mut dropped = Dropped::default();
        while self.audio > self.audio_bound && self.items.len() > 1 {
            let oldest = self.drop_oldest_audio();
            if oldest.packets == 0 {
                break;
            }
            dropped += oldest;
        }
        self.note_blocked(now);
        dropped
    }

    /// Drops the oldest audio until what waits is within this bound, but not the newest packet.
    pub fn shorten(&mut self, bound: Duration) -> Dropped {
        let mut dropped = Dropped::default();
        while self.audio > bound && self.audio_items() > 1 {
            dropped += self.drop_oldest_audio();
        }
        dropped
    }

    /// Drops the audio that has waited longest, if any waits.
    pub fn drop_oldest_audio(&mut self) -> Dropped {
        let oldest = self.items.iter().position(|(_, audio)| audio.is_some());
        let Some((_, Some(duration))) = oldest.and_then(|oldest| self.items.remove(oldest)) else {
            return Dropped::default();
        };
        self.audio = self.audio.saturating_sub(duration);
        Dropped { packets: 1, duration }
    }

    /// The leg is a new one: it has all its credit. Audio beyond `fresh` is dropped, and what is left stands behind
    /// everything else.
    pub fn reconnect(&mut self, fresh: Duration, now: Instant) -> Dropped {
        let mut dropped = Dropped::default();
        while self.audio > fresh && self.audio_items() > 0 {
            dropped += self.drop_oldest_audio();
        }
        self.items.make_contiguous().sort_by_key(|(_, audio)| audio.is_some());
        self.waiting_since.iter_mut().for_each(|since| *since = now);
        (self.credit, self.blocked_since) = (LEG_CREDIT, None);
        dropped
    }

    /// Adds what may not be dropped and goes first, whatever waits.
    pub fn push_front(&mut self, item: T, now: Instant) {
        self.items.push_front((item, None));
        self.waiting_since.push_front(now);
    }

    /// Adds what may not be dropped.
    pub fn push(&mut self, item: T, now: Instant) -> Result<(), Full> {
        if self.items.len() >= MAX_WAITING + self.audio_items() {
            return Err(Full);
        }
        self.items.push_back((item, None));
        self.waiting_since.push_back(now);
        self.note_blocked(now);
        Ok(())
    }

    /// The next message and how much audio it is, if the leg has credit for it.
    ///
    /// Audio longer than `room` stays, in order, and everything else passes it by.
    pub fn pop(&mut self, room: Duration) -> Option<(T, Duration)> {
        if self.credit == 0 {
            return None;
        }
        let held = self.next_audio().is_some_and(|duration| duration > room);
        let next = if held { self.items.iter().position(|(_, audio)| audio.is_none())? } else { 0 };
        let (item, audio) = self.items.remove(next)?;
        if audio.is_none() {
            self.waiting_since.pop_front();
        }
        let duration = audio.unwrap_or_default();
        self.audio = self.audio.saturating_sub(duration);
        self.credit -= 1;
        Some((item, duration))
    }

    /// The length of the oldest audio that waits for anything but the leg's credit.
    pub fn next_audio(&self) -> Option<Duration> {
        self.oldest_audio().filter(|_| self.credit > 0)
    }

    /// The length of the oldest audio.
    pub fn oldest_audio(&self) -> Option<Duration> {
        self.items.iter().find_map(|(_, audio)| *audio)
    }

    /// The leg has written one message.
    pub fn writable(&mut self, now: Instant) {
        self.credit = (self.credit + 1).min(LEG_CREDIT);
        self.blocked_since = None;
        self.note_blocked(now);
    }

    /// Since when something waits and the leg makes no progress.
    pub fn blocked_since(&self) -> Option<Instant> {
        self.blocked_since
    }

    /// How long the oldest message other than audio has waited.
    pub fn oldest_age(&self, now: Instant) -> Duration {
        self.waiting_since.front().map_or(Duration::ZERO, |since| now.saturating_duration_since(*since))
    }

    /// Whether nothing waits and the leg has written everything it was given.
    pub fn is_flushed(&self) -> bool {
        self.items.is_empty() && self.credit == LEG_CREDIT
    }

    /// Messages other than audio that wait.
    pub fn waiting(&self) -> usize {
        self.items.len() - self.audio_items()
    }

    fn audio_items(&self) -> usize {
        self.items.iter().filter(|(_, audio)| audio.is_some()).count()
    }

    /// A leg that holds two unwritten messages while a third waits is not making progress.
    pub fn note_blocked(&mut self, now: Instant) {
        if self.credit == 0 && !self.items.is_empty() {
            self.blocked_since.get_or_insert(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(80);

    #[expect(clippy::disallowed_methods, reason = "an origin for the test's own time line")]
    fn origin() -> Instant {
        Instant::now()
    }

    fn stalled(bound_ms: u64) -> (Outbox<u32>, Instant) {
        let (mut outbox, now) = (Outbox::new(Duration::from_millis(bound_ms)), origin());
        for item in 0..LEG_CREDIT as u32 {
            outbox.push_audio(item, FRAME, now);
            assert_eq!(outbox.pop(Duration::MAX), Some((item, FRAME)));
        }
        (outbox, now)
    }

    #[test]
    fn a_stalled_leg_drops_the_oldest_audio_and_keeps_the_rest_in_order() {
        let (mut outbox, now) = stalled(160);
        outbox.push_audio(10, FRAME, now);
        outbox.push(99, now).unwrap();
        outbox.push_audio(11, FRAME, now);
        assert_eq!(outbox.push_audio(12, FRAME, now), Dropped { packets: 1, duration: FRAME }, "10 is dropped");
        assert_eq!(outbox.pop(Duration::MAX), None);
        for expected in [(99, Duration::ZERO), (11, FRAME), (12, FRAME)] {
            outbox.writable(now);
            assert_eq!(outbox.pop(Duration::MAX), Some(expected));
        }
    }

    #[test]
    fn audio_without_room_stays_and_the_rest_passes_it_by() {
        let (mut outbox, now) = (Outbox::new(FRAME * 10), origin());
        outbox.push_audio(1, FRAME, now);
        outbox.push(99, now).unwrap();
        assert_eq!(outbox.next_audio(), Some(FRAME));
        assert_eq!(outbox.pop(FRAME / 2), Some((99, Duration::ZERO)));
        assert_eq!(outbox.pop(FRAME / 2), None);
        assert_eq!(outbox.pop(FRAME), Some((1, FRAME)));
    }

    #[test]
    fn progress_is_measured_from_the_last_write() {
        let (mut outbox, now) = stalled(800);
        assert_eq!(outbox.blocked_since(), None, "two messages in the leg are no stall");
        outbox.push_audio(10, FRAME, now);
        assert_eq!(outbox.blocked_since(), Some(now));
        outbox.push_audio(11, FRAME, now + FRAME);
        assert_eq!(outbox.blocked_since(), Some(now), "more of the same is no progress");
        outbox.writable(now + FRAME);
        assert_eq!(outbox.pop(Duration::MAX), Some((10, FRAME)));
        assert_eq!(outbox.blocked_since(), None);
    }

    #[test]
    fn what_may_not_be_dropped_has_a_bound_too() {
        let (mut outbox, now) = stalled(80);
        let accepted = (0..10_000).take_while(|n| outbox.push(*n, now).is_ok()).count();
        assert_eq!(accepted, MAX_WAITING);
        assert_eq!(outbox.push(1, now), Err(Full));
    }

    #[test]
    fn one_packet_longer_than_the_bound_still_passes() {
        let (mut outbox, now) = (Outbox::new(FRAME / 2), origin());
        assert_eq!(outbox.push_audio(1, FRAME, now), Dropped::default());
        assert_eq!(outbox.pop(Duration::MAX), Some((1, FRAME)));
        assert!(!outbox.is_flushed());
        outbox.writable(now);
        assert!(outbox.is_flushed());
    }
}
