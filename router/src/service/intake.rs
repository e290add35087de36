//! Admission at work: decides, stamps, and gives records to the log.
//!
//! Runs on its own thread, so decisions are made one after the other and ids of messages grow in log order.
//! What has queued up is looked up together, since a lookup may be a round trip to another host; what is
//! needed only now and then is asked by other threads ([`Lookups`]) where the store is not in this process,
//! and this one goes on meanwhile. The invariant: a record is in [`Pending`] before the log has it, and until the store has it or, with a
//! log that others consume, until it is acked.

mod aside;
mod counting;
mod looking;
mod opening;
mod rating;
mod sending;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam::channel::{RecvTimeoutError, tick};
use rookery_wire::proto;

use super::channel::Receiver;
use super::config::Config;
use super::counters::Counters;
use super::dispatch::Dispatch;
use super::lookups::Lookups;
use super::progress::Progress;
use super::queued::QueuedBytes;
use super::reader::Reads;
use super::stamps::Stamps;
use crate::admission::{Conversations, Pending, Rates, Refusal};
use crate::api::Caller;
use crate::generations::Generations;
use crate::log::{AppendError, Log, Ticket};
use crate::placement::SharedPlacement;
use crate::store::{Store, StoreError};
pub(super) use aside::Aside;
pub(super) use rating::Charge;

/// Requests that are looked up together.
const BATCH_MAX: usize = 256;
/// How often the free space is looked at.
const SPACE_INTERVAL: Duration = Duration::from_millis(500);
/// Conversations that do not exist and are remembered, up to twice as many.
const ABSENT_MAX: usize = 10_000;
/// Members kept in memory, up to twice as many: 8 B each.
const MEMBERS_MAX: usize = 1_000_000;

/// A request that may become a record.
#[derive(Debug)]
pub(crate) enum Write {
    Send(proto::Send),
    OpenDirect(proto::OpenDirect),
    CreateConversation(proto::CreateConversation),
}

impl Write {
    /// What an Error is about.
    fn about(&self) -> proto::About {
        match self {
            Write::Send(send) => send.client_msg_id.into(),
            Write::OpenDirect(open) => open.request_id.into(),
            Write::CreateConversation(create) => create.request_id.into(),
        }
    }

    /// What it holds in the queue.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Write::Send(send) => send.payload.len(),
            Write::OpenDirect(_) => 0,
            Write::CreateConversation(create) => 8 * create.member_user_ids.len(),
        }
    }
}

/// The admission thread.
pub(crate) struct Intake {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) log: Arc<dyn Log>,
    pub(super) reads: Arc<Reads>,
    pub(crate) pending: Arc<Mutex<Pending>>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) dispatch: Arc<Dispatch>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) store_failed: Arc<AtomicBool>,
    pub(crate) space_low: Arc<AtomicBool>,
    pub(crate) queued: Arc<QueuedBytes>,
    pub(crate) config: Config,
    pub(super) stamps: Stamps,
    pub(crate) placement: Arc<SharedPlacement>,
    pub(crate) members: Generations<u64, Arc<[u64]>>,
    pub(crate) rates: Rates,
    /// How many users have, where this store is counted in.
    pub(crate) conversations: Generations<u64, Conversations>,
    /// Who asks a store on other hosts; none where it is in this process.
    pub(super) lookups: Option<Arc<Lookups>>,
    pub(super) aside: Aside,
    /// Conversations that do not exist, and until when that is believed, Unix ms.
    pub(super) absent: Generations<u64, u64>,
    /// Lookups that are not answered.
    pub(super) asked: usize,
    pub(crate) ticket: Ticket,
}

/// The cache of members that an intake starts with.
pub(crate) fn members_cache() -> Generations<u64, Arc<[u64]>> {
    Generations::new(MEMBERS_MAX)
}

/// Users whose conversations were counted, up to twice as many.
const COUNTED_MAX: usize = 100_000;

/// The cache of counts of conversations that an intake starts with.
pub(crate) fn conversations_cache() -> Generations<u64, Conversations> {
    Generations::new(COUNTED_MAX)
}

/// The cache of absent conversations that an intake starts with.
pub(super) fn absent_cache() -> Generations<u64, u64> {
    Generations::new(ABSENT_MAX)
}

/// What a request came to.
enum Decision {
    /// Answered now, with this frame.
    Answer(Vec<u8>),
    /// Answered later, by the log's thread or a reader.
    Later,
}

type Decided = Result<Decision, Refusal>;

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        match error {
            // The consumer and the services' own health tell of it; here it would be a line a request.
            StoreError::Away { .. } => tracing::debug!(%error, "a lookup failed"),
            _ => tracing::error!(%error, "a lookup failed"),
        }
        Refusal::UNAVAILABLE
    }
}

