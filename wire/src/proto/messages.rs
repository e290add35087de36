//! The messages of protocol v1, one struct per kind.
//!
//! Integers are little-endian, alignment is 1, byte strings are `Vec<u8>`; `docs/protocol.md` gives
//! every byte. Ids are chosen by the server except `client_msg_id` and `request_id`, which are the
//! client's and come back in the answer. User ids are the token's `sub`, 1 to 2^63-1.

use rkyv::{Archive, Deserialize, Serialize};

/// What a client calls a message: a UUID (RFC 9562), in its byte order; for the server any 16 bytes.
pub type ClientMsgId = [u8; 16];

/// Where a page of an outbox begins.
pub type OutboxCursor = [u8; 36];

/// Declares the message structs, so that each has the same derives.
macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {
        $($(#[$doc])*
        #[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
        #[rkyv(derive(Debug))]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* })*
    };
}

messages! {
    /// Client: the first frame, within 8 s of the connection.
    Login {
        /// A JWT, compact form.
        token: Vec<u8>,
        /// The resume token of an earlier Welcome, or empty.
        resume_token: Vec<u8>,
    }
    /// Server: the answer to Login.
    Welcome {
        /// The user of the token.
        user_id: u64,
        /// The device of the token, from 1.
        device_id: u32,
        /// This session.
        session_id: u64,
        /// To be sent in the Login of the next connection.
        resume_token: Vec<u8>,
        /// The server's clock, Unix ms.
        server_time_ms: u64,
        /// When the token expires and the session with it, Unix ms.
        expires_at_ms: u64,
        /// The client sends something at least this often.
        heartbeat_interval_ms: u32,
        /// After a lost connection the client waits a random time up to this before it reconnects.
        reconnect_jitter_ms: u32,
        /// The most bytes that a Send's payload may have.
        payload_bytes_max: u32,
        /// The most messages in a Sync or HistoryPage answer.
        page_messages_max: u32,
    }
    /// One of the addresses of a Reconnect.
    Alternative {
        /// A WebSocket URL, `wss://host:port/`, UTF-8.
        url: Vec<u8>,
    }
    /// Server: leave this server, at a moment of your own within the window, and connect again. Until
    /// then everything goes on.
    Reconnect {
        /// The server's clock, Unix ms.
        server_time_ms: u64,
        /// Not before so long after this frame came.
        not_before_ms: u32,
        /// Not later than so long after this frame came: some time behind it the server closes.
        not_after_ms: u32,
        /// Other servers, in any order; none: where the client connects anyway.
        alternatives: Vec<Alternative>,
        /// For people, UTF-8.
        reason: Vec<u8>,
    }
    /// Client: a message to a conversation.
    Send {
        /// A UUID of the client's; the same again within 7 days is the same message.
        client_msg_id: ClientMsgId,
        /// Where to.
        conversation_id: u64,
        /// Ciphertext, opaque to the server.
        payload: Vec<u8>,
    }
    /// Server: the message is durable.
    SendAck {
        /// From the Send.
        client_msg_id: ClientMsgId,
        /// From the Send.
        conversation_id: u64,
        /// The message's id, the same for every retry.
        message_id: u64,
        /// Hybrid logical clock: 48 bits Unix ms, 16 bits counter.
        hlc: u64,
    }
    /// Server: one message of a conversation.
    Deliver {
        /// The conversation.
        conversation_id: u64,
        /// Dense, from 1, in the conversation's order.
        seq: u64,
        /// Unique; grows with time.
        message_id: u64,
        /// Who sent it.
        sender_user_id: u64,
        /// From which device.
        sender_device_id: u32,
        /// The sender's own id of it.
        client_msg_id: ClientMsgId,
        /// Hybrid logical clock: 48 bits Unix ms, 16 bits counter.
        hlc: u64,
        /// Ciphertext.
        payload: Vec<u8>,
    }
    /// Client: I have all up to `have_seq`; send the rest. Answered by Delivers and one SyncEnd.
    Sync {
        /// The client's.
        request_id: u64,
        /// The conversation.
        conversation_id: u64,
        /// The highest seq below which the client misses nothing; 0 for nothing at all.
        have_seq: u64,
        /// The most messages wanted, 1 to `page_messages_max`.
        limit: u32,
    }
    /// Server: the end of a Sync's Delivers.
    SyncEnd {
        /// From the Sync.
        request_id: u64,
        /// The conversation.
        conversation_id: u64,
        /// The last seq that was sent, or `have_seq` where there was none.
        last_seq: u64,
        /// The conversation's head. Below it there is more: Sync again from `last_seq`.
        head_seq: u64,
    }
    /// Client: a page of a conversation, newest first.
    History {
        /// The client's.
        request_id: u64,
        /// The conversation.
        conversation_id: u64,
        /// Messages with a smaller seq than this; 0 for the newest.
        before_seq: u64,
        /// The most messages wanted, 1 to `page_messages_max`.
        limit: u32,
    }
    /// Server: the answer to History.
    HistoryPage {
        /// From the History.
        request_id: u64,
        /// The conversation.
        conversation_id: u64,
        /// Newest first.
        messages: Vec<Deliver>,
        /// 1 where older messages are left, else 0.
        has_more: u8,
    }
    /// Client: this device has everything of a conversation up to a seq. Cumulative: a lower one than
    /// before changes nothing. Not answered, unless it is refused.
    DeliverAck {
        /// The conversation.
        conversation_id: u64,
        /// The highest seq below which the device misses nothing.
        seq: u64,
    }
    /// Client: a page of what this device has not acked, of all the user's conversations.
    Outbox {
        /// The client's.
        request_id: u64,
        /// The `next_cursor` of the page before; zeros for the first page.
        cursor: OutboxCursor,
        /// The most messages wanted, 1 to `page_messages_max`.
        limit: u32,
    }
    /// Server: the answer to Outbox.
    OutboxPage {
        /// From the Outbox.
        request_id: u64,
        /// What came last first; of one conversation the newest first.
        messages: Vec<Deliver>,
        /// Where the next page begins. Opaque.
        next_cursor: OutboxCursor,
        /// 1 where the outbox has older ones, else 0.
        has_more: u8,
        /// 1 where the device may lack more than its outbox hands out. Final on the last page; an
        /// earlier one says 1 only where it is known by then.
        needs_full_sync: u8,
    }
    /// Client: the direct conversation with another user, made where there is none.
    OpenDirect {
        /// The client's.
        request_id: u64,
        /// The other user.
        peer_user_id: u64,
    }
    /// Client: a new conversation. The caller is a member too.
    CreateConversation {
        /// The client's; the same again makes no second one.
        request_id: u64,
        /// The others, 1 to 1,023.
        member_user_ids: Vec<u64>,
    }
    /// Server: the answer to OpenDirect and CreateConversation; with `request_id` 0, pushed to the
    /// devices of members who did not ask.
    ConversationOpened {
        /// From the request, or 0.
        request_id: u64,
        /// The conversation.
        conversation_id: u64,
        /// The last seq in it, 0 for none.
        head_seq: u64,
        /// All members, ascending.
        member_user_ids: Vec<u64>,
    }
    /// Client: the conversations that the user is a member of.
    ListConversations {
        /// The client's.
        request_id: u64,
        /// Those with a greater id than this; 0 for the first page.
        after_conversation_id: u64,
        /// The most wanted, 1 to `page_messages_max`.
        limit: u32,
    }
    /// One row of Conversations.
    ConversationHead {
        /// The conversation.
        conversation_id: u64,
        /// The last seq in it, 0 for none.
        head_seq: u64,
    }
    /// Server: the answer to ListConversations, ascending by id.
    Conversations {
        /// From the request.
        request_id: u64,
        /// The rows.
        conversations: Vec<ConversationHead>,
        /// 1 where more are left, else 0.
        has_more: u8,
    }
    /// Client: who is in a conversation of the user's.
    ListMembers {
        /// The client's.
        request_id: u64,
        /// The conversation.
        conversation_id: u64,
    }
    /// Server: the answer to ListMembers.
    Members {
        /// From the request.
        request_id: u64,
        /// The conversation.
        conversation_id: u64,
        /// All members, ascending.
        member_user_ids: Vec<u64>,
    }
    /// Either way: is somebody there? Answered by Pong.
    Ping {
        /// Comes back in the Pong.
        nonce: u64,
    }
    /// The answer to Ping.
    Pong {
        /// From the Ping.
        nonce: u64,
    }
    /// Server: this device did not read fast enough and was skipped in fan-out; Sync every
    /// conversation of interest.
    Lagged {
        /// Messages that were not sent to this device since the last Lagged.
        skipped: u64,
    }
    /// Server: a request failed. The connection goes on unless a close follows.
    Error {
        /// The `request_id` of what failed, 0 where it has none.
        request_id: u64,
        /// The `client_msg_id` of a Send that failed, else zeros.
        client_msg_id: ClientMsgId,
        /// One of `ErrorCode`.
        code: u16,
        /// Wait this long before the next try; 0: do not retry as it is.
        retry_after_ms: u32,
        /// For people, UTF-8.
        reason: Vec<u8>,
    }
}
