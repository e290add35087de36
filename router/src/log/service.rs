//! The log's thread: gathers what is queued into batches, has the engine commit them, answers the
//! tickets, and between commits moves the watermark and asks for spare segments. The zero-filling
//! runs on a thread of its own, one segment at a time.

use std::io;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rookery_metrics::Histogram;

use super::api::{AppendError, Offset, Partition, Record, Sink};
use super::disk::Disk;
use super::engine::{CommitError, Engine, blame};
use super::format::{Batch, segment_name};
use super::options::Options;
use super::queue::{Pending, Queue};
use super::recover::Segment;

/// What the handle and the log's thread both see.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    /// The handle asks for the end.
    pub(crate) closing: AtomicBool,
    /// No room for a segment that is needed: appends are refused at the door.
    pub(crate) storage_full: AtomicBool,
    /// The highest watermark asked for.
    pub(crate) watermark: AtomicU64,
    /// The durable end.
    pub(crate) end: AtomicU64,
    /// How long commits took.
    pub(crate) commits: Histogram,
    /// Where to read: the live segments.
    pub(crate) live: Mutex<Vec<Segment>>,
}

impl Shared {
    pub(crate) fn new(options: &Options, engine_end: Offset, live: &[Segment]) -> Self {
        Self {
            queue: Queue::new(options.queue_records_max, options.queue_bytes_max),
            closing: AtomicBool::new(false),
            storage_full: AtomicBool::new(false),
            watermark: AtomicU64::new(0),
            end: AtomicU64::new(engine_end.0),
            commits: Histogram::default(),
            live: Mutex::new(live.to_vec()),
        }
    }

