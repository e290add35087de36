//! The embedded commit log: what was acked survives the process and the power.
//!
//! Feeders queue records without blocking; one thread commits them in groups, each durable before
//! its tickets are answered, into zero-filled segments that are recycled below the store's
//! watermark. `docs/commit-log.md` gives the files byte by byte and the reasons for each rule.
//! It knows nothing of messages: bodies are opaque, and order within a key is order in the log.

mod api;
mod block;
mod disk;
mod engine;
mod format;
pub mod kafka;
mod options;
mod queue;
mod recover;
mod replay;
mod scan;
mod service;
mod writer;

#[cfg(test)]
mod power_loss;
#[cfg(test)]
mod sim;

use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use disk::{Dir, Disk};
use engine::{Engine, find_or_create};
use queue::Pending;
use recover::Found;
use replay::Reader;
use rookery_metrics::Snapshot;
use service::{Service, Shared};
use writer::Writer;

use crate::ended::ended;

pub use api::{
    Acks, AppendError, Fed, Feed, Log, LogError, Offset, Partition, Record, Replay, Replayed, Sink,
    Ticket,
};
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

impl Recovered {
    fn of(found: &Found, created: bool) -> Self {
        let last = found.live.last().filter(|_| found.torn);
        Self {
            created,
            watermark: found.control.watermark,
            end: found.end,
            segments_live: found.live.len() as u32,
            torn: last.map(|last| (format::segment_name(last.slot), found.position)),
        }
    }
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
pub struct CommitLog {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    log_id: u64,
    segment_bytes: u64,
    record_bytes_max: usize,
    thread: Mutex<Option<JoinHandle<Result<(), String>>>>,
}

impl fmt::Debug for CommitLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (dir, end) = (self.disk.path(""), self.end());
        f.debug_struct("CommitLog")
            .field("dir", &dir)
            .field("end", &end)
            .finish_non_exhaustive()
    }
}

/// Opens the log in `dir`, makes it where there is none (then `progress` hears how far the
/// zero-filling of its first segment is), and starts its thread. Blocks while it reads the live
/// segments. A log keeps the segment length that it was made with.
pub fn open(
    dir: &Path,
    options: &Options,
    sink: Box<dyn Sink>,
    progress: &mut dyn FnMut(Filling),
) -> Result<(CommitLog, Recovered), LogError> {
    options.check(options.segment_bytes)?;
    let disk: Arc<dyn Disk> = Arc::new(Dir::open(dir)?);
    let (path, asked) = (dir.to_owned(), options.clone());
    open_on(
        disk,
        options,
        sink,
        progress,
        Box::new(move || writer::make(path, &asked)),
    )
}

/// Makes a writer on the log's thread.
type MakeWriter = Box<dyn FnOnce() -> Result<Box<dyn Writer>, LogError> + Send>;

fn open_on(
    disk: Arc<dyn Disk>,
    options: &Options,
    sink: Box<dyn Sink>,
    progress: &mut dyn FnMut(Filling),
    make_writer: MakeWriter,
) -> Result<(CommitLog, Recovered), LogError> {
    let (mut found, created) = find_or_create(&disk, random_id(), options.segment_bytes)?;
    let segment_bytes = found.control.segment_bytes;
    options.check(segment_bytes)?;
    if found.live.is_empty() && found.spares.is_empty() {
        make_first_segment(&*disk, segment_bytes, progress)?;
        found.spares.push(0);
    }
    let recovered = Recovered::of(&found, created);
    let log_id = found.control.log_id;
    let shared = Arc::new(Shared::new(options, found.end, &found.live));
    let thread = start(&disk, &shared, options, found, sink, make_writer)?;
    let log = CommitLog {
        shared,
        disk,
        log_id,
        segment_bytes,
        record_bytes_max: options.record_bytes_max,
        thread: Mutex::new(Some(thread)),
    };
    Ok((log, recovered))
}

