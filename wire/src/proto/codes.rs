//! Close codes and error codes, each with its name, meaning and what the client should do.
//!
//! The names are metric labels: lower case, never changed. The tables here are the ones that
//! `docs/protocol.md` prints; a test compares them.

use std::borrow::Cow;

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
    GOING_AWAY = 1001, "going_away", Reconnect, "The server shuts down, or the client did not go when a Reconnect told it to.";
    PROTOCOL_ERROR = 1002, "protocol_error", Act, "The peer broke RFC 6455.";
    UNSUPPORTED_DATA = 1003, "unsupported_data", Act, "A text message: only binary ones are taken.";
    INVALID_UTF8 = 1007, "invalid_utf8", Act, "A close reason that is not UTF-8.";
    POLICY_VIOLATION = 1008, "policy_violation", Act, "A flood of fragments or control frames.";
    MESSAGE_TOO_BIG = 1009, "message_too_big", Act, "A message over the size limit.";
    TRY_AGAIN_LATER = 1013, "try_again_later", Backoff, "The server takes no more connections now.";
    HEARTBEAT_MISSED = 4001, "heartbeat_missed", Reconnect, "Nothing came, and nothing was read, within the heartbeat interval and its grace.";
    SLOW_READER = 4002, "slow_reader", Reconnect, "The client does not read what it is sent.";
    KICKED = 4003, "kicked", Reconnect, "An operator ended the connection.";
    LOGIN_AGAIN = 4004, "login_again", Reconnect, "An operator revoked tokens of this user: whoever was in proves itself again.";
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
    TOKEN_REVOKED = 4411, "token_revoked", Act, "The token was revoked.";
}

impl CloseCode {
    /// The reason beside it in a close frame: its name; and where all may be closed at once the reconnect
    /// jitter of that moment, ms, which the client takes in place of its Welcome's.
    pub fn reason(self, reconnect_jitter_ms: u32) -> Cow<'static, str> {
        match self {
            Self::GOING_AWAY => format!("{}{JITTER}{reconnect_jitter_ms}", self.name()).into(),
            _ => self.name().into(),
        }
    }
}

const JITTER: &str = "; reconnect_jitter_ms=";

/// The reconnect jitter in the reason of a close frame, ms.
pub fn reconnect_jitter_ms(reason: &str) -> Option<u32> {
    reason.split_once(JITTER)?.1.parse().ok()
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

macro_rules! error_codes {
    ($($variant:ident = $code:literal, $name:literal, $retry:literal, $meaning:literal;)*) => {
        /// The `code` of an Error message.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $(#[doc = $meaning] $variant = $code,)*
        }

        impl ErrorCode {
            /// All codes, ascending.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The metric label.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it means.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }

            /// Whether the same request may succeed later, as it is. `retry_after_ms` says when.
            pub const fn retryable(self) -> bool {
                match self { $(Self::$variant => $retry,)* }
            }
        }
    };
}

error_codes! {
    BadRequest = 100, "bad_request", false, "A field has a value that its description forbids.";
    NotMember = 101, "not_member", false, "The caller is in no such conversation (it may not exist).";
    DedupConflict = 104, "dedup_conflict", false, "The client_msg_id, or the request_id of a CreateConversation, was used for something else.";
    TooManyConversations = 105, "too_many_conversations", false, "The caller has opened as many conversations as one user may.";
    MemberFull = 106, "member_full", false, "A member that was named, told in the reason, is in as many conversations as one may be put into.";
    RateLimited = 200, "rate_limited", true, "More than a user's share, or than a conversation's, of what messages cost.";
    Overloaded = 201, "overloaded", true, "A queue on the way is full.";
    StorageFull = 202, "storage_full", true, "Nothing can be made durable now.";
    Unavailable = 203, "unavailable", true, "A service behind the server is away, or the server's clock is off.";
    LoginInvalid = 300, "login_invalid", false, "The token is malformed, forged, of another algorithm or not yet valid.";
    LoginExpired = 301, "login_expired", false, "The token has expired.";
    LoginExpected = 302, "login_expected", false, "The first frame is not a Login.";
    LoginLate = 303, "login_late", false, "No Login within 8 s.";
    LoginTwice = 304, "login_twice", false, "A Login on a connection that is logged in.";
    LoginRevoked = 305, "login_revoked", false, "The token was revoked.";
}

impl ErrorCode {
    /// The number on the wire.
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// From the wire; `None` for a number of a later server.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.code() == code)
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_that_all_may_meet_tells_how_to_come_again() {
        let reason = CloseCode::GOING_AWAY.reason(333_333);
        assert_eq!(reason, "going_away; reconnect_jitter_ms=333333");
        assert_eq!(reconnect_jitter_ms(&reason), Some(333_333));
        assert_eq!(CloseCode::KICKED.reason(333_333), "kicked");
        for other in [
            "",
            "kicked",
            "; reconnect_jitter_ms=",
            "; reconnect_jitter_ms=-1",
        ] {
            assert_eq!(reconnect_jitter_ms(other), None, "{other}");
        }
        // A control frame has room for a code and 123 bytes (RFC 6455 section 5.5).
        let longest = CloseCode::ALL
            .iter()
            .map(|code| code.reason(u32::MAX).len())
            .max();
        assert!(longest < Some(123));
    }
}
