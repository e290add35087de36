//! QUIC (RFC 9000, 9001, 9002) without IO, for many connections that mostly say nothing.
//!
//! ```text
//! datagram -> Handshakes (quinn-proto) -> Established -> Connection: Parked + Awake
//!          -> Parked::handle -> a PING is answered at rest, anything else wakes
//! ```
//!
//! quinn-proto shakes hands and never has a 1-RTT key; the engine behind it is ours ([`connection`]). Between
//! messages a connection is [`parked::Parked`], 344 bytes. Bytes, time and randomness come in as arguments, events and
//! datagrams come out. See `docs/adr/0020-quic.md`.

pub mod at_rest;
pub mod cid;
pub mod connection;
pub mod error;
pub mod frame;
pub mod handshake;
mod keys;
pub mod packet;
pub mod parameters;
pub mod parked;
mod ranges;
pub mod received;
mod recovery;
pub mod streams;
pub mod varint;
