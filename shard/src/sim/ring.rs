//! One simulated ring: its file table, its provided buffers, what is armed on it, what has completed.
//!
//! The table is kept twice: what the kernel has (`file`), and what the loop was told (`given`, and what
//! it has in flight). The loop is judged by the second: a completion that it has not reaped is in
//! flight, whatever the kernel did meanwhile.

use std::collections::VecDeque;

use super::checks::{Check, Checks};
use super::rng::Rng;
use crate::driver::{Completion, Interest, RecvBuffer, SlotRef, Tag};

/// What may be in flight on a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A receive.
    Recv,
    /// A send.
    Send,
    /// A poll for reading.
    PollRead,
    /// A poll for writing.
    PollWrite,
    /// A shutdown.
    Shutdown,
    /// A connect.
    Connect,
    /// A move to another ring.
    SendFd,
    /// A close.
    Close,
    /// A question, answered when it is submitted.
    TcpInfo,
}

const KINDS: usize = 9;

/// What a completion means for the loop's view of the table, once it is reaped.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mark {
    /// Nothing.
    None,
    /// The slot is the loop's.
    Given(u32),
    /// That is in flight no more.
    Done(u32, Kind),
}

/// A slot of the file table.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot {
    /// The link whose file it holds.
    pub(super) file: Option<u32>,
    given: bool,
    flight: [u8; KINDS],
}

/// A provided buffer.
#[derive(Clone, Debug)]
struct Buffer {
    held: bool,
    bytes: Vec<u8>,
}

/// An armed accept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accepting {
    /// Its tag.
    pub(super) tag: Tag,
    /// The listener.
    pub(super) listener: u16,
}

/// An armed poll. It holds the file, also when its slot is closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Polling {
    /// Its tag.
    pub(super) tag: Tag,
    /// Where it was armed.
    pub(super) slot: u32,
    /// What for.
    pub(super) interest: Interest,
    /// The file.
    pub(super) link: u32,
}

/// A connect under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connecting {
    /// Its tag.
    pub(super) tag: Tag,
    /// The slot.
    pub(super) slot: u32,
    /// The file.
    pub(super) link: u32,
}

/// One ring.
#[derive(Debug)]
pub(super) struct Ring {
    number: u16,
    /// The file table.
    pub(super) slots: Vec<Slot>,
    buffers: Vec<Buffer>,
    /// Completions that the loop has not reaped.
    pub(super) done: VecDeque<(Completion, Mark)>,
    /// Armed accepts.
    pub(super) accepts: Vec<Accepting>,
    /// Armed polls.
    pub(super) polls: Vec<Polling>,
    /// Connects under way.
    pub(super) connects: Vec<Connecting>,
}

impl Ring {
    /// An empty ring.
    pub(super) fn new(number: u16, slots: u32, buffers: u16, buffer_bytes: usize) -> Ring {
        let buffer = Buffer {
            held: false,
            bytes: vec![0; buffer_bytes],
        };
        Ring {
            number,
            slots: vec![Slot::default(); slots as usize],
            buffers: vec![buffer; usize::from(buffers)],
            done: VecDeque::new(),
            accepts: Vec::new(),
            polls: Vec::new(),
            connects: Vec::new(),
        }
    }

    /// A free slot, of any number or the lowest, as the kernel's hint happens to stand.
    pub(super) fn free_slot(&self, rng: &mut Rng) -> Option<u32> {
        let free: Vec<usize> = (0..self.slots.len())
            .filter(|&index| self.slots[index].file.is_none())
            .collect();
        let lowest = *free.first()?;
        let index = if rng.one_in(2) {
            lowest
        } else {
            free[rng.index(free.len())]
        };
        Some(index as u32)
    }

    /// The loop submits an operation on a slot.
    pub(super) fn begin(&mut self, index: u32, kind: Kind, tag: Tag, checks: &mut Checks) {
        let place = SlotRef {
            ring: self.number,
            index,
        };
        let Some(slot) = self.slots.get_mut(index as usize).filter(|slot| slot.given) else {
            return checks.fail(
                Check::OpOnFreeSlot,
                format!("{kind:?} on {place:?}, {tag:?}"),
            );
        };
        let detail = || {
            format!(
                "{kind:?} on {place:?}, {tag:?}, in flight {:?}",
                slot.flight
            )
        };
        let busy = |kind: Kind| slot.flight[kind as usize] > 0;
        match kind {
            Kind::Recv => checks.hold(!busy(kind), Check::TwoReceives, detail),
            Kind::Send => checks.hold(!busy(kind), Check::TwoSends, detail),
            Kind::PollRead | Kind::PollWrite => checks.hold(!busy(kind), Check::TwoPolls, detail),
            Kind::Close => {
                checks.hold(slot.flight == [0; KINDS], Check::CloseInFlight, detail);
                slot.given = false;
            }
            Kind::SendFd => {
                let idle = !busy(Kind::Recv) && !busy(Kind::Send) && !busy(kind);
                checks.hold(idle, Check::MoveInFlight, detail);
            }
            Kind::Shutdown | Kind::Connect => {}
            // It is behind what was submitted before, and over before what comes after.
            Kind::TcpInfo => return,
        }
        slot.flight[kind as usize] += 1;
    }

