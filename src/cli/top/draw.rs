//! A view drawn into a buffer of any size (pure).

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table as Grid, Widget as _, Wrap};

use super::snapshot::{Snapshot, View};
use super::tables::{self, Shade, Table};

/// From this width on there is room for whole ids.
const WIDE: u16 = 118;
/// Lines of a table besides its rows: its title and its heads.
const FRAME_LINES: usize = 2;
/// Lines that every table gets first: with two rows.
const FIRST_LINES: usize = FRAME_LINES + 2;
/// The longest trouble, in lines.
const TROUBLE_LINES: u16 = 3;
/// The most lines of a plain frame; a longer one says how much is left out.
const MAX_PLAIN_LINES: u16 = 2_000;

/// Draws everything: the head, what is wrong, the tables, and how to leave.
pub(super) fn view(view: &View, area: Rect, buffer: &mut Buffer) {
    let trouble = if view.trouble.is_some() { TROUBLE_LINES } else { 0 };
    let rows = [Constraint::Length(1), Constraint::Length(trouble), Constraint::Min(0), Constraint::Length(1)];
    let [head, wrong, body, foot] = Layout::vertical(rows).areas(area);
    headline(view).render(head, buffer);
    if let Some(trouble) = &view.trouble {
        let style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
        Paragraph::new(trouble.as_str()).style(style).wrap(Wrap { trim: true }).render(wrong, buffer);
    }
    if let Some(snapshot) = &view.snapshot {
        draw_tables(&tables::all(snapshot, area.width >= WIDE), body, buffer);
    }
    footline(view).render(foot, buffer);
}

/// Everything as plain text, as wide as this, and as long as it takes.
pub(super) fn plain(view: &View, width: u16) -> String {
    let tables = view.snapshot.as_ref().map(|snapshot| tables::all(snapshot, width >= WIDE)).unwrap_or_default();
    let lines = tables.iter().map(wanted).sum::<usize>().saturating_add(1);
    let height = u16::try_from(lines).unwrap_or(u16::MAX).min(MAX_PLAIN_LINES);
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    headline(view).render(Rect { height: 1, ..area }, &mut buffer);
    draw_tables(&tables, Rect { y: 1, height: height - 1, ..area }, &mut buffer);
    text(&buffer)
}

/// What a buffer shows, without colours and without blanks at the ends of lines.
pub(super) fn text(buffer: &Buffer) -> String {
    let cells = buffer.content().chunks(usize::from(buffer.area.width).max(1));
    let line = |cells: &[ratatui::buffer::Cell]| cells.iter().map(|cell| cell.symbol()).collect::<String>();
    cells.map(|cells| line(cells).trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

fn headline(view: &View) -> Line<'static> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut spans = vec![Span::styled("tandem top  ", bold), Span::raw(view.url.clone())];
    if let Some(Snapshot { sessions, .. }) = &view.snapshot
        && sessions.draining
    {
        let style = Style::new().fg(Color::Yellow).add_modifier(Modifier::BOLD);
        spans.push(Span::styled("  it takes no more calls, and ends", style));
    }
    Line::from(spans)
}

fn footline(view: &View) -> Line<'static> {
    let seen = match (&view.snapshot, &view.trouble) {
        (None, None) => "asking".to_owned(),
        (None, Some(_)) => "nothing was seen yet; it is asked again".to_owned(),
        (Some(_), Some(_)) => format!("seen {}s ago; it is asked again", view.age.as_secs()),
        (Some(_), None) if view.age.as_secs() > 2 => format!("seen {}s ago", view.age.as_secs()),
        (Some(_), None) => "seen just now".to_owned(),
    };
    Line::styled(format!("q quits   {seen}"), Style::new().add_modifier(Modifier::DIM))
}

fn draw_tables(tables: &[Table], area: Rect, buffer: &mut Buffer) {
    let wants: Vec<usize> = tables.iter().map(wanted).collect();
    let mut y = area.y;
    for (table, lines) in tables.iter().zip(share(usize::from(area.height), &wants)) {
        let height = u16::try_from(lines).unwrap_or(u16::MAX);
        draw_table(table, Rect { y, height, ..area }, buffer);
        y = y.saturating_add(height);
    }
}

/// Lines that a table takes if it may.
fn wanted(table: &Table) -> usize {
    if table.rows.is_empty() { 2 } else { FRAME_LINES + table.rows.len() }
}

/// How many lines each gets: what it wants if there is room, else a little each, and the rest in turns.
fn share(lines: usize, wants: &[usize]) -> Vec<usize> {
    let mut given = vec![0; wants.len()];
    let mut left = lines;
    for bound in [FIRST_LINES, usize::MAX] {
        while left > 0 {
            let before = left;
            for (given, want) in given.iter_mut().zip(wants) {
                if left > 0 && *given < (*want).min(bound) {
                    *given += 1;
                    left -= 1;
                }
            }
            if left == before {
                break;
            }
        }
    }
    given
}

fn draw_table(table: &Table, area: Rect, buffer: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    let title = format!("── {} ", table.title);
    let rule = "─".repeat(usize::from(area.width).saturating_sub(title.chars().count()));
    Line::styled(title + &rule, Style::new().fg(Color::Cyan)).render(Rect { height: 1, ..area }, buffer);
    let below = Rect { y: area.y + 1, height: area.height - 1, ..area };
    if table.rows.is_empty() {
        Line::styled(format!("   {}", table.nothing), Style::new().add_modifier(Modifier::DIM)).render(below, buffer);
        return;
    }
    let room = usize::from(below.height).saturating_sub(1);
    // The last line says what is left out, where that is more than one row.
    let shown = if table.rows.len() > room { room.saturating_sub(1) } else { table.rows.len() };
    let mut rows: Vec<Row<'_>> = table.rows.iter().take(shown).map(|row| row.iter().map(cell).collect()).collect();
    if shown < table.rows.len() && room > 0 {
        let more = format!("+{}", table.rows.len() - shown);
        rows.push(Row::new([more, "more".to_owned()]).style(Style::new().add_modifier(Modifier::DIM)));
    }
    let widths = table.widths.iter().map(|width| match width {
        0 => Constraint::Min(8),
        width => Constraint::Length(*width),
    });
    let heads = Row::new(table.heads.iter().copied()).style(Style::new().add_modifier(Modifier::BOLD));
    ratatui::widgets::Widget::render(Grid::new(rows, widths).header(heads).column_spacing(1), below, buffer);
}

fn cell((text, shade): &tables::Cell) -> Cell<'_> {
    let style = match shade {
        Shade::Plain => Style::new(),
        Shade::Good => Style::new().fg(Color::Green),
        Shade::Odd => Style::new().fg(Color::Yellow),
        Shade::Bad => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
    };
    Cell::from(text.as_str()).style(style)
}

#[cfg(test)]
mod tests;
