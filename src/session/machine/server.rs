//! One model server that listens: what it is fed, what it owes, and how much of its window is used.

use std::time::{Duration, Instant};

use super::{Dropped, Outbox, lag::LagGuard};
use crate::{
    audio::{
        pacer::{Fed, Pacer, PacerSettings},
        packet::OpusPacket,
    },
    pool::roster::Offer,
};

/// One model frame: the server gives this much sound for this much input (personaplex.md 2.6).
pub(super) const FRAME: Duration = Duration::from_millis(80);

/// A server that has talked for so long had nothing against its prompts.
pub(super) const PROVEN_AFTER: Duration = Duration::from_secs(30);

/// What a server's prompts took: so many steps, of so long each.
#[derive(Clone, Copy, Debug)]
pub(super) struct PromptCost {
    pub(super) steps: u32,
    pub(super) step: Duration,
}

/// One model server, from its handshake on.
#[derive(Debug)]
pub(super) struct Server {
    attempt: u32,
    prompt: PromptCost,
    /// The model's window, in steps; 0: it forgets nothing.
    pub(super) window: u32,
    pub(super) since: Instant,
    fed: Duration,
    /// Whether the server has a part of a frame, which its leg keeps until it is whole.
    mid_frame: bool,
    received: Duration,
    owing_since: Option<Instant>,
    /// The model's clock, from the moment at which it listens.
    pub(super) pacer: Pacer,
    pub(super) lag: LagGuard,
    pub(super) queue: Outbox<Fed>,
}

impl Server {
    /// A server that listens from now on, `queue_bound` of audio may wait for it.
    pub(super) fn new(attempt: u32, prompt: PromptCost, window: u32, queue_bound: Duration, now: Instant) -> Self {
        Self {
            attempt,
            prompt,
            window,
            since: now,
            fed: Duration::ZERO,
            mid_frame: false,
            received: Duration::ZERO,
            owing_since: None,
            pacer: Pacer::new(PacerSettings::default(), now),
            lag: LagGuard::new(now),
            queue: Outbox::new(queue_bound),
        }
    }

    /// The number of its leg.
    pub(super) fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether it has talked for long enough to show that nothing in this call kills it.
    pub(super) fn is_proven(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= PROVEN_AFTER
    }

    /// What is known of this server for the next time.
    pub(super) fn offer(&self) -> Offer {
        Offer { step: Some(self.prompt.step), window_steps: Some(self.window), ..Offer::default() }
    }

    /// How long prompts of so many steps take here.
    pub(super) fn predicts(&self, steps: u32) -> Duration {
        self.prompt.step * steps
    }

    /// Steps of the model's window that are used: its prompts', and one for each frame (personaplex.md 6.5).
    pub(super) fn steps(&self) -> u32 {
        let frames = u32::try_from(self.fed.as_nanos() / FRAME.as_nanos()).unwrap_or(u32::MAX);
        self.prompt.steps.saturating_add(frames)
    }

    /// Since when it gives or takes nothing of what it should.
    pub(super) fn stuck_since(&self) -> Option<Instant> {
        self.queue.blocked_since().into_iter().chain(self.owing_since).min()
    }

    /// Whether what was fed last does not complete a frame.
    pub(super) fn is_mid_frame(&self) -> bool {
        self.mid_frame
    }

    /// The clock stood still: nothing from before counts, neither what is owed nor how late it is.
    pub(super) fn restart(&mut self, now: Instant) {
        self.owing_since = self.owes().then_some(now);
        self.pacer.restart(now);
        self.lag.restart(now);
    }

    /// Turns the model's clock: what is due now, of the caller or in its place, waits for the leg. Gives what was dropped.
    pub(super) fn turn(&mut self, now: Instant) -> Dropped {
        let mut dropped = Dropped::default();
        while let Some(fed) = self.pacer.poll(now) {
            let duration = fed.packet().duration();
            let pushed_out = self.queue.push_audio(fed, duration, now);
            self.pacer.lost(pushed_out.duration);
            dropped += pushed_out;
        }
        let shed = self.pacer.take_shed();
        dropped += Dropped { packets: shed.packets, duration: shed.duration };
        dropped
    }

    /// The next packet that its leg takes.
    pub(super) fn next(&mut self, now: Instant) -> Option<Fed> {
        let (fed, duration) = self.queue.pop(Duration::MAX)?;
        let frames = |fed: Duration| fed.as_nanos() / FRAME.as_nanos();
        self.mid_frame = frames(self.fed) == frames(self.fed + duration);
        self.fed += duration;
        if self.owes() {
            self.owing_since.get_or_insert(now);
        }
        Some(fed)
    }

    /// It gave so much sound.
    pub(super) fn gave(&mut self, packet: &OpusPacket, now: Instant) {
        let duration = packet.duration();
        self.received += duration;
        self.owing_since = self.owes().then_some(now);
        self.pacer.received(duration, now);
        self.lag.received(duration, self.pacer.owed(now));
    }

    /// One frame may be missing for good: Kyutai's servers skip the first (personaplex.md 11.1).
    fn owes(&self) -> bool {
        self.fed.saturating_sub(self.received) >= FRAME * 2
    }
}
