//! What each kind's archive is held to: the bytes of its lists, their limits, and a request's id.

use super::frame::{Bounded, FrameError};
use super::limits::{ALTERNATIVE_BYTES_MAX, ALTERNATIVES_MAX, Limits, REASON_BYTES_MAX};
use super::messages::*;

impl Bounded for ArchivedLogin {
    fn list_bytes(&self) -> usize {
        self.token.len() + self.resume_token.len()
    }

    fn check(&self, limits: &Limits) -> Result<(), FrameError> {
        bound("token", self.token.len(), limits.token_bytes_max)?;
        let (name, len) = ("resume_token", self.resume_token.len());
        bound(name, len, limits.token_bytes_max)
    }
}

impl Bounded for ArchivedSend {
    fn list_bytes(&self) -> usize {
        self.payload.len()
    }

    fn check(&self, limits: &Limits) -> Result<(), FrameError> {
        bound("payload", self.payload.len(), limits.payload_bytes_max)
    }
}

impl Bounded for ArchivedDeliver {
    fn list_bytes(&self) -> usize {
        self.payload.len()
    }

    fn check(&self, limits: &Limits) -> Result<(), FrameError> {
        bound("payload", self.payload.len(), limits.payload_bytes_max)
    }
}

impl Bounded for ArchivedWelcome {
    fn list_bytes(&self) -> usize {
        self.resume_token.len()
    }

    fn check(&self, limits: &Limits) -> Result<(), FrameError> {
        let (name, len) = ("resume_token", self.resume_token.len());
        bound(name, len, limits.token_bytes_max)
    }
}

impl Bounded for ArchivedReconnect {
    fn list_bytes(&self) -> usize {
        let urls: usize = self.alternatives.iter().map(|it| it.url.len()).sum();
        size_of_val(&self.alternatives[..]) + urls + self.reason.len()
    }

    fn check(&self, _: &Limits) -> Result<(), FrameError> {
        let (name, len) = ("alternatives", self.alternatives.len());
        bound(name, len, ALTERNATIVES_MAX)?;
        for alternative in self.alternatives.iter() {
            bound("url", alternative.url.len(), ALTERNATIVE_BYTES_MAX)?;
        }
        bound("reason", self.reason.len(), REASON_BYTES_MAX)
    }
}

impl Bounded for ArchivedError {
    fn list_bytes(&self) -> usize {
        self.reason.len()
    }

    fn check(&self, _: &Limits) -> Result<(), FrameError> {
        bound("reason", self.reason.len(), REASON_BYTES_MAX)
    }
}

impl Bounded for ArchivedConversations {
    fn list_bytes(&self) -> usize {
        size_of_val(&self.conversations[..])
    }

    fn check(&self, limits: &Limits) -> Result<(), FrameError> {
        let (name, len) = ("conversations", self.conversations.len());
        bound(name, len, limits.page_messages_max)
    }
}

/// Kinds with one list of user ids; those of requests have an id.
macro_rules! member_lists {
    ($($name:ident: $is_named:expr;)*) => {
        $(impl Bounded for $name {
            fn list_bytes(&self) -> usize {
                size_of_val(&self.member_user_ids[..])
            }

            fn is_named(&self) -> bool {
                let is_named: fn(&Self) -> bool = $is_named;
                is_named(self)
            }

            fn check(&self, limits: &Limits) -> Result<(), FrameError> {
                let (name, len) = ("member_user_ids", self.member_user_ids.len());
                bound(name, len, limits.members_max)
            }
        })*
    };
}

member_lists! {
    ArchivedCreateConversation: |it| it.request_id != 0;
    ArchivedConversationOpened: |_| true;
    ArchivedMembers: |_| true;
}

/// Kinds with one list of messages.
macro_rules! pages {
    ($($name:ident)*) => {
        $(impl Bounded for $name {
            fn list_bytes(&self) -> usize {
                let payloads: usize = self.messages.iter().map(Bounded::list_bytes).sum();
                size_of_val(&self.messages[..]) + payloads
            }

            fn check(&self, limits: &Limits) -> Result<(), FrameError> {
                bound("messages", self.messages.len(), limits.page_messages_max)?;
                self.messages.iter().try_for_each(|message| message.check(limits))
            }
        })*
    };
}

pages! { ArchivedHistoryPage ArchivedOutboxPage }

/// Requests without a list.
macro_rules! requests {
    ($($name:ident)*) => {
        $(impl Bounded for $name {
            fn is_named(&self) -> bool {
                self.request_id != 0
            }
        })*
    };
}

requests! {
    ArchivedSync ArchivedHistory ArchivedOutbox ArchivedOpenDirect ArchivedListConversations
    ArchivedListMembers
}

// No list, no id that an answer carries.
impl Bounded for ArchivedDeliverAck {}
impl Bounded for ArchivedPing {}
impl Bounded for ArchivedPong {}
impl Bounded for ArchivedSendAck {}
impl Bounded for ArchivedSyncEnd {}
impl Bounded for ArchivedLagged {}

fn bound(field: &'static str, len: usize, max: usize) -> Result<(), FrameError> {
    if len <= max {
        Ok(())
    } else {
        Err(FrameError::TooLong { field, len, max })
    }
}
