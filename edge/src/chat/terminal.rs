//! Lines in and lines out. On a terminal, lines are edited by rustyline and what comes in is printed
//! above the prompt; where there is none, or one that no line can be edited on, stdin is read line by line
//! and stdout written.

use std::io::{self, BufRead, ErrorKind, IsTerminal, Read, Write};

use nix::sys::termios::{FlushArg, tcflush};
use rustyline::error::{ReadlineError, Signal};
use rustyline::{DefaultEditor, ExternalPrinter};
use tokio::sync::mpsc;

use crate::cli::output;

use super::text::{Line, TEXT_BYTES_MAX, whole_characters};

/// Lines that wait for the link; beyond it the reader of stdin waits.
const LINES_MAX: usize = 64;

/// Lines, or why there are no more.
pub(super) type Lines = mpsc::Receiver<io::Result<Line>>;
type Sender = mpsc::Sender<io::Result<Line>>;

/// Where lines come from.
pub(super) enum Input {
    /// A terminal.
    Editor(Box<DefaultEditor>, Sender),
    /// A file, a pipe, or a terminal without an editor.
    Stdin(Sender),
}

/// Where lines go.
pub(super) enum Printer {
    /// Above the prompt.
    Editor(Box<dyn ExternalPrinter + Send>),
    /// To stdout, notes to stderr.
    Stdout,
}

/// The two ends, and the lines.
pub(super) fn open() -> (Input, Lines, Printer) {
    let (sender, lines) = mpsc::channel(LINES_MAX);
    match editor() {
        Some((editor, printer)) => (
            Input::Editor(Box::new(editor), sender),
            lines,
            Printer::Editor(printer),
        ),
        None => (Input::Stdin(sender), lines, Printer::Stdout),
    }
}

/// The editor and what prints above it, where both ends are a terminal that can be edited on: `dumb` cannot.
fn editor() -> Option<(DefaultEditor, Box<dyn ExternalPrinter + Send>)> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return None;
    }
    let mut editor = DefaultEditor::new().ok()?;
    let printer = editor.create_external_printer().ok()?;
    Some((editor, Box::new(printer)))
}

impl Input {
    /// Whether it must be read on the main thread, to its end: only then the terminal is as it was.
    pub(super) fn is_editor(&self) -> bool {
        matches!(self, Self::Editor(..))
    }

    /// Hands lines on until they end, or until nobody takes them. Then the channel is closed.
    pub(super) fn pump(self) {
        match self {
            Self::Editor(mut editor, sender) => edited(&mut editor, &sender),
            Self::Stdin(sender) => read(&mut io::stdin().lock(), &sender),
        }
    }
}

fn edited(editor: &mut DefaultEditor, sender: &Sender) {
    loop {
        let line = match editor.readline("> ") {
            Ok(text) => {
                // History is a convenience: a full one is no reason to stop.
                let _ = editor.add_history_entry(&text);
                Ok(Line::whole(text))
            }
            // The editor has given up the line in which the byte stands. What of it has not been read goes too:
            // it would be taken for a line of its own.
            Err(ReadlineError::Io(error)) if error.kind() == ErrorKind::InvalidData => {
                let _ = tcflush(io::stdin(), FlushArg::TCIFLUSH);
                output::note(format_args!(
                    "-- not sent: a byte that is no UTF-8 stands in that line"
                ));
                continue;
            }
            Err(ReadlineError::Signal(Signal::Resize)) => continue,
            Err(
                ReadlineError::Interrupted
                | ReadlineError::Signal(Signal::Interrupt)
                | ReadlineError::Eof,
            ) => return,
            Err(ReadlineError::Io(error)) => Err(error),
            Err(ReadlineError::Errno(error)) => Err(error.into()),
            Err(error) => Err(io::Error::other(error)),
        };
        if !hand_on(line, sender) {
            return;
        }
    }
}

fn read(from: &mut impl BufRead, sender: &Sender) {
    let mut parts = Parts::default();
    while let Some(line) = parts.next(from).transpose() {
        if !hand_on(line, sender) {
            return;
        }
    }
}