impl Intake {
    /// Works until nobody can send it anything more and all that it took is resolved.
    pub(crate) fn run(mut self, writes: &Receiver<(Caller, Write)>) {
        let looks = tick(SPACE_INTERVAL);
        let lookups = self.lookups.clone();
        let has_found = || lookups.as_ref().is_some_and(|it| it.has_found());
        self.look_at_space();
        loop {
            match writes.recv_timeout_or(SPACE_INTERVAL, has_found) {
                Ok(first) => {
                    let more = std::iter::from_fn(|| writes.try_recv().ok());
                    let all = std::iter::once(first).chain(more);
                    let batch = all.take(self.batch_max()).collect();
                    self.handle(batch);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.take_found();
            if looks.try_recv().is_ok() {
                self.look_at_space();
            }
        }
        self.finish_lookups();
        if !self.progress.wait_idle(self.config.close_grace) {
            tracing::error!("the log did not answer every record before the end");
        }
    }

    /// What is in hand waits for room with the first of it.
    fn batch_max(&self) -> usize {
        BATCH_MAX.min(self.config.in_flight_max)
    }

    fn look_at_space(&self) {
        let free = self.config.space.free_bytes(&self.config.data_dir);
        let low = free.is_some_and(|free| free < self.config.space_reserve_bytes);
        if self.space_low.swap(low, Ordering::Relaxed) != low {
            tracing::warn!(low, ?free, "free space in the data directory");
        }
    }

    fn handle(&mut self, batch: Vec<(Caller, Write)>) {
        let now_ms = self.config.clock.now_ms();
        let known = self.known(batch, now_ms);
        self.admit(known, now_ms);
    }

    /// Decides on those whose conversations are known as far as they ever will be.
    fn admit(&mut self, batch: Vec<(Caller, Write)>, now_ms: u64) {
        let permitted = self.stamps.check(now_ms);
        let claimed = permitted.map(|()| self.claim(&batch, now_ms));
        let mut claimed = claimed.unwrap_or_default().into_iter();
        for (caller, write) in batch {
            self.queued.leave(write.bytes());
            let about = write.about();
            self.wait_for_room();
            let decided = permitted.and_then(|()| match write {
                Write::Send(send) => {
                    let claimed = claimed.next().unwrap_or(Err(Refusal::UNAVAILABLE));
                    claimed.and_then(|claimed| self.send(caller, &send, claimed, now_ms))
                }
                Write::OpenDirect(open) => self.open_direct(caller, &open, now_ms),
                Write::CreateConversation(create) => self.create(caller, &create, now_ms),
            });
            self.answer(caller, about, decided);
        }
    }

    fn wait_for_room(&self) {
        let room = self.config.in_flight_max as u64;
        self.progress
            .wait_for_room(room, self.config.in_flight_bytes_max);
    }

    fn answer(&self, caller: Caller, about: proto::About, decided: Decided) {
        match decided {
            Ok(Decision::Later) => {}
            Ok(Decision::Answer(frame)) => self.dispatch.answer(caller, vec![frame]),
            Err(refusal) => {
                self.counters.refused.add(1);
                self.dispatch.answer(caller, vec![refusal.frame(about)]);
            }
        }
    }

    /// Gives a record that is pending under the next ticket to the log.
    fn append(&mut self, conversation_id: u64, body: Vec<u8>) -> Decided {
        let (ticket, bytes) = (self.ticket, body.len());
        let partition = match self.placement.of(conversation_id) {
            Ok(partition) => partition,
            // Another edge opened it under partitions that this one has not heard of: soon.
            Err(error) => {
                tracing::debug!(%error, "a message waits");
                self.pending().retract(ticket);
                return Err(Refusal::UNAVAILABLE);
            }
        };
        self.progress.issue(bytes);
        self.stamps.appends(ticket);
        match self.log.append(partition, conversation_id, body, ticket) {
            Ok(()) => {
                self.ticket += 1;
                self.counters.appended.add(1);
                Ok(Decision::Later)
            }
            Err(error) => {
                self.pending().retract(ticket);
                self.progress.retract(bytes);
                self.counters.append_failed.add(1);
                Err(refusal_of(&error))
            }
        }
    }

    fn check_store(&self) -> Result<(), Refusal> {
        if self.store_failed.load(Ordering::Relaxed) {
            return Err(Refusal::UNAVAILABLE);
        }
        Ok(())
    }

    fn check_space(&self) -> Result<(), Refusal> {
        if self.space_low.load(Ordering::Relaxed) {
            return Err(Refusal::STORAGE_FULL);
        }
        Ok(())
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a record that the log refused is refused with.
pub(super) fn refusal_of(error: &AppendError) -> Refusal {
    match error {
        AppendError::StorageFull => Refusal::STORAGE_FULL,
        AppendError::Full => Refusal::OVERLOADED,
        AppendError::TooLarge { .. } => Refusal::PAYLOAD_TOO_LARGE,
        AppendError::Failed { .. } | AppendError::TimedOut { .. } | AppendError::Closed => {
            Refusal::NOT_DURABLE
        }
    }
}
