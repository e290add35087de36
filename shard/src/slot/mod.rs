//! A connection's place in the shard: its state, what is in flight for it, its deadline's links, what
//! is queued for sending, and the handler's part. At rest nothing of it is on the heap.

pub mod state;
pub mod table;

use crate::Cause;
use crate::outgoing::Outgoing;
use crate::wheel::Link;
pub use state::State;

/// Operations in flight for a slot, one bit each: the engine never has two of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InFlight(u16);

impl InFlight {
    pub(crate) const POLL_READ: u16 = 1;
    pub(crate) const POLL_WRITE: u16 = 1 << 1;
    pub(crate) const RECV: u16 = 1 << 2;
    pub(crate) const SEND: u16 = 1 << 3;
    pub(crate) const SHUT_WRITE: u16 = 1 << 4;
    pub(crate) const SHUT_BOTH: u16 = 1 << 5;
    pub(crate) const CANCEL: u16 = 1 << 6;
    pub(crate) const CONNECT: u16 = 1 << 7;
    pub(crate) const SEND_FD: u16 = 1 << 8;

    pub(crate) fn has(self, bits: u16) -> bool {
        self.0 & bits != 0
    }

    pub(crate) fn add(&mut self, bit: u16) {
        self.0 |= bit;
    }

    pub(crate) fn remove(&mut self, bit: u16) {
        self.0 &= !bit;
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The peer has closed its side.
pub(crate) const EOF: u8 = 1;
/// Stands in the dirty list.
pub(crate) const DIRTY: u8 = 1 << 1;
/// Stands in line for a receive buffer.
pub(crate) const IN_LINE: u8 = 1 << 2;
/// To be closed if the move that is under way fails.
pub(crate) const CLOSE_AFTER_MOVE: u8 = 1 << 3;
/// The handler has been told of it (`on_open` or `on_arrive`).
pub(crate) const TOLD: u8 = 1 << 4;
/// The last poll said that the peer has closed its side, or is gone.
pub(crate) const HUNG_UP: u8 = 1 << 5;

/// Its deadline has passed, and is told when what came before has been read.
pub(crate) const OVERDUE: u8 = 1 << 6;

/// One entry of the slot table.
#[derive(Debug)]
pub(crate) struct Slot<C> {
    pub(crate) out: Option<Box<Outgoing>>,
    pub(crate) generation: u32,
    pub(crate) link: Link,
    cause: u16,
    pub(crate) in_flight: InFlight,
    pub(crate) state: State,
    pub(crate) flags: u8,
    /// Receives since its deadline passed, or since our side was shut down.
    pub(crate) recvs: u16,
    pub(crate) conn: C,
}

const CAUSE_PEER: u16 = u16::MAX;
const CAUSE_CLOSED: u16 = u16::MAX - 1;
const CAUSE_STOPPING: u16 = u16::MAX - 2;

impl<C: Default> Slot<C> {
    pub(crate) fn new(generation: u32) -> Self {
        Slot {
            out: None,
            generation,
            link: Link::default(),
            cause: 0,
            in_flight: InFlight::default(),
            state: State::Free,
            flags: 0,
            recvs: 0,
            conn: C::default(),
        }
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The first cause stands.
    pub(crate) fn set_cause(&mut self, cause: Cause) {
        if self.cause == 0 {
            self.cause = match cause {
                Cause::PeerClosed => CAUSE_PEER,
                Cause::Closed => CAUSE_CLOSED,
                Cause::Stopping => CAUSE_STOPPING,
                Cause::Errno(errno) => errno.clamp(1, 4_095) as u16,
            };
        }
    }

    pub(crate) fn cause(&self) -> Cause {
        match self.cause {
            CAUSE_PEER => Cause::PeerClosed,
            0 | CAUSE_CLOSED => Cause::Closed,
            CAUSE_STOPPING => Cause::Stopping,
            errno => Cause::Errno(i32::from(errno)),
        }
    }

    /// Bytes of memory that what is queued takes.
    pub(crate) fn queue_held_bytes(&self) -> usize {
        self.out.as_ref().map_or(0, |out| out.held_bytes())
    }

    /// Nothing is queued for sending, or on its way.
    pub(crate) fn sent_all(&self) -> bool {
        self.out.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_at_rest_is_small() {
        assert_eq!(size_of::<Link>(), 12);
        assert_eq!(
            size_of::<Slot<()>>(),
            32,
            "the engine's part of a connection"
        );
        assert_eq!(size_of::<Slot<[u64; 10]>>(), 32 + 80);
    }

    #[test]
    fn the_first_cause_stands() {
        let mut slot = Slot::<()>::new(0);
        slot.set_cause(Cause::Errno(104));
        slot.set_cause(Cause::Closed);
        assert_eq!(slot.cause(), Cause::Errno(104));
    }
}
