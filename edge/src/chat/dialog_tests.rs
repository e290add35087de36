//! The dialog against a server that is a list of frames.

use rookery_wire::proto::{About, ClientFrame, ErrorCode, Limits};

use super::*;
use crate::chat::patience::REFUSALS_MAX;

const HOUR_HLC: u64 = (3_600 * 1_000) << 16;

fn feed<T: proto::Message>(dialog: &mut Dialog, message: &T) -> Vec<Out> {
    feed_at(dialog, Instant::now(), message)
}

fn feed_at<T: proto::Message>(dialog: &mut Dialog, now: Instant, message: &T) -> Vec<Out> {
    let bytes = proto::encode(message);
    let mut out = Vec::new();
    dialog.on_frame(
        ServerFrame::parse(&bytes, &Limits::SERVER_FRAMES).unwrap(),
        now,
        &mut out,
    );
    out
}

/// What it sends at the time for which it waits, and that it sends nothing before.
fn retried(dialog: &mut Dialog) -> (Instant, Vec<String>) {
    let at = dialog.poll_timeout().unwrap();
    let mut out = Vec::new();
    dialog.retry(at - Duration::from_millis(1), &mut out);
    assert_eq!(told(std::mem::take(&mut out)), [""; 0]);
    dialog.retry(at, &mut out);
    (at, told(out))
}

/// The client_msg_id of this number.
fn id(number: u128) -> ClientMsgId {
    number.to_be_bytes()
}

/// A dialog with user 8, whose first message is called 100.
fn unopened() -> Dialog {
    Dialog::new(8, Uuid::from_u128(100))
}

fn refusal(about: impl Into<About>, retry_after_ms: u32) -> proto::Error {
    ErrorCode::Overloaded.message(about, retry_after_ms, "busy")
}

/// What is sent, by name, and what is shown, as it is.
fn told(out: Vec<Out>) -> Vec<String> {
    let tell = |out| match out {
        Out::Show(text) => text,
        Out::Note(text) => format!("-- {text}"),
        Out::Fail(text) => format!("failed: {text}"),
        Out::Frame(bytes) => match ClientFrame::parse(&bytes, &Limits::CLIENT_FRAMES).unwrap() {
            ClientFrame::Send(send) => {
                let number = u128::from_be_bytes(send.client_msg_id);
                format!("Send {number} {}", clean(&send.payload))
            }
            ClientFrame::Sync(sync) => format!("Sync {}", sync.have_seq),
            ClientFrame::History(history) => format!("History {}", history.before_seq),
            other => other.kind().name().to_owned(),
        },
    };
    out.into_iter().map(tell).collect()
}

