//! What is not known here: asked of a local store at once, of one on other hosts through [`Lookups`], while
//! the Sends that need it wait aside.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rookery_wire::proto;

use super::{Intake, Write};
use crate::admission::Refusal;
use crate::api::Caller;
use crate::service::lookups::{Found, Lookups};

/// How long a conversation is believed not to exist: whoever guesses at ids asks once a second.
const ABSENT_MS: u64 = 1_000;
/// How often the end is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

impl Intake {
    /// Those of a batch that can be decided on. The others, Sends to conversations whose members are not
    /// known, wait aside, or are refused.
    pub(super) fn known(
        &mut self,
        batch: Vec<(Caller, Write)>,
        now_ms: u64,
    ) -> Vec<(Caller, Write)> {
        let mut missing = BTreeSet::new();
        for (_, write) in &batch {
            if let Write::Send(send) = write
                && (self.aside.has(send.conversation_id)
                    || self.members.hit(send.conversation_id).is_none())
            {
                missing.insert(send.conversation_id);
            }
        }
        if missing.is_empty() {
            return batch;
        }
        self.members.turn();
        self.absent.turn();
        missing.retain(|&id| {
            let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            match pending.members(id).map(Arc::clone) {
                // Those before it wait.
                Some(_) if self.aside.has(id) => true,
                Some(members) => {
                    drop(pending);
                    self.learn(id, members);
                    false
                }
                None => true,
            }
        });
        match self.lookups.clone() {
            Some(lookups) => {
                let aside = |intake: &mut Self, caller, send| {
                    intake.set_aside(&lookups, caller, send, now_ms);
                };
                self.without(batch, &missing, aside)
            }
            None => match self.ask_local(&missing) {
                Ok(()) => batch,
                Err(refusal) => self.without(batch, &missing, |intake, caller, send| {
                    intake.refuse(caller, &send, refusal);
                }),
            },
        }
    }

    /// A batch without the Sends to these conversations, which go elsewhere.
    fn without(
        &mut self,
        batch: Vec<(Caller, Write)>,
        conversations: &BTreeSet<u64>,
        mut elsewhere: impl FnMut(&mut Self, Caller, proto::Send),
    ) -> Vec<(Caller, Write)> {
        let mut rest = Vec::with_capacity(batch.len());
        for (caller, write) in batch {
            match write {
                Write::Send(send) if conversations.contains(&send.conversation_id) => {
                    elsewhere(self, caller, send);
                }
                write => rest.push((caller, write)),
            }
        }
        rest
    }

    fn ask_local(&mut self, missing: &BTreeSet<u64>) -> Result<(), Refusal> {
        let missing: Vec<u64> = missing.iter().copied().collect();
        let found = self.store.members_of(&missing)?;
        for (id, members) in missing.into_iter().zip(found) {
            if let Some(members) = members {
                self.learn(id, members);
            }
        }
        Ok(())
    }

    fn learn(&mut self, conversation_id: u64, members: Arc<[u64]>) {
        let weight = members.len();
        self.members.insert(conversation_id, members, weight);
    }

    fn set_aside(&mut self, lookups: &Lookups, caller: Caller, send: proto::Send, now_ms: u64) {
        let id = send.conversation_id;
        let absent_until_ms = self.absent.hit(id).map_or(0, |until_ms| *until_ms);
        if now_ms < absent_until_ms {
            return self.refuse(caller, &send, Refusal::NOT_MEMBER);
        }
        let waits = self.aside.has(id);
        if let Err(send) = self.aside.put(caller, send) {
            return self.refuse(caller, &send, Refusal::OVERLOADED);
        }
        if waits {
            return;
        }
        if lookups.ask_members(caller.user_id, id) {
            self.asked += 1;
        } else {
            for (caller, send) in self.aside.take(id) {
                self.refuse(caller, &send, Refusal::OVERLOADED);
            }
        }
    }

    /// A Send that is not admitted after all.
    fn refuse(&self, caller: Caller, send: &proto::Send, refusal: Refusal) {
        self.queued.leave(send.payload.len());
        self.answer(caller, send.client_msg_id.into(), Err(refusal));
    }

    /// Goes on with what was found out meanwhile.
    pub(super) fn take_found(&mut self) {
        let Some(lookups) = self.lookups.clone() else {
            return;
        };
        let now_ms = self.config.clock.now_ms();
        let mut ready = Vec::new();
        while let Some(found) = lookups.found() {
            self.asked -= 1;
            match found {
                Found::Members(id, members) => self.found_members(id, members, now_ms, &mut ready),
                Found::Opening(to_open, opening) => {
                    self.wait_for_room();
                    let (caller, request_id) = (to_open.caller, to_open.request_id);
                    let decided = self.begin(to_open, opening);
                    self.answer(caller, request_id.into(), decided);
                }
            }
            if ready.len() >= self.batch_max() {
                self.admit_all(&mut ready, now_ms);
            }
        }
        self.admit_all(&mut ready, now_ms);
    }

    /// What waited for these members is ready, or refused.
    fn found_members(
        &mut self,
        id: u64,
        members: Result<Option<Arc<[u64]>>, Refusal>,
        now_ms: u64,
        ready: &mut Vec<(Caller, Write)>,
    ) {
        let waiting = self.aside.take(id);
        let refusal = match members {
            Ok(Some(members)) => {
                self.learn(id, members);
                ready.extend(
                    waiting
                        .into_iter()
                        .map(|(to, send)| (to, Write::Send(send))),
                );
                return;
            }
            Ok(None) => {
                self.absent.insert(id, now_ms + ABSENT_MS, 1);
                Refusal::NOT_MEMBER
            }
            Err(refusal) => refusal,
        };
        for (caller, send) in waiting {
            self.refuse(caller, &send, refusal);
        }
    }

    fn admit_all(&mut self, ready: &mut Vec<(Caller, Write)>, now_ms: u64) {
        while !ready.is_empty() {
            let rest = ready.split_off(self.batch_max().min(ready.len()));
            let batch = std::mem::replace(ready, rest);
            self.admit(batch, now_ms);
        }
    }

    /// At the end: what is asked is still answered, as long as answers come.
    pub(super) fn finish_lookups(&mut self) {
        let Some(lookups) = self.lookups.clone() else {
            return;
        };
        let mut waited = Duration::ZERO;
        while self.asked > 0 && waited < self.config.close_grace && !self.progress.has_given_up() {
            if lookups.has_found() {
                self.take_found();
                waited = Duration::ZERO;
            } else {
                lookups.wait(LOOK_AGAIN);
                waited += LOOK_AGAIN;
            }
        }
        for (caller, send) in self.aside.take_all() {
            self.refuse(caller, &send, Refusal::UNAVAILABLE);
        }
    }
}
