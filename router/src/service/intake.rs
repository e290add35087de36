//! Admission at work: decides, stamps, and gives records to the log.
//!
//! Runs on its own thread, so decisions are made one after the other and ids grow in log order.
//! The invariant: a record is in [`Pending`] before the log has it, and until the store has it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam::channel::{RecvTimeoutError, Sender, TrySendError, tick};
use rookery_wire::proto;

use super::channel::Receiver;
use super::config::Config;
use super::counters::Counters;
use super::outbox::Outbox;
use super::progress::Progress;
use super::queued::QueuedBytes;
use super::reader::Read;
use crate::admission::{
    Known, Pending, Refusal, Seen, check_peer, dedup_holds, members_of_new, payload_hash,
};
use crate::api::Caller;
use crate::generations::Generations;
use crate::hlc::Hlc;
use crate::ids::Snowflake;
use crate::log::{AppendError, Log, Ticket};
use crate::record::{Message, OpenKey, Opened};
use crate::store::{Store, StoreError};

/// How often the free space is looked at.
const SPACE_INTERVAL: Duration = Duration::from_millis(500);
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
    /// The id that an Error carries.
    fn request_id(&self) -> u64 {
        match self {
            Write::Send(send) => send.client_msg_id,
            Write::OpenDirect(open) => open.request_id,
            Write::CreateConversation(create) => create.request_id,
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
    pub(crate) reads: Sender<(Caller, Read)>,
    pub(crate) pending: Arc<Mutex<Pending>>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) store_failed: Arc<AtomicBool>,
    pub(crate) space_low: Arc<AtomicBool>,
    pub(crate) queued: Arc<QueuedBytes>,
    pub(crate) config: Config,
    pub(crate) ids: Snowflake,
    pub(crate) hlc: Hlc,
    pub(crate) members: Generations<u64, Arc<[u64]>>,
    pub(crate) ticket: Ticket,
}

/// The cache of members that an intake starts with.
pub(crate) fn members_cache() -> Generations<u64, Arc<[u64]>> {
    Generations::new(MEMBERS_MAX)
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
        tracing::error!(%error, "a lookup failed");
        Refusal::UNAVAILABLE
    }
}

