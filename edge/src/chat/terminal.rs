//! Lines in and lines out. On a terminal, lines are edited by rustyline and what comes in is printed
//! above the prompt; else stdin is read line by line and stdout written.

use std::io::{BufRead, IsTerminal, Write};

use rustyline::error::ReadlineError;
use rustyline::{DefaultEditor, ExternalPrinter};
use tokio::sync::mpsc;

use crate::cli::Failure;

/// Lines that wait for the link; beyond it the reader of stdin waits.
const LINES_MAX: usize = 64;
/// A longer line is cut into several: 16 KiB fits every server's payload limit that makes sense.
const LINE_BYTES_MAX: u64 = 16 << 10;

/// Where lines come from.
pub(super) enum Input {
    /// A terminal.
    Editor(Box<DefaultEditor>, mpsc::Sender<String>),
    /// A file or a pipe.
    Stdin(mpsc::Sender<String>),
}

/// Where lines go.
pub(super) enum Printer {
    /// Above the prompt.
    Editor(Box<dyn ExternalPrinter + Send>),
    /// To stdout, notes to stderr.
    Stdout,
}

/// The two ends, and the lines.
pub(super) fn open() -> Result<(Input, mpsc::Receiver<String>, Printer), Failure> {
    let (sender, lines) = mpsc::channel(LINES_MAX);
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Ok((Input::Stdin(sender), lines, Printer::Stdout));
    }
    let mut editor = DefaultEditor::new().map_err(Failure::running)?;
    let printer = editor.create_external_printer().map_err(Failure::running)?;
    Ok((
        Input::Editor(Box::new(editor), sender),
        lines,
        Printer::Editor(Box::new(printer)),
    ))
}

impl Input {
    /// Hands lines on until they end, or until nobody takes them. Then the channel is closed.
    pub(super) fn pump(&mut self) {
        match self {
            Self::Editor(editor, sender) => loop {
                match editor.readline("> ") {
                    Ok(line) => {
                        // History is a convenience: a full one is no reason to stop.
                        let _ = editor.add_history_entry(&line);
                        if line.trim() == "/quit" || sender.blocking_send(line).is_err() {
                            break;
                        }
                    }
                    Err(ReadlineError::Interrupted | ReadlineError::Eof) => break,
                    Err(error) => {
                        eprintln!("error: cannot read from the terminal: {error}");
                        break;
                    }
                }
            },
            Self::Stdin(sender) => {
                let mut stdin = std::io::stdin().lock();
                while let Some(line) = line(&mut stdin) {
                    if line.trim() == "/quit" || sender.blocking_send(line).is_err() {
                        break;
                    }
                }
            }
        }
        // The receiver learns of the end by this sender's going.
        *self = Self::Stdin(mpsc::channel(1).0);
    }
}

/// One line, at most [`LINE_BYTES_MAX`] of it.
fn line(from: &mut impl BufRead) -> Option<String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let read = from
        .take(LINE_BYTES_MAX)
        .read_until(b'\n', &mut bytes)
        .ok()?;
    (read > 0).then(|| {
        String::from_utf8_lossy(&bytes)
            .trim_end_matches(['\n', '\r'])
            .to_owned()
    })
}

impl Printer {
    /// A message.
    pub(super) fn show(&mut self, text: &str) {
        match self {
            Self::Editor(printer) => drop(printer.print(format!("{text}\n"))),
            Self::Stdout => drop(writeln!(std::io::stdout(), "{text}")),
        }
    }

    /// Something about the connection rather than from it.
    pub(super) fn note(&mut self, text: &str) {
        match self {
            Self::Editor(printer) => drop(printer.print(format!("-- {text}\n"))),
            Self::Stdout => drop(writeln!(std::io::stderr(), "-- {text}")),
        }
    }

    /// Whether somebody sits in front of it.
    pub(super) fn interactive(&self) -> bool {
        matches!(self, Self::Editor(_))
    }
}
