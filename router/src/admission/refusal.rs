//! What a request is refused with: an Error frame's code, retry-after and reason.

use rookery_wire::proto::{self, About, ErrorCode};

use super::{Over, Whose};

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The Error's code.
    pub code: ErrorCode,
    /// The Error's `retry_after_ms`; 0: not as it is.
    pub retry_after_ms: u32,
    /// The Error's reason.
    pub reason: &'static str,
    /// Whom it is about, named behind the reason.
    pub user_id: Option<u64>,
}

impl Refusal {
    /// The same for a conversation that does not exist and one of others, so that ids of foreign
    /// conversations can't be found by trying.
    pub const NOT_MEMBER: Refusal =
        Refusal::never(ErrorCode::NotMember, "no conversation of yours has this id");
    /// See [`Known::is_retry`](super::Known::is_retry).
    pub const CONFLICT: Refusal = Refusal::never(
        ErrorCode::DedupConflict,
        "the id was used within 7 days for another conversation, payload or member list",
    );
    /// The payload is over its limit.
    pub const PAYLOAD_TOO_LARGE: Refusal = Refusal::never(
        ErrorCode::BadRequest,
        "the payload is over payload_bytes_max",
    );
    /// No room on the disk.
    pub const STORAGE_FULL: Refusal = Refusal::later(
        ErrorCode::StorageFull,
        5_000,
        "nothing can be made durable now",
    );
    /// The disk refused a write.
    pub const NOT_DURABLE: Refusal = Refusal::later(
        ErrorCode::Unavailable,
        1_000,
        "the message could not be made durable",
    );
    /// The store failed or the router is closing.
    pub const UNAVAILABLE: Refusal =
        Refusal::later(ErrorCode::Unavailable, 5_000, "the store is away");
    /// The host's clock is off, so nothing is given an id.
    pub const CLOCK_OFF: Refusal = Refusal::later(
        ErrorCode::Unavailable,
        5_000,
        "the server's clock is not right",
    );
    /// A queue is full.
    pub const OVERLOADED: Refusal =
        Refusal::later(ErrorCode::Overloaded, 500, "too many requests wait");

    /// A request that its sender must change first.
    pub const fn never(code: ErrorCode, reason: &'static str) -> Refusal {
        Refusal {
            code,
            retry_after_ms: 0,
            reason,
            user_id: None,
        }
    }

    /// A request that may succeed later.
    pub const fn later(code: ErrorCode, retry_after_ms: u32, reason: &'static str) -> Refusal {
        Refusal {
            code,
            retry_after_ms,
            reason,
            user_id: None,
        }
    }

    /// More than the share of a user or a conversation.
    pub const fn over(over: Over) -> Refusal {
        let reason = match over.whose {
            Whose::User => "more than one user's share of sends and openings",
            Whose::Conversation => "more than one conversation's share of messages",
        };
        Refusal::later(ErrorCode::RateLimited, over.retry_after_ms, reason)
    }

    /// The Error frame for a request.
    pub fn frame(&self, about: impl Into<About>) -> Vec<u8> {
        let About {
            request_id,
            client_msg_id,
        } = about.into();
        proto::encode(&proto::Error {
            request_id,
            client_msg_id,
            code: self.code.code(),
            retry_after_ms: self.retry_after_ms,
            reason: match self.user_id {
                Some(user_id) => format!("{}: user {user_id}", self.reason).into_bytes(),
                None => self.reason.as_bytes().to_vec(),
            },
        })
    }
}
