//! The distributed log: Kafka's partitions hold the records, and every process of the group consumes some
//! of them. `docs/kafka.md` gives topics, settings and reasons.
//!
//! Four threads: one polls the producer, one answers appends ([`Acks`]), one polls the consumer, one
//! feeds what it read ([`Feed`]), and only that one may be kept waiting. It knows nothing of messages:
//! bodies are opaque, and the order of a key is the order of its partition.

mod answers;
mod begins;
mod check;
mod consumer;
mod dead_letters;
mod floors;
mod genesis;
mod handover;
mod health;
mod held;
mod lanes;
mod marks;
mod options;
mod producer;
mod rebalance;
mod timer;
mod topics;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, bounded};
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::{Acks, AppendError, Feed, Log, LogError, Offset, Partition, Record, Ticket};
use crate::ended::ended;
use crate::identity::Mismatch;
use crate::problem::Problem;
use answers::panic_text;
use begins::Begins;
use consumer::Consuming;
use dead_letters::{DeadLetters, Letter};
use floors::Floors;
use handover::Handover;
use health::{Health, Trouble};
use marks::Marks;
use producer::{Appender, service_error, spawn};
use rebalance::Group;

pub use check::check;
pub use genesis::{Beginnings, write_geneses};
pub use options::Options;
pub use topics::{PARTITIONS, REPLICATION, ensure, grow, is_empty, missing};

/// How long the feeder's thread may take to end, beyond what partitions are waited for.
const FEEDER_END: Duration = Duration::from_secs(2);

/// The threads that consume.
struct Threads {
    consumer: JoinHandle<()>,
    feeder: JoinHandle<()>,
    /// Told, by being dropped, when the feeder has ended.
    fed: Receiver<()>,
}

/// A log kept by Kafka. Dropping it closes it.
pub struct KafkaLog {
    appender: Appender,
    dead_letters: Arc<DeadLetters>,
    marks: Arc<Mutex<Marks>>,
    health: Arc<Health>,
    closing: Arc<AtomicBool>,
    threads: Mutex<Option<Threads>>,
    /// The first panic of the [`Feed`].
    feed_died: Arc<Mutex<Option<String>>>,
}

impl fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaLog").finish_non_exhaustive()
    }
}

/// Opens the log and joins the group. Blocks until a broker has said that the topics are there, some
/// seconds at most; after that brokers may come and go. An error says what is wrong and what to do.
pub fn open(
    options: Options,
    acks: Box<dyn Acks>,
    feed: Box<dyn Feed>,
) -> Result<KafkaLog, LogError> {
    options.check()?;
    topics::expect(&options)?;
    let health = Arc::new(Health::default());
    let marks = Arc::new(Mutex::new(Marks::default()));
    let closing = Arc::new(AtomicBool::new(false));
    let floors = Arc::new(Floors::default());
    let handover = Arc::new(Handover::default());
    let dead_letters = Arc::new(DeadLetters::new(options.clone()));
    let group = Group {
        topic: options.messages(),
        handover: handover.clone(),
        marks: marks.clone(),
        health: health.clone(),
        revoke_wait: Duration::from_millis(options.revoke_wait_ms.into()),
        gone: Mutex::new(Vec::new()),
        begins: Begins::default(),
    };
    let joined =
        options
            .consumer()
            .create_with_context(group)
            .and_then(|consumer: BaseConsumer<Group>| {
                consumer.subscribe(&[&options.messages()])?;
                Ok(consumer)
            });
    let consumer = joined.map_err(|error| service_error(&options, &error))?;
    let consuming = Consuming::new(consumer, floors.clone(), closing.clone());
    let appender = Appender::start(&options, acks, health.clone(), floors)?;
    let feed_died = Arc::new(Mutex::new(None));
    let threads = start(&options, consuming, handover, feed, feed_died.clone())
        .inspect_err(|_| drop(appender.close()))?;
    Ok(KafkaLog {
        appender,
        dead_letters,
        marks,
        health,
        closing,
        threads: Mutex::new(Some(threads)),
        feed_died,
    })
}

