//! Answers Sync, History, Outbox and the lists, and openings of conversations that exist.
//!
//! Runs on threads of its own: the store's reads block. The invariant: an answer covers every
//! message that anybody was acked before the request was taken up, because the reader waits until
//! the applier has passed them: those of the conversation's partition where it asks for one
//! conversation, so that a partition that stands still holds up its own. Where several processes
//! share the log, that is so for what this one consumes; what another one does may be some moments
//! behind.

mod outbox;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rookery_wire::proto;

use super::config::Config;
use super::counters::Counters;
use super::dispatch::Dispatch;
use super::fair::FairQueue;
use super::inbox::Inboxes;
use super::progress::Progress;
use super::receipts::Receipts;
use crate::admission::{Refusal, page_limit};
use crate::api::Caller;
use crate::placement::SharedPlacement;
use crate::store::{Below, Bound, Store, StoreError};

/// A request that only reads.
#[derive(Debug)]
pub(crate) enum Read {
    Sync(proto::Sync),
    History(proto::History),
    Outbox(proto::Outbox),
    ListConversations(proto::ListConversations),
    ListMembers(proto::ListMembers),
    /// The caller opened a conversation that exists, and is a member of.
    Opened {
        request_id: u64,
        conversation_id: u64,
    },
}

impl Read {
    /// The id that an Error carries.
    pub(crate) fn request_id(&self) -> u64 {
        match self {
            Read::Sync(sync) => sync.request_id,
            Read::History(history) => history.request_id,
            Read::Outbox(outbox) => outbox.request_id,
            Read::ListConversations(list) => list.request_id,
            Read::ListMembers(list) => list.request_id,
            Read::Opened { request_id, .. } => *request_id,
        }
    }

    /// The conversation, where the answer is about one.
    fn conversation_id(&self) -> Option<u64> {
        match self {
            Read::Sync(sync) => Some(sync.conversation_id),
            Read::History(history) => Some(history.conversation_id),
            Read::Outbox(_) | Read::ListConversations(_) => None,
            Read::ListMembers(list) => Some(list.conversation_id),
            Read::Opened {
                conversation_id, ..
            } => Some(*conversation_id),
        }
    }
}

/// A read as it waits for a reader.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) caller: Caller,
    read: Read,
    since: Instant,
}

/// Reads, which the users' turns share out.
pub(super) type Reads = FairQueue<Waiting>;

impl Reads {
    /// False where too many wait, of this user or in all.
    pub(super) fn put(&self, caller: Caller, read: Read) -> bool {
        let waiting = Waiting {
            caller,
            read,
            since: now(),
        };
        self.push(caller.user_id, waiting)
    }
}

/// One reader's thread.
pub(crate) struct Reader {
    pub(crate) store: Arc<dyn Store>,
    pub(super) inboxes: Arc<Inboxes>,
    pub(crate) placement: Arc<SharedPlacement>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) dispatch: Arc<Dispatch>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) store_failed: Arc<AtomicBool>,
    pub(crate) config: Config,
    pub(crate) receipts: Arc<Receipts>,
    /// How long what was acked may take into the store; none for one that is always there.
    pub(crate) patience: Option<Duration>,
}

/// A request is refused, or the store failed.
enum Failure {
    Refused(Refusal),
    Store(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure::Store(error)
    }
}

impl Reader {
    /// Works until nobody can send it anything more.
    pub(super) fn run(self, reads: &Reads) {
        while let Some(waiting) = reads.pop() {
            let Waiting { caller, read, .. } = waiting;
            let request_id = read.request_id();
            let answer = self
                .in_time(waiting.since)
                .and_then(|()| self.caught_up(&read))
                .and_then(|()| self.answer(caller, &read));
            let frames = match answer {
                _ if self.store_failed.load(Ordering::Relaxed) => {
                    vec![Refusal::UNAVAILABLE.frame(request_id)]
                }
                Ok(frames) => frames,
                Err(Failure::Refused(refusal)) => {
                    self.counters.refused.add(1);
                    vec![refusal.frame(request_id)]
                }
                Err(Failure::Store(error)) => {
                    match error {
                        StoreError::Away { .. } => tracing::debug!(%error, "a read failed"),
                        _ => tracing::error!(%error, "a read failed"),
                    }
                    vec![Refusal::UNAVAILABLE.frame(request_id)]
                }
            };
            self.counters.reads.add(1);
            match read {
                // The end of a write.
                Read::Opened { .. } => self.dispatch.answer(caller, frames),
                _ => self.dispatch.answer_read(caller, frames),
            }
        }
    }

