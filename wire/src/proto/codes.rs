//! Close codes and error codes, each with its name, meaning and what the client should do.
//!
//! The names are metric labels: lower case, never changed. The tables here are the ones that
//! `docs/protocol.md` prints; a test compares them.

use super::ClientMsgId;

/// What a client does after a connection was closed with a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// The conversation ended as it should.
    Done,
    /// Connect again after the reconnect jitter.
    Reconnect,
    /// The application (or its programmer) must change something first.
    Act,
    /// Connect again with exponential backoff.
    Backoff,
}

/// A WebSocket close code (RFC 6455 section 7.4; 4000 to 4999 are ours).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(pub u16);

macro_rules! close_codes {
    ($($const:ident = $code:literal, $name:literal, $advice:ident, $meaning:literal;)*) => {
        impl CloseCode {
            $(#[doc = $meaning] pub const $const: Self = Self($code);)*

            /// All codes that this protocol uses, ascending.
            pub const ALL: &'static [Self] = &[$(Self::$const),*];

            /// The metric label; "other" for a code that is not ours.
            pub const fn name(self) -> &'static str {
                match self.0 { $($code => $name,)* _ => "other" }
            }

            /// What it means; empty for a code that is not ours.
            pub const fn meaning(self) -> &'static str {
                match self.0 { $($code => $meaning,)* _ => "" }
            }

            /// What the client does next. Codes that are not listed follow their range.
            pub const fn advice(self) -> Advice {
                match self.0 {
                    $($code => Advice::$advice,)*
                    4000..=4399 => Advice::Reconnect,
                    4400..=4499 => Advice::Act,
                    _ => Advice::Backoff,
                }
            }
        }
    };
}

close_codes! {
    NORMAL = 1000, "normal", Done, "The client asked for the close.";
    GOING_AWAY = 1001, "going_away", Reconnect, "The server shuts down.";
    PROTOCOL_ERROR = 1002, "protocol_error", Act, "The peer broke RFC 6455.";
    UNSUPPORTED_DATA = 1003, "unsupported_data", Act, "A text message: only binary ones are taken.";
    INVALID_UTF8 = 1007, "invalid_utf8", Act, "Text or a close reason that is not UTF-8.";
    POLICY_VIOLATION = 1008, "policy_violation", Act, "A flood of fragments or control frames.";
    MESSAGE_TOO_BIG = 1009, "message_too_big", Act, "A message over the size limit.";
    INTERNAL_ERROR = 1011, "internal_error", Backoff, "The server has a fault.";
    SERVICE_RESTART = 1012, "service_restart", Reconnect, "The server restarts.";
    TRY_AGAIN_LATER = 1013, "try_again_later", Backoff, "The server takes no more connections now.";
    REBALANCE = 4000, "rebalance", Reconnect, "The server moves connections elsewhere.";
    HEARTBEAT_MISSED = 4001, "heartbeat_missed", Reconnect, "Nothing came, and nothing was read, within the heartbeat interval and its grace.";
    SLOW_READER = 4002, "slow_reader", Reconnect, "The client does not read what it is sent.";
    LOGIN_LATE = 4400, "login_late", Act, "No Login within 8 s.";
    LOGIN_INVALID = 4401, "login_invalid", Act, "The token is malformed, forged, of another algorithm or not yet valid.";
    LOGIN_EXPECTED = 4402, "login_expected", Act, "The first frame is not a Login.";
    TOKEN_EXPIRED = 4403, "token_expired", Act, "The token has expired, at login or since.";
    FRAME_INVALID = 4404, "frame_invalid", Act, "A frame of unknown kind, or whose archive does not validate.";
    VERSION_UNSUPPORTED = 4405, "version_unsupported", Act, "A frame of another protocol version.";
    FRAME_TOO_LONG = 4406, "frame_too_long", Act, "A frame or a list in it over its limit.";
    LOGIN_TWICE = 4407, "login_twice", Act, "A Login on a connection that is logged in.";
    TOO_MANY_DEVICES = 4409, "too_many_devices", Act, "Another device of the user logged in and this one was the oldest of more than 5.";
    DEVICE_REPLACED = 4410, "device_replaced", Act, "The same device logged in on another connection.";
    OVERLOADED = 4500, "overloaded", Backoff, "The server sheds load.";
    STORAGE_FULL = 4501, "storage_full", Backoff, "Nothing can be made durable now.";
    BACKEND_UNAVAILABLE = 4502, "backend_unavailable", Backoff, "A service behind the server is away.";
}

