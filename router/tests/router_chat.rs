//! The router through its front door, on the real log and store: what each request comes to.

#![allow(clippy::unwrap_used, reason = "a test that can not go on panics")]

mod router_support;

use std::sync::atomic::Ordering;

use rookery_router::log::WriterKind;
use rookery_router::{Request, start};
use rookery_wire::proto::{self, ErrorCode};
use router_support::*;
use tempfile::TempDir;

fn a_chat(writer: WriterKind) {
    let (dir, mailbox) = (TempDir::new().unwrap(), Mailbox::new());
    let mut config = config(dir.path());
    config.log.writer = writer;
    let router = start(config, mailbox.clone()).unwrap();
    let (ann, bob) = (
        Client::new(&router, &mailbox, 7),
        Client::new(&router, &mailbox, 8),
    );
    let opened = ann.direct(5, 8);
    assert_eq!((opened.request_id, opened.head_seq), (5, 0));
    assert_eq!(opened.member_user_ids, [7, 8]);
    let id = opened.conversation_id;
    let ack = ann.acked(id, 1, b"hello");
    assert_eq!((ack.client_msg_id, ack.conversation_id), (name(1), id));
    let again = ann.acked(id, 1, b"hello");
    assert_eq!(again, ack, "a retry is the same message");
    let reply = bob.acked(id, 1, b"hello yourself");
    assert!(reply.message_id > ack.message_id && reply.hlc > ack.hlc);

    let (messages, end) = bob.sync(id, 0, 100);
    assert_dense(&messages);
    assert_eq!(messages.len(), 2);
    assert_eq!((end.last_seq, end.head_seq), (2, 2));
    assert_eq!(messages[0].payload, b"hello");
    assert_eq!(
        (messages[0].sender_user_id, messages[0].sender_device_id),
        (7, 1)
    );
    assert_eq!(
        (messages[0].message_id, messages[0].hlc),
        (ack.message_id, ack.hlc)
    );
    assert_eq!(ann.sync(id, 1, 100).0, messages[1..]);
    assert_eq!(ann.sync(id, 2, 100).1.last_seq, 2);
    let page = ann.history(id, 0, 1);
    assert_eq!((page.has_more, &page.messages[..]), (1, &messages[1..]));
    assert_eq!(bob.direct(9, 7).head_seq, 2, "either finds the same one");
    assert_eq!(bob.list(0, 10).conversations[0].head_seq, 2);
    let Frame::Members(members) = bob.ask(list_members(id)) else {
        panic!()
    };
    assert_eq!(members.member_user_ids, [7, 8]);
    router.close();

    assert_eq!(
        mailbox.delivered(7, id),
        messages,
        "the sender's devices hear of it too"
    );
    assert_eq!(mailbox.delivered(8, id), messages);
    let Frame::Opened(pushed) = &mailbox.live(8)[0] else {
        panic!()
    };
    assert_eq!((pushed.request_id, pushed.conversation_id), (0, id));
    assert!(
        !matches!(mailbox.live(7)[0], Frame::Opened(_)),
        "the opener's device was answered instead"
    );
    assert_eq!(
        mailbox.live_on(7, 2)[0],
        mailbox.live(8)[0],
        "and their other device is told"
    );
    let counters = router.counters();
    assert_eq!(counters.appended.value(), 3);
    assert_eq!(counters.applied.value(), 3);
    assert_eq!(counters.applier_lag.value(), 0);
    assert_eq!(counters.dedup_hits.value(), 2);
}

#[test]
fn two_people_chat_over_the_plain_log() {
    a_chat(WriterKind::Plain);
}

#[test]
fn two_people_chat_over_glommio() {
    a_chat(WriterKind::Glommio);
}

#[test]
fn strangers_learn_nothing() {
    let stage = Stage::new();
    let (ann, eve) = (stage.client(7), stage.client(9));
    let id = ann.direct(1, 8).conversation_id;
    ann.acked(id, 1, b"secret");
    let ask = |conversation_id: u64| {
        let sync = proto::Sync {
            request_id: 1,
            conversation_id,
            have_seq: 0,
            limit: 10,
        };
        let history = proto::History {
            request_id: 1,
            conversation_id,
            before_seq: 0,
            limit: 10,
        };
        [
            list_members(conversation_id),
            Request::Sync(sync),
            Request::History(history),
            send(conversation_id, 1, b"x"),
        ]
        .map(|request| eve.refused(request))
    };
    let (foreign, unknown) = (ask(id), ask(id + 1));
    assert_eq!(foreign, unknown, "a foreign conversation looks like none");
    assert!(
        foreign
            .iter()
            .all(|error| error.code == ErrorCode::NotMember.code())
    );
    assert!(eve.list(0, 10).conversations.is_empty());
    assert!(stage.mailbox.live(9).is_empty());
    assert_eq!(ann.sync(id, 0, 10).0.len(), 1);
}

