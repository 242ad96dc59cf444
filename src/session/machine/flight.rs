//! What left for the caller and is not known to have arrived: marks in the stream, and what the caller confirms of them.
//!
//! Between the machine's queue and a caller's player lie the leg's channel, two kernels and a network, which together
//! hold many seconds of Opus. So a mark, a WebSocket ping with a number, follows every 240 ms of audio, and
//! its pong confirms all that went before it. Audio that is not confirmed counts as waiting, and only so much of it may
//! be out there: the rest waits where the oldest can still be dropped.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{ClientOutput, Direction, DropReason, Dropped, Effect, Machine};
use crate::protocol::native::{ServerEvent, TranscriptDelta};

/// Audio between two marks: three packets of the model.
const MARK_EVERY: Duration = Duration::from_millis(240);
/// Audio that may be out there: with a mark to come, enough for a round trip of 700 ms.
const WINDOW: Duration = Duration::from_secs(1);
/// The same where less may wait: enough for a round trip of 200 ms.
const SMALL_WINDOW: Duration = Duration::from_millis(500);
/// Words that are kept until they are confirmed: what a server says in 20 s at one piece a model frame.
const MAX_KEPT: usize = 256;

/// Marks that are waited for: of a caller who answers, the window has room for five.
const MAX_MARKS: usize = 32;

/// What is out there on the caller's socket.
#[derive(Debug)]
pub(super) struct Flight {
    window: Duration,
    /// The stretches that end with a mark, the oldest first.
    marked: VecDeque<Stretch>,
    /// What left after the last mark.
    open: Stretch,
    audio: Duration,
    /// Whether the caller answers at all: who never did is not asked for it.
    answers: bool,
    held_since: Option<Instant>,
}

/// What left between two marks.
#[derive(Debug, Default)]
struct Stretch {
    mark: u32,
    audio: Duration,
    words: Vec<TranscriptDelta>,
}

impl Flight {
    /// Of a new socket; `bound` is how much audio may wait in all.
    pub(super) fn new(bound: Duration) -> Self {
        let window = (bound * 2 / 3).clamp(SMALL_WINDOW, WINDOW);
        let (marked, open) = (VecDeque::new(), Stretch::default());
        Self { window, marked, open, audio: Duration::ZERO, answers: false, held_since: None }
    }

    /// On the caller's next socket: it answers there as it did before.
    pub(super) fn renew(&mut self, bound: Duration) {
        *self = Self { answers: self.answers, ..Self::new(bound) };
    }

    /// How much audio may leave.
    pub(super) fn room(&self) -> Duration {
        if self.answers { self.window.saturating_sub(self.audio) } else { Duration::MAX }
    }

    /// Audio that counts as waiting.
    pub(super) fn unconfirmed(&self) -> Duration {
        if self.answers { self.audio } else { Duration::ZERO }
    }

    /// Since when audio is held because nothing is confirmed.
    pub(super) fn held_since(&self) -> Option<Instant> {
        self.held_since
    }

    /// Something leaves now; gives the mark that has to follow, if it is time for one.
    fn left(&mut self, output: &ClientOutput, duration: Duration) -> Option<u32> {
        if let ClientOutput::Event(ServerEvent::Transcript(delta)) = output {
            self.open.words.push(delta.clone());
            self.forget_oldest();
        }
        self.audio += duration;
        self.open.audio += duration;
        // The first mark is there early: from its answer it is known whether this caller answers. Before a conversation
        // the stock client of the Moshi wire has to hear nothing.
        let begins = matches!(output, ClientOutput::Event(ServerEvent::Ready { .. } | ServerEvent::Resumed { .. }));
        let due = begins || self.open.audio >= MARK_EVERY;
        due.then(|| {
            let mark = self.open.mark;
            let next = Stretch { mark: mark.wrapping_add(1).max(1), ..Stretch::default() };
            self.marked.push_back(std::mem::replace(&mut self.open, next));
            self.give_up_oldest();
            mark
        })
    }

    /// Everything up to this mark has arrived. A mark that is not out there confirms nothing.
    fn confirmed(&mut self, mark: u32) {
        let Some(at) = self.marked.iter().position(|stretch| stretch.mark == mark) else { return };
        let arrived: Vec<Stretch> = self.marked.drain(..=at).collect();
        for stretch in &arrived {
            self.audio = self.audio.saturating_sub(stretch.audio);
        }
        self.answers = true;
        self.held_since = None;
        self.keep_whole(arrived);
    }

    /// Words at one position are repeated together or not at all.
    fn keep_whole(&mut self, arrived: Vec<Stretch>) {
        let Some(first) = self.words().next().map(|delta| delta.audio_ms) else { return };
        let words = arrived.into_iter().flat_map(|stretch| stretch.words);
        self.put_first(words.filter(|delta| delta.audio_ms == first).collect());
    }

    /// The oldest mark is not waited for any more; its words are with the next.
    fn give_up_oldest(&mut self) {
        if self.marked.len() > MAX_MARKS
            && let Some(oldest) = self.marked.pop_front()
        {
            self.audio = self.audio.saturating_sub(oldest.audio);
            self.put_first(oldest.words);
        }
    }

    fn put_first(&mut self, mut words: Vec<TranscriptDelta>) {
        let oldest = self.marked.front_mut().unwrap_or(&mut self.open);
        words.append(&mut oldest.words);
        oldest.words = words;
    }

