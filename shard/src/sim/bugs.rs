//! Deliberate bugs: the simulator's own test.
//!
//! `Faulty` stands between the production loop and the simulated kernel and twists what the one asks
//! and the other answers, such that together they behave like a loop with a certain bug. None of it is
//! in the loop. A simulator that does not notice them would not notice ours.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use libc::EAGAIN;

use super::driver::SimDriver;
use super::rng::mix;
use super::world::Floor;
use crate::driver::{Completion, Driver, Interest, Now, Op, RecvBuffer, Side, SlotRef, Tag};

/// A bug that a loop might have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// After a read that emptied the socket, the poll is not armed again (once in eight).
    ForgetsToPoll,
    /// After EAGAIN on a send, nobody waits for room.
    ForgetsToPollForRoom,
    /// After a short write the rest is sent from the start of the buffer.
    ResendsFromStart,
    /// After a short write one byte of the rest is left out.
    SkipsAfterShortWrite,
    /// A send counts as done, and all of it as sent, once it is queued.
    TrustsSends,
    /// A closing slot does not wait for its poll.
    ClosesWithoutJoin,
    /// A slot is closed twice.
    ClosesTwice,
    /// The slot that a moved connection left is not closed.
    KeepsMovedSlot,
    /// A connection is moved with a receive in flight.
    MovesWhileReceiving,
    /// A completion of a slot's former owner is taken for one of the new owner's.
    IgnoresGeneration,
    /// A buffer is given back twice.
    RecyclesTwice,
    /// A buffer is kept (once in sixteen).
    KeepsBuffer,
    /// The last byte of a received buffer is overlooked.
    LosesByte,
    /// The end of a stream is taken for "nothing yet".
    IgnoresEof,
    /// An accept that ended is not armed again.
    ForgetsAccept,
    /// A connection is said to come from where the one before it came from.
    ConfusesPeers,
    /// What is asked about a connection is asked about another.
    ConfusesSlots,
    /// Time is taken to run a tenth faster than it does.
    HurriesTimers,
    /// A deadline is told without a look at what has come.
    DoesNotLook,
    /// Whatever time the thread did not run is taken for a wait.
    ChargesStandstills,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 20] = [
        Bug::ForgetsToPoll,
        Bug::ForgetsToPollForRoom,
        Bug::ResendsFromStart,
        Bug::SkipsAfterShortWrite,
        Bug::TrustsSends,
        Bug::ClosesWithoutJoin,
        Bug::ClosesTwice,
        Bug::KeepsMovedSlot,
        Bug::MovesWhileReceiving,
        Bug::IgnoresGeneration,
        Bug::RecyclesTwice,
        Bug::KeepsBuffer,
        Bug::LosesByte,
        Bug::IgnoresEof,
        Bug::ForgetsAccept,
        Bug::ConfusesPeers,
        Bug::ConfusesSlots,
        Bug::HurriesTimers,
        Bug::DoesNotLook,
        Bug::ChargesStandstills,
    ];
}

/// The tag of operations that the loop does not know of.
const OWN: Tag = Tag(u64::MAX);

/// A driver that makes the loop above it look as if it had a bug.
pub(super) struct Faulty {
    below: SimDriver,
    bug: Bug,
    /// Completions that the kernel knows nothing of.
    forged: Vec<Completion>,
    /// Armed polls, by their tag.
    polls: BTreeMap<u64, SlotRef>,
    /// The slots of receives and sends, by their tag.
    transfers: BTreeMap<u64, SlotRef>,
    /// Slots to which the bug applies next.
    marked: BTreeSet<SlotRef>,
    /// Sends and polls of which the loop has already heard.
    answered: BTreeSet<u64>,
    accepts: BTreeSet<(u16, u16)>,
    last_peer: Option<SocketAddr>,
    /// Of the question before.
    last_slot: Option<SlotRef>,
    count: u64,
}

impl Faulty {
    /// That bug, above that driver.
    pub(super) fn new(below: SimDriver, bug: Bug) -> Faulty {
        Faulty {
            below,
            bug,
            forged: Vec::new(),
            polls: BTreeMap::new(),
            transfers: BTreeMap::new(),
            marked: BTreeSet::new(),
            answered: BTreeSet::new(),
            accepts: BTreeSet::new(),
            last_peer: None,
            last_slot: None,
            count: 0,
        }
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.count += 1;
        mix(self.count).is_multiple_of(n)
    }