#[test]
fn a_client_msg_id_stands_for_one_message_for_seven_days() {
    let stage = Stage::new();
    let ann = stage.client(7);
    let (first, second) = (
        ann.direct(1, 8).conversation_id,
        ann.direct(2, 9).conversation_id,
    );
    let ack = ann.acked(first, 5, b"one");
    for other in [send(first, 5, b"two"), send(second, 5, b"one")] {
        let error = ann.refused(other);
        assert_eq!(
            (error.code, error.request_id, error.client_msg_id),
            (ErrorCode::DedupConflict.code(), 0, name(5))
        );
        assert_eq!(error.retry_after_ms, 0);
    }
    assert_ne!(
        stage.client(8).acked(first, 5, b"one").message_id,
        ack.message_id
    );
    stage.clock.forward(7 * DAY_MS - 1);
    assert_eq!(ann.acked(first, 5, b"one"), ack);
    let stage = stage.restart();
    let ann = stage.client(7);
    assert_eq!(ann.acked(first, 5, b"one"), ack, "also after a restart");
    stage.clock.forward(1);
    let new = ann.acked(first, 5, b"two");
    assert!(new.message_id > ack.message_id, "its time has run out");
    assert_eq!(ann.acked(first, 5, b"two"), new);
    assert_eq!(ann.sync_all(first).len(), 3);
}

#[test]
fn requests_that_can_not_be_are_refused_by_name() {
    let stage = Stage::new();
    let ann = stage.client(7);
    let id = ann.direct(1, 8).conversation_id;
    let large = vec![0; proto::PAYLOAD_BYTES_MAX + 1];
    assert_eq!(
        ann.refused(send(id, 1, &large)).code,
        ErrorCode::BadRequest.code()
    );
    let fits = &large[1..];
    ann.acked(id, 1, fits);
    let many: Vec<u64> = (1..=1_025).collect();
    let cases: [(&[u64], ErrorCode); 4] = [
        (&[], ErrorCode::BadRequest),
        (&[7], ErrorCode::BadRequest),
        (&[0, 3], ErrorCode::BadRequest),
        (&many, ErrorCode::BadRequest),
    ];
    for (others, code) in cases {
        assert_eq!(ann.refused(create(3, others)).code, code.code());
    }
    for peer_user_id in [0, u64::MAX] {
        let open = proto::OpenDirect {
            request_id: 4,
            peer_user_id,
        };
        assert_eq!(
            ann.refused(Request::OpenDirect(open)).code,
            ErrorCode::BadRequest.code()
        );
    }
    assert_eq!(ann.direct(5, 7).member_user_ids, [7], "notes to oneself");
    let full: Vec<u64> = (1_000..1_000 + 1_023).collect();
    let opened = ann.create(6, &full);
    assert_eq!(opened.member_user_ids.len(), 1_024);
    ann.acked(opened.conversation_id, 2, b"to all");
    stage.router.close();
    for user_id in full {
        assert_eq!(
            stage
                .mailbox
                .delivered(user_id, opened.conversation_id)
                .len(),
            1
        );
    }
}

#[test]
fn a_created_conversation_is_made_once_per_request_id() {
    let stage = Stage::new();
    let ann = stage.client(7);
    let made = ann.create(3, &[9, 8, 9]);
    assert_eq!(made.member_user_ids, [7, 8, 9]);
    assert_eq!(ann.create(3, &[8, 9]), made);
    assert_eq!(
        ann.refused(create(3, &[8])).code,
        ErrorCode::DedupConflict.code()
    );
    assert_ne!(ann.create(4, &[8, 9]).conversation_id, made.conversation_id);
    assert_ne!(
        stage.client(8).create(3, &[7, 9]).conversation_id,
        made.conversation_id
    );
    let stage = stage.restart();
    let ann = stage.client(7);
    assert_eq!(ann.create(3, &[8, 9]), made);
    let direct = ann.direct(1, 8);
    stage.clock.forward(7 * DAY_MS);
    assert_ne!(ann.create(3, &[8, 9]).conversation_id, made.conversation_id);
    assert_eq!(
        ann.direct(2, 8).conversation_id,
        direct.conversation_id,
        "for good"
    );
}

