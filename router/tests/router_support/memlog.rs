//! A log in memory with the promises of the real one, whose answers can be held back and made to
//! fail, and that outlives the router that writes it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use rookery_router::log::{
    AppendError, Log, LogError, Offset, Partition, Record, Recovered, Replay, Replayed, Sink,
    Ticket,
};
use rookery_router::{Config, OpenedLog};

/// What lies "on disk", and the test's hand on it.
#[derive(Default)]
pub struct Disk {
    records: Mutex<Vec<Record>>,
    watermark: AtomicU64,
    /// The watermark is not written any more.
    pub stuck_watermark: AtomicBool,
    /// Records are answered with a version that nobody knows; on the disk they are sound.
    pub garble: AtomicBool,
    /// The outcomes of the next commits, where they fail.
    pub failures: Mutex<VecDeque<AppendError>>,
    held: Mutex<bool>,
    let_go: Condvar,
}

impl Disk {
    pub fn new() -> Arc<Disk> {
        Arc::default()
    }

    /// Commits wait until `release`.
    pub fn hold(&self) {
        *self.held.lock().unwrap() = true;
    }

    pub fn release(&self) {
        *self.held.lock().unwrap() = false;
        self.let_go.notify_all();
    }

    pub fn len(&self) -> usize {
        self.records.lock().unwrap().len()
    }

    pub fn watermark(&self) -> u64 {
        self.watermark.load(Ordering::SeqCst)
    }

    /// Opens it; for `start_on`.
    pub fn open(self: &Arc<Disk>, _: &Config, sink: Box<dyn Sink>) -> Result<OpenedLog, LogError> {
        let queue = Arc::new(Queue::default());
        let (disk, taken) = (Arc::clone(self), Arc::clone(&queue));
        let thread = std::thread::spawn(move || commit_all(&disk, &taken, sink));
        let recovered = Recovered {
            watermark: Offset(self.watermark()),
            end: Offset(self.len() as u64),
            ..Recovered::default()
        };
        let log = MemLog {
            disk: Arc::clone(self),
            queue,
            thread: Mutex::new(Some(thread)),
        };
        Ok((Arc::new(log), recovered))
    }
}

#[derive(Default)]
struct Entries {
    queued: VecDeque<(u64, Vec<u8>, Ticket)>,
    closed: bool,
}

#[derive(Default)]
struct Queue {
    entries: Mutex<Entries>,
    came: Condvar,
}

fn commit_all(disk: &Disk, queue: &Queue, mut sink: Box<dyn Sink>) {
    loop {
        let idle = |entries: &mut Entries| entries.queued.is_empty() && !entries.closed;
        let entries = queue.entries.lock().unwrap();
        let mut entries = queue.came.wait_while(entries, idle).unwrap();
        let batch = std::mem::take(&mut entries.queued);
        if batch.is_empty() {
            return;
        }
        drop(entries);
        drop(
            disk.let_go
                .wait_while(disk.held.lock().unwrap(), |held| *held)
                .unwrap(),
        );
        let failure = disk.failures.lock().unwrap().pop_front();
        for (key, body, ticket) in batch {
            if let Some(error) = &failure {
                sink.failed(ticket, error);
                continue;
            }
            let mut records = disk.records.lock().unwrap();
            let mut record = Record {
                partition: Partition::ONLY,
                offset: Offset(records.len() as u64),
                at_ms: 0,
                key,
                body,
            };
            records.push(record.clone());
            drop(records);
            if disk.garble.load(Ordering::SeqCst) {
                record.body[0] = 99;
            }
            sink.durable(record, ticket);
        }
        sink.end_of_batch();
    }
}

struct MemLog {
    disk: Arc<Disk>,
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Log for MemLog {
    fn append(
        &self,
        _: Partition,
        key: u64,
        body: Vec<u8>,
        ticket: Ticket,
    ) -> Result<(), AppendError> {
        self.queue
            .entries
            .lock()
            .unwrap()
            .queued
            .push_back((key, body, ticket));
        self.queue.came.notify_all();
        Ok(())
    }

    fn bury(&self, record: &Record, reason: &str) -> Result<(), AppendError> {
        let reason = format!("{}: {reason}", record.offset);
        Err(AppendError::Failed { reason })
    }

    fn set_watermark(&self, _: Partition, offset: Offset) {
        assert!(offset <= self.end());
        if !self.disk.stuck_watermark.load(Ordering::SeqCst) {
            self.disk.watermark.fetch_max(offset.0, Ordering::SeqCst);
        }
    }

    fn ended(&self) -> Option<String> {
        None
    }

    fn close(&self) -> Result<(), LogError> {
        self.queue.entries.lock().unwrap().closed = true;
        self.queue.came.notify_all();
        if let Some(thread) = self.thread.lock().unwrap().take() {
            thread.join().unwrap();
        }
        Ok(())
    }
}

impl Replayed for MemLog {
    fn end(&self) -> Offset {
        Offset(self.disk.len() as u64)
    }

    fn read_from(&self, offset: Offset) -> Result<Replay, LogError> {
        let records = self.disk.records.lock().unwrap().clone();
        Ok(Box::new(
            records.into_iter().skip(offset.0 as usize).map(Ok),
        ))
    }
}
