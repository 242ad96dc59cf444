//! What whoever watches presses.

use std::thread;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;

/// Keys that wait to be heard; whoever holds one down is not waited for.
const WAITING: usize = 16;

/// What is made of what is pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Enough was seen.
    Quit,
    /// The terminal has another size.
    Resized,
}

/// Listens on a thread of its own: reading a terminal blocks. The thread ends with the process.
pub(super) struct Keys(mpsc::Receiver<Key>);

impl Keys {
    pub(super) fn listen() -> Self {
        let (tell, told) = mpsc::channel(WAITING);
        thread::spawn(move || {
            while let Ok(event) = event::read() {
                if let Some(key) = key(&event)
                    && tell.blocking_send(key).is_err()
                {
                    return;
                }
            }
        });
        Self(told)
    }

    /// The next one; none where the terminal is gone.
    pub(super) async fn next(&mut self) -> Option<Key> {
        self.0.recv().await
    }
}

fn key(event: &Event) -> Option<Key> {
    match event {
        Event::Resize(..) => Some(Key::Resized),
        Event::Key(KeyEvent { kind: KeyEventKind::Press, code, modifiers, .. }) => match code {
            KeyCode::Char('q' | 'Q') | KeyCode::Esc => Some(Key::Quit),
            // A terminal that is drawn on sends these as keys and no signals.
            KeyCode::Char('c' | 'd') if modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Quit),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_escape_and_the_usual_chords_are_enough_seen() {
        let press = |code, modifiers| key(&Event::Key(KeyEvent::new(code, modifiers)));
        for (code, modifiers, expected) in [
            (KeyCode::Char('q'), KeyModifiers::NONE, Some(Key::Quit)),
            (KeyCode::Esc, KeyModifiers::NONE, Some(Key::Quit)),
            (KeyCode::Char('c'), KeyModifiers::CONTROL, Some(Key::Quit)),
            (KeyCode::Char('c'), KeyModifiers::NONE, None),
            (KeyCode::Enter, KeyModifiers::NONE, None),
        ] {
            assert_eq!(press(code, modifiers), expected, "{code:?} {modifiers:?}");
        }
        assert_eq!(key(&Event::Resize(80, 24)), Some(Key::Resized));
    }
}