/// Which request an Error is about: at most one of the two, the other is zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The `request_id`.
    pub request_id: u64,
    /// The `client_msg_id` of a Send.
    pub client_msg_id: ClientMsgId,
}

impl From<u64> for About {
    fn from(request_id: u64) -> Self {
        Self {
            request_id,
            ..Self::default()
        }
    }
}

impl From<ClientMsgId> for About {
    fn from(client_msg_id: ClientMsgId) -> Self {
        Self {
            client_msg_id,
            ..Self::default()
        }
    }
}

/// The `code` of an Error message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
#[non_exhaustive]
pub enum ErrorCode {
    /// A field has a value that its description forbids.
    BadRequest = 100,
    /// The caller is not a member of the conversation.
    NotMember = 101,
    /// There is no such conversation.
    UnknownConversation = 102,
    /// The payload or a list is over its limit.
    TooLarge = 103,
    /// The same client_msg_id was used for another conversation or payload.
    DedupConflict = 104,
    /// The user has as many conversations as allowed.
    TooManyConversations = 105,
    /// More requests than the caller's share.
    RateLimited = 200,
    /// A queue on the way is full.
    Overloaded = 201,
    /// Nothing can be made durable now.
    StorageFull = 202,
    /// A service behind the server is away.
    Unavailable = 203,
    /// The token is malformed, forged, of another algorithm or not yet valid.
    LoginInvalid = 300,
    /// The token has expired.
    LoginExpired = 301,
    /// The first frame is not a Login.
    LoginExpected = 302,
    /// No Login within 8 s.
    LoginLate = 303,
    /// A Login on a connection that is logged in.
    LoginTwice = 304,
    /// The frame could not be read.
    FrameInvalid = 400,
    /// The server has a fault.
    Internal = 500,
}

impl ErrorCode {
    /// All codes, ascending.
    pub const ALL: &'static [Self] = &[
        Self::BadRequest,
        Self::NotMember,
        Self::UnknownConversation,
        Self::TooLarge,
        Self::DedupConflict,
        Self::TooManyConversations,
        Self::RateLimited,
        Self::Overloaded,
        Self::StorageFull,
        Self::Unavailable,
        Self::LoginInvalid,
        Self::LoginExpired,
        Self::LoginExpected,
        Self::LoginLate,
        Self::LoginTwice,
        Self::FrameInvalid,
        Self::Internal,
    ];

    /// The number on the wire.
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// From the wire; `None` for a number of a later server.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.code() == code)
    }

    /// Whether the same request may succeed later, as it is. `retry_after_ms` says when.
    pub const fn retryable(self) -> bool {
        matches!(
            self,
            Self::RateLimited
                | Self::Overloaded
                | Self::StorageFull
                | Self::Unavailable
                | Self::Internal
        )
    }

    /// An Error message with this code. A reason over its limit is cut at a character.
    /// `retry_after_ms` is 0 unless the code is [`retryable`](Self::retryable).
    pub fn message(
        self,
        about: impl Into<About>,
        retry_after_ms: u32,
        reason: &str,
    ) -> super::Error {
        let end = reason.floor_char_boundary(super::REASON_BYTES_MAX);
        let about = about.into();
        super::Error {
            request_id: about.request_id,
            client_msg_id: about.client_msg_id,
            code: self.code(),
            retry_after_ms: if self.retryable() { retry_after_ms } else { 0 },
            reason: reason.as_bytes()[..end].to_vec(),
        }
    }

    /// The metric label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::NotMember => "not_member",
            Self::UnknownConversation => "unknown_conversation",
            Self::TooLarge => "too_large",
            Self::DedupConflict => "dedup_conflict",
            Self::TooManyConversations => "too_many_conversations",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::StorageFull => "storage_full",
            Self::Unavailable => "unavailable",
            Self::LoginInvalid => "login_invalid",
            Self::LoginExpired => "login_expired",
            Self::LoginExpected => "login_expected",
            Self::LoginLate => "login_late",
            Self::LoginTwice => "login_twice",
            Self::FrameInvalid => "frame_invalid",
            Self::Internal => "internal",
        }
    }
}
