//! What a peer can do wrong, and the close code that each wrong is answered with.

use crate::proto::CloseCode;

/// A violation by the peer. The decoder is dead after one: it swallows whatever else comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// RSV1 to RSV3 set without an extension (section 5.2).
    #[error("reserved bits are set")]
    ReservedBits,
    /// An opcode of 3 to 7 or 11 to 15 (section 5.2).
    #[error("reserved opcode {0:#x}")]
    ReservedOpcode(u8),
    /// An unmasked frame from a client (section 5.1).
    #[error("a client's frame is not masked")]
    Unmasked,
    /// A masked frame from a server (section 5.1).
    #[error("a server's frame is masked")]
    Masked,
    /// A length that is not in its shortest form, or over 2^63-1 (section 5.2).
    #[error("the length is not in its shortest form")]
    LengthForm,
    /// A control frame of more than 125 bytes (section 5.5).
    #[error("a control frame of more than 125 bytes")]
    ControlTooLong,
    /// A control frame without FIN (section 5.5).
    #[error("a fragmented control frame")]
    ControlFragmented,
    /// A continuation with no message open (section 5.4).
    #[error("a continuation of nothing")]
    ContinuationOfNothing,
    /// A text or binary frame within a fragmented message (section 5.4).
    #[error("a new message within a fragmented one")]
    MessageInMessage,
    /// A close frame with a payload of one byte (section 5.5.1).
    #[error("a close frame with half a code")]
    CloseHalfCode,
    /// A close code that may not be sent (section 7.4).
    #[error("close code {0} may not be sent")]
    CloseCodeInvalid(u16),
    /// Text or a close reason that is not UTF-8 (section 8.1).
    #[error("not UTF-8")]
    Utf8,
    /// A text message where only binary ones are taken (section 7.4.1, code 1003).
    #[error("text messages are not taken here")]
    TextRefused,
    /// A message over [`Limits::message_bytes_max`](super::Limits::message_bytes_max).
    #[error("a message of more than {max} bytes")]
    MessageTooBig {
        /// The limit.
        max: usize,
    },
    /// A message in more than [`Limits::fragments_max`](super::Limits::fragments_max) frames.
    #[error("a message in too many fragments")]
    FragmentFlood,
    /// More control frames in one message than
    /// [`Limits::controls_in_message_max`](super::Limits::controls_in_message_max).
    #[error("too many control frames within a message")]
    ControlFlood,
}

impl Error {
    /// The code that the connection is closed with (section 7.4.1).
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::ReservedBits
            | Self::ReservedOpcode(_)
            | Self::Unmasked
            | Self::Masked
            | Self::LengthForm
            | Self::ControlTooLong
            | Self::ControlFragmented
            | Self::ContinuationOfNothing
            | Self::MessageInMessage
            | Self::CloseHalfCode
            | Self::CloseCodeInvalid(_) => CloseCode::PROTOCOL_ERROR,
            Self::Utf8 => CloseCode::INVALID_UTF8,
            Self::TextRefused => CloseCode::UNSUPPORTED_DATA,
            Self::MessageTooBig { .. } => CloseCode::MESSAGE_TOO_BIG,
            Self::FragmentFlood | Self::ControlFlood => CloseCode::POLICY_VIOLATION,
        }
    }
}