/// Unguessable, so that no body can hold what would pass for a batch of this log.
fn random_id() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn make_first_segment(
    disk: &dyn Disk,
    total: u64,
    progress: &mut dyn FnMut(Filling),
) -> Result<(), LogError> {
    let name = format::segment_name(0);
    let mut tell = |done| {
        progress(Filling { done, total });
        ControlFlow::Continue(())
    };
    disk.create_zeroed(&name, total, &mut tell)
        .map_err(|source| LogError::Io {
            doing: "zero-filling the first segment",
            file: disk.path(&name),
            source,
        })
}

/// Starts the log's thread and waits until its writer stands.
fn start(
    disk: &Arc<dyn Disk>,
    shared: &Arc<Shared>,
    options: &Options,
    found: Found,
    sink: Box<dyn Sink>,
    make_writer: MakeWriter,
) -> Result<JoinHandle<Result<(), String>>, LogError> {
    let (disk, shared, options) = (disk.clone(), shared.clone(), options.clone());
    let file = disk.path("");
    let (tell, told) = mpsc::sync_channel(1);
    let run = move || {
        let engine = make_writer().and_then(|writer| Engine::new(disk.clone(), writer, found));
        let (engine, started) = match engine {
            Ok(engine) => (Some(engine), Ok(())),
            Err(error) => (None, Err(error)),
        };
        // The opener waits for this, so it is there to hear.
        drop(tell.send(started));
        match engine {
            Some(engine) => Service::new(shared, disk, options, engine, sink).run(),
            None => Ok(()),
        }
    };
    let thread = thread::Builder::new()
        .name("rookery-log".into())
        .spawn(run)
        .map_err(|source| LogError::Io {
            doing: "starting the log's thread",
            file,
            source,
        })?;
    match told.recv() {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(LogError::Died("it ended while it started".into())),
    }
}

impl Log for CommitLog {
    fn append(
        &self,
        _only: Partition,
        key: u64,
        body: Vec<u8>,
        ticket: Ticket,
    ) -> Result<(), AppendError> {
        if body.len() > self.record_bytes_max {
            let bytes_max = self.record_bytes_max;
            return Err(AppendError::TooLarge {
                bytes: body.len(),
                bytes_max,
            });
        }
        if self.shared.storage_full.load(Ordering::Acquire) {
            return Err(AppendError::StorageFull);
        }
        self.shared.queue.push(Pending { key, body, ticket })
    }

    fn set_watermark(&self, _only: Partition, offset: Offset) {
        self.shared.watermark.fetch_max(offset.0, Ordering::AcqRel);
        self.shared.queue.bell().ring();
    }

    /// Only this program writes here, so what cannot be applied is a defect or damage: it stops the
    /// store, and nothing is skipped.
    fn bury(&self, record: &Record, reason: &str) -> Result<(), AppendError> {
        Err(AppendError::Failed {
            reason: format!("the record at offset {}: {reason}", record.offset),
        })
    }

    fn commits(&self) -> Snapshot {
        self.shared.commits.snapshot()
    }

    fn ended(&self) -> Option<String> {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        ended(thread.as_ref())
    }

    fn close(&self) -> Result<(), LogError> {
        self.shared.closing.store(true, Ordering::Release);
        self.shared.queue.bell().ring();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match thread.map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(reason))) => Err(LogError::Died(reason)),
            Some(Err(_)) => Err(LogError::Died("it panicked while it ended".into())),
        }
    }
}

impl Replayed for CommitLog {
    fn end(&self) -> Offset {
        Offset(self.shared.end.load(Ordering::Acquire))
    }

    fn read_from(&self, offset: Offset) -> Result<Replay, LogError> {
        let end = self.end();
        let live = self.shared.live();
        let oldest = live.first().map_or(end, |first| first.base);
        if offset < oldest {
            return Err(LogError::Gone {
                asked: offset,
                oldest,
            });
        }
        Ok(Box::new(Reader {
            disk: self.disk.clone(),
            shared: self.shared.clone(),
            log_id: self.log_id,
            segment_bytes: self.segment_bytes,
            segments: live.into(),
            next: offset,
            end,
            scan: None,
            records: VecDeque::new(),
        }))
    }
}

impl Drop for CommitLog {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "closing the log");
        }
    }
}
