//! The tables on a terminal's screen, until a key says that it is enough.

use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Style, Stylize as _};
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph, Row, Table as Widget};
use ratatui::{DefaultTerminal, Frame};

use super::Args;
use super::sample::{Interval, Sample, Sort};
use super::table::{self, Table};
use crate::admin::Client;
use crate::cli::Failure;

/// Shows it. The terminal is as before afterwards, also where it fails.
pub(super) fn show(client: &Client, args: &Args, before: Sample) -> Result<(), Failure> {
    let mut terminal = ratatui::try_init().map_err(Failure::running)?;
    let shown = run(&mut terminal, client, args, before);
    ratatui::restore();
    shown
}

fn run(
    terminal: &mut DefaultTerminal,
    client: &Client,
    args: &Args,
    mut before: Sample,
) -> Result<(), Failure> {
    let mut sort = args.sort;
    let mut seen = None;
    loop {
        terminal
            .draw(|frame| draw(frame, seen.as_ref(), sort))
            .map_err(Failure::running)?;
        let due = Instant::now() + args.every;
        loop {
            match key(due.saturating_duration_since(Instant::now()))? {
                Some(Key::End) => return Ok(()),
                Some(Key::Sort) => {
                    sort = sort.next();
                    break;
                }
                Some(Key::Other) => {}
                None => break,
            }
        }
        let now = Sample::take(client, sort)?;
        seen = Some(Interval::between(&before, &now));
        before = now;
    }
}

enum Key {
    End,
    Sort,
    Other,
}

/// What was pressed, or none within that time.
fn key(wait: Duration) -> Result<Option<Key>, Failure> {
    if !event::poll(wait).map_err(Failure::running)? {
        return Ok(None);
    }
    let Event::Key(key) = event::read().map_err(Failure::running)? else {
        return Ok(Some(Key::Other));
    };
    let interrupts =
        key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
    Ok(Some(match key.code {
        _ if key.kind != KeyEventKind::Press => Key::Other,
        _ if interrupts => Key::End,
        KeyCode::Char('q') | KeyCode::Esc => Key::End,
        KeyCode::Char('s') => Key::Sort,
        _ => Key::Other,
    }))
}

fn draw(frame: &mut Frame<'_>, seen: Option<&Interval>, sort: Sort) {
    let Some(seen) = seen else {
        return frame.render_widget(
            Paragraph::new("the first rates come in a moment"),
            frame.area(),
        );
    };
    let [shards, router, top] = table::tables(seen);
    let shard_rows = u16::try_from(shards.rows.len()).unwrap_or(u16::MAX);
    let parts = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(shard_rows.saturating_add(3)),
        Constraint::Length(4),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .split(frame.area());
    let head = Line::from(table::headline(seen));
    let head = if seen.ready {
        head.bold()
    } else {
        head.bold().red()
    };
    frame.render_widget(head, parts[0]);
    frame.render_widget(widget(&shards), parts[1]);
    frame.render_widget(widget(&router), parts[2]);
    frame.render_widget(widget(&top), parts[3]);
    let keys = format!("q end   s sort (now by {})", sort.name());
    frame.render_widget(Line::from(keys).dim(), parts[4]);
}

fn widget(table: &Table) -> Widget<'_> {
    let widths = table
        .widths()
        .into_iter()
        .map(|width| Constraint::Length(u16::try_from(width + 1).unwrap_or(u16::MAX)));
    let right = |cell: &str| Line::from(cell.to_owned()).right_aligned();
    let rows = table
        .rows
        .iter()
        .map(|row| Row::new(row.iter().map(|cell| right(cell))));
    let heads = Row::new(table.heads.iter().map(|head| right(head))).style(Style::new().dim());
    Widget::new(rows, widths)
        .header(heads)
        .block(Block::new().title(table.title.clone().bold()))
}
