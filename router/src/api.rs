//! What the edge asks of the router, and what the router hands back.
//!
//! Requests go down through [`RouterHandle::submit`](crate::RouterHandle::submit) and never block;
//! events come back through the [`Outlet`], which the edge implements over its shards' mailboxes.

use std::sync::Arc;

use rookery_wire::proto;

/// The device that asked, and where its connection is. `shard` and `conn` are opaque to the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    /// The user, as the token says.
    pub user_id: u64,
    /// The device, as the token says.
    pub device_id: u32,
    /// The shard that holds the connection.
    pub shard: u16,
    /// The connection within it.
    pub conn: u64,
}

/// A device of a user: at most one connection has logged in as it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceKey {
    /// The user.
    pub user_id: u64,
    /// Which of theirs.
    pub device_id: u32,
}

/// What a client asked for; already parsed, its lengths bounded.
#[derive(Clone, Debug)]
pub enum Request {
    /// Append to a conversation.
    Send(proto::Send),
    /// Replay what is missing.
    Sync(proto::Sync),
    /// A page of the past.
    History(proto::History),
    /// The device has received. Has no answer, and is dropped where too many wait.
    DeliverAck(proto::DeliverAck),
    /// A page of what the device has not received.
    Outbox(proto::Outbox),
    /// Find or make a direct conversation.
    OpenDirect(proto::OpenDirect),
    /// Make a conversation.
    CreateConversation(proto::CreateConversation),
    /// The caller's conversations.
    ListConversations(proto::ListConversations),
    /// Who is in one of them.
    ListMembers(proto::ListMembers),
}

/// What the router hands to a shard. Frames are whole protocol frames (version, kind, archive).
#[derive(Clone, Debug)]
pub enum Event {
    /// Answers for one connection, in order.
    Answer {
        /// Whose request it answers; the connection may be gone by now.
        to: Caller,
        /// The frames.
        frames: Vec<Vec<u8>>,
        /// It is the whole answer to one read (Sync, History, Outbox, ListConversations, ListMembers).
        is_read: bool,
    },
    /// One frame for every live device of these users, all owned by the shard.
    Fanout {
        /// What it is about: of one conversation they are to be told in order.
        conversation_id: u64,
        /// The frame.
        frame: Arc<[u8]>,
        /// The users.
        users: Vec<u64>,
        /// A device that is not to get it, because it has an answer of its own.
        but: Option<DeviceKey>,
    },
}

impl Event {
    pub(crate) fn answer(to: Caller, frames: Vec<Vec<u8>>, is_read: bool) -> Self {
        Event::Answer {
            to,
            frames,
            is_read,
        }
    }
}

/// The way back to the shards. Called on the router's threads only.
pub trait Outlet: Send + Sync + 'static {
    /// The number of shards.
    fn shards(&self) -> u16;
    /// The shard that owns a user.
    fn owner(&self, user_id: u64) -> u16;
    /// Hands an event to a shard; gives it back where the shard's mailbox is full (the router waits
    /// and tries again, it drops nothing).
    fn post(&self, shard: u16, event: Event) -> Result<(), Event>;
}
