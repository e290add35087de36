//! The face of a log, embedded or distributed. Not here: how either keeps its promise.
//!
//! The promise: a record of which the log said that it is durable is on stable storage, it lies in the
//! partition that it was appended to, offsets of a partition only grow, and the consumer is given the same
//! records in the same order after any crash. A record whose append failed, or that was in flight when
//! the process died, may still be read back, whole: the consumer removes duplicates, the log does not.
//!
//! The embedded log has one partition, numbered 0, whose only consumer is the process that writes it:
//! its records come with their acks ([`Sink`]). Of a distributed log many processes consume some
//! partitions each, which the log shares out among them: acks ([`Acks`]) and records ([`Feed`]) come
//! apart.

use std::path::PathBuf;
use std::{fmt, io};

use rookery_metrics::Snapshot;

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

/// The number of a partition within its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u32);

impl Partition {
    /// The partition of a log that has one.
    pub const ONLY: Partition = Partition(0);
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one append until it is answered. Opaque to the log and never written.
pub type Ticket = u64;

/// A record as it is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it lies.
    pub partition: Partition,
    /// Its place in the partition.
    pub offset: Offset,
    /// When the log took it, Unix ms, by its own clock; 0 from an embedded log, which has none.
    pub at_ms: u64,
    /// The conversation's id.
    pub key: u64,
    /// Opaque bytes.
    pub body: Vec<u8>,
}

/// Where the outcome of every accepted append to an embedded log goes: exactly one call per ticket, on
/// the log's own thread, in log order. It must not block: the next commit waits for it.
pub trait Sink: Send {
    /// The record is durable, and here it is for this process to consume.
    fn durable(&mut self, record: Record, ticket: Ticket);
    /// The append failed; the record may or may not be read back after a restart.
    fn failed(&mut self, ticket: Ticket, error: &AppendError);
    /// No more outcomes of this commit: the time to hand on what was gathered.
    fn end_of_batch(&mut self) {}
}

/// Where the outcome of every accepted append to a distributed log goes: exactly one call per ticket, on
/// one thread of the log, in the order of each partition. It must not block.
pub trait Acks: Send {
    /// The record is durable at this place since `at_ms`, Unix ms by the log's own clock; 0 where it does
    /// not say. Whoever consumes the partition is given it by its [`Feed`].
    fn acked(&mut self, ticket: Ticket, partition: Partition, offset: Offset, at_ms: u64);
    /// The append failed; the record may or may not be consumed all the same.
    fn failed(&mut self, ticket: Ticket, error: &AppendError);
    /// No more outcomes for the moment: the time to hand on what was gathered.
    fn end_of_batch(&mut self) {}
    /// Something could not be handed on yet: [`end_of_batch`](Self::end_of_batch) is to be called again soon,
    /// also without another outcome.
    fn has_late(&self) -> bool {
        false
    }
}

/// What the consumer of a distributed log is given, in order, from one thread.
#[derive(Debug)]
pub enum Fed {
    /// This process consumes the partitions from now on. Whatever was known of their conversations may
    /// be stale.
    Assigned {
        /// Which.
        partitions: Vec<Partition>,
        /// To be told where each begins, once; none of their records comes before. Takes as long as it
        /// takes: the log goes on with its other partitions meanwhile.
        begin: crossbeam::channel::Sender<Vec<(Partition, Offset)>>,
    },
    /// Records of one partition, in order, offsets ascending (with holes where the log has records of
    /// its own).
    Records(Vec<Record>),
    /// The partitions go to another process. What was fed of them is to be applied and committed
    /// first; then `done` is dropped. The log waits for that, but not for ever.
    Revoked {
        /// Which.
        partitions: Vec<Partition>,
        /// Dropped when nothing of them is in hand any more.
        done: crossbeam::channel::Sender<()>,
    },
    /// They were taken away already (this process was thought dead): another one consumes them, and
    /// nothing of them may be committed any more.
    Lost(Vec<Partition>),
}

/// Where [`Fed`] goes. May block: the log reads ahead only so far.
pub trait Feed: Send {
    /// Hands it on; false where nobody consumes any more.
    fn feed(&mut self, fed: Fed) -> bool;
}

/// The records of a replay, oldest first. Ends at what was durable when it began.
pub type Replay = Box<dyn Iterator<Item = Result<Record, LogError>> + Send>;

/// A log.
pub trait Log: Send + Sync {
    /// Queues a record for a partition ([`Placement`](crate::placement::Placement) tells which). Never
    /// blocks; `Ok` means that the sink will hear of the ticket, an error that it will not.
    fn append(
        &self,
        partition: Partition,
        key: u64,
        body: Vec<u8>,
        ticket: Ticket,
    ) -> Result<(), AppendError>;

    /// Everything of the partition below `offset` is durable in the store and need not be read again.
    /// Only grows; takes effect in the background, and may be lost with the process.
    fn set_watermark(&self, partition: Partition, offset: Offset);

    /// Keeps a record that cannot be applied, with the reason, where people find it. Durable when this
    /// returns; blocks. An error means that it was not kept, and that consuming must not go on past it.
    fn bury(&self, record: &Record, reason: &str) -> Result<(), AppendError>;

    /// Why this process must end, and what is to be done first: nothing is acked, or nothing consumed, any
    /// more, and nobody asked for that. None while it may go on.
    fn ended(&self) -> Option<String>;

    /// How long its group commits took; nothing where others make records durable.
    fn commits(&self) -> Snapshot {
        Snapshot::default()
    }

    /// Commits what is queued, answers every ticket and stops. Later appends are refused.
    /// Blocks; a second call does nothing.
    fn close(&self) -> Result<(), LogError>;
}

/// A log of one partition that the process which writes it reads back at its start.
pub trait Replayed: Log {
    /// The first offset that is not durable yet.
    fn end(&self) -> Offset;

    /// The records from `offset` (not below the watermark) to the durable end of this moment.
    /// The reading blocks: not for a shard's thread.
    fn read_from(&self, offset: Offset) -> Result<Replay, LogError>;
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
    /// The log took too long, and may have the record all the same.
    #[error("the log did not answer: {reason}")]
    TimedOut {
        /// What was waited for.
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
    /// A distributed log cannot be reached, or is not as it must be.
    #[error("{service}: {reason}")]
    Service {
        /// Which service, and where.
        service: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The log's thread ended by itself: a defect of ours or of the writer's library.
    #[error("the log's thread died: {0}")]
    Died(String),
}