    /// While a store on other hosts hangs, a reader is stuck with each read for seconds: those behind it are
    /// not to wait for all of that.
    fn in_time(&self, since: Instant) -> Result<(), Failure> {
        let waited = now().saturating_duration_since(since);
        if self.patience.is_some() && waited > self.config.read_wait_max {
            return Err(Failure::Refused(Refusal::UNAVAILABLE));
        }
        Ok(())
    }

    /// Waits until the store has what anybody was told of that the answer is about.
    fn caught_up(&self, read: &Read) -> Result<(), Failure> {
        let partition = |id| self.placement.of(id).ok();
        match self.patience {
            None => self.progress.wait_applied(),
            Some(patience) => {
                let only = read.conversation_id().and_then(partition);
                if !self.progress.wait_consumed(only, patience) {
                    return Err(Failure::Refused(Refusal::UNAVAILABLE));
                }
            }
        }
        Ok(())
    }

    fn answer(&self, caller: Caller, read: &Read) -> Result<Vec<Vec<u8>>, Failure> {
        match read {
            Read::Sync(sync) => self.sync(caller, sync),
            Read::History(history) => self.history(caller, history),
            Read::Outbox(outbox) => self.outbox(caller, outbox),
            Read::ListConversations(list) => self.list(caller, list),
            Read::ListMembers(list) => self.members(caller, list),
            Read::Opened {
                request_id,
                conversation_id,
            } => self.opened(*request_id, *conversation_id),
        }
    }

    fn sync(&self, caller: Caller, sync: &proto::Sync) -> Result<Vec<Vec<u8>>, Failure> {
        self.check_member(caller, sync.conversation_id)?;
        let (head, slice) =
            self.store
                .since(sync.conversation_id, sync.have_seq, self.bound(sync.limit))?;
        let last_seq = slice
            .messages
            .last()
            .map_or(sync.have_seq, |message| message.seq);
        let mut frames: Vec<Vec<u8>> = slice.messages.iter().map(proto::encode).collect();
        frames.push(proto::encode(&proto::SyncEnd {
            request_id: sync.request_id,
            conversation_id: sync.conversation_id,
            last_seq,
            head_seq: head.last_seq,
        }));
        Ok(frames)
    }

    fn history(&self, caller: Caller, history: &proto::History) -> Result<Vec<Vec<u8>>, Failure> {
        self.check_member(caller, history.conversation_id)?;
        let slice = self.store.before(&Below {
            conversation_id: history.conversation_id,
            before_seq: history.before_seq,
            above_seq: 0,
            bound: self.bound(history.limit),
        })?;
        Ok(vec![proto::encode(&proto::HistoryPage {
            request_id: history.request_id,
            conversation_id: history.conversation_id,
            messages: slice.messages,
            has_more: u8::from(slice.has_more),
        })])
    }

    fn list(
        &self,
        caller: Caller,
        list: &proto::ListConversations,
    ) -> Result<Vec<Vec<u8>>, Failure> {
        let rows_max = page_limit(list.limit, self.config.page_messages_max);
        let (conversations, more) =
            self.store
                .conversations(caller.user_id, list.after_conversation_id, rows_max)?;
        if !more {
            self.has_listed(caller)?;
        }
        Ok(vec![proto::encode(&proto::Conversations {
            request_id: list.request_id,
            conversations,
            has_more: u8::from(more),
        })])
    }

    fn members(&self, caller: Caller, list: &proto::ListMembers) -> Result<Vec<Vec<u8>>, Failure> {
        self.check_member(caller, list.conversation_id)?;
        let members = self.store.members(list.conversation_id)?;
        let members = members.ok_or(Failure::Refused(Refusal::NOT_MEMBER))?;
        Ok(vec![proto::encode(&proto::Members {
            request_id: list.request_id,
            conversation_id: list.conversation_id,
            member_user_ids: members.to_vec(),
        })])
    }

    fn opened(&self, request_id: u64, conversation_id: u64) -> Result<Vec<Vec<u8>>, Failure> {
        let members = self.store.members(conversation_id)?;
        let members = members.ok_or(Failure::Refused(Refusal::NOT_MEMBER))?;
        let head = self.store.head(conversation_id)?;
        Ok(vec![proto::encode(&proto::ConversationOpened {
            request_id,
            conversation_id,
            head_seq: head.last_seq,
            member_user_ids: members.to_vec(),
        })])
    }

    fn check_member(&self, caller: Caller, conversation_id: u64) -> Result<(), Failure> {
        if self.store.is_member(conversation_id, caller.user_id)? {
            Ok(())
        } else {
            Err(Failure::Refused(Refusal::NOT_MEMBER))
        }
    }

    fn bound(&self, limit: u32) -> Bound {
        Bound {
            messages_max: page_limit(limit, self.config.page_messages_max),
            bytes_max: self.config.page_bytes_max,
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a wait has an end; nothing is decided by it"
)]
fn now() -> Instant {
    Instant::now()
}
