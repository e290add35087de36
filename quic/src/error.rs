//! Why a connection ends: the transport error codes of RFC 9000 section 20.1, and who closed it.

/// A transport error code (RFC 9000 section 20.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code(pub u64);

impl Code {
    /// Closed without an error.
    pub const NO_ERROR: Self = Self(0x0);
    /// We cannot go on.
    pub const INTERNAL_ERROR: Self = Self(0x1);
    /// More data than was allowed.
    pub const FLOW_CONTROL_ERROR: Self = Self(0x3);
    /// A stream beyond the allowed number.
    pub const STREAM_LIMIT_ERROR: Self = Self(0x4);
    /// A frame for a stream that is not in a state for it.
    pub const STREAM_STATE_ERROR: Self = Self(0x5);
    /// The end of a stream moved, or data came behind it.
    pub const FINAL_SIZE_ERROR: Self = Self(0x6);
    /// A frame that cannot be read.
    pub const FRAME_ENCODING_ERROR: Self = Self(0x7);
    /// Transport parameters that cannot be read or taken.
    pub const TRANSPORT_PARAMETER_ERROR: Self = Self(0x8);
    /// More connection ids than were allowed.
    pub const CONNECTION_ID_LIMIT_ERROR: Self = Self(0x9);
    /// Any other breach of the protocol.
    pub const PROTOCOL_VIOLATION: Self = Self(0xa);
    /// More CRYPTO data than is buffered.
    pub const CRYPTO_BUFFER_EXCEEDED: Self = Self(0xd);
    /// A breach of the rules of key updates.
    pub const KEY_UPDATE_ERROR: Self = Self(0xe);
    /// The keys have been used for as long as they may be.
    pub const AEAD_LIMIT_REACHED: Self = Self(0xf);
    /// TLS's alert `unexpected_message`.
    pub const UNEXPECTED_MESSAGE: Self = Self(0x10a);
}

/// A breach by the peer, which ends the connection. The reason is sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} (transport error {:#x})", code.0)]
pub struct Error {
    /// What is sent.
    pub code: Code,
    /// The frame type that it is about, or 0.
    pub frame: u64,
    /// In a few words.
    pub reason: &'static str,
}

impl Error {
    /// An error that no frame is to blame for.
    pub const fn new(code: Code, reason: &'static str) -> Self {
        Self {
            code,
            frame: 0,
            reason,
        }
    }

    /// The same, with the type of the frame that is to blame.
    pub const fn in_frame(code: Code, frame: u64, reason: &'static str) -> Self {
        Self {
            code,
            frame,
            reason,
        }
    }
}

/// Why there is no connection any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// We closed it with an application's code.
    Ours(u64),
    /// The peer broke the protocol, or we cannot go on.
    Broken(Error),
    /// The peer closed it with an application's code.
    Peer {
        /// What the code means is between the applications.
        code: u64,
        /// At most [`REASON_BYTES_MAX`] bytes of what it said.
        reason: Vec<u8>,
    },
    /// The peer's transport closed it: it says that we broke the protocol, or has no application.
    PeerTransport {
        /// RFC 9000 section 20.1.
        code: Code,
        /// At most [`REASON_BYTES_MAX`] bytes of what it said.
        reason: Vec<u8>,
    },
    /// Nothing was heard for as long as was agreed.
    Idle,
    /// The peer has no such connection: a stateless reset.
    Reset,
}

/// As much of a peer's reason as is kept.
pub const REASON_BYTES_MAX: usize = 128;