impl Intake {
    /// Works until nobody can send it anything more and all that it took is resolved.
    pub(crate) fn run(mut self, writes: &Receiver<(Caller, Write)>) {
        let looks = tick(SPACE_INTERVAL);
        self.look_at_space();
        loop {
            match writes.recv_timeout(SPACE_INTERVAL) {
                Ok((caller, write)) => self.handle(caller, write),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if looks.try_recv().is_ok() {
                self.look_at_space();
            }
        }
        if !self.progress.wait_idle(self.config.close_grace) {
            tracing::error!("the log did not answer every record before the end");
        }
    }

    fn look_at_space(&self) {
        let free = self.config.space.free_bytes(&self.config.data_dir);
        let low = free.is_some_and(|free| free < self.config.space_reserve_bytes);
        if self.space_low.swap(low, Ordering::Relaxed) != low {
            tracing::warn!(low, ?free, "free space in the data directory");
        }
    }

    fn handle(&mut self, caller: Caller, write: Write) {
        self.queued.leave(write.bytes());
        let request_id = write.request_id();
        let room = self.config.in_flight_max as u64;
        self.progress
            .wait_for_room(room, self.config.in_flight_bytes_max);
        let now_ms = self.config.clock.now_ms();
        let decided = match write {
            Write::Send(send) => self.send(caller, &send, now_ms),
            Write::OpenDirect(open) => self.open_direct(caller, &open, now_ms),
            Write::CreateConversation(create) => self.create(caller, &create, now_ms),
        };
        match decided {
            Ok(Decision::Later) => {}
            Ok(Decision::Answer(frame)) => self.outbox.answer(caller, vec![frame]),
            Err(refusal) => {
                self.counters.refused.add(1);
                self.outbox.answer(caller, vec![refusal.frame(request_id)]);
            }
        }
    }

    fn send(&mut self, caller: Caller, send: &proto::Send, now_ms: u64) -> Decided {
        if send.payload.len() > self.config.payload_bytes_max {
            return Err(Refusal::PAYLOAD_TOO_LARGE);
        }
        self.check_store()?;
        self.check_member(caller.user_id, send.conversation_id)?;
        let hash = payload_hash(&send.payload);
        if let Some(decision) = self.seen_send(caller, send, hash, now_ms)? {
            self.counters.dedup_hits.add(1);
            return Ok(decision);
        }
        self.check_space()?;
        let message = Message {
            message_id: self.ids.next_id(now_ms),
            hlc: self.hlc.tick(now_ms),
            conversation_id: send.conversation_id,
            sender_user_id: caller.user_id,
            sender_device_id: caller.device_id,
            client_msg_id: send.client_msg_id,
            payload: &send.payload,
        };
        let known = Known {
            conversation_id: send.conversation_id,
            payload_hash: hash,
            message_id: message.message_id,
            hlc: message.hlc,
        };
        let body = message.encode();
        let (key, bytes) = ((caller.user_id, send.client_msg_id), body.len());
        self.pending()
            .begin_send(self.ticket, key, known, caller, bytes);
        self.append(send.conversation_id, body)
    }

    /// Where the message of a Send is known: what that comes to.
    fn seen_send(
        &self,
        caller: Caller,
        send: &proto::Send,
        hash: u64,
        now_ms: u64,
    ) -> Result<Option<Decision>, Refusal> {
        let (id, conversation_id) = (send.client_msg_id, send.conversation_id);
        let seen = self
            .pending()
            .join_send((caller.user_id, id), caller, conversation_id, hash);
        match seen {
            Seen::Joined => return Ok(Some(Decision::Later)),
            Seen::Durable(known) => return Ok(Some(Decision::Answer(ack(id, &known)))),
            Seen::Conflict => return Err(Refusal::CONFLICT),
            Seen::Crowded => return Err(Refusal::OVERLOADED),
            // Not pending at this moment, so never sent, or in the store by now.
            Seen::New => {}
        }
        let known = self.store.known(caller.user_id, id)?;
        match known.filter(|known| dedup_holds(known.message_id, now_ms)) {
            Some(known) if known.is_retry(conversation_id, hash) => {
                Ok(Some(Decision::Answer(ack(id, &known))))
            }
            Some(_) => Err(Refusal::CONFLICT),
            None => Ok(None),
        }
    }

    fn open_direct(&mut self, caller: Caller, open: &proto::OpenDirect, now_ms: u64) -> Decided {
        check_peer(open.peer_user_id)?;
        let mut members = vec![caller.user_id, open.peer_user_id];
        members.sort_unstable();
        members.dedup();
        let key = OpenKey::direct(caller.user_id, open.peer_user_id);
        self.open(caller, open.request_id, key, members.into(), now_ms)
    }

    fn create(
        &mut self,
        caller: Caller,
        create: &proto::CreateConversation,
        now_ms: u64,
    ) -> Decided {
        let members = members_of_new(caller.user_id, &create.member_user_ids)?;
        let request_id = create.request_id;
        let key = OpenKey::Created {
            user_id: caller.user_id,
            request_id,
        };
        self.open(caller, request_id, key, members, now_ms)
    }

    fn open(
        &mut self,
        caller: Caller,
        request_id: u64,
        key: OpenKey,
        members: Arc<[u64]>,
        now_ms: u64,
    ) -> Decided {
        self.check_store()?;
        if let Some(conversation_id) = self.seen_open(caller, request_id, key, &members, now_ms)? {
            self.counters.dedup_hits.add(1);
            return match conversation_id {
                Some(id) => self.answer_opened(caller, request_id, id),
                None => Ok(Decision::Later),
            };
        }
        self.check_space()?;
        let opened = Opened {
            conversation_id: self.ids.next_id(now_ms),
            hlc: self.hlc.tick(now_ms),
            opener_user_id: caller.user_id,
            key,
            members: members.to_vec(),
        };
        let body = opened.encode();
        let id = opened.conversation_id;
        let asked = (caller, request_id);
        self.pending()
            .begin_open(self.ticket, key, id, members, asked, body.len());
        self.append(id, body)
    }

    /// Where the conversation is known: its id, or none while its record is on its way.
    fn seen_open(
        &self,
        caller: Caller,
        request_id: u64,
        key: OpenKey,
        members: &[u64],
        now_ms: u64,
    ) -> Result<Option<Option<u64>>, Refusal> {
        match self.pending().join_open(key, caller, request_id, members) {
            Seen::Joined => return Ok(Some(None)),
            Seen::Durable(conversation_id) => return Ok(Some(Some(conversation_id))),
            Seen::Conflict => return Err(Refusal::CONFLICT),
            Seen::Crowded => return Err(Refusal::OVERLOADED),
            Seen::New => {}
        }
        let runs_out = matches!(key, OpenKey::Created { .. });
        let Some(id) = self.store.opened(key)? else {
            return Ok(None);
        };
        if runs_out && !dedup_holds(id, now_ms) {
            return Ok(None);
        }
        match self.store.members(id)? {
            Some(stored) if *stored == *members => Ok(Some(Some(id))),
            Some(_) => Err(Refusal::CONFLICT),
            None => Ok(None),
        }
    }

    /// A reader answers, because the head is to be read after what was acked is applied.
    fn answer_opened(&self, caller: Caller, request_id: u64, conversation_id: u64) -> Decided {
        match self.reads.try_send((
            caller,
            Read::Opened {
                request_id,
                conversation_id,
            },
        )) {
            Ok(()) => Ok(Decision::Later),
            Err(TrySendError::Full(_)) => Err(Refusal::OVERLOADED),
            Err(TrySendError::Disconnected(_)) => Err(Refusal::UNAVAILABLE),
        }
    }

    /// Gives a record that is pending under the next ticket to the log.
    fn append(&mut self, conversation_id: u64, body: Vec<u8>) -> Decided {
        let (ticket, bytes) = (self.ticket, body.len());
        self.progress.issue(bytes);
        match self.log.append(conversation_id, body, ticket) {
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

    fn check_member(&mut self, user_id: u64, conversation_id: u64) -> Result<(), Refusal> {
        let members = match self.members.hit(conversation_id) {
            Some(members) => Arc::clone(members),
            None => self
                .load_members(conversation_id)?
                .ok_or(Refusal::NOT_MEMBER)?,
        };
        members
            .binary_search(&user_id)
            .map(|_| ())
            .map_err(|_| Refusal::NOT_MEMBER)
    }

    fn load_members(&mut self, conversation_id: u64) -> Result<Option<Arc<[u64]>>, Refusal> {
        let pending = self.pending().members(conversation_id).map(Arc::clone);
        let members = match pending {
            Some(members) => Some(members),
            None => self.store.members(conversation_id)?,
        };
        if let Some(members) = &members {
            self.members.turn();
            self.members
                .insert(conversation_id, Arc::clone(members), members.len());
        }
        Ok(members)
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

fn ack(client_msg_id: u64, known: &Known) -> Vec<u8> {
    proto::encode(&proto::SendAck {
        client_msg_id,
        conversation_id: known.conversation_id,
        message_id: known.message_id,
        hlc: known.hlc,
    })
}