    /// Something completed.
    pub(super) fn post(&mut self, tag: Tag, result: i32, mark: Mark) {
        self.post_full(blank(self.number, tag, result), mark);
    }

    /// Something completed, with all that came of it.
    pub(super) fn post_full(&mut self, completion: Completion, mark: Mark) {
        self.done.push_back((completion, mark));
    }

    /// The loop reaps the oldest completion.
    pub(super) fn reap(&mut self) -> Option<Completion> {
        let (completion, mark) = self.done.pop_front()?;
        match mark {
            Mark::None => {}
            Mark::Given(index) => self.slots[index as usize].given = true,
            Mark::Done(index, kind) => {
                let count = &mut self.slots[index as usize].flight[kind as usize];
                *count = count.saturating_sub(1);
            }
        }
        Some(completion)
    }

    /// A provided buffer that the kernel may fill, and its size.
    pub(super) fn free_buffer(&self, rng: &mut Rng) -> Option<(u16, usize)> {
        let free: Vec<usize> = (0..self.buffers.len())
            .filter(|&id| !self.buffers[id].held)
            .collect();
        if free.is_empty() {
            return None;
        }
        let id = free[rng.index(free.len())];
        Some((id as u16, self.buffers[id].bytes.len()))
    }

    /// Puts received bytes, at most as many as it holds, into a free buffer.
    pub(super) fn fill(&mut self, id: u16, bytes: &[u8]) -> RecvBuffer {
        let buffer = &mut self.buffers[usize::from(id)];
        buffer.held = true;
        // What lies behind the received bytes is of no meaning: make a use of it visible.
        buffer.bytes.fill(0xa5);
        buffer.bytes[..bytes.len()].copy_from_slice(bytes);
        RecvBuffer {
            ring: self.number,
            id,
            len: bytes.len() as u32,
        }
    }

    /// The received bytes.
    pub(super) fn bytes(&mut self, buffer: &RecvBuffer, checks: &mut Checks) -> &mut [u8] {
        let held = &mut self.buffers[usize::from(buffer.id)];
        checks.hold(held.held, Check::BufferNotHeld, || {
            format!("read of {buffer:?}")
        });
        &mut held.bytes[..buffer.len as usize]
    }

    /// The loop gives a buffer back.
    pub(super) fn recycle(&mut self, buffer: &RecvBuffer, checks: &mut Checks) {
        let held = &mut self.buffers[usize::from(buffer.id)];
        checks.hold(held.held, Check::BufferNotHeld, || {
            format!("return of {buffer:?}")
        });
        held.held = false;
        held.bytes.fill(0x5a);
    }

    /// Slots that were filled and of which the loop has not heard: a connection that was moved here
    /// while the shard ended. It goes down with the ring.
    pub(super) fn unreaped_files(&self) -> Vec<u32> {
        let given = |(_, mark): &(Completion, Mark)| match mark {
            Mark::Given(index) => Some(*index),
            _ => None,
        };
        self.done.iter().filter_map(given).collect()
    }

    /// What must hold once all connections are gone.
    pub(super) fn check_empty(&self, shard: u16, checks: &mut Checks) {
        let number = self.number;
        let on_the_way = self.unreaped_files();
        let given = (0u32..).zip(&self.slots).position(|(index, slot)| {
            slot.given || (slot.file.is_some() && !on_the_way.contains(&index))
        });
        checks.hold(given.is_none(), Check::SlotLeak, || {
            format!("shard {shard} ring {number} slot {given:?}")
        });
        let unreaped = |id: usize| {
            let buffers = self
                .done
                .iter()
                .filter_map(|(done, _)| done.buffer.as_ref());
            buffers
                .into_iter()
                .any(|buffer| usize::from(buffer.id) == id)
        };
        let lost = (0..self.buffers.len()).find(|&id| self.buffers[id].held && !unreaped(id));
        checks.hold(lost.is_none(), Check::BufferLost, || {
            format!("shard {shard} ring {number} buffer {lost:?}")
        });
    }
}

/// A completion with nothing but a result.
pub(super) fn blank(ring: u16, tag: Tag, result: i32) -> Completion {
    Completion {
        tag,
        ring,
        result,
        more: false,
        nonempty: false,
        buffer: None,
        sent: None,
        tcp_info: None,
    }
}
