//! From a directory to a router that serves: lock, log, store, replay, threads.

use std::collections::{HashSet, VecDeque};
use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use super::acker::Acker;
use super::applier::ApplierThread;
use super::apply::Applier;
use super::channel::{Receiver, bounded};
use super::commits::Commits;
use super::config::Config;
use super::consumer::{Consumer, FED_MAX, Feeder};
use super::counters::Counters;
use super::dead_letters::DeadLetters;
use super::dispatch::Dispatch;
use super::entering::Entering;
use super::error::StartError;
use super::inbox::Inboxes;
use super::intake::{self, Aside, Intake, Write};
use super::lookups::{self, Lookups};
use super::permit::Permit;
use super::progress::Progress;
use super::queued::QueuedBytes;
use super::reader::{Reader, Reads};
use super::receipts::{Receipts, ReceiptsWriter};
use super::recovery;
use super::retry::Retry;
use super::sink::{AckSink, Committed, Work};
use super::stamps::Stamps;
use super::storing::{StoreWriter, Storing};
use super::{Doors, Ending, Inner, RouterHandle, Threads};
use crate::admission::{Pending, Rates};
use crate::api::{Caller, Outlet};
use crate::log::{self, Acks, Feed, Log, LogError, Recovered, Replayed, Sink};
use crate::placement::{Placement, SharedPlacement};
use crate::store::fjall::FjallStore;
use crate::store::{Position, Store, StoreError};

/// How long what was acked may take into a shared store before a read is refused.
const READ_PATIENCE: Duration = Duration::from_secs(2);

/// A log that was opened, and what was found.
pub type OpenedLog = (Arc<dyn Replayed>, Recovered);

/// Opens the embedded commit log under the data directory.
pub(super) fn open_commit_log(config: &Config, sink: Box<dyn Sink>) -> Result<OpenedLog, LogError> {
    let dir = config.data_dir.join("log");
    let mut told = false;
    let mut progress = |filling: log::Filling| {
        if !std::mem::replace(&mut told, true) {
            tracing::info!(bytes = filling.total, "zero-filling the log's segments");
        }
    };
    let (log, recovered) = log::open(&dir, &config.log, sink, &mut progress)?;
    Ok((Arc::new(log), recovered))
}

/// What the log's answers need, which come from the moment it is open.
struct Answering {
    pending: Arc<Mutex<Pending>>,
    progress: Arc<Progress>,
    dispatch: Arc<Dispatch>,
    counters: Arc<Counters>,
}

impl Answering {
    fn new(outlet: Arc<dyn Outlet>) -> Self {
        let counters = Arc::new(Counters::default());
        Self {
            pending: Arc::default(),
            progress: Arc::default(),
            dispatch: Arc::new(Dispatch::new(outlet, Arc::clone(&counters))),
            counters,
        }
    }
}

/// Everything that the threads share.
struct Parts {
    config: Config,
    store: Arc<dyn Store>,
    log: Arc<dyn Log>,
    placement: Arc<SharedPlacement>,
    pending: Arc<Mutex<Pending>>,
    progress: Arc<Progress>,
    dispatch: Arc<Dispatch>,
    counters: Arc<Counters>,
    inboxes: Arc<Inboxes>,
    store_failed: Arc<AtomicBool>,
    space_low: Arc<AtomicBool>,
    queued: Arc<QueuedBytes>,
    patience: Option<Duration>,
}

