//! The router at work: its threads, its queues, its start and its end.
//!
//! `submit` -> intake (one thread: decides, stamps; what it must ask of a store on other hosts, the lookups'
//! threads ask) -> log (its own thread: commits, acks) ->
//! applier (one thread: seq, fan-out, store; over a log that many share, where it is the consumer, the
//! store has a thread of its own behind it); reads go to the readers, acks of devices to the receipts'
//! thread. Every queue is bounded. A thread waits only for the ones behind it, and the shards, at the end
//! of every chain, for none: so there is no circle.

mod acker;
mod applier;
mod apply;
mod audience;
mod ceiling;
mod channel;
pub mod clock;
mod commits;
pub mod config;
mod consumer;
pub mod counters;
mod dead_letters;
mod dispatch;
mod entering;
pub mod error;
mod fair;
mod inbox;
mod intake;
mod lookups;
mod memory;
mod openings;
mod permit;
mod progress;
mod queued;
mod reader;
mod receipts;
mod recovery;
mod retry;
mod sink;
mod skew;
pub mod space;
mod stamps;
mod startup;
mod storing;

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use rookery_metrics::Snapshot;
use rookery_wire::proto;

use crate::api::{Caller, Outlet, Request};
use crate::ended::ended;
use crate::log::{Acks, Feed, Log, LogError, Sink};
use crate::placement::SharedPlacement;
use crate::store::Store;
use channel::Sender;
use config::Config;
use counters::{Counters, Health};
use dispatch::Dispatch;
use error::StartError;
use inbox::Inboxes;
use intake::Write;
use lookups::Lookups;
use progress::Progress;
use queued::QueuedBytes;
use reader::{Read, Reads};
use receipts::Ack;
use sink::Work;
pub use startup::OpenedLog;

/// A queue is full, or the router is closed: the caller may answer Error `overloaded` with a
/// retry-after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the router's queue is full")]
pub struct Busy;

/// The router. Clones are cheap and may be used from any thread; the last one that goes closes it.
#[derive(Clone)]
pub struct RouterHandle {
    inner: Arc<Inner>,
}

/// The ways in. Gone once the router closes; the queues end then.
struct Doors {
    writes: Sender<(Caller, Write)>,
    reads: Arc<Reads>,
    acks: crossbeam::channel::Sender<Ack>,
}

/// The threads, and what goes with them.
struct Threads {
    /// One process per directory.
    lock: File,
    log: Arc<dyn Log>,
    intake: JoinHandle<()>,
    /// Ask what intake wants to know.
    lookups: Vec<JoinHandle<()>>,
    applier: JoinHandle<()>,
    /// Behind the applier: they end when it has.
    behind: Vec<JoinHandle<()>>,
    readers: Vec<JoinHandle<()>>,
    receipts: JoinHandle<()>,
}

impl Threads {
    fn all(&self) -> impl Iterator<Item = &JoinHandle<()>> {
        let front = [&self.applier, &self.intake, &self.receipts];
        let many = self.behind.iter().chain(&self.lookups);
        many.chain(&self.readers).chain(front)
    }
}

/// How the one that applies records is brought to its end.
enum Ending {
    /// It is told to; then the log closes.
    Told(Sender<Work>),
    /// The log closes, feeds the rest and then nothing more. The flag says that it is not to wait for a
    /// service that is away.
    Starved(Arc<AtomicBool>),
}

struct Inner {
    doors: RwLock<Option<Doors>>,
    threads: Mutex<Option<Threads>>,
    ending: Ending,
    reads: Arc<Reads>,
    lookups: Option<Arc<Lookups>>,
    dispatch: Arc<Dispatch>,
    progress: Arc<Progress>,
    inboxes: Arc<Inboxes>,
    counters: Arc<Counters>,
    queued: Arc<QueuedBytes>,
    store_failed: Arc<AtomicBool>,
    space_low: Arc<AtomicBool>,
    config: Config,
}

/// Opens the data directory, replays what the store lacks, and serves.
pub fn start(config: Config, outlet: Arc<dyn Outlet>) -> Result<RouterHandle, StartError> {
    startup::start(config, outlet, startup::open_commit_log)
}

/// The same over another log than the embedded one. `open_log` is given the sink for its answers.
pub fn start_on(
    config: Config,
    outlet: Arc<dyn Outlet>,
    open_log: impl FnOnce(&Config, Box<dyn Sink>) -> Result<OpenedLog, LogError>,
) -> Result<RouterHandle, StartError> {
    startup::start(config, outlet, open_log)
}

/// The router over a log and a store that other processes share, each behind its trait. `open_log` is
/// given where acks go, and where the records go that this process is to consume. `placement` may learn of
/// epochs meanwhile. The data directory
/// holds a lock and the ceiling of ids only.
pub fn start_shared(
    config: Config,
    outlet: Arc<dyn Outlet>,
    store: Arc<dyn Store>,
    placement: Arc<SharedPlacement>,
    open_log: impl FnOnce(Box<dyn Acks>, Box<dyn Feed>) -> Result<Arc<dyn Log>, LogError>,
) -> Result<RouterHandle, StartError> {
    startup::start_shared(config, outlet, store, placement, open_log)
}

