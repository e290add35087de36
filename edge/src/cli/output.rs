//! What a verb says, in a form that cannot panic. An answer, which the verb is for, fails with it; notes,
//! and what a server announces, are lost with whoever no longer reads them.

use std::fmt;
use std::io::{self, ErrorKind, Write as _};

use super::Failure;

/// Writes an answer to stdout. A reader that has seen enough (`| head`) is no failure.
pub(crate) fn print(answer: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    written(stdout.write_all(answer).and_then(|()| stdout.flush()))
}

/// What is told of an attempt to write an answer.
pub(super) fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::running(
            anyhow::Error::new(error).context("cannot write to stdout"),
        )),
        _ => Ok(()),
    }
}

/// A line on stdout that is no answer: the server goes on without whoever read it.
pub(crate) fn announce(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// A line on stderr. Where it cannot be written, there is nobody left to tell.
pub(crate) fn note(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}