/// Starts over whatever log `open_log` gives.
pub(super) fn start(
    config: Config,
    outlet: Arc<dyn Outlet>,
    open_log: impl FnOnce(&Config, Box<dyn Sink>) -> Result<OpenedLog, LogError>,
) -> Result<RouterHandle, StartError> {
    config.check()?;
    let lock = lock(&config.data_dir)?;
    let answering = Answering::new(outlet);
    // Each commit has a record that is in flight, so this queue is never full.
    let (work, to_apply) = bounded(config.in_flight_max + 2);
    let sink = AckSink {
        clock: Arc::clone(&config.clock),
        pending: Arc::clone(&answering.pending),
        progress: Arc::clone(&answering.progress),
        dispatch: Arc::clone(&answering.dispatch),
        counters: Arc::clone(&answering.counters),
        work: work.clone(),
        gathered: Committed::default(),
        tickets: Vec::new(),
    };
    let (log, recovered) = open_log(&config, Box::new(sink)).map_err(recovery::log_error)?;
    let store_dir = config.data_dir.join("store");
    let store: Arc<dyn Store> = Arc::new(
        FjallStore::open(&store_dir, config.store_cache_bytes)
            .map_err(|error| recovery::store_error(&store_dir, &error))?,
    );
    store.note_time(config.clock.now_ms());
    let position = recovery::recover(log.as_ref(), &recovered, &store, &store_dir, &config)?;
    let placement = Arc::new(SharedPlacement::new(Placement::single()));
    let parts = Parts::new(config, store, log, placement, answering, None);
    let entering = parts.entering();
    let (wake, woken) = crossbeam::channel::bounded(1);
    let applier = parts.applier(position, to_apply, Arc::clone(&entering), wake);
    let (interval, failed) = (
        parts.config.persist_interval,
        Arc::clone(&parts.store_failed),
    );
    let entering = spawn("router-inboxes", move || {
        if let Err(error) = entering.run(&woken, interval) {
            tracing::error!(%error, "inboxes could not be written");
            failed.store(true, Ordering::Relaxed);
            // The store is opened again; until the router closes this thread lives as the others do.
            woken.iter().for_each(drop);
        }
    })?;
    let applying = Applying {
        // With it goes what wakes the other.
        run: Box::new(move || applier.run()),
        behind: vec![entering],
        ending: Ending::Told(work),
    };
    let stamps = Stamps::new(parts.config.node_id, position);
    parts.serve(stamps, applying, lock)
}

/// The thread that applies records, and how it ends.
struct Applying {
    run: Box<dyn FnOnce() + Send>,
    /// Threads that end when it has.
    behind: Vec<JoinHandle<()>>,
    ending: Ending,
}

/// Starts over a log and a store that others share.
pub(super) fn start_shared(
    mut config: Config,
    outlet: Arc<dyn Outlet>,
    store: Arc<dyn Store>,
    placement: Arc<SharedPlacement>,
    open_log: impl FnOnce(Box<dyn Acks>, Box<dyn Feed>) -> Result<Arc<dyn Log>, LogError>,
) -> Result<RouterHandle, StartError> {
    config.check_shared()?;
    let lock = lock(&config.data_dir)?;
    let answering = Answering::new(outlet);
    let service = |error: StoreError| StartError::Service(error.to_string());
    let position = store.position().map_err(service)?;
    let permit = Permit::open(&config, position, &answering.counters)?;
    config.clock = Arc::clone(&permit) as _;
    let acker = Acker {
        permit: Arc::clone(&permit),
        pending: Arc::clone(&answering.pending),
        progress: Arc::clone(&answering.progress),
        dispatch: Arc::clone(&answering.dispatch),
        counters: Arc::clone(&answering.counters),
        tickets: Vec::new(),
        late: VecDeque::new(),
        answered: (0, 0),
    };
    let (feed, fed) = crossbeam::channel::bounded(FED_MAX);
    let log = open_log(Box::new(acker), Box::new(Feeder(feed))).map_err(recovery::log_error)?;
    let parts = Parts::new(
        config,
        store,
        log,
        placement,
        answering,
        Some(READ_PATIENCE),
    );
    let interval = parts.config.persist_interval;
    let stamps = Stamps::permitted(parts.config.node_id, Arc::clone(&permit));
    let closing = Arc::new(AtomicBool::new(false));
    let commits = Arc::new(Commits::new(
        Arc::clone(&parts.store),
        Arc::clone(&parts.log),
        Arc::clone(&parts.config.clock),
        Arc::clone(&permit),
        Arc::clone(&parts.inboxes),
        parts.entering(),
    ));
    let storing = Arc::new(Storing::default());
    let retry = Retry {
        closing: Arc::clone(&closing),
        counters: Arc::clone(&parts.counters),
    };
    let dead_letters = DeadLetters {
        log: Arc::clone(&parts.log),
        retry: retry.clone(),
    };
    let writer = StoreWriter {
        storing: Arc::clone(&storing),
        store: Arc::clone(&parts.store),
        commits: Arc::clone(&commits),
        progress: Arc::clone(&parts.progress),
        counters: Arc::clone(&parts.counters),
        dead_letters: dead_letters.clone(),
        retry: retry.clone(),
        gather: parts.config.gather,
    };
    let consumer = Consumer {
        applier: Applier::shared(
            Arc::clone(&parts.store),
            Arc::clone(&parts.inboxes),
            position,
        ),
        store: Arc::clone(&parts.store),
        dead_letters,
        storing,
        commits: Arc::clone(&commits),
        inboxes: Arc::clone(&parts.inboxes),
        clock: Arc::clone(&parts.config.clock),
        held: HashSet::new(),
        fed,
        progress: Arc::clone(&parts.progress),
        dispatch: Arc::clone(&parts.dispatch),
        counters: Arc::clone(&parts.counters),
        retry,
    };
    let (ending, ended) = crossbeam::channel::bounded(0);
    let looking = spawn("router-clock", permit.looks(&parts.store, ended.clone()))?;
    let committing = spawn("router-commits", move || commits.run(&ended, interval))?;
    let writing = spawn("router-store", move || writer.run())?;
    let consume = move || {
        // Also where it panics.
        let _ending: crossbeam::channel::Sender<()> = ending;
        consumer.run();
    };
    let applying = Applying {
        run: Box::new(consume),
        behind: vec![writing, committing, looking],
        ending: Ending::Starved(closing),
    };
    parts.serve(stamps, applying, lock)
}