pub(super) fn welcome() -> proto::Welcome {
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

fn deliver(seq: u64, sender_user_id: u64, number: u128) -> proto::Deliver {
    proto::Deliver {
        conversation_id: 5,
        seq,
        message_id: 1_000 + seq,
        sender_user_id,
        sender_device_id: 1,
        client_msg_id: id(number),
        hlc: HOUR_HLC,
        payload: format!("m{seq}").into_bytes(),
    }
}

/// A dialog with user 8 that has seen everything up to `head_seq`.
fn open(head_seq: u64) -> Dialog {
    let mut dialog = unopened();
    assert_eq!(told(feed(&mut dialog, &welcome())), ["OpenDirect"]);
    let mut expected = vec![format!("Sync {head_seq}")];
    if head_seq > 0 {
        expected.insert(0, format!("History {}", head_seq + 1));
    }
    assert_eq!(told(feed(&mut dialog, &opened(head_seq))), expected);
    let end = proto::SyncEnd {
        request_id: 1 + expected.len() as u64,
        conversation_id: 5,
        last_seq: head_seq,
        head_seq,
    };
    assert!(feed(&mut dialog, &end).is_empty());
    dialog
}

#[test]
fn lines_are_sent_and_marked_when_durable() {
    let mut dialog = open(0);
    let mut out = Vec::new();
    dialog.say("hi", &mut out);
    assert_eq!(told(out), ["Send 100 hi"]);
    assert!(!dialog.is_settled());
    let ack = proto::SendAck {
        client_msg_id: id(100),
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
fn a_new_connection_syncs_the_gap_and_sends_again_under_the_same_id() {
    let mut dialog = open(2);
    dialog.on_lost();
    let mut out = Vec::new();
    dialog.say("late", &mut out);
    assert!(
        out.is_empty(),
        "nothing is sent before the conversation is open"
    );
    assert_eq!(told(feed(&mut dialog, &welcome())), ["OpenDirect"]);
    assert_eq!(
        told(feed(&mut dialog, &opened(4))),
        ["Send 100 late", "Sync 2"]
    );
}

#[test]
fn history_is_shown_oldest_first_and_pages_back() {
    let mut dialog = open(3);
    let messages = vec![deliver(3, 8, 3), deliver(2, 7, 2)];
    let page = proto::HistoryPage {
        request_id: 2,
        conversation_id: 5,
        messages,
        has_more: 1,
    };
    // The fourth is newer than the conversation's head when it was opened: it comes as a Deliver.
    assert_eq!(
        told(feed(&mut dialog, &deliver(4, 8, 4))),
        ["01:00:00Z 8: m4"]
    );
    assert_eq!(
        told(feed(&mut dialog, &page)),
        ["01:00:00Z 7: m2", "01:00:00Z 8: m3"]
    );
    let mut out = Vec::new();
    dialog.history(&mut out);
    assert_eq!(told(out), ["History 2"]);
    let page = proto::HistoryPage {
        request_id: 4,
        conversation_id: 5,
        messages: vec![deliver(2, 7, 2), deliver(1, 8, 1)],
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
fn a_refused_message_is_sent_again_when_the_server_said_and_in_order() {
    let mut dialog = open(0);
    let mut out = Vec::new();
    dialog.say("one", &mut out);
    dialog.say("two", &mut out);
    assert_eq!(
        told(std::mem::take(&mut out)),
        ["Send 100 one", "Send 101 two"]
    );
    let now = Instant::now();
    assert_eq!(
        told(feed_at(&mut dialog, now, &refusal(id(100), 500))),
        ["-- the server says: busy; trying again in 0.5 s"]
    );
    // One is enough to say it; and what is said meanwhile does not overtake.
    assert!(feed_at(&mut dialog, now, &refusal(id(101), 500)).is_empty());
    dialog.say("three", &mut out);
    dialog.resend(&mut out);
    assert!(out.is_empty());
    assert!(!dialog.is_settled());
    let (at, sent) = retried(&mut dialog);
    assert_eq!(at, now + Duration::from_millis(500));
    assert_eq!(sent, ["Send 100 one", "Send 101 two", "Send 102 three"]);
    assert_eq!(dialog.poll_timeout(), None);
    // A new connection waits for nothing: all is sent as soon as the conversation is open.
    feed_at(&mut dialog, at, &refusal(id(100), 500));
    dialog.on_lost();
    assert_eq!(dialog.poll_timeout(), None);
    assert_eq!(told(feed(&mut dialog, &welcome())), ["OpenDirect"]);
    let sent = told(feed(&mut dialog, &opened(0)));
    assert_eq!(sent, ["Send 100 one", "Send 101 two", "Send 102 three"]);
}

#[test]
fn a_message_is_given_up_when_it_never_will_be_taken_or_was_refused_too_often() {
    let mut dialog = open(0);
    dialog.say("one", &mut Vec::new());
    // A request of the same number is something else.
    let requests = told(feed(&mut dialog, &refusal(100, 0)));
    assert_eq!(requests, ["-- the server says: busy"]);
    let told_at_once = told(feed(&mut dialog, &refusal(id(100), 0)));
    assert_eq!(told_at_once, ["-- not sent: one (busy)"]);
    assert!(dialog.is_settled());

    // Each message gets as many attempts, also the one after one that was given up.
    for (number, text) in [(101, "two"), (102, "three")] {
        dialog.say(text, &mut Vec::new());
        for _ in 0..REFUSALS_MAX {
            feed(&mut dialog, &refusal(id(number), 500));
            assert_eq!(retried(&mut dialog).1, [format!("Send {number} {text}")]);
        }
        assert_eq!(
            told(feed(&mut dialog, &refusal(id(number), 500))),
            [format!("-- not sent: {text} (busy)")]
        );
        assert!(dialog.is_settled());
    }
    let nobodys = told(feed(&mut dialog, &refusal(id(999), 500)));
    assert_eq!(nobodys, ["-- the server says: busy"]);
}

#[test]
fn a_message_that_is_taken_gives_the_others_all_their_attempts() {
    let mut dialog = open(0);
    dialog.say("one", &mut Vec::new());
    dialog.say("two", &mut Vec::new());
    let busy = |dialog: &mut Dialog| {
        for _ in 0..REFUSALS_MAX {
            feed(dialog, &refusal(id(101), 500));
            assert_eq!(retried(dialog).1, ["Send 101 two"]);
        }
    };
    busy(&mut dialog);
    let ack = proto::SendAck {
        client_msg_id: id(100),
        conversation_id: 5,
        message_id: 1,
        hlc: HOUR_HLC,
    };
    feed(&mut dialog, &ack);
    busy(&mut dialog);
}

#[test]
fn a_refused_request_is_sent_again_and_given_up_in_the_end() {
    let mut dialog = unopened();
    feed(&mut dialog, &welcome());
    let busy = ["-- the server says: busy; trying again in 0.5 s"];
    assert_eq!(told(feed(&mut dialog, &refusal(1, 500))), busy);
    assert_eq!(retried(&mut dialog).1, ["OpenDirect"]);
    assert_eq!(told(feed(&mut dialog, &opened(1))), ["History 2", "Sync 1"]);
    assert_eq!(told(feed(&mut dialog, &refusal(2, 500))), busy);
    assert_eq!(retried(&mut dialog).1, ["History 2"]);
    let last = told(feed(&mut dialog, &refusal(2, 0)));
    assert_eq!(last, ["-- the server says: busy"]);

    // A Sync that is refused is told; when it is asked again is the timeline's to say.
    assert_eq!(told(feed(&mut dialog, &refusal(3, 500))), busy);
    assert_eq!(retried(&mut dialog).1, ["Sync 1"]);

    let mut dialog = unopened();
    feed(&mut dialog, &welcome());
    for _ in 0..REFUSALS_MAX {
        feed(&mut dialog, &refusal(1, 500));
        retried(&mut dialog);
    }
    assert_eq!(told(feed(&mut dialog, &refusal(1, 500))), ["failed: busy"]);
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

#[test]
fn what_is_too_long_for_a_message_goes_as_several_and_is_told() {
    let mut dialog = open(0);
    let mut out = Vec::new();
    let long = "\u{20ac}".repeat(23_000);
    dialog.say(&long, &mut out);
    let mut sent = String::new();
    for out in out.split_off(1) {
        let Out::Frame(bytes) = out else {
            panic!("{out:?}")
        };
        let ClientFrame::Send(send) = ClientFrame::parse(&bytes, &Limits::CLIENT_FRAMES).unwrap()
        else {
            panic!("no Send")
        };
        assert!(send.payload.len() <= text::TEXT_BYTES_MAX);
        sent += std::str::from_utf8(&send.payload).unwrap();
    }
    assert!(sent == long);
    assert_eq!(
        told(out),
        ["-- a line of 69000 bytes goes as 5 messages: at most 16384 fit into one"]
    );
}

#[test]
fn what_was_said_before_the_server_told_how_much_it_takes_is_cut_anew() {
    let mut small = welcome();
    small.payload_bytes_max = 4;
    let mut dialog = unopened();
    dialog.say("one", &mut Vec::new());
    dialog.say("twothree", &mut Vec::new());
    let cut = "-- a line of 8 bytes goes as 2 messages: at most 4 fit into one";
    assert_eq!(told(feed(&mut dialog, &small)), [cut, "OpenDirect"]);
    assert_eq!(
        told(feed(&mut dialog, &opened(0))),
        ["Send 100 one", "Send 102 twot", "Send 103 hree", "Sync 0"]
    );
    // What was sent may be durable under its id: it cannot be cut any more, and is not lost unsaid.
    dialog.on_lost();
    small.payload_bytes_max = 3;
    let told_so = told(feed(&mut dialog, &small));
    assert_eq!(told_so.len(), 3, "{told_so:?}");
    assert!(told_so[0].starts_with("-- perhaps not sent: twot ("));
    assert_eq!(told_so[2], "OpenDirect");
    assert_eq!(
        told(feed(&mut dialog, &opened(0))),
        ["Send 100 one", "Sync 0"]
    );
}
