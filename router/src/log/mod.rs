//! The embedded commit log: what was acked survives the process and the power.
//!
//! Feeders queue records without blocking; one thread commits them in groups, each durable before
//! its tickets are answered, into zero-filled segments that are recycled below the store's
//! watermark. `docs/commit-log.md` gives the files byte by byte and the reasons for each rule.
//! It knows nothing of messages: bodies are opaque, and order within a key is order in the log.

mod api;
mod format;
mod options;

use std::path::Path;

pub use api::{AppendError, Log, LogError, Offset, Record, Replay, Sink, Ticket};
pub use options::{BLOCK_BYTES, Options, WriterKind};

/// What was found when a log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// True where the directory held no log and one was made.
    pub created: bool,
    /// The store is durable below this: replay from here.
    pub watermark: Offset,
    /// The next record's offset; `end - watermark` records are to be replayed.
    pub end: Offset,
    /// Segments that hold live records.
    pub segments_live: u32,
    /// A commit was cut off by the crash: the file's name and the byte where the log now ends.
    pub torn: Option<(String, u64)>,
}

/// How far the zero-filling of a new log is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filling {
    /// Written so far.
    pub done: u64,
    /// Of so many.
    pub total: u64,
}

/// The embedded commit log. Dropping it closes it.
#[derive(Debug)]
pub struct CommitLog {}

/// Opens the log in `dir`, makes it where there is none (then `progress` hears how far the
/// zero-filling is), and starts its thread. Blocks while it reads the live segments.
pub fn open(
    dir: &Path,
    options: &Options,
    sink: Box<dyn Sink>,
    progress: &mut dyn FnMut(Filling),
) -> Result<(CommitLog, Recovered), LogError> {
    options.check()?;
    progress(Filling {
        done: 0,
        total: options.segment_bytes,
    });
    drop(sink);
    Err(LogError::Options(format!(
        "{}: not to be opened yet",
        dir.display()
    )))
}

impl Log for CommitLog {
    fn append(&self, _key: u64, _body: Vec<u8>, _ticket: Ticket) -> Result<(), AppendError> {
        Err(AppendError::Closed)
    }
    fn set_watermark(&self, _offset: Offset) {}
    fn end(&self) -> Offset {
        Offset(0)
    }
    fn read_from(&self, _offset: Offset) -> Result<Replay, LogError> {
        Ok(Box::new(std::iter::empty()))
    }
    fn close(&self) -> Result<(), LogError> {
        Ok(())
    }
}
