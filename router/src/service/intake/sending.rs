//! Sends: checked, looked up together with those that came with them, and made records one by one.

use std::collections::HashSet;

use rookery_wire::proto;

use super::rating::Charge;
use super::{Decided, Decision, Intake, Write};
use crate::admission::{Known, Refusal, Seen, dedup_holds, payload_hash};
use crate::api::Caller;
use crate::record::Message;
use crate::store::{Claim, Claimed};

/// A Send that passed the checks.
pub(super) struct ToSend {
    claim: Claim,
    charge: Charge,
    /// What the store said of it, where it was asked.
    claimed: Result<Option<Claimed>, Refusal>,
}

impl Intake {
    /// What each Send of a batch may become, in order: those that may not be are refused, the others
    /// are given ids, and what the store says of theirs.
    pub(super) fn claim(
        &mut self,
        batch: &[(Caller, Write)],
        now_ms: u64,
    ) -> Vec<Result<ToSend, Refusal>> {
        let mut keys = HashSet::new();
        let mut found = Vec::with_capacity(batch.len());
        let mut claims = Vec::new();
        for (caller, write) in batch {
            let Write::Send(send) = write else {
                continue;
            };
            let prepared = self.prepare(*caller, send, now_ms);
            // One that is on its way, or comes twice in the batch, is asked for when its turn comes,
            // where it is not on its way any more.
            let key = (caller.user_id, send.client_msg_id);
            let ask = prepared.is_ok() && keys.insert(key) && !self.pending().has_send(key);
            if ask && let Ok((claim, _)) = &prepared {
                claims.push(*claim);
            }
            found.push(prepared.map(|prepared| (prepared, ask)));
        }
        let mut claimed = match self.store.claim(&claims) {
            Ok(claimed) => Ok(claimed.into_iter()),
            Err(error) => Err(Refusal::from(error)),
        };
        let mut answer = |((claim, charge), asked): ((Claim, Charge), bool)| {
            let claimed = match &mut claimed {
                _ if !asked => Ok(None),
                Ok(claimed) => claimed.next().map(Some).ok_or(Refusal::UNAVAILABLE),
                Err(refusal) => Err(*refusal),
            };
            ToSend {
                claim,
                charge,
                claimed,
            }
        };
        let found = found.into_iter();
        found.map(|found| found.map(&mut answer)).collect()
    }

    /// Checks a Send, takes what it costs and gives it ids. Whoever is over its share costs a look at two
    /// numbers, and nothing that others wait for.
    fn prepare(
        &mut self,
        caller: Caller,
        send: &proto::Send,
        now_ms: u64,
    ) -> Result<(Claim, Charge), Refusal> {
        if send.payload.len() > self.config.payload_bytes_max {
            return Err(Refusal::PAYLOAD_TOO_LARGE);
        }
        self.check_store()?;
        let members = self.check_member(caller.user_id, send.conversation_id)?;
        let charge = self.charge_send(caller.user_id, send, members)?;
        let stamp = self.stamps.next(now_ms);
        let known = Known {
            conversation_id: send.conversation_id,
            payload_hash: payload_hash(&send.payload),
            message_id: stamp.id,
            hlc: stamp.hlc,
        };
        let claim = Claim {
            sender_user_id: caller.user_id,
            client_msg_id: send.client_msg_id,
            known,
        };
        Ok((claim, charge))
    }

    /// What a Send came to. Where that is no record, a retry or a refusal, it has not cost one.
    pub(super) fn send(
        &mut self,
        caller: Caller,
        send: &proto::Send,
        to_send: ToSend,
        now_ms: u64,
    ) -> Decided {
        let (ticket, charge) = (self.ticket, to_send.charge);
        let decided = self.decide(caller, send, to_send, now_ms);
        if self.ticket == ticket {
            self.discharge(&charge);
        }
        decided
    }

    fn decide(
        &mut self,
        caller: Caller,
        send: &proto::Send,
        to_send: ToSend,
        now_ms: u64,
    ) -> Decided {
        let ToSend { claim, claimed, .. } = to_send;
        let claimed = claimed?;
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

    /// How many members there are, to one of them. Only after [`known`](Self::known).
    fn check_member(&mut self, user_id: u64, conversation_id: u64) -> Result<usize, Refusal> {
        let members = self.members.hit(conversation_id);
        let members = members.ok_or(Refusal::NOT_MEMBER)?;
        let found = members.binary_search(&user_id);
        found
            .map(|_| members.len())
            .map_err(|_| Refusal::NOT_MEMBER)
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