impl RouterHandle {
    /// Takes a request; the answer comes through the outlet. Never blocks.
    pub fn submit(&self, caller: Caller, request: Request) -> Result<(), Busy> {
        match request {
            Request::Send(send) => self.write(caller, Write::Send(send)),
            Request::OpenDirect(open) => self.write(caller, Write::OpenDirect(open)),
            Request::CreateConversation(create) => {
                self.write(caller, Write::CreateConversation(create))
            }
            Request::Sync(sync) => self.read(caller, Read::Sync(sync)),
            Request::History(history) => self.read(caller, Read::History(history)),
            Request::Outbox(outbox) => self.read(caller, Read::Outbox(outbox)),
            Request::DeliverAck(ack) => {
                self.ack(caller, ack);
                Ok(())
            }
            Request::ListConversations(list) => self.read(caller, Read::ListConversations(list)),
            Request::ListMembers(list) => self.read(caller, Read::ListMembers(list)),
        }
    }

    /// The connection is gone: what it wants to read and nobody has begun with is let go of.
    pub fn gone(&self, caller: Caller) {
        let reads = &self.inner.reads;
        reads.remove(caller.user_id, |waiting| waiting.caller == caller);
    }

    /// Takes no more requests, finishes those that were accepted, syncs the store, moves the
    /// watermark and joins the threads. Blocks; a second call returns at once.
    pub fn close(&self) {
        self.inner.close();
    }

    /// The counters, live; the gauges as of this call.
    pub fn counters(&self) -> &Counters {
        let inner = &self.inner;
        let doors = inner.doors.read().unwrap_or_else(PoisonError::into_inner);
        let waiting = doors.as_ref().map_or(0, |doors| doors.writes.len());
        inner.counters.intake_queue.set(waiting as u64);
        if let Ending::Told(work) = &inner.ending {
            inner.counters.apply_queue.set(work.len() as u64);
        }
        inner.counters.applier_lag.set(inner.progress.in_flight());
        let gathering = inner.inboxes.rows() as u64;
        inner.counters.inbox_gathering.set(gathering);
        &inner.counters
    }

    /// How long the group commits of the embedded log took; nothing over Kafka, or while it closes.
    pub fn commits(&self) -> Snapshot {
        let threads = self.inner.threads.try_lock().ok();
        let log = threads.as_ref().and_then(|threads| threads.as_ref());
        log.map_or_else(Snapshot::default, |threads| threads.log.commits())
    }

    /// Whether new messages are taken.
    pub fn health(&self) -> Health {
        if self.inner.store_failed.load(Ordering::Relaxed) {
            Health::StoreFailed
        } else if self.inner.space_low.load(Ordering::Relaxed) {
            Health::StorageFull
        } else {
            Health::Serving
        }
    }

    /// Why the router stands still and this process must end: a thread of its own or of the log has ended
    /// before [`close`](Self::close). None while all is well.
    pub fn ended(&self) -> Option<String> {
        // Whoever closes it holds the lock.
        let threads = self.inner.threads.try_lock().ok()?;
        let threads = threads.as_ref()?;
        ended(threads.all()).or_else(|| threads.log.ended())
    }

    fn write(&self, caller: Caller, write: Write) -> Result<(), Busy> {
        let doors = self
            .inner
            .doors
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let doors = doors.as_ref().ok_or(Busy)?;
        let bytes = write.bytes();
        if !self.inner.queued.enter(bytes) {
            return Err(Busy);
        }
        doors.writes.try_send((caller, write)).map_err(|_| {
            self.inner.queued.leave(bytes);
            Busy
        })
    }

    fn read(&self, caller: Caller, read: Read) -> Result<(), Busy> {
        let doors = self
            .inner
            .doors
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let doors = doors.as_ref().ok_or(Busy)?;
        match doors.reads.put(caller, read) {
            true => Ok(()),
            false => Err(Busy),
        }
    }

    fn ack(&self, caller: Caller, ack: proto::DeliverAck) {
        let doors = self
            .inner
            .doors
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let taken = doors
            .as_ref()
            .is_some_and(|doors| doors.acks.try_send((caller, ack)).is_ok());
        if !taken {
            self.inner.counters.receipts_dropped.add(1);
        }
    }
}

impl Inner {
    /// Front to back: each thread ends when what is before it has, and its queue is empty.
    fn close(&self) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(threads) = threads.take() else {
            return;
        };
        if ended(threads.all()).is_some() {
            // Nobody waits for what will not come, nor reads as if it had.
            self.store_failed.store(true, Ordering::Relaxed);
            self.progress.give_up();
        }
        self.dispatch.close_within(self.config.close_grace);
        drop(
            self.doors
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        join(threads.intake);
        if let Some(lookups) = &self.lookups {
            lookups.close();
        }
        threads.lookups.into_iter().for_each(join);
        self.reads.close();
        // Readers may still wait for the applier, so they go before it.
        threads.readers.into_iter().for_each(join);
        join(threads.receipts);
        match &self.ending {
            Ending::Told(work) => {
                if work.send(Work::Finish).is_err() {
                    tracing::error!("the applier was gone before the end");
                }
                join(threads.applier);
                close_log(&*threads.log);
            }
            Ending::Starved(closing) => {
                closing.store(true, Ordering::Relaxed);
                close_log(&*threads.log);
                join(threads.applier);
            }
        }
        threads.behind.into_iter().for_each(join);
        // With these the directory is another one's to open, whoever still holds a handle.
        drop((threads.log, threads.lock));
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

fn close_log(log: &dyn Log) {
    if let Err(error) = log.close() {
        tracing::error!(%error, "the log did not close as it should");
    }
}

fn join(thread: JoinHandle<()>) {
    let name = thread.thread().name().unwrap_or_default().to_owned();
    if thread.join().is_err() {
        tracing::error!(name, "a thread had panicked");
    }
}
