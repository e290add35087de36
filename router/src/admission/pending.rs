//! What was admitted and is not yet in the store: who waits for it, and how to recognise a retry.
//!
//! A record's life here: `begin` (given to the log), `durable` or `failed` (the log's answer, in
//! log order), `applied` (the store has it; from now on lookups find it there). The invariant: at
//! every moment a message that may become or has become durable is found here or in the store.

use std::collections::HashMap;
use std::sync::Arc;

use rookery_wire::proto::ClientMsgId;

use super::Known;
use super::opening_share::OpeningShare;
use super::tickets::{Queued, Tickets};
use crate::api::Caller;
use crate::generations::Generations;
use crate::log::Ticket;
use crate::record::OpenKey;

/// Who may wait for one record: a client that retries faster than the disk gains nothing.
pub const WAITING_MAX: usize = 8;

/// `(sender_user_id, client_msg_id)`.
pub type SendKey = (u64, ClientMsgId);

/// What makes a request the same one as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PendingKey {
    /// A message.
    Send(SendKey),
    /// A conversation.
    Open(OpenKey),
}

/// Whether a request was asked before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen<T> {
    /// Not here; the store may know it.
    New,
    /// Its record is on its way; the caller will be answered with the others.
    Joined,
    /// Its record is durable.
    Durable(T),
    /// Its id stands for something else.
    Conflict,
    /// Too many wait for it already.
    Crowded,
}

/// The log's answer for a record, with those who wait for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// A message.
    Sent {
        /// The sender's id of it.
        client_msg_id: ClientMsgId,
        /// The message.
        known: Known,
        /// Who waits.
        waiting: Vec<Caller>,
    },
    /// A conversation.
    Opened {
        /// Its id.
        conversation_id: u64,
        /// Its members.
        members: Arc<[u64]>,
        /// Who waits, each with the id of their request.
        waiting: Vec<(Caller, u64)>,
    },
}

#[derive(Debug)]
struct PendingSend {
    known: Known,
    waiting: Vec<Caller>,
    durable: bool,
}

#[derive(Debug)]
struct PendingOpen {
    opener_user_id: u64,
    conversation_id: u64,
    members: Arc<[u64]>,
    waiting: Vec<(Caller, u64)>,
    durable: bool,
}

/// See the module. Bounded by its user: `begin` is called only while fewer than so many are here.
#[derive(Debug, Default)]
pub struct Pending {
    sends: HashMap<SendKey, PendingSend>,
    opens: HashMap<OpenKey, PendingOpen>,
    opening: OpeningShare,
    /// Members of conversations that are durable and not stored.
    conversations: HashMap<u64, Arc<[u64]>>,
    /// What the log has not answered.
    queued: Tickets,
    /// Messages that were answered lately, where nothing else here remembers them.
    recent: Recent,
}

/// Messages that are remembered after their ack, up to twice as many: 64 B each.
const RECENT_MAX: usize = 50_000;

#[derive(Debug)]
struct Recent(Generations<SendKey, Known>);

impl Default for Recent {
    fn default() -> Self {
        Self(Generations::new(RECENT_MAX))
    }
}

impl Pending {
    /// Whether a message is here, or was lately.
    pub fn has_send(&mut self, key: SendKey) -> bool {
        self.sends.contains_key(&key) || self.recent.0.hit(key).is_some()
    }

    /// A Send: is its message here?
    pub fn join_send(
        &mut self,
        key: SendKey,
        caller: Caller,
        conversation_id: u64,
        hash: u64,
    ) -> Seen<Known> {
        let Some(send) = self.sends.get_mut(&key) else {
            return match self.recent.0.hit(key) {
                Some(known) if known.is_retry(conversation_id, hash) => Seen::Durable(*known),
                Some(_) => Seen::Conflict,
                None => Seen::New,
            };
        };
        if !send.known.is_retry(conversation_id, hash) {
            return Seen::Conflict;
        }
        if send.durable {
            return Seen::Durable(send.known);
        }
        join(&mut send.waiting, caller)
    }

