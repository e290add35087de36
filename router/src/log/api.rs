//! The face of a log: what the router asks of one partition, whether it is the embedded commit log
//! or a partition of a distributed one. Not here: how either keeps its promise.
//!
//! The promise: a record handed to [`Sink::durable`] is on stable storage, offsets are dense, and
//! [`Log::read_from`] yields the same records in the same order after any crash. A record whose
//! append failed, or that was in flight when the process died, may still be read back, whole: the
//! consumer removes duplicates, the log does not.

use std::path::PathBuf;
use std::{fmt, io};

/// The number of a record within its partition: 0, 1, 2, … without holes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    /// The offset `records` further on.
    #[must_use]
    pub fn plus(self, records: u64) -> Self {
        Self(self.0 + records)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one append until it is answered. Opaque to the log and never written.
pub type Ticket = u64;

/// A record as it is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the partition.
    pub offset: Offset,
    /// The key that chose the partition: the conversation's id.
    pub key: u64,
    /// Opaque bytes.
    pub body: Vec<u8>,
}

/// Where the outcome of every accepted append goes: exactly one call per ticket, on the log's own
/// thread, in log order. It must not block: the next commit waits for it.
pub trait Sink: Send {
    /// The record is durable: what a reader will be given, with the ticket of its append.
    fn durable(&mut self, record: Record, ticket: Ticket);
    /// The append failed; the record may or may not be read back after a restart.
    fn failed(&mut self, ticket: Ticket, error: &AppendError);
    /// No more outcomes of this commit: the time to hand on what was gathered.
    fn end_of_batch(&mut self) {}
}

/// The records of a replay, oldest first. Ends at what was durable when it began.
pub type Replay = Box<dyn Iterator<Item = Result<Record, LogError>> + Send>;

/// One partition of a log.
pub trait Log: Send + Sync {
    /// Queues a record. Never blocks; `Ok` means that the sink will hear of the ticket, an error
    /// that it will not.
    fn append(&self, key: u64, body: Vec<u8>, ticket: Ticket) -> Result<(), AppendError>;

    /// Everything below `offset` is durable in the store and need not be read again. Only grows;
    /// takes effect in the background.
    fn set_watermark(&self, offset: Offset);

    /// The first offset that is not durable yet.
    fn end(&self) -> Offset;

    /// The records from `offset` (not below the watermark) to the durable end of this moment.
    /// The reading blocks: not for a shard's thread.
    fn read_from(&self, offset: Offset) -> Result<Replay, LogError>;

    /// Commits what is queued, answers every ticket and stops. Later appends are refused.
    /// Blocks; a second call does nothing.
    fn close(&self) -> Result<(), LogError>;
}

/// Why an append was refused, or failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The queue holds as much as it may: try again later.
    #[error("the log's queue is full")]
    Full,
    /// The body is longer than `Options::record_bytes_max`.
    #[error("a record of {bytes} bytes; the log takes {bytes_max}")]
    TooLarge {
        /// The body's length.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// No room for another segment: appends are taken again once there is.
    #[error("the log's storage is full")]
    StorageFull,
    /// The device refused a write. The log goes on in another segment if it can.
    #[error("the log could not write: {reason}")]
    Failed {
        /// What the kernel said.
        reason: String,
    },
    /// The log was closed, or its thread died.
    #[error("the log is closed")]
    Closed,
}

/// Why a log cannot be opened, read or closed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The options contradict each other or what is on disk.
    #[error("log options: {0}")]
    Options(String),
    /// Another process has the log open.
    #[error("{}: another process has this log open", dir.display())]
    Locked {
        /// The log's directory.
        dir: PathBuf,
    },
    /// The host lacks something that the chosen writer needs.
    #[error("the {writer} writer cannot start: {reason}")]
    Host {
        /// Which writer.
        writer: &'static str,
        /// What is missing, and what to do.
        reason: String,
    },
    /// A file operation failed.
    #[error("{}: {doing}: {source}", file.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        file: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The files are of a version that this program does not read.
    #[error("{}: format version {found}; this program reads version {known}", file.display())]
    Version {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Acked records are missing or damaged. Nothing was changed on disk.
    #[error("{} at byte {position}: {what}. Nothing was changed. {advice}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// The byte within it.
        position: u64,
        /// What is wrong there.
        what: String,
        /// What the operator can do.
        advice: &'static str,
    },
    /// The records asked for are below the watermark and their segment is gone.
    #[error("offset {asked} is below the oldest kept record, {oldest}")]
    Gone {
        /// What was asked for.
        asked: Offset,
        /// The oldest that can be read.
        oldest: Offset,
    },
    /// The log's thread ended by itself: a defect of ours or of the writer's library.
    #[error("the log's thread died: {0}")]
    Died(String),
}
