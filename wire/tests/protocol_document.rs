//! `docs/protocol.md` says what the code does: kinds, sizes, codes, examples.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use rookery_wire::proto::*;

fn document() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn every_kind_and_size_is_as_written() {
    let document = document();
    let sizes = [
        (Kind::Login, size_of::<ArchivedLogin>()),
        (Kind::Send, size_of::<ArchivedSend>()),
        (Kind::Sync, size_of::<ArchivedSync>()),
        (Kind::History, size_of::<ArchivedHistory>()),
        (Kind::DeliverAck, size_of::<ArchivedDeliverAck>()),
        (Kind::Outbox, size_of::<ArchivedOutbox>()),
        (Kind::OpenDirect, size_of::<ArchivedOpenDirect>()),
        (
            Kind::CreateConversation,
            size_of::<ArchivedCreateConversation>(),
        ),
        (
            Kind::ListConversations,
            size_of::<ArchivedListConversations>(),
        ),
        (Kind::ListMembers, size_of::<ArchivedListMembers>()),
        (Kind::Ping, size_of::<ArchivedPing>()),
        (Kind::Pong, size_of::<ArchivedPong>()),
        (Kind::Welcome, size_of::<ArchivedWelcome>()),
        (Kind::SendAck, size_of::<ArchivedSendAck>()),
        (Kind::Deliver, size_of::<ArchivedDeliver>()),
        (Kind::SyncEnd, size_of::<ArchivedSyncEnd>()),
        (Kind::HistoryPage, size_of::<ArchivedHistoryPage>()),
        (Kind::Lagged, size_of::<ArchivedLagged>()),
        (Kind::OutboxPage, size_of::<ArchivedOutboxPage>()),
        (
            Kind::ConversationOpened,
            size_of::<ArchivedConversationOpened>(),
        ),
        (Kind::Conversations, size_of::<ArchivedConversations>()),
        (Kind::Members, size_of::<ArchivedMembers>()),
        (Kind::Error, size_of::<ArchivedError>()),
    ];
    assert!(sizes.iter().map(|(kind, _)| kind).eq(Kind::ALL));
    for (kind, size) in sizes {
        let number = format!("{:#04x} {}", kind as u8, kind.name());
        let heading = document
            .lines()
            .find(|line| line.starts_with("### ") && line.contains(&number))
            .unwrap_or_else(|| panic!("{number} has no section"));
        assert!(
            heading.contains(&format!("root {size} bytes")),
            "{heading}: {size}"
        );
    }
}

#[test]
fn every_code_is_as_written() {
    let document = document();
    for code in CloseCode::ALL {
        let advice = match code.advice() {
            Advice::Done => "nothing",
            Advice::Reconnect => "reconnect",
            Advice::Act => "act",
            Advice::Backoff => "backoff",
        };
        let row = format!(
            "| {} | {} | {advice} | {} |",
            code.0,
            code.name(),
            code.meaning()
        );
        assert!(document.contains(&row), "{row}");
    }
    for code in ErrorCode::ALL {
        let retry = if code.retryable() { "yes" } else { "no" };
        let row = format!("| {} | {} | {retry} | ", code.code(), code.name());
        assert!(document.contains(&row), "{row}");
        assert_eq!(ErrorCode::from_code(code.code()), Some(*code));
    }
    assert_eq!((CloseCode::ALL.len(), ErrorCode::ALL.len()), (26, 17));
    assert!(CloseCode::ALL.is_sorted_by_key(|code| code.0));
    assert!(ErrorCode::ALL.is_sorted_by_key(|code| code.code()));
    assert_eq!(CloseCode(4321).advice(), Advice::Reconnect);
    assert_eq!(
        (CloseCode(4499).advice(), CloseCode(4499).name()),
        (Advice::Act, "other")
    );
}

/// The bytes of an example: the hex at the front of each line.
fn example(document: &str, title: &str) -> Vec<u8> {
    let section = document.split(&format!("### {title}")).nth(1).unwrap();
    let block = section.split("```").nth(1).unwrap();
    let is_hex = |word: &&str| word.len() == 2 && u8::from_str_radix(word, 16).is_ok();
    block
        .lines()
        .filter(|line| !line.starts_with(' '))
        .flat_map(|line| line.split_whitespace().take_while(is_hex))
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

#[test]
fn the_examples_are_frames() {
    let document = document();
    let login = Login {
        token: b"abcd".into(),
        resume_token: vec![],
    };
    assert_eq!(example(&document, "Login with"), encode(&login));
    let send = Send {
        client_msg_id: 99,
        conversation_id: 4242,
        payload: b"hello".into(),
    };
    assert_eq!(example(&document, "Send of"), encode(&send));
    let deliver = Deliver {
        conversation_id: 4242,
        seq: 1,
        message_id: 7_340_032_000_001,
        sender_user_id: 7,
        sender_device_id: 1,
        client_msg_id: 99,
        hlc: 1_764_000_000_000 << 16,
        payload: b"hello".into(),
    };
    assert_eq!(example(&document, "Deliver of"), encode(&deliver));
}

#[test]
fn limits_are_as_written() {
    assert_eq!(Limits::CLIENT_FRAMES.frame_bytes_max, 65_602);
    assert!(document().contains("65,602"));
    let error = ErrorCode::NotMember.message(1, 9, &"\u{e4}".repeat(200));
    assert_eq!((error.reason.len(), error.retry_after_ms), (256, 0));
}

#[test]
fn a_frame_of_the_other_side_is_an_unknown_kind() {
    let (client, server) = (Limits::CLIENT_FRAMES, Limits::SERVER_FRAMES);
    let lagged = encode(&Lagged { skipped: 1 });
    let kind = FrameError::Kind {
        got: Kind::Lagged as u8,
    };
    assert_eq!(ClientFrame::parse(&lagged, &client).unwrap_err(), kind);
    let login = encode(&Login {
        token: vec![],
        resume_token: vec![],
    });
    let kind = FrameError::Kind {
        got: Kind::Login as u8,
    };
    assert_eq!(ServerFrame::parse(&login, &server).unwrap_err(), kind);
    assert_eq!(kind.close_code(), CloseCode::FRAME_INVALID);
    let version = ClientFrame::parse(&[2, 1], &client).unwrap_err();
    assert_eq!(version.close_code(), CloseCode::VERSION_UNSUPPORTED);
    let long = ClientFrame::parse(&[1; 70_000], &client).unwrap_err();
    assert_eq!(long.close_code(), CloseCode::FRAME_TOO_LONG);
}