    /// A request for a conversation: is it here? `members` are what it should have.
    pub fn join_open(
        &mut self,
        key: OpenKey,
        caller: Caller,
        request_id: u64,
        members: &[u64],
    ) -> Seen<u64> {
        let Some(open) = self.opens.get_mut(&key) else {
            return Seen::New;
        };
        if *open.members != *members {
            return Seen::Conflict;
        }
        if open.durable {
            return Seen::Durable(open.conversation_id);
        }
        join(&mut open.waiting, (caller, request_id))
    }

    /// Whether a user may open a conversation of so many members now. An opening is as many rows, for which
    /// everybody waits who sends after it.
    pub fn may_open(&self, user_id: u64, members: usize) -> bool {
        self.opening.has_room(user_id, members)
    }

    /// The members of a conversation that is durable and perhaps not stored yet.
    pub fn members(&self, conversation_id: u64) -> Option<&Arc<[u64]>> {
        self.conversations.get(&conversation_id)
    }

    /// A message's record of `bytes` is about to be given to the log.
    pub fn begin_send(
        &mut self,
        ticket: Ticket,
        key: SendKey,
        known: Known,
        caller: Caller,
        bytes: usize,
    ) {
        self.sends.insert(
            key,
            PendingSend {
                known,
                waiting: vec![caller],
                durable: false,
            },
        );
        let key = PendingKey::Send(key);
        self.queued.push(ticket, Queued { key, bytes });
    }

    /// A conversation's record of `bytes` is about to be given to the log.
    pub fn begin_open(
        &mut self,
        ticket: Ticket,
        key: OpenKey,
        conversation_id: u64,
        members: Arc<[u64]>,
        asked: (Caller, u64),
        bytes: usize,
    ) {
        self.opening.begin(asked.0.user_id, members.len());
        let open = PendingOpen {
            opener_user_id: asked.0.user_id,
            conversation_id,
            members,
            waiting: vec![asked],
            durable: false,
        };
        self.opens.insert(key, open);
        let key = PendingKey::Open(key);
        self.queued.push(ticket, Queued { key, bytes });
    }

    /// The log did not take the newest record after all.
    pub fn retract(&mut self, ticket: Ticket) {
        if let Some(newest) = self.queued.take(ticket) {
            self.forget(newest.key);
        }
    }

    /// The record is durable: who is to be told.
    pub fn durable(&mut self, ticket: Ticket) -> Option<Settled> {
        let queued = self.queued.take(ticket)?;
        match queued.key {
            PendingKey::Send(key) => {
                let send = self.sends.get_mut(&key)?;
                send.durable = true;
                let waiting = std::mem::take(&mut send.waiting);
                Some(Settled::Sent {
                    client_msg_id: key.1,
                    known: send.known,
                    waiting,
                })
            }
            PendingKey::Open(key) => {
                let open = self.opens.get_mut(&key)?;
                open.durable = true;
                let waiting = std::mem::take(&mut open.waiting);
                let members = Arc::clone(&open.members);
                let conversation_id = open.conversation_id;
                self.conversations
                    .insert(conversation_id, Arc::clone(&members));
                Some(Settled::Opened {
                    conversation_id,
                    members,
                    waiting,
                })
            }
        }
    }

    /// The record is durable, and nobody will say when it is in the store: who is to be told, and how
    /// many bytes it had. A message is remembered for a while, so that a quick retry finds it.
    pub fn acked(&mut self, ticket: Ticket) -> Option<(Settled, usize)> {
        let queued = self.queued.take(ticket)?;
        let settled = self.forget(queued.key)?;
        if let (PendingKey::Send(key), Settled::Sent { known, .. }) = (queued.key, &settled) {
            self.recent.0.insert(key, *known, 1);
            self.recent.0.turn();
        }
        Some((settled, queued.bytes))
    }

