//! Conversations are opened, then messages are sent, each when it is due.

use std::collections::VecDeque;
use std::sync::mpsc::Sender;

use rookery_shard::Shard;
use rookery_wire::{proto, ws};

use super::Clients;
use super::conn::{Conn, Phase};
use super::nats;
use crate::flock::schedule::{Due, Schedule, scatter};
use crate::flock::tally::Tally;
use rookery_shard::ConnId;

/// Conversations under way to be opened: each is a durable write at the server.
const OPENING_MAX: usize = 128;
/// A server that is always too busy to open a conversation is not asked for ever.
const OPENING_TRIES_MAX: u32 = 100;
/// Messages sent in one tick; the rest are sent in the next, and count as late.
const TICK_SENDS_MAX: u32 = 2_048;

/// Two clients and their conversation.
#[derive(Clone, Copy, Debug)]
struct Pair {
    /// The lower local number; the other's is one more.
    local: u32,
    conversation_id: u64,
    tries: u32,
}

/// The pairs that talk.
#[derive(Debug, Default)]
pub(super) struct Opening {
    /// Ascending.
    pairs: Vec<Pair>,
    /// To be asked for, as indices into `pairs`.
    waiting: VecDeque<u32>,
    /// Asked for.
    asked: usize,
    /// Told when neither is left.
    done: Option<Sender<()>>,
}

impl Clients {
    /// Chooses the pairs, evenly over all clients. An echo server needs no conversation.
    pub(super) fn open_pairs(&mut self, shard: &mut Shard<Self>, pairs: u32, done: Sender<()>) {
        let clients = self.roster.len() as u32;
        let there = clients / 2;
        let pairs = pairs.min(there);
        let nth = |n: u32| (u64::from(n) * u64::from(there) / u64::from(pairs)) as u32;
        let pair = |n| Pair {
            local: 2 * nth(n),
            conversation_id: 0,
            tries: 0,
        };
        self.opening = Opening {
            pairs: (0..pairs).map(pair).collect(),
            waiting: if self.plan.is_echo() {
                VecDeque::new()
            } else {
                (0..pairs).collect()
            },
            asked: 0,
            done: Some(done),
        };
        if self.plan.is_echo() && pairs == 0 && clients == 1 {
            // One client alone talks to its echo.
            self.opening.pairs = vec![Pair {
                local: 0,
                conversation_id: 0,
                tries: 0,
            }];
        }
        self.open_more(shard);
    }

    /// Asks for conversations, a window at a time.
    pub(super) fn open_more(&mut self, shard: &mut Shard<Self>) {
        while self.opening.asked < OPENING_MAX
            && let Some(nth) = self.opening.waiting.pop_front()
        {
            let Some(&Pair { local, .. }) = self.opening.pairs.get(nth as usize) else {
                continue;
            };
            let Some((conn, state)) = self.live(shard, local) else {
                continue;
            };
            let open = proto::OpenDirect {
                request_id: u64::from(nth) + 1,
                peer_user_id: self.plan.user_id(self.share.global(local + 1)),
            };
            let frame = proto::encode(&open);
            if self.say(shard, conn, state.tls, |to| {
                to.message(ws::Opcode::Binary, &frame)
            }) {
                self.opening.asked += 1;
            }
        }
        let Opening {
            waiting,
            asked,
            done,
            ..
        } = &mut self.opening;
        if waiting.is_empty()
            && *asked == 0
            && let Some(done) = done.take()
        {
            // The phases may have given up.
            let _ = done.send(());
        }
    }

    /// A conversation is open. Those that others opened with us have the request 0.
    pub(super) fn opened(&mut self, request_id: u64, conversation_id: u64) {
        let nth = request_id
            .checked_sub(1)
            .and_then(|nth| usize::try_from(nth).ok());
        let pair = nth.and_then(|nth| self.opening.pairs.get_mut(nth));
        if let Some(pair) = pair.filter(|pair| pair.conversation_id == 0) {
            pair.conversation_id = conversation_id;
            self.opening.asked = self.opening.asked.saturating_sub(1);
            self.plan.counts.opened.add_one();
        }
    }