    fn forget_oldest(&mut self) {
        while self.words().count() > MAX_KEPT {
            let stretches = self.marked.iter_mut().chain([&mut self.open]);
            let Some(oldest) = { stretches }.find(|stretch| !stretch.words.is_empty()) else { return };
            oldest.words.remove(0);
        }
    }

    fn words(&self) -> impl Iterator<Item = &TranscriptDelta> {
        self.marked.iter().chain([&self.open]).flat_map(|stretch| &stretch.words)
    }

    /// The words that may not have arrived, in order.
    pub(super) fn unconfirmed_words(&self) -> Vec<TranscriptDelta> {
        self.words().cloned().collect()
    }
}

impl Machine {
    /// The caller has received everything up to this mark.
    pub(super) fn confirm(&mut self, mark: u32) {
        self.flight.confirmed(mark);
    }

    /// Something leaves for the caller, and its mark behind it.
    pub(super) fn depart(&mut self, output: ClientOutput, duration: Duration) {
        let mark = self.flight.left(&output, duration);
        self.effects.push_back(Effect::SendClient(output));
        self.effects.extend(mark.map(Effect::MarkClient));
    }

    /// Keeps what waits and what is out there within the bound, as long as there is something to drop.
    pub(super) fn shed_for_caller(&mut self) {
        let bound = self.limits.client_queue.saturating_sub(self.flight.unconfirmed());
        let dropped: Dropped = self.to_client.shorten(bound);
        self.note_dropped(Direction::Down, DropReason::Backlog, dropped);
    }

    /// Notes that audio waits for the caller to confirm what it was sent.
    pub(super) fn note_held(&mut self, now: Instant) {
        let flight = &mut self.flight;
        match self.to_client.oldest_audio() {
            Some(duration) if duration > flight.room() => {
                flight.held_since.get_or_insert(now);
            }
            _ => flight.held_since = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::packet::OpusPacket;

    const FRAME: Duration = Duration::from_millis(80);

    fn sound() -> ClientOutput {
        ClientOutput::Audio(OpusPacket::silence_80ms())
    }

    fn word(text: &str, audio_ms: u64) -> ClientOutput {
        ClientOutput::Event(ServerEvent::Transcript(TranscriptDelta { text: text.into(), audio_ms }))
    }

    fn text(flight: &Flight) -> String {
        flight.unconfirmed_words().iter().map(|delta| delta.text.as_str()).collect()
    }

    /// A flight whose caller has answered the first mark.
    fn answered() -> Flight {
        let mut flight = Flight::new(Duration::from_millis(1_500));
        assert_eq!(flight.left(&word("", 0), Duration::ZERO), None);
        let ready = ClientOutput::Event(ServerEvent::Ready { setup_ms: 0, queued_ms: 0 });
        assert_eq!(flight.left(&ready, Duration::ZERO), Some(0));
        assert_eq!((flight.room(), flight.unconfirmed()), (Duration::MAX, Duration::ZERO));
        flight.confirmed(0);
        flight
    }

    #[test]
    fn a_mark_follows_every_three_packets_and_its_pong_makes_room() {
        let mut flight = answered();
        let marks: Vec<u32> = (0..12).filter_map(|_| flight.left(&sound(), FRAME)).collect();
        assert_eq!(marks, [1, 2, 3, 4]);
        assert_eq!((flight.unconfirmed(), flight.room()), (FRAME * 12, Duration::from_millis(40)));
        flight.confirmed(2);
        assert_eq!(flight.unconfirmed(), FRAME * 6, "a pong confirms all that went before");
        for unknown in [0, 1, 2, 77] {
            flight.confirmed(unknown);
        }
        assert_eq!(flight.unconfirmed(), FRAME * 6);
    }

    #[test]
    fn who_never_answers_is_not_waited_for() {
        let mut flight = Flight::new(Duration::from_millis(1_500));
        for n in 0..1_000 {
            flight.left(&sound(), FRAME);
            flight.left(&word("w", n), Duration::ZERO);
        }
        assert_eq!((flight.marked.len(), flight.unconfirmed_words().len()), (MAX_MARKS, MAX_KEPT));
        assert_eq!((flight.room(), flight.unconfirmed()), (Duration::MAX, Duration::ZERO));
    }

    #[test]
    fn words_that_may_not_have_arrived_are_known_position_by_position() {
        let mut flight = answered();
        for (n, said) in ["a", "b", "c", "d", "e", "f"].into_iter().enumerate() {
            flight.left(&word(said, n as u64 * 80), Duration::ZERO);
            flight.left(&sound(), FRAME);
        }
        assert_eq!(text(&flight), "abcdef");
        flight.confirmed(1);
        assert_eq!(text(&flight), "def");
        let mut flight = answered();
        flight.left(&word("x", 80), Duration::ZERO);
        flight.left(&word("a", 160), FRAME * 4);
        flight.left(&word("b", 160), Duration::ZERO);
        flight.confirmed(1);
        assert_eq!(text(&flight), "ab", "both of one position");
    }

    #[test]
    fn so_many_words_are_kept_and_no_more() {
        let mut flight = Flight::new(Duration::from_millis(1_500));
        for n in 0..1_000 {
            flight.left(&word("w", n), Duration::ZERO);
        }
        let kept = flight.unconfirmed_words();
        assert_eq!((kept.len(), kept[0].audio_ms), (MAX_KEPT, 1_000 - MAX_KEPT as u64));
    }
}
