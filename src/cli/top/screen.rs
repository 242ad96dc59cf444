//! The terminal, taken for drawing and given back as it was: at the end, after an error, and in a panic.

use std::io;

use ratatui::DefaultTerminal;
use ratatui::crossterm::terminal;

use super::draw;
use super::snapshot::View;

/// How wide a plain frame is where there is no terminal to ask.
const PLAIN_COLUMNS: u16 = 100;

/// The terminal while it is drawn on.
pub(super) struct Screen(DefaultTerminal);

impl Screen {
    /// Takes the terminal. A panic gives it back before it is told.
    pub(super) fn take() -> io::Result<Self> {
        ratatui::try_init().map(Self).inspect_err(|_| give_back())
    }

    pub(super) fn draw(&mut self, view: &View) -> io::Result<()> {
        self.0.draw(|frame| draw::view(view, frame.area(), frame.buffer_mut())).map(drop)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// A terminal that is gone cannot be given back, and nobody is there to be told.
fn give_back() {
    let _ = ratatui::try_restore();
}

/// How wide the terminal is, or what is printed into no terminal.
pub(super) fn columns() -> u16 {
    terminal::size().map_or(PLAIN_COLUMNS, |(columns, _)| columns)
}
