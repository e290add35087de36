//! The golden vectors of the protocol, as they stand in `docs/protocol-vectors.json`.

pub(crate) mod json;
mod refused;

use json::{Field, bytes_to_json};
pub(crate) use refused::refused;
use rookery_wire::proto::*;
use serde_json::{Value, json};

/// One vector: a frame that is accepted, and what it says.
pub(crate) struct Vector {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) fields: Value,
    pub(crate) frame: Vec<u8>,
}

fn vector<T: Message + Field>(name: &'static str, message: &T) -> Vector {
    Vector {
        name,
        kind: T::KIND,
        fields: message.to_json(),
        frame: encode(message),
    }
}

const TOKEN: &[u8] = b"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI3IiwiZGV2IjoxfQ.c2lnbmF0dXJl";

/// A UUIDv7.
const CLIENT_MSG_ID: ClientMsgId = 0x019a_b697_e800_7c5a_8f11_0c6a_5d2e_9b40_u128.to_be_bytes();

fn deliver(seq: u64, payload: &[u8]) -> Deliver {
    Deliver {
        conversation_id: 4242,
        seq,
        message_id: 7_340_032_000_000 + seq,
        sender_user_id: 7,
        sender_device_id: 1,
        client_msg_id: CLIENT_MSG_ID,
        hlc: 1_764_000_000_000 << 16,
        payload: payload.to_vec(),
    }
}

/// Every kind: empty, typical, maximal.
pub(crate) fn accepted() -> Vec<Vector> {
    let mut all = client_vectors();
    all.extend(server_vectors());
    all
}

fn client_vectors() -> Vec<Vector> {
    const MAX: u64 = u64::MAX;
    let login = |token: &[u8], resume: &[u8]| Login {
        token: token.to_vec(),
        resume_token: resume.to_vec(),
    };
    let send = |id, conversation_id, payload: &[u8]| Send {
        client_msg_id: id,
        conversation_id,
        payload: payload.to_vec(),
    };
    let sync = |request_id, conversation_id, have_seq, limit| Sync {
        request_id,
        conversation_id,
        have_seq,
        limit,
    };
    let history = |request_id, conversation_id, before_seq, limit| History {
        request_id,
        conversation_id,
        before_seq,
        limit,
    };
    let received = |conversation_id, seq| DeliverAck {
        conversation_id,
        seq,
    };
    let outbox = |request_id, cursor, limit| Outbox {
        request_id,
        cursor,
        limit,
    };
    let create = |request_id, member_user_ids| CreateConversation {
        request_id,
        member_user_ids,
    };
    let list = |request_id, after_conversation_id, limit| ListConversations {
        request_id,
        after_conversation_id,
        limit,
    };
    let list_members = |request_id, conversation_id| ListMembers {
        request_id,
        conversation_id,
    };
    vec![
        vector("login empty", &login(b"", b"")),
        vector("login typical", &login(TOKEN, b"")),
        vector("login resuming", &login(TOKEN, &[0xa5; 16])),
        vector(
            "login maximal",
            &login(&[b't'; TOKEN_BYTES_MAX], &[b'r'; TOKEN_BYTES_MAX]),
        ),
        vector("send empty", &send([0; 16], 0, b"")),
        vector("send typical", &send(CLIENT_MSG_ID, 4242, b"hello")),
        vector(
            "send maximal",
            &send([0xff; 16], MAX, &[0x5a; PAYLOAD_BYTES_MAX]),
        ),
        vector("sync from nothing", &sync(1, 4242, 0, 100)),
        vector("sync maximal", &sync(MAX, MAX, MAX, u32::MAX)),
        vector("history newest", &history(2, 4242, 0, 50)),
        vector("history maximal", &history(MAX, MAX, MAX, u32::MAX)),
        vector("deliver ack", &received(4242, 17)),
        vector("deliver ack maximal", &received(MAX, MAX)),
        vector("outbox newest", &outbox(6, [0; 36], 100)),
        vector("outbox maximal", &outbox(MAX, [0xff; 36], u32::MAX)),
        vector(
            "open direct",
            &OpenDirect {
                request_id: 3,
                peer_user_id: 8,
            },
        ),
        vector(
            "open direct maximal",
            &OpenDirect {
                request_id: MAX,
                peer_user_id: MAX,
            },
        ),
        vector("create conversation empty", &create(4, vec![])),
        vector("create conversation typical", &create(4, vec![8, 9])),
        vector(
            "create conversation maximal",
            &create(MAX, vec![MAX; MEMBERS_MAX]),
        ),
        vector("list conversations", &list(5, 0, 100)),
        vector("list conversations maximal", &list(MAX, MAX, u32::MAX)),
        vector("list members", &list_members(7, 4242)),
        vector("list members maximal", &list_members(MAX, MAX)),
        vector(
            "ping",
            &Ping {
                nonce: 0x0102_0304_0506_0708,
            },
        ),
        vector(
            "pong",
            &Pong {
                nonce: 0x0102_0304_0506_0708,
            },
        ),
    ]
}

