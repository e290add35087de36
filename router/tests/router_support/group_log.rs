//! A log in memory that several routers write and consume, as a consumer group does: partitions move,
//! politely or behind the back of the one that had them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded, unbounded};
use rookery_router::log::{
    Acks, AppendError, Fed, Feed, Log, LogError, Offset, Partition, Record, Ticket,
};
use rookery_router::placement::{self, Placement, SharedPlacement};

pub const PARTITIONS: u32 = 4;
/// Small batches, so that commits and moves fall between them.
const BATCH: usize = 7;

/// What the brokers hold.
#[derive(Default)]
pub struct Brokers {
    partitions: Mutex<HashMap<Partition, Vec<Record>>>,
    pub dead_letters: Mutex<Vec<(Record, String)>>,
    /// So many of the next appends are written, and yet said to have timed out.
    pub written_and_timed_out: AtomicU64,
    /// The log takes no more.
    pub fatal: AtomicBool,
    /// The clock by which records are taken, Unix ms; 0: nobody is told.
    pub now_ms: AtomicU64,
}

impl Brokers {
    pub fn new() -> Arc<Brokers> {
        Arc::default()
    }

    pub fn partition_of(key: u64) -> Partition {
        Partition(placement::partition_of(key, PARTITIONS))
    }

    /// Their partitions, as a router is told of them.
    pub fn placement() -> Arc<SharedPlacement> {
        let counts = Placement::new(vec![PARTITIONS]).unwrap();
        Arc::new(SharedPlacement::new(counts))
    }

    /// Writes a record without a router.
    pub fn write(&self, key: u64, body: Vec<u8>) -> (Partition, Offset) {
        self.write_to(Self::partition_of(key), key, body)
    }

    fn write_to(&self, partition: Partition, key: u64, body: Vec<u8>) -> (Partition, Offset) {
        let mut partitions = self.partitions.lock().unwrap();
        let records = partitions.entry(partition).or_default();
        // Every third offset is the log's own.
        let offset = Offset(
            records
                .last()
                .map_or(0, |last| last.offset.0 + 1 + last.offset.0 % 3 / 2),
        );
        records.push(Record {
            partition,
            offset,
            at_ms: self.now_ms.load(Ordering::SeqCst),
            key,
            body,
        });
        (partition, offset)
    }

    pub fn records(&self) -> usize {
        self.partitions.lock().unwrap().values().map(Vec::len).sum()
    }

    fn from(&self, partition: Partition, next: u64) -> Vec<Record> {
        let partitions = self.partitions.lock().unwrap();
        let records = partitions.get(&partition).map_or(&[][..], Vec::as_slice);
        let begin = records.partition_point(|record| record.offset.0 < next);
        records[begin..].iter().take(BATCH).cloned().collect()
    }
}

/// A partition, a key, a body, and the ticket of its append.
type Append = (Partition, u64, Vec<u8>, Ticket);

/// Partitions that wait to hear where they begin.
type Awaited = (Vec<Partition>, Receiver<Vec<(Partition, Offset)>>);

/// One router's end of the log.
pub struct GroupLog {
    brokers: Arc<Brokers>,
    acks: Mutex<Option<Sender<Append>>>,
    consumed: Arc<Mutex<HashMap<Partition, u64>>>,
    awaited: Arc<Mutex<Vec<Awaited>>>,
    feed: Arc<Mutex<Box<dyn Feed>>>,
    closed: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl GroupLog {
    pub fn open(brokers: &Arc<Brokers>, acks: Box<dyn Acks>, feed: Box<dyn Feed>) -> Arc<GroupLog> {
        let (give, take) = unbounded();
        let log = Arc::new(GroupLog {
            brokers: Arc::clone(brokers),
            acks: Mutex::new(Some(give)),
            consumed: Arc::default(),
            awaited: Arc::default(),
            feed: Arc::new(Mutex::new(feed)),
            closed: Arc::default(),
            threads: Mutex::default(),
        });
        let producer = {
            let brokers = Arc::clone(brokers);
            std::thread::spawn(move || produce(&brokers, &take, acks))
        };
        let consumer = {
            let (brokers, consumed) = (Arc::clone(brokers), Arc::clone(&log.consumed));
            let (feed, closed) = (Arc::clone(&log.feed), Arc::clone(&log.closed));
            let awaited = Arc::clone(&log.awaited);
            std::thread::spawn(move || {
                while !closed.load(Ordering::SeqCst) {
                    begin(&consumed, &awaited, &feed);
                    consume(&brokers, &consumed, &feed);
                }
            })
        };
        log.threads.lock().unwrap().extend([producer, consumer]);
        log
    }

    fn consumed(&self) -> MutexGuard<'_, HashMap<Partition, u64>> {
        self.consumed.lock().unwrap()
    }

    /// Gives it partitions, from where it says.
    pub fn assign(&self, partitions: &[Partition]) {
        let mut feed = self.feed.lock().unwrap();
        let (begin, told) = bounded(1);
        let partitions = partitions.to_vec();
        self.awaited
            .lock()
            .unwrap()
            .push((partitions.clone(), told));
        feed.feed(Fed::Assigned { partitions, begin });
    }

