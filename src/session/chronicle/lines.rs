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
