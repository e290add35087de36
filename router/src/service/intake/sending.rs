//! Sends: checked, looked up together with those that came with them, and made records one by one.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, PoisonError};

use rookery_wire::proto;

use super::{Decided, Decision, Intake, Write};
use crate::admission::{Known, Refusal, Seen, dedup_holds, payload_hash};
use crate::api::Caller;
use crate::record::Message;
use crate::store::{Claim, Claimed};

/// A Send that passed the checks.
pub(super) struct ToSend {
    claim: Claim,
    /// What the store said of it, where it was asked.
    claimed: Option<Claimed>,
}

impl Intake {
    /// What each Send of a batch may become, in order: those that may not be are refused, the others
    /// are given ids, and what the store says of theirs.
    pub(super) fn claim(
        &mut self,
        batch: &[(Caller, Write)],
        now_ms: u64,
    ) -> Vec<Result<ToSend, Refusal>> {
        let learnt = self.learn_members(batch);
        let mut keys = HashSet::new();
        let mut found = Vec::with_capacity(batch.len());
        let mut claims = Vec::new();
        for (caller, write) in batch {
            let Write::Send(send) = write else {
                continue;
            };
            let prepared = self.prepare(*caller, send, learnt, now_ms);
            // One that is on its way, or comes twice in the batch, is asked for when its turn comes,
            // where it is not on its way any more.
            let key = (caller.user_id, send.client_msg_id);
            let ask = prepared.is_ok() && keys.insert(key) && !self.pending().has_send(key);
            if ask && let Ok(claim) = &prepared {
                claims.push(*claim);
            }
            found.push(prepared.map(|claim| (claim, ask)));
        }
        let mut claimed = match self.store.claim(&claims) {
            Ok(claimed) => Ok(claimed.into_iter()),
            Err(error) => Err(Refusal::from(error)),
        };
        let mut answer = |found: Result<(Claim, bool), Refusal>| {
            let (claim, asked) = found?;
            let claimed = match &mut claimed {
                _ if !asked => None,
                Ok(claimed) => Some(claimed.next().ok_or(Refusal::UNAVAILABLE)?),
                Err(refusal) => return Err(*refusal),
            };
            Ok(ToSend { claim, claimed })
        };
        found.into_iter().map(&mut answer).collect()
    }

    /// Checks a Send and gives it ids.
    fn prepare(
        &mut self,
        caller: Caller,
        send: &proto::Send,
        learnt: Result<(), Refusal>,
        now_ms: u64,
    ) -> Result<Claim, Refusal> {
        if send.payload.len() > self.config.payload_bytes_max {
            return Err(Refusal::PAYLOAD_TOO_LARGE);
        }
        self.check_store()?;
        self.check_member(caller.user_id, send.conversation_id, learnt)?;
        let stamp = self.stamps.next(now_ms);
        let known = Known {
            conversation_id: send.conversation_id,
            payload_hash: payload_hash(&send.payload),
            message_id: stamp.id,
            hlc: stamp.hlc,
        };
        Ok(Claim {
            sender_user_id: caller.user_id,
            client_msg_id: send.client_msg_id,
            known,
        })
    }

    pub(super) fn send(
        &mut self,
        caller: Caller,
        send: &proto::Send,
        to_send: ToSend,
        now_ms: u64,
    ) -> Decided {
        let ToSend { claim, claimed } = to_send;
        let (id, conversation_id) = (send.client_msg_id, send.conversation_id);
        let hash = claim.known.payload_hash;
        let key = (caller.user_id, id);
        let seen = self.pending().join_send(key, caller, conversation_id, hash);
        match seen {
            Seen::Joined => return self.again(Decision::Later),
            Seen::Durable(known) => return self.again(Decision::Answer(ack(id, &known))),
            Seen::Conflict => return Err(Refusal::CONFLICT),
            Seen::Crowded => return Err(Refusal::OVERLOADED),
            // Not pending at this moment, so never sent, or in the store by now.
            Seen::New => {}
        }
        let claimed = match claimed {
            Some(claimed) => claimed,
            None => *self
                .store
                .claim(&[claim])?
                .first()
                .ok_or(Refusal::UNAVAILABLE)?,
        };
        let (known, repeated) = match claimed {
            Claimed::New => (claim.known, false),
            Claimed::Unsure => (claim.known, true),
            Claimed::Begun(known) | Claimed::Durable(known)
                if !dedup_holds(known.message_id, now_ms) =>
            {
                (claim.known, false)
            }
            Claimed::Begun(known) | Claimed::Durable(known)
                if !known.is_retry(conversation_id, hash) =>
            {
                return Err(Refusal::CONFLICT);
            }
            Claimed::Durable(known) => return self.again(Decision::Answer(ack(id, &known))),
            Claimed::Begun(known) => (known, true),
        };
        self.check_space()?;
        let message = Message {
            message_id: known.message_id,
            hlc: known.hlc,
            conversation_id,
            sender_user_id: caller.user_id,
            sender_device_id: caller.device_id,
            client_msg_id: id,
            repeated,
            payload: &send.payload,
        };
        let body = message.encode();
        let bytes = body.len();
        self.pending()
            .begin_send(self.ticket, key, known, caller, bytes);
        self.append(conversation_id, body)
    }

    /// A retry.
    fn again(&self, decision: Decision) -> Decided {
        self.counters.dedup_hits.add(1);
        Ok(decision)
    }

    /// Only after [`learn_members`](Self::learn_members).
    fn check_member(
        &mut self,
        user_id: u64,
        conversation_id: u64,
        learnt: Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let Some(members) = self.members.hit(conversation_id) else {
            return learnt.and(Err(Refusal::NOT_MEMBER));
        };
        let found = members.binary_search(&user_id);
        found.map(|_| ()).map_err(|_| Refusal::NOT_MEMBER)
    }

    /// Looks up the members of those conversations of a batch that are not in the cache. An error is
    /// for those alone.
    fn learn_members(&mut self, batch: &[(Caller, Write)]) -> Result<(), Refusal> {
        let mut missing = BTreeSet::new();
        for (_, write) in batch {
            if let Write::Send(send) = write
                && self.members.hit(send.conversation_id).is_none()
            {
                missing.insert(send.conversation_id);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        self.members.turn();
        let mut learn = |id, members: Arc<[u64]>| {
            let weight = members.len();
            self.members.insert(id, members, weight);
        };
        missing.retain(|&id| {
            let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(members) = pending.members(id) else {
                return true;
            };
            learn(id, Arc::clone(members));
            false
        });
        let missing: Vec<u64> = missing.into_iter().collect();
        let found = self.store.members_of(&missing)?;
        for (id, members) in missing.into_iter().zip(found) {
            if let Some(members) = members {
                learn(id, members);
            }
        }
        Ok(())
    }
}

fn ack(client_msg_id: proto::ClientMsgId, known: &Known) -> Vec<u8> {
    proto::encode(&proto::SendAck {
        client_msg_id,
        conversation_id: known.conversation_id,
        message_id: known.message_id,
        hlc: known.hlc,
    })
}