    /// Gives it partitions, and nothing of what they hold.
    pub fn assign_stuck(&self, partitions: &[Partition]) {
        let mut feed = self.feed.lock().unwrap();
        let (begin, _) = bounded(1);
        let partitions = partitions.to_vec();
        feed.feed(Fed::Assigned { partitions, begin });
    }

    /// Takes them away, and waits until it has let go.
    pub fn revoke(&self, partitions: &[Partition]) {
        let (done, gone) = bounded(0);
        {
            let mut feed = self.feed.lock().unwrap();
            self.let_go(partitions);
            feed.feed(Fed::Revoked {
                partitions: partitions.to_vec(),
                done,
            });
        }
        let _ = gone.recv_timeout(Duration::from_secs(60));
    }

    /// Tells it that they were taken away some time ago. Until then it goes on with them.
    pub fn lose(&self, partitions: &[Partition]) {
        let mut feed = self.feed.lock().unwrap();
        self.let_go(partitions);
        feed.feed(Fed::Lost(partitions.to_vec()));
    }

    fn let_go(&self, partitions: &[Partition]) {
        self.consumed().retain(|id, _| !partitions.contains(id));
        for (awaited, _) in &mut *self.awaited.lock().unwrap() {
            awaited.retain(|id| !partitions.contains(id));
        }
    }
}

fn produce(brokers: &Brokers, take: &Receiver<Append>, mut acks: Box<dyn Acks>) {
    while let Ok(first) = take.recv() {
        let mut appends: Vec<Append> = std::iter::once(first).chain(take.try_iter()).collect();
        // Each partition's in order, and no more.
        appends.sort_by_key(|(partition, ..)| std::cmp::Reverse(*partition));
        for (partition, key, body, ticket) in appends {
            let at_ms = brokers.now_ms.load(Ordering::SeqCst);
            let (partition, offset) = brokers.write_to(partition, key, body);
            let unlucky = |left: u64| left.checked_sub(1);
            let timed_out = &brokers.written_and_timed_out;
            match timed_out.fetch_update(Ordering::SeqCst, Ordering::SeqCst, unlucky) {
                Ok(_) => {
                    let reason = "no answer".to_owned();
                    acks.failed(ticket, &AppendError::TimedOut { reason });
                }
                Err(_) => acks.acked(ticket, partition, offset, at_ms),
            }
        }
        acks.end_of_batch();
    }
}

/// Sets going what was told where it begins.
fn begin(
    consumed: &Mutex<HashMap<Partition, u64>>,
    awaited: &Mutex<Vec<Awaited>>,
    feed: &Mutex<Box<dyn Feed>>,
) {
    // Nothing is assigned or revoked meanwhile.
    let _feed = feed.lock().unwrap();
    awaited.lock().unwrap().retain(|(partitions, told)| {
        let Ok(begin) = told.try_recv() else {
            return true;
        };
        let ours = begin.into_iter().filter(|(id, _)| partitions.contains(id));
        let ours = ours.map(|(id, offset)| (id, offset.0));
        consumed.lock().unwrap().extend(ours);
        false
    });
}

fn consume(
    brokers: &Brokers,
    consumed: &Mutex<HashMap<Partition, u64>>,
    feed: &Mutex<Box<dyn Feed>>,
) {
    let mut idle = true;
    for partition in (0..PARTITIONS).map(Partition) {
        let mut feed = feed.lock().unwrap();
        let next = consumed.lock().unwrap().get(&partition).copied();
        let Some(next) = next else { continue };
        let records = brokers.from(partition, next);
        let Some(last) = records.last() else { continue };
        idle = false;
        let after = last.offset.0 + 1;
        feed.feed(Fed::Records(records));
        consumed.lock().unwrap().insert(partition, after);
    }
    if idle {
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

impl Log for GroupLog {
    fn append(
        &self,
        partition: Partition,
        key: u64,
        body: Vec<u8>,
        ticket: Ticket,
    ) -> Result<(), AppendError> {
        let acks = self.acks.lock().unwrap();
        let acks = acks.as_ref().ok_or(AppendError::Closed)?;
        acks.send((partition, key, body, ticket))
            .map_err(|_| AppendError::Closed)
    }

    fn set_watermark(&self, _: Partition, _: Offset) {
        // For those who look at a group's lag.
    }

    fn bury(&self, record: &Record, reason: &str) -> Result<(), AppendError> {
        let mut dead = self.brokers.dead_letters.lock().unwrap();
        dead.push((record.clone(), reason.to_owned()));
        Ok(())
    }

    fn ended(&self) -> Option<String> {
        let is_dead = self.brokers.fatal.load(Ordering::SeqCst);
        is_dead.then(|| "the brokers fenced this one".to_owned())
    }

    fn close(&self) -> Result<(), LogError> {
        let partitions: Vec<Partition> = self.consumed().keys().copied().collect();
        self.acks.lock().unwrap().take();
        if !self.closed.swap(true, Ordering::SeqCst) {
            for thread in self.threads.lock().unwrap().drain(..) {
                thread.join().unwrap();
            }
            if !partitions.is_empty() {
                self.revoke(&partitions);
            }
            // Nothing is fed any more.
            *self.feed.lock().unwrap() = Box::new(Nobody);
        }
        Ok(())
    }
}

struct Nobody;

impl Feed for Nobody {
    fn feed(&mut self, _: Fed) -> bool {
        false
    }
}