impl Parts {
    fn new(
        config: Config,
        store: Arc<dyn Store>,
        log: Arc<dyn Log>,
        placement: Arc<SharedPlacement>,
        answering: Answering,
        patience: Option<Duration>,
    ) -> Self {
        Self {
            queued: Arc::new(QueuedBytes::new(config.intake_bytes_max)),
            inboxes: Arc::new(Inboxes::new(config.inbox_rows_max)),
            store_failed: Arc::default(),
            space_low: Arc::default(),
            patience,
            config,
            store,
            log,
            placement,
            pending: answering.pending,
            progress: answering.progress,
            dispatch: answering.dispatch,
            counters: answering.counters,
        }
    }

    fn serve(
        self,
        stamps: Stamps,
        applying: Applying,
        lock: File,
    ) -> Result<RouterHandle, StartError> {
        let (writes, to_admit) = bounded::<(Caller, Write)>(self.config.intake_queue_max);
        let reads = Arc::new(Reads::new(self.config.read_queue_max));
        let (acks, receipts) = Receipts::new(
            &self.config,
            Arc::clone(&self.inboxes),
            Arc::clone(&self.counters),
        );
        let writer = self.receipts_writer(&receipts);
        // A store on other hosts may be slow, or hang.
        let lookups = self.patience.map(|_| {
            let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.config.clock));
            let limits = self.config.conversations;
            Arc::new(Lookups::new(to_admit.bell(), store, clock, limits))
        });
        let intake = self.intake(stamps, Arc::clone(&reads), lookups.clone());
        let mut asking = Vec::new();
        for lookups in lookups
            .iter()
            .flat_map(|it| std::iter::repeat_n(it, lookups::THREADS))
        {
            let (members, openings) = (Arc::clone(lookups), Arc::clone(lookups));
            asking.push(spawn("router-members", move || members.run_members())?);
            asking.push(spawn("router-openings", move || openings.run_openings())?);
        }
        let threads = Threads {
            lock,
            log: Arc::clone(&self.log),
            applier: spawn("router-applier", applying.run)?,
            behind: applying.behind,
            intake: spawn("router-intake", move || intake.run(&to_admit))?,
            lookups: asking,
            readers: (0..self.config.readers)
                .map(|_| {
                    let (reader, reads) = (self.reader(&receipts), Arc::clone(&reads));
                    spawn("router-reader", move || reader.run(&reads))
                })
                .collect::<Result<_, _>>()?,
            receipts: spawn("router-receipts", move || writer.run())?,
        };
        let inner = Inner {
            doors: RwLock::new(Some(Doors {
                writes,
                reads: Arc::clone(&reads),
                acks,
            })),
            threads: Mutex::new(Some(threads)),
            ending: applying.ending,
            reads,
            lookups,
            dispatch: self.dispatch,
            progress: self.progress,
            inboxes: self.inboxes,
            counters: self.counters,
            queued: self.queued,
            store_failed: self.store_failed,
            space_low: self.space_low,
            config: self.config,
        };
        Ok(RouterHandle {
            inner: Arc::new(inner),
        })
    }

    fn entering(&self) -> Arc<Entering> {
        Arc::new(Entering::new(
            Arc::clone(&self.store),
            Arc::clone(&self.inboxes),
            Arc::clone(&self.config.clock),
        ))
    }

    fn applier(
        &self,
        position: Position,
        work: Receiver<Work>,
        entering: Arc<Entering>,
        wake: crossbeam::channel::Sender<()>,
    ) -> ApplierThread {
        ApplierThread {
            applier: Applier::new(Arc::clone(&self.store), Arc::clone(&self.inboxes), position),
            store: Arc::clone(&self.store),
            inboxes: Arc::clone(&self.inboxes),
            entering,
            wake,
            log: Arc::clone(&self.log),
            work,
            pending: Arc::clone(&self.pending),
            progress: Arc::clone(&self.progress),
            dispatch: Arc::clone(&self.dispatch),
            counters: Arc::clone(&self.counters),
            store_failed: Arc::clone(&self.store_failed),
            config: self.config.clone(),
            buffered_bytes: 0,
        }
    }

    fn intake(&self, stamps: Stamps, reads: Arc<Reads>, lookups: Option<Arc<Lookups>>) -> Intake {
        Intake {
            store: Arc::clone(&self.store),
            log: Arc::clone(&self.log),
            reads,
            pending: Arc::clone(&self.pending),
            progress: Arc::clone(&self.progress),
            dispatch: Arc::clone(&self.dispatch),
            counters: Arc::clone(&self.counters),
            store_failed: Arc::clone(&self.store_failed),
            space_low: Arc::clone(&self.space_low),
            queued: Arc::clone(&self.queued),
            config: self.config.clone(),
            stamps,
            placement: Arc::clone(&self.placement),
            members: intake::members_cache(),
            rates: Rates::new(&self.config.rates.load()),
            conversations: intake::conversations_cache(),
            lookups,
            aside: Aside::default(),
            absent: intake::absent_cache(),
            asked: 0,
            ticket: 0,
        }
    }

    fn receipts_writer(&self, receipts: &Arc<Receipts>) -> ReceiptsWriter {
        ReceiptsWriter {
            receipts: Arc::clone(receipts),
            store: Arc::clone(&self.store),
            dispatch: Arc::clone(&self.dispatch),
            counters: Arc::clone(&self.counters),
            config: self.config.clone(),
        }
    }

    fn reader(&self, receipts: &Arc<Receipts>) -> Reader {
        Reader {
            store: Arc::clone(&self.store),
            inboxes: Arc::clone(&self.inboxes),
            placement: Arc::clone(&self.placement),
            progress: Arc::clone(&self.progress),
            dispatch: Arc::clone(&self.dispatch),
            counters: Arc::clone(&self.counters),
            store_failed: Arc::clone(&self.store_failed),
            config: self.config.clone(),
            receipts: Arc::clone(receipts),
            patience: self.patience,
        }
    }
}

/// Makes the directory, and takes it for this process.
fn lock(dir: &Path) -> Result<File, StartError> {
    let data_dir = |source| StartError::DataDir {
        path: dir.to_owned(),
        source,
    };
    std::fs::create_dir_all(dir).map_err(data_dir)?;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(dir.join("lock"))
        .map_err(data_dir)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::Locked {
            path: dir.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(data_dir(source)),
    }
}

fn spawn(
    name: &'static str,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, StartError> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(run)
        .map_err(|source| StartError::Thread { name, source })
}