    /// A request failed: whether it was the opening of a conversation that is tried again.
    pub(super) fn open_refused(&mut self, request_id: u64, again: bool) -> bool {
        let nth = request_id
            .checked_sub(1)
            .and_then(|nth| u32::try_from(nth).ok());
        let Some(nth) = nth else { return false };
        let Some(pair) = self.opening.pairs.get_mut(nth as usize) else {
            return false;
        };
        self.opening.asked = self.opening.asked.saturating_sub(1);
        pair.tries += 1;
        let again = again && pair.tries < OPENING_TRIES_MAX;
        if again {
            self.opening.waiting.push_back(nth);
        }
        again
    }

    /// From now on messages are due.
    pub(super) fn begin_traffic(&mut self, schedule: Schedule) {
        self.tally = Some(Tally::since(schedule.start_ns()));
        self.opening
            .pairs
            .retain(|pair| pair.conversation_id != 0 || self.plan.is_echo());
        self.schedule = Some(schedule);
    }

    /// Sends what is due.
    pub(super) fn send_due(&mut self, shard: &mut Shard<Self>) {
        let Some(mut schedule) = self.schedule.take() else {
            return;
        };
        let now_ns = self.plan.clock.now_ns();
        for _ in 0..TICK_SENDS_MAX {
            let Some(due) = schedule.due(now_ns) else {
                break;
            };
            let sent =
                self.talker(shard, due.number)
                    .is_some_and(|(conn, state, conversation_id)| {
                        self.send_one(shard, conn, &state, conversation_id, due)
                    });
            let counts = &self.plan.counts;
            if sent {
                counts.sent.add_one()
            } else {
                counts.unsent.add_one()
            }
        }
        self.schedule = (!schedule.is_over()).then_some(schedule);
    }

    /// The client that sends the message of this number, where it is live, and its conversation.
    fn talker(&self, shard: &mut Shard<Self>, number: u64) -> Option<(ConnId, Conn, u64)> {
        let random = scatter(number);
        let nth = ((u128::from(random) * self.opening.pairs.len() as u128) >> 64) as usize;
        let pair = self.opening.pairs.get(nth)?;
        let alone = self.roster.len() == 1;
        let local = pair.local + if alone { 0 } else { (random & 1) as u32 };
        let (conn, state) = self.live(shard, local)?;
        debug_assert_eq!(state.phase, Phase::Live);
        Some((conn, state, pair.conversation_id))
    }

    fn send_one(
        &mut self,
        shard: &mut Shard<Self>,
        conn: ConnId,
        state: &Conn,
        conversation_id: u64,
        due: Due,
    ) -> bool {
        let mut payload = self.plan.payload.clone();
        let frame = if self.plan.is_echo() {
            payload[..8].copy_from_slice(&due.at_ns.to_le_bytes());
            match self.plan.nats {
                true => nats::publish(self.share.global(state.local), &payload),
                false => payload,
            }
        } else {
            proto::encode(&proto::Send {
                client_msg_id: due.client_msg_id(),
                conversation_id,
                payload,
            })
        };
        if !self.plan.is_echo() {
            self.leaving.sent(state.local);
        }
        self.say(shard, conn, state.tls, |to| {
            to.message(ws::Opcode::Binary, &frame)
        })
    }

    /// A client goes to another server, and its pair does not talk any more. Where none is left nothing is
    /// due.
    pub(super) fn forget_pair(&mut self, local: u32) {
        let pairs = &mut self.opening.pairs;
        if let Ok(at) = pairs.binary_search_by_key(&(local & !1), |pair| pair.local) {
            pairs.remove(at);
            if pairs.is_empty() {
                self.schedule = None;
            }
        }
    }

    /// Ends the traffic; what is under way still counts.
    pub(super) fn hush(&mut self) {
        self.schedule = None;
    }

    /// Tells what was measured since the last time.
    pub(super) fn tell_so_far(&mut self, to: &Sender<Tally>) {
        if let Some(tally) = &mut self.tally {
            // The phases may have given up.
            let _ = to.send(tally.take());
        }
    }

    /// Ends the traffic and tells what was measured.
    pub(super) fn tell(&mut self, to: &Sender<Tally>) {
        self.schedule = None;
        if let Some(tally) = self.tally.take() {
            // The phases may have given up.
            let _ = to.send(tally);
        }
    }
}
