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
        (Kind::Reconnect, size_of::<ArchivedReconnect>()),
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
        let table = document.split(heading).nth(1).unwrap();
        let table = table.split("\n\n").next().unwrap();
        let mut end = 0;
        for row in table.lines().filter(|line| line.starts_with("| ")).skip(2) {
            let cells: Vec<&str> = row.split(" | ").collect();
            assert_eq!(cells[0], format!("| {end}"), "{heading}: {row}");
            end += field_bytes(cells[2]);
        }
        assert_eq!(end, size, "{heading}");
    }
}

/// What a field of this type takes of a root.
fn field_bytes(name: &str) -> usize {
    match name {
        "u8" => 1,
        "u16" => 2,
        "u32" => 4,
        "u64" | "bytes" => 8,
        list if list.starts_with("list of ") => 8,
        array => {
            let count = array.strip_prefix("u8[").unwrap().strip_suffix(']');
            count.unwrap().parse().unwrap()
        }
    }
}

/// The rows of the table under a heading, without its head.
fn table<'a>(document: &'a str, title: &str) -> Vec<&'a str> {
    let section = document.split(&format!("\n## {title}\n")).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    section
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(2)
        .collect()
}

#[test]
fn the_tables_of_codes_are_those_of_the_code_and_have_no_row_more() {
    let document = document();
    let closes = CloseCode::ALL.iter().map(|code| {
        let advice = match code.advice() {
            Advice::Done => "nothing",
            Advice::Reconnect => "reconnect",
            Advice::Act => "act",
            Advice::Backoff => "backoff",
        };
        let (name, meaning) = (code.name(), code.meaning());
        format!("| {} | {name} | {advice} | {meaning} |", code.0)
    });
    assert_eq!(table(&document, "Close codes"), closes.collect::<Vec<_>>());
    let errors = ErrorCode::ALL.iter().map(|code| {
        let retry = if code.retryable() { "yes" } else { "no" };
        let (name, meaning) = (code.name(), code.meaning());
        format!("| {} | {name} | {retry} | {meaning} |", code.code())
    });
    assert_eq!(table(&document, "Errors"), errors.collect::<Vec<_>>());
}

#[test]
fn codes_are_ascending_and_unknown_ones_follow_their_range() {
    assert!(CloseCode::ALL.is_sorted_by_key(|code| code.0));
    assert!(ErrorCode::ALL.is_sorted_by_key(|code| code.code()));
    for code in ErrorCode::ALL {
        assert_eq!(ErrorCode::from_code(code.code()), Some(*code));
    }
    assert_eq!(CloseCode(4321).advice(), Advice::Reconnect);
    assert_eq!(
        (CloseCode(4499).advice(), CloseCode(4499).name()),
        (Advice::Act, "other")
    );
    assert_eq!(CloseCode(1012).advice(), Advice::Backoff);
}

/// How a reader names a refusal.
fn name(error: &FrameError) -> &'static str {
    match error {
        FrameError::Empty => "Empty",
        FrameError::Version { .. } => "Version",
        FrameError::Kind { .. } => "Kind",
        FrameError::Invalid { .. } => "Invalid",
        FrameError::TooLong { .. } => "TooLong",
    }
}

#[test]
fn a_frame_with_every_fault_is_refused_by_the_first_check_then_by_the_next() {
    let limits = Limits::CLIENT_FRAMES;
    let crowd = encode(&CreateConversation {
        request_id: 0,
        member_user_ids: vec![1; MEMBERS_MAX + 1],
    });
    let mut frame = crowd.clone();
    frame[0] = 2;
    frame[1] = 0xff;
    frame.resize(limits.frame_bytes_max + 1, 0);
    let mut seen = Vec::new();
    let mut say = |frame: &[u8]| {
        let error = ClientFrame::parse(frame, &limits).unwrap_err();
        seen.push(format!("| `{}` | {} |", name(&error), error.close_code().0));
    };
    say(&frame);
    say(&frame[..1]);
    frame = crowd;
    (frame[0], frame[1]) = (2, 0xff);
    say(&frame);
    frame[0] = VERSION;
    say(&frame);
    frame[1] = Kind::CreateConversation as u8;
    say(&frame);
    let root_at = frame.len() - size_of::<ArchivedCreateConversation>();
    frame[root_at] = 1;
    say(&frame);
    let document = document();
    let section = document
        .split("A reader checks in this order")
        .nth(1)
        .unwrap();
    let section = section.split("\n\nSo a length").next().unwrap();
    let rows: Vec<&str> = section
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(2)
        .collect();
    assert_eq!(rows.len(), seen.len());
    for (row, seen) in rows.iter().zip(&seen) {
        assert!(row.ends_with(&seen[1..]), "{row}: {seen}");
    }
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

/// A UUIDv7 of the time in the Deliver's `hlc`.
const CLIENT_MSG_ID: ClientMsgId = 0x019a_b697_e800_7c5a_8f11_0c6a_5d2e_9b40_u128.to_be_bytes();

#[test]
fn the_examples_are_frames() {
    let document = document();
    let login = Login {
        token: b"abcd".into(),
        resume_token: vec![],
    };
    assert_eq!(example(&document, "Login with"), encode(&login));
    let send = Send {
        client_msg_id: CLIENT_MSG_ID,
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
        client_msg_id: CLIENT_MSG_ID,
        hlc: 1_764_000_000_000 << 16,
        payload: b"hello".into(),
    };
    assert_eq!(example(&document, "Deliver of"), encode(&deliver));
}

#[test]
fn limits_are_as_written() {
    assert_eq!(Limits::CLIENT_FRAMES.frame_bytes_max, 65_618);
    assert!(document().contains("65,618"));
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
