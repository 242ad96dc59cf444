//! Words as lines: joined, with the spaces right, and each with the time at which it began.

use std::time::Duration;

use super::{Line, signed};
use crate::store::record::{MAX_TRANSCRIPT_BYTES, MAX_TRANSCRIPT_LINES, Speaker};

/// A pause between two words that ends a line.
const PAUSE: Duration = Duration::from_secs(2);
/// A line that is longer ends with the next word, in bytes.
const LONG: usize = 400;
/// A line that is longer ends whatever comes, in bytes.
const TOO_LONG: usize = 2_000;

/// The lines of one speaker.
#[derive(Default)]
pub(super) struct Lines {
    done: Vec<Line>,
    /// The bytes of these.
    bytes: usize,
    current: String,
    /// When the current line began, and when its last word came.
    began: Duration,
    heard: Duration,
}

impl Lines {
    /// Takes what is said next, in pieces of any length, at a time since the call began.
    pub(super) fn push(&mut self, text: &str, at: Duration) {
        if at.saturating_sub(self.heard) >= PAUSE && (text.starts_with(char::is_whitespace) || self.is_sentence()) {
            self.close();
        }
        self.heard = at;
        for character in text.chars() {
            let ends = character.is_whitespace() && (self.is_sentence() || self.current.len() >= LONG);
            if ends || self.current.len() >= TOO_LONG {
                self.close();
            }
            if character.is_whitespace() || character.is_control() {
                if !self.current.is_empty() && !self.current.ends_with(' ') {
                    self.current.push(' ');
                }
                continue;
            }
            if self.current.is_empty() {
                self.began = at;
            }
            self.current.push(character);
        }
    }

    fn is_sentence(&self) -> bool {
        self.current.ends_with(['.', '!', '?', '…'])
    }

    /// Whatever comes next is another line.
    pub(super) fn close(&mut self) {
        let mut text = std::mem::take(&mut self.current);
        text.truncate(text.trim_end().len());
        let fits = self.bytes + text.len() <= MAX_TRANSCRIPT_BYTES && self.done.len() < MAX_TRANSCRIPT_LINES;
        if text.is_empty() || !fits {
            return;
        }
        self.bytes += text.len();
        self.done.push(Line { speaker: Speaker::Assistant, at_ms: signed(self.began), text: text.into() });
    }

    /// Every line, the unfinished one among them.
    pub(super) fn take(&mut self) -> Vec<Line> {
        self.close();
        std::mem::take(&mut self.done)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn lines(pieces: &[(u64, &str)]) -> Vec<(i64, String)> {
        let mut lines = Lines::default();
        pieces.iter().for_each(|(ms, text)| lines.push(text, at(*ms)));
        lines.take().into_iter().map(|line| (line.at_ms, line.text.expose().clone())).collect()
    }

    #[test]
    fn sentences_become_lines_with_their_times_and_one_space_between_words() {
        let said =
            [(80, " Hel"), (160, "lo"), (240, "."), (320, " I"), (400, "  am\n\u{7}"), (480, "Ada"), (560, "! So")];
        let expected = [(80, "Hello."), (320, "I am Ada!"), (560, "So")].map(|(ms, text)| (ms, text.to_owned()));
        assert_eq!(lines(&said), expected);
    }

    #[test]
    fn a_pause_ends_a_line_and_never_a_word() {
        let said = [(0, "Well"), (2_000, " yes"), (4_100, "terday"), (4_200, "."), (9_000, "Next")];
        assert_eq!(
            lines(&said),
            [(0, "Well".to_owned()), (2_000, "yesterday.".to_owned()), (9_000, "Next".to_owned())]
        );
    }

    #[test]
    fn what_has_no_end_is_cut_at_a_word_or_else_anywhere() {
        let words = lines(&[(0, &"word ".repeat(200))]);
        assert!(words.iter().all(|(_, text)| text.len() <= LONG + 5 && text.ends_with("word")), "{words:?}");
        assert_eq!(words.iter().map(|(_, text)| text.split(' ').count()).sum::<usize>(), 200);
        let one = lines(&[(0, &"€".repeat(2_000))]);
        assert_eq!(one.iter().map(|(_, text)| text.chars().count()).sum::<usize>(), 2_000);
        assert!(one.iter().all(|(_, text)| text.len() <= TOO_LONG + 3));
    }

    #[test]
    fn a_transcript_has_a_most() {
        let mut lines = Lines::default();
        let sentence = format!(" {}.", "w".repeat(1_900));
        for _ in 0..1_000 {
            lines.push(&sentence, Duration::ZERO);
        }
        let bytes: usize = lines.take().iter().map(|line| line.text.expose().len()).sum();
        assert!(bytes <= MAX_TRANSCRIPT_BYTES && bytes > MAX_TRANSCRIPT_BYTES - 2_000, "{bytes}");
        let mut lines = Lines::default();
        (0..2 * MAX_TRANSCRIPT_LINES).for_each(|_| lines.push(" a.", Duration::ZERO));
        assert_eq!(lines.take().len(), MAX_TRANSCRIPT_LINES);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn no_word_is_lost_or_made_up(pieces in prop::collection::vec(("[ a-z.?€\n]{0,12}", 0_u64..3_000), 0..80)) {
            let (mut lines, mut now, mut all) = (Lines::default(), 0, String::new());
            for (text, pause) in &pieces {
                now += pause;
                lines.push(text, at(now));
                all.push_str(text);
            }
            let said = lines.take();
            let kept: Vec<&str> = said.iter().flat_map(|line| line.text.expose().split(' ')).collect();
            let glued: String = all.split_whitespace().collect();
            prop_assert_eq!(kept.concat(), glued);
            prop_assert!(said.iter().all(|line| !line.text.expose().is_empty() && line.at_ms <= signed(at(now))));
            prop_assert!(said.is_sorted_by_key(|line| line.at_ms));
        }
    }
}
