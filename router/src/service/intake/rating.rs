//! What requests cost their users and conversations, before anything is done for them.
//!
//! A Send is charged as if it were new, since whether it is a retry the store knows; where no record comes of
//! it, all but one delivery, the answer, is given back. So a retry is cheap, and a message that was refused and
//! comes again is paid for once.

use rookery_wire::proto;

use super::Intake;
use crate::admission::{Over, RateMode, Refusal, Whose, cost_of_opening, cost_of_send};

/// What was taken for a request.
#[derive(Clone, Copy, Debug)]
pub(in crate::service) struct Charge {
    user_id: u64,
    conversation_id: Option<u64>,
    /// Of it, what is only for a record.
    for_record: u64,
}

impl Intake {
    pub(super) fn charge_send(
        &mut self,
        user_id: u64,
        send: &proto::Send,
        members: usize,
    ) -> Result<Charge, Refusal> {
        let cost = cost_of_send(members, send.payload.len());
        let answer = cost_of_send(1, 0);
        self.charge(user_id, Some(send.conversation_id), cost, answer)
    }

    /// An opening has no conversation yet that others could be kept from.
    pub(super) fn charge_opening(
        &mut self,
        user_id: u64,
        members: usize,
    ) -> Result<Charge, Refusal> {
        let cost = cost_of_opening(members);
        let answer = cost_of_send(1, 8 * members);
        self.charge(user_id, None, cost, answer)
    }

    fn charge(
        &mut self,
        user_id: u64,
        conversation_id: Option<u64>,
        cost: u64,
        answer: u64,
    ) -> Result<Charge, Refusal> {
        let now_ms = self.config.clock.steady_ms();
        let limits = self.config.rates.load();
        self.rates.set(&limits);
        let taken = self.rates.take(user_id, conversation_id, cost, now_ms);
        if let Err(over) = taken {
            self.count(user_id, conversation_id, over);
            if limits.mode == RateMode::Refuse {
                return Err(Refusal::over(over));
            }
        }
        Ok(Charge {
            user_id,
            conversation_id,
            for_record: taken.map_or(0, |()| cost.saturating_sub(answer)),
        })
    }

    fn count(&self, user_id: u64, conversation_id: Option<u64>, over: Over) {
        let counter = match over.whose {
            Whose::User => &self.counters.over_user_rate,
            Whose::Conversation => &self.counters.over_conversation_rate,
        };
        counter.add(1);
        tracing::debug!(user_id, ?conversation_id, ?over, "over a rate");
    }

    /// No record came of it.
    pub(super) fn discharge(&mut self, charge: &Charge) {
        let Charge {
            user_id,
            conversation_id,
            for_record,
        } = *charge;
        self.rates.give_back(user_id, conversation_id, for_record);
    }
}