    /// The record did not become durable: who is to be told, and how many bytes it had.
    pub fn failed(&mut self, ticket: Ticket) -> Option<(Settled, usize)> {
        let queued = self.queued.take(ticket)?;
        let settled = self.forget(queued.key)?;
        Some((settled, queued.bytes))
    }

    /// The store has it.
    pub fn applied(&mut self, key: PendingKey) {
        self.forget(key);
    }

    /// Whether nothing is here.
    pub fn is_empty(&self) -> bool {
        let no_rows = self.opening.is_empty();
        self.sends.is_empty() && self.opens.is_empty() && self.queued.is_empty() && no_rows
    }

    fn forget(&mut self, key: PendingKey) -> Option<Settled> {
        match key {
            PendingKey::Send(key) => self.sends.remove(&key).map(|send| Settled::Sent {
                client_msg_id: key.1,
                known: send.known,
                waiting: send.waiting,
            }),
            PendingKey::Open(key) => self.opens.remove(&key).map(|open| {
                self.conversations.remove(&open.conversation_id);
                self.opening.end(open.opener_user_id, open.members.len());
                Settled::Opened {
                    conversation_id: open.conversation_id,
                    members: open.members,
                    waiting: open.waiting,
                }
            }),
        }
    }
}

fn join<T, R>(waiting: &mut Vec<T>, caller: T) -> Seen<R> {
    if waiting.len() >= WAITING_MAX {
        return Seen::Crowded;
    }
    waiting.push(caller);
    Seen::Joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn named(n: u64) -> SendKey {
        (1, u128::from(n).to_le_bytes())
    }

    const CALLER: Caller = Caller {
        user_id: 1,
        device_id: 1,
        shard: 0,
        conn: 0,
    };
    const KNOWN: Known = Known {
        conversation_id: 7,
        payload_hash: 8,
        message_id: 9,
        hlc: 10,
    };

    #[test]
    fn a_retry_joins_then_is_answered_then_is_the_stores() {
        let mut pending = Pending::default();
        let key = named(5);
        assert_eq!(pending.join_send(key, CALLER, 7, 8), Seen::New);
        pending.begin_send(0, key, KNOWN, CALLER, 100);
        assert_eq!(pending.join_send(key, CALLER, 7, 8), Seen::Joined);
        assert_eq!(pending.join_send(key, CALLER, 6, 8), Seen::Conflict);
        assert_eq!(pending.join_send(key, CALLER, 7, 9), Seen::Conflict);
        let Some(Settled::Sent { waiting, .. }) = pending.durable(0) else {
            panic!()
        };
        assert_eq!(waiting.len(), 2);
        assert_eq!(pending.join_send(key, CALLER, 7, 8), Seen::Durable(KNOWN));
        pending.applied(PendingKey::Send(key));
        assert_eq!(pending.join_send(key, CALLER, 7, 8), Seen::New);
        assert!(pending.is_empty());
    }

    #[test]
    fn a_log_of_partitions_answers_in_any_order_and_a_quick_retry_is_remembered() {
        let mut pending = Pending::default();
        for n in 0..4 {
            pending.begin_send(n, named(n), known_of(n), CALLER, 10);
        }
        // Not taken by the log: its ticket goes to the next one.
        pending.retract(3);
        pending.begin_send(3, named(7), known_of(7), CALLER, 10);
        let mut answered = Vec::new();
        for ticket in [2, 0, 3, 1] {
            let Some((Settled::Sent { known, .. }, 10)) = pending.acked(ticket) else {
                panic!()
            };
            answered.push(known.message_id);
            if ticket == 3 {
                pending.begin_send(4, named(8), known_of(8), CALLER, 10);
            }
        }
        assert_eq!(answered, [2, 0, 7, 1]);
        assert!(pending.acked(4).is_some() && pending.acked(4).is_none());
        assert!(pending.is_empty());
        assert_eq!(
            pending.join_send(named(7), CALLER, 7, 8),
            Seen::Durable(known_of(7))
        );
        assert_eq!(pending.join_send(named(3), CALLER, 7, 8), Seen::New);
    }

    fn known_of(message_id: u64) -> Known {
        Known {
            message_id,
            ..KNOWN
        }
    }

    #[test]
    fn those_who_wait_are_bounded() {
        let mut pending = Pending::default();
        pending.begin_send(0, named(5), KNOWN, CALLER, 100);
        let joined = (0..100)
            .filter(|_| pending.join_send(named(5), CALLER, 7, 8) == Seen::Joined)
            .count();
        assert_eq!(joined, WAITING_MAX - 1);
        assert_eq!(pending.join_send(named(5), CALLER, 7, 8), Seen::Crowded);
    }

    #[test]
    fn a_new_conversation_is_nobodys_until_it_is_durable() {
        let mut pending = Pending::default();
        let key = OpenKey::direct(2, 1);
        let members: Arc<[u64]> = [1, 2].into();
        pending.begin_open(0, key, 77, Arc::clone(&members), (CALLER, 4), 50);
        assert_eq!(pending.members(77), None);
        assert_eq!(pending.join_open(key, CALLER, 5, &[1, 2]), Seen::Joined);
        assert_eq!(pending.join_open(key, CALLER, 5, &[1, 3]), Seen::Conflict);
        pending.durable(0);
        assert_eq!(pending.members(77), Some(&members));
        assert_eq!(
            pending.join_open(key, CALLER, 6, &[1, 2]),
            Seen::Durable(77)
        );
        pending.applied(PendingKey::Open(key));
        assert_eq!(pending.members(77), None);
        assert!(pending.is_empty());
    }

    proptest! {
        /// Whatever happens to the records, each caller that was let in is told exactly once.
        #[test]
        fn everybody_who_waits_is_told_once(
            steps in prop::collection::vec((0_u8..5, 0_u64..6), 1..300)
        ) {
            let mut pending = Pending::default();
            let (mut ticket, mut oldest) = (0, 0);
            let mut durable = Vec::new();
            let (mut let_in, mut told) = (0, 0);
            let mut conn = 0;
            let mut conns = HashSet::new();
            for (what, id) in steps {
                match what {
                    0 | 1 => {
                        conn += 1;
                        let caller = Caller { conn, ..CALLER };
                        match pending.join_send(named(id), caller, 7, 8) {
                            Seen::New => {
                                pending.begin_send(ticket, named(id), KNOWN, caller, 10);
                                ticket += 1;
                                let_in += 1;
                            }
                            Seen::Joined => let_in += 1,
                            Seen::Durable(_) | Seen::Crowded => {}
                            Seen::Conflict => prop_assert!(false),
                        }
                    }
                    2 | 3 if oldest < ticket => {
                        let settled = if what == 2 {
                            pending.durable(oldest)
                        } else {
                            pending.failed(oldest).map(|(settled, _)| settled)
                        };
                        oldest += 1;
                        let Some(Settled::Sent { client_msg_id, waiting, .. }) = settled else {
                            return Err(TestCaseError::fail("not settled"));
                        };
                        told += waiting.len();
                        for caller in waiting {
                            prop_assert!(conns.insert(caller.conn));
                        }
                        if what == 2 {
                            durable.push(client_msg_id);
                        }
                    }
                    4 if !durable.is_empty() => {
                        pending.applied(PendingKey::Send((1, durable.remove(0))));
                    }
                    _ => {}
                }
            }
            while oldest < ticket {
                let Some((Settled::Sent { waiting, .. }, 10)) = pending.failed(oldest) else {
                    return Err(TestCaseError::fail("not settled"));
                };
                told += waiting.len();
                oldest += 1;
            }
            prop_assert_eq!(told, let_in);
        }
    }
}
