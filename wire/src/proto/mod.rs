//! The binary protocol v1: what travels inside WebSocket messages.
//!
//! A frame is a version byte, a kind byte and the rkyv archive of that kind's struct, root at the
//! end. Everything has alignment 1, so a frame is read in place wherever it lies. Bytes of a peer
//! are always bounded and validated before they are looked at; `docs/protocol.md` gives each byte.
//!
//! * `messages`: the structs. * `kind`: the kinds and the frame enums over them.
//! * `frame`: encode and parse. * `bounds`: what each kind is held to. * `limits`: every maximum. * `codes`: close and error codes.

mod bounds;
mod codes;
mod frame;
#[doc(hidden)]
pub mod fuzz;
mod kind;
mod limits;
mod messages;

pub use codes::{About, Advice, CloseCode, ErrorCode, reconnect_jitter_ms};
pub use frame::{Encoder, FrameError, Owner, encode, encode_into, owned};
pub use kind::{ClientFrame, Kind, Message, ServerFrame};
pub use limits::{
    ALTERNATIVE_BYTES_MAX, ALTERNATIVES_MAX, FRAME_HEADER_BYTES, LOGIN_FRAME_BYTES_MAX, Limits,
    MEMBERS_MAX, PAGE_MESSAGES_MAX, PAYLOAD_BYTES_MAX, REASON_BYTES_MAX, TOKEN_BYTES_MAX,
};
pub use messages::*;

/// The first byte of every frame.
pub const VERSION: u8 = 1;

/// The WebSocket subprotocol that carries these frames.
pub const SUBPROTOCOL: &str = "rookery.v1";
