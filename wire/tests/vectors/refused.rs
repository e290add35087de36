//! The golden vectors that a reader refuses.

use rookery_wire::proto::*;

use super::{CLIENT_MSG_ID, deliver};

/// Frames that are refused, and the name of the error.
pub(crate) fn refused() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let send = encode(&Send {
        client_msg_id: CLIENT_MSG_ID,
        conversation_id: 4242,
        payload: b"hello".into(),
    });
    let patched = |frame: &[u8], at: usize, bytes: &[u8]| {
        let mut frame = frame.to_vec();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        frame
    };
    // In the Send: payload at 2, root at 7, its list's pointer at 31, its length at 35.
    let (pointer, len) = (31, 35);
    let login = encode(&Login {
        token: b"abcd".into(),
        resume_token: b"efgh".into(),
    });
    let sync_of = |request_id| {
        encode(&Sync {
            request_id,
            conversation_id: 4242,
            have_seq: 0,
            limit: 100,
        })
    };
    let sync = sync_of(1);
    // The first list's pointer is one further away.
    let gap = patched(&login, 10, &(-9i32).to_le_bytes());
    let resumeless = encode(&Login {
        token: b"abcd".into(),
        resume_token: vec![],
    });
    let page = encode(&HistoryPage {
        request_id: 2,
        conversation_id: 4242,
        messages: vec![deliver(2, b"world!"), deliver(1, b"hello")],
        has_more: 0,
    });
    let too_long = encode(&Send {
        client_msg_id: CLIENT_MSG_ID,
        conversation_id: 1,
        payload: vec![0; PAYLOAD_BYTES_MAX + 1],
    });
    let crowd = CreateConversation {
        request_id: 1,
        member_user_ids: vec![1; MEMBERS_MAX + 1],
    };
    let reconnect = |urls, bytes| {
        let url = vec![b'u'; bytes];
        encode(&Reconnect {
            server_time_ms: 0,
            not_before_ms: 0,
            not_after_ms: 0,
            alternatives: vec![Alternative { url }; urls],
            reason: vec![],
        })
    };
    vec![
        ("nothing", vec![], "Empty"),
        ("one byte", vec![1], "Empty"),
        ("version 0", patched(&send, 0, &[0]), "Version"),
        ("version 2", patched(&send, 0, &[2]), "Version"),
        ("kind 0", patched(&send, 1, &[0]), "Kind"),
        ("kind 0xff", patched(&send, 1, &[0xff]), "Kind"),
        ("no archive", send[..2].to_vec(), "Invalid"),
        (
            "archive cut at the end",
            send[..send.len() - 1].to_vec(),
            "Invalid",
        ),
        (
            "archive cut at the front",
            [&send[..2], &send[3..]].concat(),
            "Invalid",
        ),
        (
            "length one more",
            patched(&send, len, &6u32.to_le_bytes()),
            "Invalid",
        ),
        (
            "length 2^32-1",
            patched(&send, len, &u32::MAX.to_le_bytes()),
            "Invalid",
        ),
        (
            "offset before the archive",
            patched(&send, pointer, &(-30i32).to_le_bytes()),
            "Invalid",
        ),
        (
            "offset into the root",
            patched(&send, pointer, &(-16i32).to_le_bytes()),
            "Invalid",
        ),
        (
            "offset beyond the end",
            patched(&send, pointer, &1000i32.to_le_bytes()),
            "Invalid",
        ),
        (
            "offset -2^31",
            patched(&send, pointer, &i32::MIN.to_le_bytes()),
            "Invalid",
        ),
        // The second list lies where the first does.
        (
            "lists overlap",
            patched(&login, 18, &(-16i32).to_le_bytes()),
            "Invalid",
        ),
        // One byte in front of all that belongs to no list.
        (
            "a byte before the lists",
            [&send[..2], b"x", &send[2..]].concat(),
            "Invalid",
        ),
        (
            "a byte before the root",
            [&sync[..2], b"x", &sync[2..]].concat(),
            "Invalid",
        ),
        (
            "a byte between two lists",
            [&gap[..2], b"abcd", b"x", b"efgh", &gap[10..]].concat(),
            "Invalid",
        ),
        (
            "an empty list that points elsewhere",
            patched(&resumeless, 14, &(-9i32).to_le_bytes()),
            "Invalid",
        ),
        (
            "a byte among the payloads of a page",
            [&page[..8], b"x", &page[8..]].concat(),
            "Invalid",
        ),
        ("a request without an id", sync_of(0), "Invalid"),
        (
            "too many members and no id",
            encode(&CreateConversation {
                request_id: 0,
                ..crowd.clone()
            }),
            "Invalid",
        ),
        (
            "too long and over its limit",
            patched(&too_long, too_long.len() - 4, &u32::MAX.to_le_bytes()),
            "Invalid",
        ),
        ("payload too long", too_long, "TooLong"),
        (
            "too many alternatives",
            reconnect(ALTERNATIVES_MAX + 1, 1),
            "TooLong",
        ),
        (
            "an alternative too long",
            reconnect(1, ALTERNATIVE_BYTES_MAX + 1),
            "TooLong",
        ),
        ("too many members", encode(&crowd), "TooLong"),
    ]
}
