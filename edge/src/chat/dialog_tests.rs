//! The dialog against a server that is a list of frames.

use rookery_wire::proto::{ClientFrame, Limits};

use super::*;

const HOUR_HLC: u64 = (3_600 * 1_000) << 16;

fn feed<T: proto::Message>(dialog: &mut Dialog, message: &T) -> Vec<Out> {
    let bytes = proto::encode(message);
    let mut out = Vec::new();
    dialog.on_frame(
        ServerFrame::parse(&bytes, &Limits::SERVER_FRAMES).unwrap(),
        &mut out,
    );
    out
}

/// What is sent, by name, and what is shown, as it is.
fn told(out: Vec<Out>) -> Vec<String> {
    let tell = |out| match out {
        Out::Show(text) => text,
        Out::Note(text) => format!("-- {text}"),
        Out::Frame(bytes) => match ClientFrame::parse(&bytes, &Limits::CLIENT_FRAMES).unwrap() {
            ClientFrame::Send(send) => {
                format!("Send {} {}", send.client_msg_id, clean(&send.payload))
            }
            ClientFrame::Sync(sync) => format!("Sync {}", sync.have_seq),
            ClientFrame::History(history) => format!("History {}", history.before_message_id),
            other => other.kind().name().to_owned(),
        },
    };
    out.into_iter().map(tell).collect()
}

fn welcome() -> proto::Welcome {
    proto::Welcome {
        user_id: 7,
        device_id: 1,
        session_id: 1,
        resume_token: Vec::new(),
        server_time_ms: 0,
        expires_at_ms: 0,
        heartbeat_interval_ms: 30_000,
        reconnect_jitter_ms: 1_000,
        payload_bytes_max: 65_536,
        page_messages_max: 100,
    }
}

fn opened(head_seq: u64) -> proto::ConversationOpened {
    proto::ConversationOpened {
        request_id: 1,
        conversation_id: 5,
        head_seq,
        member_user_ids: vec![7, 8],
    }
}

fn deliver(seq: u64, sender_user_id: u64, client_msg_id: u64) -> proto::Deliver {
    proto::Deliver {
        conversation_id: 5,
        seq,
        message_id: 1_000 + seq,
        sender_user_id,
        sender_device_id: 1,
        client_msg_id,
        hlc: HOUR_HLC,
        payload: format!("m{seq}").into_bytes(),
    }
}

/// A dialog with user 8 that has seen everything up to `head_seq`.
fn open(head_seq: u64) -> Dialog {
    let mut dialog = Dialog::new(8, 100);
    assert_eq!(told(feed(&mut dialog, &welcome())), ["OpenDirect"]);
    let expected: &[&str] = if head_seq > 0 { &["History 0"] } else { &[] };
    assert_eq!(told(feed(&mut dialog, &opened(head_seq))), expected);
    dialog
}

#[test]
fn lines_are_sent_and_marked_when_durable() {
    let mut dialog = open(0);
    let mut out = Vec::new();
    dialog.say("hi".into(), &mut out);
    assert_eq!(told(out), ["Send 100 hi"]);
    assert!(!dialog.is_settled());
    let ack = proto::SendAck {
        client_msg_id: 100,
        conversation_id: 5,
        message_id: 1,
        hlc: HOUR_HLC,
    };
    assert_eq!(told(feed(&mut dialog, &ack)), ["  ✓ 01:00:00Z hi"]);
    assert!(dialog.is_settled());
    assert!(feed(&mut dialog, &ack).is_empty());
    // The own message comes back as a Deliver and is not shown twice.
    assert!(feed(&mut dialog, &deliver(1, 7, 100)).is_empty());
    assert_eq!(
        told(feed(&mut dialog, &deliver(2, 8, 100))),
        ["01:00:00Z 8: m2"]
    );
}