    pub(crate) fn live(&self) -> Vec<Segment> {
        self.live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

type Filled = Mutex<Option<io::Result<()>>>;

/// A segment being zero-filled.
struct Fill {
    slot: u32,
    result: Arc<Filled>,
    cancel: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// The state of the log's thread.
pub(crate) struct Service {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    options: Options,
    engine: Engine,
    sink: Box<dyn Sink>,
    batch: Batch,
    /// The records of `batch`, in order.
    pending: Vec<Pending>,
    /// Those being answered, the next one last. Not empty at rest only if the sink panicked.
    answering: Vec<Pending>,
    /// Popped, but did not fit in `batch`: the first of the next.
    over: Option<Pending>,
    fill: Option<Fill>,
    /// A fill failed: not again before this.
    fill_not_before: Option<Instant>,
    /// The control file could not be written: not again before this.
    advance_not_before: Option<Instant>,
}

/// What a turn found to do.
enum Turn {
    Worked,
    Idle,
    Done,
}

impl Service {
    pub(crate) fn new(
        shared: Arc<Shared>,
        disk: Arc<dyn Disk>,
        options: Options,
        engine: Engine,
        sink: Box<dyn Sink>,
    ) -> Self {
        Self {
            batch: Batch::new(options.batch_bytes_max),
            shared,
            disk,
            options,
            engine,
            sink,
            pending: Vec::new(),
            answering: Vec::new(),
            over: None,
            fill: None,
            fill_not_before: None,
            advance_not_before: None,
        }
    }

    /// Runs until the handle closes. A panic, of the sink or of the writer's library, ends it in
    /// good order: every ticket is answered, later appends are refused, and `close` tells.
    pub(crate) fn run(mut self) -> Result<(), String> {
        self.shared.queue.bell().serve();
        let ended = catch_unwind(AssertUnwindSafe(|| self.serve()));
        self.shared.queue.close();
        if let Some(fill) = self.fill.take() {
            fill.cancel.store(true, Ordering::Release);
            join(fill.thread);
        }
        let Err(panic) = ended else { return Ok(()) };
        let reason = panic_text(&*panic);
        tracing::error!(reason, "the log's thread died");
        let told = catch_unwind(AssertUnwindSafe(|| self.refuse_all()));
        if told.is_err() {
            tracing::error!("the sink panicked again while the open tickets were failed");
        }
        // The writer may be what panicked: its library's state is not to be touched again.
        self.engine.abandon();
        Err(reason)
    }

    fn serve(&mut self) {
        loop {
            match self.turn() {
                Turn::Worked => {}
                Turn::Idle => self.sleep(),
                Turn::Done => break,
            }
        }
        self.engine.settle();
    }

    /// One batch at most.
    fn turn(&mut self) -> Turn {
        self.take_filled();
        self.advance();
        self.ask_for_spare();
        self.gather();
        if !self.pending.is_empty() {
            return self.commit();
        }
        if self.shared.closing.load(Ordering::Acquire) {
            self.shared.queue.close();
            return if self.shared.queue.drained() {
                Turn::Done
            } else {
                Turn::Worked
            };
        }
        Turn::Idle
    }

    fn sleep(&self) {
        let at_present = now();
        let timers = [self.fill_not_before, self.advance_not_before];
        let due = timers
            .into_iter()
            .flatten()
            .map(|at| at.saturating_duration_since(at_present));
        // A fill that died says nothing, so it is looked after.
        let wait = due
            .chain(self.fill.as_ref().map(|_| self.options.retry_full))
            .min();
        let shared = &self.shared;
        shared.queue.bell().sleep(wait, || {
            // A held batch waits for its segment, not for more records.
            (self.pending.is_empty() && !shared.queue.is_empty())
                || (self.pending.is_empty() && shared.closing.load(Ordering::Acquire))
                || (self.advance_not_before.is_none() && self.watermark_due().is_some())
                || self.fill.as_ref().is_some_and(Fill::is_done)
        });
    }

    /// Fills the batch from the queue, unless one is still held for want of a segment.
    fn gather(&mut self) {
        if !self.pending.is_empty() {
            return;
        }
        self.batch.clear();
        while let Some(next) = self.over.take().or_else(|| self.shared.queue.pop()) {
            if !self.batch.push(next.key, &next.body) {
                self.over = Some(next);
                break;
            }
            self.pending.push(next);
        }
    }

    fn commit(&mut self) -> Turn {
        let began = now();
        let committed = self.engine.commit(&mut self.batch);
        self.shared.commits.record(began.elapsed());
        // Before the new end is: a reader takes the end first and then finds it in a segment.
        self.publish_live();
        match committed {
            Ok(base) => self.answer(base),
            Err(CommitError::Failed(error)) => self.refuse(&error),
            Err(CommitError::NoSpare) if self.fill.is_some() => return Turn::Idle,
            Err(CommitError::NoSpare) => {
                if !self.shared.storage_full.swap(true, Ordering::AcqRel) {
                    tracing::error!(
                        files = self.engine.files(),
                        "no room for another log segment: appends are refused"
                    );
                }
                self.refuse(&AppendError::StorageFull);
            }
        }
        Turn::Worked
    }

    /// Its room in the queue is free, and each is to be answered, after what a panic left.
    fn take_pending(&mut self) {
        self.shared.queue.release(&self.pending);
        let left = std::mem::take(&mut self.answering);
        self.answering.extend(self.pending.drain(..).rev());
        self.answering.extend(left);
    }

    fn answer(&mut self, base: Offset) {
        self.take_pending();
        self.shared
            .end
            .store(self.engine.end().0, Ordering::Release);
        let mut offset = base;
        while let Some(entry) = self.answering.pop() {
            let record = Record {
                partition: Partition::ONLY,
                offset,
                at_ms: 0,
                key: entry.key,
                body: entry.body,
            };
            self.sink.durable(record, entry.ticket);
            offset = offset.plus(1);
        }
        self.sink.end_of_batch();
    }

    fn refuse(&mut self, error: &AppendError) {
        self.take_pending();
        while let Some(entry) = self.answering.pop() {
            self.sink.failed(entry.ticket, error);
        }
        self.sink.end_of_batch();
    }

    /// After a panic: nothing that was taken goes without an answer.
    fn refuse_all(&mut self) {
        self.refuse(&AppendError::Closed);
        while !self.shared.queue.drained() {
            self.pending.extend(self.over.take());
            while let Some(entry) = self.shared.queue.pop() {
                self.pending.push(entry);
            }
            self.refuse(&AppendError::Closed);
        }
    }

    fn watermark_due(&self) -> Option<Offset> {
        let asked = Offset(self.shared.watermark.load(Ordering::Acquire)).min(self.engine.end());
        (asked > self.engine.watermark()).then_some(asked)
    }

    fn advance(&mut self) {
        if self.advance_not_before.is_some_and(|at| now() < at) {
            return;
        }
        self.advance_not_before = None;
        let Some(watermark) = self.watermark_due() else {
            return;
        };
        if !self.engine.advance(watermark) {
            self.advance_not_before = Some(now() + self.options.retry_full);
        }
        self.publish_live();
        self.note_room();
    }

    fn publish_live(&self) {
        let mut live = self
            .shared
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *live != self.engine.live() {
            *live = self.engine.live().to_vec();
        }
    }

    fn note_room(&self) {
        if self.engine.spares() > 0 && self.shared.storage_full.swap(false, Ordering::AcqRel) {
            tracing::info!("there is room for log segments again");
        }
    }

    /// Starts to zero-fill a segment where fewer than wanted are ready.
    fn ask_for_spare(&mut self) {
        if self.fill_not_before.is_some_and(|at| now() < at) {
            return;
        }
        self.fill_not_before = None;
        let enough = self.engine.spares() >= self.options.segments_spare.max(1);
        let bound = self.engine.files() >= self.options.segments_max;
        let ending = self.shared.closing.load(Ordering::Acquire) && self.pending.is_empty();
        if self.fill.is_some() || enough || bound || ending {
            return;
        }
        match self.start_fill() {
            Ok(fill) => self.fill = Some(fill),
            Err(error) => self.put_off_fill(&error),
        }
    }

    fn start_fill(&self) -> io::Result<Fill> {
        let slot = self.engine.slot_next();
        let bytes = self.engine.segment_bytes();
        let result = Arc::new(Filled::default());
        let cancel = Arc::new(AtomicBool::new(false));
        let cancelled = cancel.clone();
        let (disk, shared, out) = (self.disk.clone(), self.shared.clone(), result.clone());
        let thread = std::thread::Builder::new()
            .name("rookery-log-fill".into())
            .spawn(move || {
                let filled =
                    disk.create_zeroed(&segment_name(slot), bytes, &mut |_| match cancelled
                        .load(Ordering::Acquire)
                    {
                        true => ControlFlow::Break(()),
                        false => ControlFlow::Continue(()),
                    });
                *out.lock().unwrap_or_else(PoisonError::into_inner) = Some(filled);
                shared.queue.bell().ring();
            })?;
        Ok(Fill {
            slot,
            result,
            cancel,
            thread,
        })
    }

    fn take_filled(&mut self) {
        let Some(fill) = self.fill.take_if(|fill| fill.is_done()) else {
            return;
        };
        join(fill.thread);
        match fill
            .result
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            Some(Ok(())) => self.engine.add_spare(fill.slot),
            Some(Err(error)) => self.put_off_fill(&error),
            None => self.put_off_fill(&io::Error::other("the filling thread died")),
        }
        self.note_room();
    }

    fn put_off_fill(&mut self, error: &io::Error) {
        tracing::warn!(error = %blame(error), "a spare log segment could not be made");
        self.fill_not_before = Some(now() + self.options.retry_full.max(Duration::from_millis(1)));
    }
}

impl Fill {
    fn is_done(&self) -> bool {
        self.thread.is_finished()
            || self
                .result
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_some()
    }
}

/// For when to try again, never for what is written.
#[expect(
    clippy::disallowed_methods,
    reason = "the log's thread has timers of its own"
)]
fn now() -> Instant {
    Instant::now()
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("the thread that fills log segments panicked");
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".into())
}