    fn forge(&mut self, tag: Tag, ring: u16, result: i32, sent: Option<Vec<u8>>) {
        let (more, nonempty, buffer) = (false, false, None);
        self.forged.push(Completion {
            tag,
            ring,
            result,
            more,
            nonempty,
            buffer,
            sent,
            tcp_info: None,
        });
    }

    /// Keeps account of what is armed and in flight.
    fn learn(&mut self, tag: Tag, op: &Op) {
        match op {
            Op::Poll {
                slot,
                interest: Interest::Read,
            } => drop(self.polls.insert(tag.0, *slot)),
            Op::Recv { slot } | Op::Send { slot, .. } => drop(self.transfers.insert(tag.0, *slot)),
            _ => {}
        }
    }

    /// What the loop asks, as the bug would have it. `None`: not at all.
    fn twist(&mut self, tag: Tag, op: Op) -> Option<Op> {
        match (self.bug, op) {
            (
                Bug::ForgetsToPoll,
                Op::Poll {
                    slot,
                    interest: Interest::Read,
                },
            ) if self.marked.remove(&slot) && self.one_in(8) => None,
            (
                Bug::ForgetsToPollForRoom,
                Op::Poll {
                    interest: Interest::Write,
                    ..
                },
            ) => None,
            (Bug::ResendsFromStart, Op::Send { slot, bytes, .. }) => Some(Op::Send {
                slot,
                bytes,
                from: 0,
            }),
            (Bug::SkipsAfterShortWrite, Op::Send { slot, bytes, from }) => {
                let skip = usize::from(from > 0 && from + 1 < bytes.len());
                Some(Op::Send {
                    slot,
                    bytes,
                    from: from + skip,
                })
            }
            (Bug::TrustsSends, Op::Send { slot, bytes, from }) => {
                let rest = (bytes.len() - from) as i32;
                self.answered.insert(tag.0);
                self.forge(tag, slot.ring, rest, Some(bytes.clone()));
                Some(Op::Send { slot, bytes, from })
            }
            (
                Bug::ClosesWithoutJoin,
                Op::Shutdown {
                    slot,
                    side: Side::Both,
                },
            ) => {
                let armed = self
                    .polls
                    .iter()
                    .find(|(_, place)| **place == slot)
                    .map(|(tag, _)| *tag);
                if let Some(poll) = armed {
                    self.answered.insert(poll);
                    self.forge(Tag(poll), slot.ring, i32::from(libc::POLLHUP), None);
                }
                Some(Op::Shutdown {
                    slot,
                    side: Side::Both,
                })
            }
            (Bug::ClosesTwice, Op::Close { slot }) => {
                self.below.submit(OWN, Op::Close { slot });
                Some(Op::Close { slot })
            }
            (
                Bug::KeepsMovedSlot,
                Op::SendFd {
                    slot,
                    to_shard,
                    to_ring,
                    arrival,
                },
            ) => {
                self.marked.insert(slot);
                Some(Op::SendFd {
                    slot,
                    to_shard,
                    to_ring,
                    arrival,
                })
            }
            (Bug::KeepsMovedSlot, Op::Close { slot }) if self.marked.remove(&slot) => {
                self.forge(tag, slot.ring, 0, None);
                None
            }
            (
                Bug::MovesWhileReceiving,
                Op::SendFd {
                    slot,
                    to_shard,
                    to_ring,
                    arrival,
                },
            ) => {
                self.below.submit(OWN, Op::Recv { slot });
                Some(Op::SendFd {
                    slot,
                    to_shard,
                    to_ring,
                    arrival,
                })
            }
            (Bug::IgnoresGeneration, Op::Close { slot }) => {
                self.marked.insert(slot);
                Some(Op::Close { slot })
            }
            (
                Bug::IgnoresGeneration,
                Op::Poll {
                    slot,
                    interest: Interest::Read,
                },
            ) if self.marked.remove(&slot) => {
                self.forge(tag, slot.ring, i32::from(libc::POLLIN), None);
                Some(Op::Poll {
                    slot,
                    interest: Interest::Read,
                })
            }
            // No poll led to it: it is the look before a deadline.
            (Bug::DoesNotLook, Op::Recv { slot }) if self.polls.values().any(|at| *at == slot) => {
                self.forge(tag, slot.ring, -EAGAIN, None);
                None
            }
            (Bug::ForgetsAccept, Op::Accept { ring, listener }) => self
                .accepts
                .insert((ring, listener))
                .then_some(Op::Accept { ring, listener }),
            (Bug::ConfusesSlots, Op::TcpInfo { mut slot }) => {
                slot = self.last_slot.replace(slot).unwrap_or(slot);
                Some(Op::TcpInfo { slot })
            }
            (_, op) => Some(op),
        }
    }