fn server_vectors() -> Vec<Vector> {
    const MAX: u64 = u64::MAX;
    let page = |messages, has_more| HistoryPage {
        request_id: 2,
        conversation_id: 4242,
        messages,
        has_more,
    };
    let outbox = |messages, cursor_byte, has_more, needs_full_sync| OutboxPage {
        request_id: 6,
        messages,
        next_cursor: [cursor_byte; 36],
        has_more,
        needs_full_sync,
    };
    let elsewhere = Deliver {
        conversation_id: 4243,
        ..deliver(9, b"another conversation")
    };
    let opened = |request_id, member_user_ids| ConversationOpened {
        request_id,
        conversation_id: 4242,
        head_seq: 2,
        member_user_ids,
    };
    let members = |request_id, member_user_ids| Members {
        request_id,
        conversation_id: 4242,
        member_user_ids,
    };
    let heads = |ids: &[u64]| Conversations {
        request_id: 5,
        conversations: ids
            .iter()
            .map(|id| ConversationHead {
                conversation_id: *id,
                head_seq: *id + 1,
            })
            .collect(),
        has_more: u8::from(ids.len() > 1),
    };
    let welcome = Welcome {
        user_id: 7,
        device_id: 1,
        session_id: 0x1122_3344_5566_7788,
        resume_token: vec![0xa5; 16],
        server_time_ms: 1_764_000_000_000,
        expires_at_ms: 1_764_003_600_000,
        heartbeat_interval_ms: 240_000,
        reconnect_jitter_ms: 5_000,
        payload_bytes_max: 65_536,
        page_messages_max: 100,
    };
    let reconnect = |urls: &[&[u8]], reason: &[u8]| Reconnect {
        server_time_ms: 1_764_000_000_000,
        not_before_ms: 0,
        not_after_ms: 5_000,
        alternatives: urls
            .iter()
            .map(|url| Alternative { url: url.to_vec() })
            .collect(),
        reason: reason.to_vec(),
    };
    let edges: [&[u8]; 2] = [b"wss://edge-2.example:8443/", b"wss://edge-3.example/"];
    let ack = |id, message_id, hlc| SendAck {
        client_msg_id: id,
        conversation_id: 4242,
        message_id,
        hlc,
    };
    let end = |last_seq, head_seq| SyncEnd {
        request_id: 1,
        conversation_id: 4242,
        last_seq,
        head_seq,
    };
    vec![
        vector("welcome typical", &welcome),
        vector(
            "welcome without resume",
            &Welcome {
                resume_token: vec![],
                ..welcome.clone()
            },
        ),
        vector("reconnect without alternatives", &reconnect(&[], b"")),
        vector("reconnect typical", &reconnect(&edges, b"the server goes")),
        vector(
            "reconnect maximal",
            &Reconnect {
                server_time_ms: MAX,
                not_before_ms: u32::MAX,
                not_after_ms: u32::MAX,
                ..reconnect(
                    &[&[b'u'; ALTERNATIVE_BYTES_MAX][..]; ALTERNATIVES_MAX],
                    &[b'r'; REASON_BYTES_MAX],
                )
            },
        ),
        vector(
            "send ack",
            &ack(CLIENT_MSG_ID, 7_340_032_000_001, 1_764_000_000_000 << 16),
        ),
        vector("send ack maximal", &ack([0xff; 16], MAX, MAX)),
        vector("deliver empty", &deliver(1, b"")),
        vector("deliver typical", &deliver(1, b"hello")),
        vector(
            "deliver maximal",
            &deliver(MAX - 7_340_032_000_000, &[0x5a; PAYLOAD_BYTES_MAX]),
        ),
        vector("sync end", &end(2, 2)),
        vector("sync end maximal", &end(MAX, MAX)),
        vector("history page empty", &page(vec![], 0)),
        vector(
            "history page typical",
            &page(vec![deliver(2, b"world!"), deliver(1, b"hello")], 0),
        ),
        vector(
            "history page maximal",
            &page(vec![deliver(3, b"x"); PAGE_MESSAGES_MAX], 1),
        ),
        vector("lagged", &Lagged { skipped: 17 }),
        vector("outbox page empty", &outbox(vec![], 0, 0, 1)),
        vector("outbox page without a message", &outbox(vec![], 0x3c, 1, 0)),
        vector(
            "outbox page typical",
            &outbox(vec![elsewhere, deliver(1, b"hello")], 0x3c, 1, 0),
        ),
        vector(
            "outbox page maximal",
            &outbox(vec![deliver(3, b"x"); PAGE_MESSAGES_MAX], 0xff, 1, 1),
        ),
        vector("conversation opened", &opened(3, vec![7, 8])),
        vector("conversation opened pushed", &opened(0, vec![7, 8, 9])),
        vector(
            "conversation opened maximal",
            &opened(MAX, vec![MAX; MEMBERS_MAX + 1]),
        ),
        vector("conversations empty", &heads(&[])),
        vector("conversations typical", &heads(&[4242, 4243])),
        vector("members typical", &members(7, vec![7, 8])),
        vector("members maximal", &members(MAX, vec![MAX; MEMBERS_MAX + 1])),
        vector(
            "error without reason",
            &ErrorCode::Unavailable.message(About::default(), 0, ""),
        ),
        vector(
            "error of a request",
            &ErrorCode::RateLimited.message(5, 1500, "slow down"),
        ),
        vector(
            "error of a send",
            &ErrorCode::Overloaded.message(CLIENT_MSG_ID, 1500, "slow down"),
        ),
        vector(
            "error maximal",
            &ErrorCode::NotMember.message(MAX, 0, &"r".repeat(256)),
        ),
    ]
}

/// The whole file.
pub(crate) fn document() -> Value {
    let accepted: Vec<Value> = accepted()
        .iter()
        .map(|it| {
            json!({
                "name": it.name,
                "kind": it.kind.name(),
                "fields": it.fields,
                "frame": bytes_to_json(&it.frame),
            })
        })
        .collect();
    let refused: Vec<Value> = refused()
        .iter()
        .map(|(name, frame, error)| {
            json!({ "name": name, "frame": bytes_to_json(frame), "error": error })
        })
        .collect();
    json!({ "version": VERSION, "accepted": accepted, "refused": refused })
}