#[test]
fn a_gap_is_synced_and_nothing_is_shown_twice_or_out_of_order() {
    let mut dialog = open(0);
    assert_eq!(
        told(feed(&mut dialog, &deliver(1, 8, 1))),
        ["01:00:00Z 8: m1"]
    );
    assert_eq!(told(feed(&mut dialog, &deliver(3, 8, 3))), ["Sync 1"]);
    assert!(
        feed(&mut dialog, &deliver(4, 8, 4)).is_empty(),
        "one Sync at a time"
    );
    assert_eq!(
        told(feed(&mut dialog, &deliver(2, 8, 2))),
        ["01:00:00Z 8: m2"]
    );
    assert_eq!(
        told(feed(&mut dialog, &deliver(3, 8, 3))),
        ["01:00:00Z 8: m3"]
    );
    assert!(feed(&mut dialog, &deliver(3, 8, 3)).is_empty());
    let end = proto::SyncEnd {
        request_id: 2,
        conversation_id: 5,
        last_seq: 3,
        head_seq: 4,
    };
    assert_eq!(told(feed(&mut dialog, &end)), ["Sync 3"]);
}

#[test]
fn a_new_connection_syncs_the_gap_and_sends_again_under_the_same_id() {
    let mut dialog = open(2);
    dialog.on_lost();
    let mut out = Vec::new();
    dialog.say("late".into(), &mut out);
    assert!(
        out.is_empty(),
        "nothing is sent before the conversation is open"
    );
    assert_eq!(told(feed(&mut dialog, &welcome())), ["OpenDirect"]);
    assert_eq!(
        told(feed(&mut dialog, &opened(4))),
        ["Sync 2", "Send 100 late"]
    );
}

#[test]
fn history_is_shown_oldest_first_and_pages_back() {
    let mut dialog = open(3);
    let messages = vec![deliver(4, 8, 4), deliver(3, 8, 3), deliver(2, 7, 2)];
    let page = proto::HistoryPage {
        request_id: 2,
        conversation_id: 5,
        messages,
        has_more: 1,
    };
    // The fourth is newer than the conversation's head when it was opened: it comes as a Deliver.
    assert_eq!(
        told(feed(&mut dialog, &page)),
        ["01:00:00Z 7: m2", "01:00:00Z 8: m3"]
    );
    let mut out = Vec::new();
    dialog.history(&mut out);
    assert_eq!(told(out), ["History 1002"]);
    let page = proto::HistoryPage {
        request_id: 3,
        conversation_id: 5,
        messages: vec![deliver(1, 8, 1)],
        has_more: 0,
    };
    assert_eq!(
        told(feed(&mut dialog, &page)),
        [
            "01:00:00Z 8: m1",
            "-- that is the beginning of the conversation"
        ]
    );
}

#[test]
fn errors_are_told_and_a_message_is_given_up_only_when_it_never_will_be_taken() {
    let mut dialog = open(0);
    dialog.say("one".into(), &mut Vec::new());
    let error = |retry_after_ms| proto::Error {
        request_id: 100,
        code: 201,
        retry_after_ms,
        reason: b"busy".to_vec(),
    };
    assert_eq!(
        told(feed(&mut dialog, &error(500))),
        ["-- the server says: busy"]
    );
    let mut out = Vec::new();
    dialog.resend(&mut out);
    assert_eq!(told(out), ["Send 100 one"]);
    assert_eq!(
        told(feed(&mut dialog, &error(0))),
        ["-- not sent: one (busy)"]
    );
    assert!(dialog.is_settled());
}

#[test]
fn messages_cannot_command_the_terminal() {
    let mut dialog = open(0);
    let mut message = deliver(1, 8, 1);
    message.payload = b"a\x1b[2Jb\r\xff".to_vec();
    assert_eq!(
        told(feed(&mut dialog, &message)),
        ["01:00:00Z 8: a\u{fffd}[2Jb\u{fffd}\u{fffd}"]
    );
}