    /// What the kernel answers, as the bug would have it. `None`: the loop does not hear of it.
    fn distort(&mut self, mut completion: Completion) -> Option<Completion> {
        let tag = completion.tag.0;
        let slot = self.transfers.remove(&tag);
        self.polls.remove(&tag);
        if completion.tag == OWN {
            if let Some(buffer) = completion.buffer {
                self.below.recycle(buffer);
            }
            return None;
        }
        if self.answered.remove(&tag) {
            return None;
        }
        match self.bug {
            Bug::ForgetsToPoll if completion.buffer.is_some() && !completion.nonempty => {
                self.marked.extend(slot);
            }
            Bug::IgnoresEof
                if slot.is_some() && completion.sent.is_none() && completion.result == 0 =>
            {
                completion.result = -EAGAIN;
            }
            Bug::LosesByte => {
                if let Some(buffer) = completion.buffer.as_mut().filter(|buffer| buffer.len > 1) {
                    buffer.len -= 1;
                    completion.result -= 1;
                }
            }
            _ => {}
        }
        Some(completion)
    }
}

impl Driver for Faulty {
    fn now(&mut self) -> Now {
        let mut now = self.below.now();
        if self.bug == Bug::HurriesTimers {
            now.mono_ns += now.mono_ns / 10;
        }
        now
    }

    fn rings(&self) -> u16 {
        self.below.rings()
    }

    fn slots_per_ring(&self) -> u32 {
        self.below.slots_per_ring()
    }

    fn submit(&mut self, tag: Tag, op: Op) {
        self.learn(tag, &op);
        if let Some(op) = self.twist(tag, op) {
            self.below.submit(tag, op);
        }
    }

    fn turn(&mut self, wait_ns: u64, completions: &mut Vec<Completion>) -> u64 {
        let wait_ns = if self.forged.is_empty() { wait_ns } else { 0 };
        let mut answers = Vec::new();
        let waited_ns = self.below.turn(wait_ns, &mut answers);
        for answer in answers {
            let answer = self.distort(answer);
            completions.extend(answer);
        }
        completions.append(&mut self.forged);
        match self.bug {
            Bug::ChargesStandstills => u64::MAX,
            _ => waited_ns,
        }
    }

    fn take_peer(&mut self, ring: u16, accept: Tag) -> Option<SocketAddr> {
        let peer = self.below.take_peer(ring, accept)?;
        let before = self.last_peer.replace(peer);
        match self.bug {
            Bug::ConfusesPeers => before.or(Some(peer)),
            _ => Some(peer),
        }
    }

    fn bytes(&mut self, buffer: &RecvBuffer) -> &mut [u8] {
        self.below.bytes(buffer)
    }

    fn recycle(&mut self, buffer: RecvBuffer) {
        let again = RecvBuffer {
            ring: buffer.ring,
            id: buffer.id,
            len: buffer.len,
        };
        let kept = self.bug == Bug::KeepsBuffer && self.one_in(16);
        if self.bug == Bug::RecyclesTwice {
            self.below.recycle(again);
        }
        if kept {
            return;
        }
        self.below.recycle(buffer);
    }
}

impl Floor for Faulty {
    fn sim(&self) -> &SimDriver {
        &self.below
    }

    fn has_more(&self) -> bool {
        !self.forged.is_empty()
    }
}
