//! What rides in an operation's `user_data`: its kind, and the connection or the ring that it is for.
//!
//! ```text
//! 63..60 kind | 59..32 generation | 31..0 index         operations on a slot
//! 63..60 kind | 59..32 serial     | 31..16 ring, 15..0 listener   accepts
//! 63..60 kind | 47..32 shard      | 31..0 token         arrivals
//! ```
//! Kind 15 is the driver's own; the others are all in use.

use crate::ConnId;
use crate::driver::Tag;
use crate::id::GENERATION_MASK;

/// What an operation was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Accept,
    CancelAccept,
    Socket,
    Connect,
    PollRead,
    PollWrite,
    Recv,
    Send,
    ShutWrite,
    ShutBoth,
    CloseSlot,
    SendFd,
    Arrival,
    CancelPoll,
    TcpInfo,
}

const KINDS: [Kind; 15] = [
    Kind::Accept,
    Kind::CancelAccept,
    Kind::Socket,
    Kind::Connect,
    Kind::PollRead,
    Kind::PollWrite,
    Kind::Recv,
    Kind::Send,
    Kind::ShutWrite,
    Kind::ShutBoth,
    Kind::CloseSlot,
    Kind::SendFd,
    Kind::Arrival,
    Kind::CancelPoll,
    Kind::TcpInfo,
];

fn with_kind(kind: Kind, low: u64) -> Tag {
    Tag((kind as u64) << 60 | low)
}

/// The tag of an operation on a slot.
pub(crate) fn of_conn(kind: Kind, conn: ConnId) -> Tag {
    with_kind(kind, conn.as_u64())
}

/// The tag of an accept. The serial tells its completions from those of an earlier one.
pub(crate) fn of_accept(kind: Kind, serial: u32, ring: u16, listener: u16) -> Tag {
    let low = u64::from(ring) << 16 | u64::from(listener);
    with_kind(kind, u64::from(serial & GENERATION_MASK) << 32 | low)
}

/// The tag of a socket that is being made; the token is the engine's.
pub(crate) fn of_socket(token: u32) -> Tag {
    with_kind(Kind::Socket, u64::from(token))
}

/// The tag with which a moved connection arrives.
pub(crate) fn of_arrival(from_shard: u16, token: u32) -> Tag {
    with_kind(
        Kind::Arrival,
        u64::from(from_shard) << 32 | u64::from(token),
    )
}

/// The kind; `None` for a tag that the engine did not make.
pub(crate) fn kind(tag: Tag) -> Option<Kind> {
    KINDS.get((tag.0 >> 60) as usize).copied()
}

/// The connection of an operation on a slot.
pub(crate) fn conn(tag: Tag) -> ConnId {
    ConnId::from_u64(tag.0 & ((1 << 60) - 1))
}

/// The listener of an accept.
pub(crate) fn listener(tag: Tag) -> u16 {
    tag.0 as u16
}

/// Source shard and token of an arrival.
pub(crate) fn arrival(tag: Tag) -> (u16, u32) {
    ((tag.0 >> 32) as u16, tag.0 as u32)
}

/// The token of a socket.
pub(crate) fn socket(tag: Tag) -> u32 {
    tag.0 as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_its_tag() {
        let id = ConnId::new(GENERATION_MASK, u32::MAX);
        for (number, kind_of) in (0u64..).zip(KINDS) {
            assert_eq!(kind_of as u64, number);
            assert_eq!(kind(of_conn(kind_of, id)), Some(kind_of));
            assert_eq!(conn(of_conn(kind_of, id)), id);
        }
        assert_eq!(kind(Tag(15 << 60)), None);
        assert_eq!(arrival(of_arrival(u16::MAX, 7)), (u16::MAX, 7));
    }
}
