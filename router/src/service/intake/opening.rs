//! Conversations: found where they exist, else made records.

use std::sync::Arc;

use rookery_wire::proto;

use super::{Decided, Decision, Intake};
use crate::admission::{Refusal, Seen, check_peer, dedup_holds, members_of_new};
use crate::api::Caller;
use crate::record::{OpenKey, Opened};
use crate::service::lookups::ToOpen;
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
        if let Some(decision) = self.join(caller, request_id, key, &members)? {
            return Ok(decision);
        }
        // One on other hosts says it with the opening itself.
        if self.lookups.is_none()
            && let Some(id) = self.stored(key, &members, now_ms)?
        {
            self.counters.dedup_hits.add(1);
            return self.answer_opened(caller, request_id, id);
        }
        self.check_space()?;
        if self.lookups.is_none() {
            self.check_conversations(caller.user_id, &members)?;
        }
        if !self.pending().may_open(caller.user_id, members.len()) {
            return Err(Refusal::OVERLOADED);
        }
        let charge = self.charge_opening(caller.user_id, members.len())?;
        let stamp = self.stamps.open(now_ms, self.placement.now().newest());
        let opened = Opened {
            conversation_id: stamp.id,
            hlc: stamp.hlc,
            opener_user_id: caller.user_id,
            opener_device_id: caller.device_id,
            key,
            members: members.to_vec(),
        };
        let to_open = ToOpen {
            caller,
            request_id,
            opened,
            charge,
        };
        match self.lookups.clone() {
            None => {
                let limits = &self.config.conversations;
                let opening = self.store.open(&to_open.opened, now_ms, limits);
                self.begin(to_open, opening.map_err(Refusal::from))
            }
            Some(lookups) if lookups.ask_opening(to_open) => {
                self.asked += 1;
                Ok(Decision::Later)
            }
            Some(_) => {
                self.discharge(&charge);
                Err(Refusal::OVERLOADED)
            }
        }
    }

    /// What the store said decides. Where no record comes of it, it has not cost one.
    pub(super) fn begin(&mut self, to_open: ToOpen, opening: Result<Opening, Refusal>) -> Decided {
        let (ticket, charge) = (self.ticket, to_open.charge);
        let decided = opening.and_then(|opening| self.begin_open(to_open, opening));
        if self.ticket == ticket {
            self.discharge(&charge);
        }
        decided
    }

    fn begin_open(&mut self, to_open: ToOpen, opening: Opening) -> Decided {
        let ToOpen {
            caller,
            request_id,
            opened,
            ..
        } = to_open;
        let (id, key) = (opened.conversation_id, opened.key);
        if let Opening::Full(full) = opening {
            return Err(full.into());
        }
        if let Opening::Exists {
            conversation_id,
            members,
        } = opening
        {
            if *members != *opened.members {
                return Err(Refusal::CONFLICT);
            }
            // Another request may have begun it while this one was on its way.
            if let Some(decision) = self.join(caller, request_id, key, &members)? {
                return Ok(decision);
            }
            self.counters.dedup_hits.add(1);
            return self.answer_opened(caller, request_id, conversation_id);
        }
        let body = opened.encode();
        let asked = (caller, request_id);
        let members = opened.members.as_slice().into();
        self.pending()
            .begin_open(self.ticket, key, id, members, asked, body.len());
        let decision = self.append(id, body)?;
        self.count_opened(&opened);
        Ok(decision)
    }

    /// Where its record is on its way, or durable and not stored: what comes of that.
    fn join(
        &mut self,
        caller: Caller,
        request_id: u64,
        key: OpenKey,
        members: &[u64],
    ) -> Result<Option<Decision>, Refusal> {
        let seen = self.pending().join_open(key, caller, request_id, members);
        let decision = match seen {
            Seen::Joined => Decision::Later,
            Seen::Durable(id) => self.answer_opened(caller, request_id, id)?,
            Seen::Conflict => return Err(Refusal::CONFLICT),
            Seen::Crowded => return Err(Refusal::OVERLOADED),
            Seen::New => return Ok(None),
        };
        self.counters.dedup_hits.add(1);
        Ok(Some(decision))
    }

    /// Where a local store has it: its id.
    fn stored(&self, key: OpenKey, members: &[u64], now_ms: u64) -> Result<Option<u64>, Refusal> {
        let runs_out = matches!(key, OpenKey::Created { .. });
        let Some(id) = self.store.opened(key)? else {
            return Ok(None);
        };
        if runs_out && !dedup_holds(id, now_ms) {
            return Ok(None);
        }
        match self.store.members(id)? {
            Some(stored) if *stored == *members => Ok(Some(id)),
            Some(_) => Err(Refusal::CONFLICT),
            None => Ok(None),
        }
    }

    /// A reader answers, because the head is to be read after what was acked is applied.
    fn answer_opened(&self, caller: Caller, request_id: u64, conversation_id: u64) -> Decided {
        let read = Read::Opened {
            request_id,
            conversation_id,
        };
        match self.reads.put(caller, read) {
            true => Ok(Decision::Later),
            false => Err(Refusal::OVERLOADED),
        }
    }
}
