//! Conversations: found where they exist, else made records.

use std::sync::Arc;

use crossbeam::channel::TrySendError;
use rookery_wire::proto;

use super::{Decided, Decision, Intake};
use crate::admission::{Refusal, Seen, check_peer, dedup_holds, members_of_new};
use crate::api::Caller;
use crate::record::{OpenKey, Opened};
use crate::service::reader::Read;
use crate::store::Opening;

impl Intake {
    pub(super) fn open_direct(
        &mut self,
        caller: Caller,
        open: &proto::OpenDirect,
        now_ms: u64,
    ) -> Decided {
        check_peer(open.peer_user_id)?;
        let mut members = vec![caller.user_id, open.peer_user_id];
        members.sort_unstable();
        members.dedup();
        let key = OpenKey::direct(caller.user_id, open.peer_user_id);
        self.open(caller, open.request_id, key, members.into(), now_ms)
    }

    pub(super) fn create(
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
        if !self.pending().may_open(caller.user_id, members.len()) {
            return Err(Refusal::OVERLOADED);
        }
        let stamp = self.stamps.open(now_ms, self.placement.now().newest());
        let opened = Opened {
            conversation_id: stamp.id,
            hlc: stamp.hlc,
            opener_user_id: caller.user_id,
            opener_device_id: caller.device_id,
            key,
            members: members.to_vec(),
        };
        if let Opening::Exists {
            conversation_id,
            members: existing,
        } = self.store.open(&opened, now_ms)?
        {
            if *existing != *members {
                return Err(Refusal::CONFLICT);
            }
            return self.answer_opened(caller, request_id, conversation_id);
        }
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
}
