//! What admission asks of a store on other hosts: the members of conversations that it does not know, and
//! whether one is there already that somebody opens.
//!
//! Threads of their own ask, so that a service that hangs keeps nobody waiting but those who need it: a
//! message in a known conversation passes by. The questions are bounded, users take turns with them, and one
//! that has waited for too long is given up. What was found goes back to admission, which decides.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::queue::SegQueue;

use super::clock::Clock;
use super::fair::FairQueue;
use super::intake::Charge;
use crate::admission::{ConversationLimits, Refusal};
use crate::api::Caller;
use crate::bell::Bell;
use crate::record::Opened;
use crate::store::{Opening, Store};

/// Threads for each kind of question: while one waits for its answer, another asks.
pub(super) const THREADS: usize = 2;
/// Conversations whose members are asked for.
const MEMBERS_MAX: usize = 4_096;
/// Openings; each may have 8 KiB of members.
const OPENINGS_MAX: usize = 1_024;
/// Conversations that are asked for together.
const BATCH_MAX: usize = 256;
/// What has waited for longer is not asked any more.
const PATIENCE: Duration = Duration::from_secs(5);

/// A conversation that somebody opens, as it will be if there is none.
#[derive(Debug)]
pub(super) struct ToOpen {
    pub(super) caller: Caller,
    pub(super) request_id: u64,
    pub(super) opened: Opened,
    pub(super) charge: Charge,
}

/// An answer.
#[derive(Debug)]
pub(super) enum Found {
    /// The members of a conversation, where it exists.
    Members(u64, Result<Option<Arc<[u64]>>, Refusal>),
    /// Whether the conversation is new.
    Opening(ToOpen, Result<Opening, Refusal>),
}

/// See the module.
pub(super) struct Lookups {
    members: FairQueue<(u64, Instant)>,
    openings: FairQueue<(ToOpen, Instant)>,
    /// No more than was asked.
    found: SegQueue<Found>,
    /// Admission's.
    bell: Arc<Bell>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    conversations: ConversationLimits,
}

impl Lookups {
    pub(super) fn new(
        bell: Arc<Bell>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        conversations: ConversationLimits,
    ) -> Lookups {
        Lookups {
            members: FairQueue::new(MEMBERS_MAX),
            openings: FairQueue::new(OPENINGS_MAX),
            found: SegQueue::new(),
            bell,
            store,
            clock,
            conversations,
        }
    }

    /// Asks for the members of a conversation on behalf of a user; false where too much is asked.
    pub(super) fn ask_members(&self, user_id: u64, conversation_id: u64) -> bool {
        self.members.push(user_id, (conversation_id, now()))
    }

    /// Asks whether a conversation is new; false where too much is asked.
    pub(super) fn ask_opening(&self, to_open: ToOpen) -> bool {
        self.openings.push(to_open.caller.user_id, (to_open, now()))
    }

    /// Admission's: the next answer.
    pub(super) fn found(&self) -> Option<Found> {
        self.found.pop()
    }

    pub(super) fn has_found(&self) -> bool {
        !self.found.is_empty()
    }

    /// Admission's: waits for an answer.
    pub(super) fn wait(&self, at_most: Duration) {
        self.bell.sleep(Some(at_most), || self.has_found());
    }

    /// Nothing more is asked; the threads end.
    pub(super) fn close(&self) {
        self.members.close();
        self.openings.close();
    }

    /// A thread's: answers about members until the end.
    pub(super) fn run_members(&self) {
        while let Some(first) = self.members.pop() {
            let more = std::iter::from_fn(|| self.members.try_pop());
            let batch = std::iter::once(first).chain(more).take(BATCH_MAX);
            let (fresh, late): (Vec<_>, Vec<_>) = batch.partition(|(_, since)| in_time(*since));
            for (id, _) in late {
                self.tell(Found::Members(id, Err(Refusal::UNAVAILABLE)));
            }
            let ids: Vec<u64> = fresh.into_iter().map(|(id, _)| id).collect();
            let members = self.store.members_of(&ids).map_err(Refusal::from);
            for (at, id) in ids.into_iter().enumerate() {
                let of = |all: &Vec<Option<Arc<[u64]>>>| all.get(at).cloned().flatten();
                let members = members.as_ref().map(of).map_err(|refusal| *refusal);
                self.tell(Found::Members(id, members));
            }
        }
    }

    /// A thread's: answers about openings until the end.
    pub(super) fn run_openings(&self) {
        while let Some((to_open, since)) = self.openings.pop() {
            let opening = match in_time(since) {
                true => {
                    let (opened, now_ms) = (&to_open.opened, self.clock.now_ms());
                    let opening = self.store.open(opened, now_ms, &self.conversations);
                    opening.map_err(Refusal::from)
                }
                false => Err(Refusal::UNAVAILABLE),
            };
            self.tell(Found::Opening(to_open, opening));
        }
    }

    fn tell(&self, found: Found) {
        self.found.push(found);
        self.bell.ring();
    }
}

fn in_time(since: Instant) -> bool {
    now().saturating_duration_since(since) <= PATIENCE
}

#[expect(
    clippy::disallowed_methods,
    reason = "a wait has an end; nothing is decided by it"
)]
fn now() -> Instant {
    Instant::now()
}
