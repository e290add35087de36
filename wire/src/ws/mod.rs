//! WebSocket (RFC 6455), sans-IO, for both roles.
//!
//! [`Decoder`] turns received bytes into [`Event`]s, unmasking in place and borrowing where a whole
//! message lies in the input; the `encode_*` functions write frames; [`upgrade`] is the HTTP/1.1
//! opening handshake. Extensions are never agreed to: permessage-deflate would cost a window per
//! connection and payloads are ciphertext. Who answers a Ping or a Close, and when, is the
//! session's business.
//!
//! Invariant: a decoder between messages owns no heap memory.

mod assembly;
mod close;
mod decoder;
mod encode;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod header;
mod mask;
#[cfg(feature = "crypto")]
pub mod upgrade;

pub use decoder::{Decoder, Event};
pub use encode::{FrameHeader, encode_close, encode_header, encode_message};
pub use error::Error;
pub use header::Opcode;
pub use mask::apply_mask;

/// Which end of the connection decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Receives masked frames (RFC 6455 section 5.1).
    Server,
    /// Receives unmasked frames.
    Client,
}

/// Bounds on what a peer may make a decoder hold or do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of a message's payload, all fragments together.
    pub message_bytes_max: usize,
    /// The most frames that one message may come in.
    pub fragments_max: u32,
    /// The most control frames between the fragments of one message. Those between messages are
    /// counted against time, by the session.
    pub controls_in_message_max: u32,
}

/// How a decoder decodes. One value serves any number of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// This end.
    pub role: Role,
    /// Whether text messages are taken; otherwise they are [`Error::TextRefused`].
    pub text: bool,
    /// The bounds.
    pub limits: Limits,
}

impl Config {
    /// Binary messages of at most `message_bytes_max` bytes: what carries the protocol.
    pub const fn binary(role: Role, message_bytes_max: usize) -> Self {
        let limits = Limits {
            message_bytes_max,
            fragments_max: 128,
            controls_in_message_max: 32,
        };
        Self {
            role,
            text: false,
            limits,
        }
    }

    /// Text and binary messages of at most 16 MiB, in fragments of any size: an echo server as the
    /// conformance suites want it.
    pub const fn echo(role: Role) -> Self {
        let limits = Limits {
            message_bytes_max: 16 * 1024 * 1024,
            fragments_max: 1024 * 1024,
            controls_in_message_max: 1024,
        };
        Self {
            role,
            text: true,
            limits,
        }
    }
}