#[test]
fn two_who_open_at_once_get_one_conversation() {
    let stage = Stage::new();
    for round in 0..50 {
        let (low, high) = (100 + round, 200 + round);
        let ids = std::thread::scope(|scope| {
            let open = |from: u64, to: u64| {
                let client = stage.client(from);
                scope.spawn(move || client.direct(1, to).conversation_id)
            };
            [open(low, high), open(high, low), open(low, high)].map(|opened| opened.join().unwrap())
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }
}

#[test]
fn history_pages_through_days_and_sync_goes_on_where_it_ended() {
    let stage = Stage::new();
    let ann = stage.client(7);
    let id = ann.direct(1, 8).conversation_id;
    let mut sent = Vec::new();
    for n in 0..60 {
        stage.clock.forward(DAY_MS);
        sent.push(ann.acked(id, n, &n.to_le_bytes()).message_id);
    }
    let other = ann.direct(2, 9).conversation_id;
    ann.acked(other, 99, b"not to be seen");
    let (mut seen, mut pages, mut before) = (Vec::new(), 0, 0);
    loop {
        let page = ann.history(id, before, 7);
        pages += 1;
        assert!(page.messages.len() <= 7);
        seen.extend(page.messages.iter().map(|message| message.message_id));
        if page.has_more == 0 {
            break;
        }
        before = page.messages.last().unwrap().seq;
    }
    assert_eq!(pages, 9);
    seen.reverse();
    assert_eq!(seen, sent);
    let all = ann.sync_all(id);
    assert_dense(&all);
    assert_eq!(
        all.iter()
            .map(|message| message.message_id)
            .collect::<Vec<_>>(),
        sent
    );
    let (some, end) = ann.sync(id, 20, 13);
    assert_eq!(some, all[20..33]);
    assert_eq!((end.last_seq, end.head_seq), (33, 60));
    assert_eq!(ann.history(id, 1, 10).messages, []);
    let above = ann.history(id, u64::MAX, 10).messages;
    assert_eq!(above.first().map(|message| message.seq), Some(60));
    assert_eq!(
        ann.sync(id, u64::MAX, 10).1.last_seq,
        u64::MAX,
        "a client ahead is told the head"
    );
    assert_eq!(
        ann.history(id, 0, 0).messages.len(),
        1,
        "a page has a row at least"
    );
}

#[test]
fn an_answer_is_bounded_in_bytes_too() {
    let stage = Stage::new();
    let ann = stage.client(7);
    let id = ann.direct(1, 8).conversation_id;
    let payload = vec![9; 60_000];
    for n in 0..10 {
        ann.acked(id, n, &payload);
    }
    assert_eq!(ann.sync(id, 0, 100).0.len(), 4, "256 KiB hold four");
    let page = ann.history(id, 0, 100);
    assert_eq!((page.messages.len(), page.has_more), (4, 1));
    assert_eq!(ann.sync_all(id).len(), 10);
}

#[test]
fn a_list_is_paged_and_has_the_heads() {
    let stage = Stage::new();
    let ann = stage.client(7);
    let mut ids: Vec<u64> = (100..125)
        .map(|peer| ann.direct(peer, peer).conversation_id)
        .collect();
    ids.sort_unstable();
    ann.acked(ids[3], 1, b"x");
    let mut seen = Vec::new();
    loop {
        let page = ann.list(
            seen.last()
                .map_or(0, |row: &proto::ConversationHead| row.conversation_id),
            10,
        );
        seen.extend(page.conversations);
        if page.has_more == 0 {
            break;
        }
    }
    assert_eq!(
        seen.iter()
            .map(|row| row.conversation_id)
            .collect::<Vec<_>>(),
        ids
    );
    assert_eq!(seen.iter().map(|row| row.head_seq).sum::<u64>(), 1);
    assert_eq!(seen[3].head_seq, 1);
    assert_eq!(ann.list(u64::MAX, 10).conversations, []);
}

#[test]
fn ids_grow_through_a_restart_with_the_clock_set_back() {
    let stage = Stage::new();
    let ann = stage.client(7);
    let id = ann.direct(1, 8).conversation_id;
    let before = ann.acked(id, 1, b"x");
    stage.clock.back(3 * DAY_MS);
    let meanwhile = ann.acked(id, 2, b"x");
    assert!(meanwhile.message_id > before.message_id && meanwhile.hlc > before.hlc);
    let stage = stage.restart();
    let after = stage.client(7).acked(id, 3, b"x");
    assert!(after.message_id > meanwhile.message_id && after.hlc > meanwhile.hlc);
    assert_dense(&stage.client(8).sync_all(id));
}

#[test]
fn a_closed_router_is_busy_and_closing_twice_is_harmless() {
    let stage = Stage::new();
    let ann = stage.client(7);
    let id = ann.direct(1, 8).conversation_id;
    stage.router.close();
    stage.router.close();
    assert!(stage.router.submit(ann.caller, send(id, 1, b"x")).is_err());
    assert_eq!(stage.router.counters().appended.value(), 1);
    assert_eq!(stage.mailbox.refused.load(Ordering::Relaxed), 0);
}