/// Whether more is wanted.
fn hand_on(line: io::Result<Line>, sender: &Sender) -> bool {
    match line {
        Ok(line) if line.command() == Some("/quit") => false,
        Ok(line) => sender.blocking_send(Ok(line)).is_ok(),
        Err(error) => {
            // Where nobody takes it, the link has ended before the input.
            let _ = sender.blocking_send(Err(error));
            false
        }
    }
}

/// Lines of a stream, a long one in parts that begin and end with whole characters.
#[derive(Default)]
struct Parts {
    /// The beginning of a character whose rest comes with the next part.
    begun: Vec<u8>,
    within: bool,
}

impl Parts {
    fn next(&mut self, from: &mut impl BufRead) -> io::Result<Option<Line>> {
        let mut bytes = std::mem::take(&mut self.begun);
        let room = (TEXT_BYTES_MAX - bytes.len()) as u64;
        from.take(room).read_until(b'\n', &mut bytes)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let last = bytes.len() < TEXT_BYTES_MAX || bytes.ends_with(b"\n");
        if !last {
            self.begun = bytes.split_off(whole_characters(&bytes));
        }
        let text = String::from_utf8_lossy(&bytes);
        let text = match last {
            true => text.trim_end_matches(['\n', '\r']),
            false => &text,
        };
        Ok(Some(Line {
            text: text.to_owned(),
            first: !std::mem::replace(&mut self.within, !last),
            last,
        }))
    }
}

impl Printer {
    /// A message.
    pub(super) fn show(&mut self, text: &str) -> io::Result<()> {
        match self {
            Self::Editor(printer) => above(printer.as_mut(), format!("{text}\n")),
            Self::Stdout => writeln!(io::stdout(), "{text}"),
        }
    }

    /// Something about the connection rather than from it.
    pub(super) fn note(&mut self, text: &str) -> io::Result<()> {
        match self {
            Self::Editor(printer) => above(printer.as_mut(), format!("-- {text}\n")),
            Self::Stdout => {
                output::note(format_args!("-- {text}"));
                Ok(())
            }
        }
    }

    /// Whether somebody sits in front of it, and must press a key for the program to end.
    pub(super) fn interactive(&self) -> bool {
        matches!(self, Self::Editor(_))
    }
}

fn above(printer: &mut (dyn ExternalPrinter + Send), text: String) -> io::Result<()> {
    match printer.print(text.clone()) {
        Ok(()) => Ok(()),
        // The editor has ended in this moment, and the terminal is as it was: there is no prompt any more.
        Err(ReadlineError::Io(error))
            if matches!(error.kind(), ErrorKind::Other | ErrorKind::BrokenPipe) =>
        {
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        }
        Err(ReadlineError::Io(error)) => Err(error),
        Err(ReadlineError::Errno(error)) => Err(error.into()),
        Err(error) => Err(io::Error::other(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8]) -> Vec<Line> {
        let (mut from, mut parts) = (input, Parts::default());
        std::iter::from_fn(|| parts.next(&mut from).unwrap()).collect()
    }

    #[test]
    fn a_long_line_is_cut_at_characters_and_its_rest_is_text() {
        // The bound falls into a character; and what follows looks like a command.
        for ahead in 0..4 {
            let head = "x".repeat(ahead) + &"\u{1f426}".repeat(TEXT_BYTES_MAX / 4);
            let text = format!("{head}/quit");
            let found = lines(format!("{text}\nnext\r\n").as_bytes());
            let said: String = found[..found.len() - 1]
                .iter()
                .map(|it| &*it.text)
                .collect();
            assert!(said == text, "{ahead}");
            assert_eq!((found[0].first, found[0].last), (true, false));
            assert!(found.iter().all(|line| line.command().is_none()));
            assert!(found.iter().all(|line| line.text.len() <= TEXT_BYTES_MAX));
            assert_eq!(found.last(), Some(&Line::whole("next".into())));
        }
        let exact = "/".repeat(TEXT_BYTES_MAX);
        for line in lines(exact.as_bytes()) {
            assert_eq!(line.command(), None);
        }
        // A stream may end within a character; every byte is shown as one that is none.
        let cut = lines(&[b"x".repeat(TEXT_BYTES_MAX - 1), vec![0xe2, 0x82]].concat());
        assert_eq!(cut[1].text, "\u{fffd}");
        assert_eq!(lines(b"/quit")[0].command(), Some("/quit"));
        assert!(lines(b"").is_empty());
    }
}