fn start(
    options: &Options,
    consuming: Consuming,
    handover: Arc<Handover>,
    mut feed: Box<dyn Feed>,
    died: Arc<Mutex<Option<String>>>,
) -> Result<Threads, LogError> {
    let (ended, fed) = bounded(0);
    let feeder = spawn(options, "rookery-log-feed", move || {
        let _ended: crossbeam::channel::Sender<()> = ended;
        let run = || {
            while let Some(next) = handover.take() {
                if !feed.feed(next) {
                    break;
                }
            }
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
            let reason = panic_text(&*panic);
            tracing::error!(reason, "the receiver of the log's records panicked");
            *died.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
        }
        handover.abandon();
    })?;
    let consumer = spawn(options, "rookery-log-read", move || consuming.run())?;
    Ok(Threads {
        consumer,
        feeder,
        fed,
    })
}

impl KafkaLog {
    /// What is wrong right now, as far as its own traffic has shown; empty while all is well.
    #[must_use]
    pub fn health(&self) -> Vec<Problem> {
        self.health.problems()
    }

    /// Ends it, since the store is another log's: nothing is acked or consumed from here on.
    pub fn end(&self, why: &Mismatch) {
        self.health
            .end_for(Trouble::Mismatch, &why.what, why.advice);
    }

    /// Asks the brokers for the topic's partitions, so that records can be appended to new ones at once.
    /// Blocks for some seconds at most.
    pub fn refresh(&self) -> Result<(), LogError> {
        self.appender.refresh()
    }

    /// The partitions that this process consumes at the moment, ascending.
    #[must_use]
    pub fn assigned(&self) -> Vec<Partition> {
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut partitions: Vec<Partition> =
            marks.partitions().into_iter().map(Partition).collect();
        partitions.sort_unstable();
        partitions
    }

    /// Leaves the group: what was fed is applied and committed, or given up in time.
    fn leave(&self, threads: Threads) -> Result<(), LogError> {
        self.closing.store(true, Ordering::Release);
        let consumer = threads.consumer.join();
        if threads.fed.recv_timeout(FEEDER_END)
            == Err(crossbeam::channel::RecvTimeoutError::Timeout)
        {
            tracing::warn!("the receiver of the log's records is still busy; it is left behind");
        } else if threads.feeder.join().is_err() {
            return Err(LogError::Died("the feeder panicked while it ended".into()));
        }
        let died = self
            .feed_died
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match (consumer, died) {
            (Ok(()), None) => Ok(()),
            (_, Some(reason)) => Err(LogError::Died(reason)),
            (Err(panic), None) => Err(LogError::Died(panic_text(&*panic))),
        }
    }
}

impl Log for KafkaLog {
    fn append(
        &self,
        partition: Partition,
        key: u64,
        body: Vec<u8>,
        ticket: Ticket,
    ) -> Result<(), AppendError> {
        self.appender.append(partition, key, body, ticket)
    }

    /// Of a partition that another process consumes it says nothing.
    fn set_watermark(&self, partition: Partition, offset: Offset) {
        self.marks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .applied(partition.0, offset.0);
    }

    fn bury(&self, record: &Record, reason: &str) -> Result<(), AppendError> {
        let buried = self.dead_letters.bury(Letter {
            partition: record.partition.0,
            offset: record.offset.0,
            key: &record.key.to_be_bytes(),
            body: &record.body,
            reason,
        });
        match &buried {
            Ok(()) => self.health.clear(&[Trouble::DeadLetters]),
            Err(error) => {
                let what = format!(
                    "the record at offset {} of partition {} ({reason}) cannot be kept: {error}",
                    record.offset, record.partition
                );
                self.health.note(Trouble::DeadLetters, &what);
            }
        }
        buried
    }

    /// The topic is not the log that the store was made from, the client takes no more, or a thread is gone.
    fn ended(&self) -> Option<String> {
        if let Some(why) = self.health.ended() {
            return Some(why.to_owned());
        }
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let threads = threads.as_ref()?;
        let consuming = [&threads.consumer, &threads.feeder];
        ended(consuming).or_else(|| self.appender.ended())
    }

    /// Answers what is queued, for the delivery's timeout at most; then has what was fed applied and
    /// committed and leaves the group. Not from within [`Feed`] or [`Acks`].
    fn close(&self) -> Result<(), LogError> {
        let appended = self.appender.close();
        let threads = self
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let left = threads.map_or(Ok(()), |threads| self.leave(threads));
        appended.and(left)
    }
}

impl Drop for KafkaLog {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "closing the log");
        }
    }
}
