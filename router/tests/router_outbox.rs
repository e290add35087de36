//! The outbox of a device over a whole router: pages, receipts, restarts, time, and a store that is away.

#![allow(clippy::unwrap_used, reason = "a test that can not go on panics")]
#![allow(
    clippy::disallowed_methods,
    reason = "receipts are written by a thread, now and then"
)]

mod router_support;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rookery_router::log::Partition;
use rookery_router::{Config, Request, start_shared};
use rookery_wire::proto;
use router_support::group_log::{Brokers, GroupLog, PARTITIONS};
use router_support::group_store::{GroupStore, Services};
use router_support::*;
use tempfile::TempDir;

const ANN: u64 = 7;
const NOT_MEMBER: u16 = 101;
const UNAVAILABLE: u16 = 203;

impl Stage {
    /// Conversations of Ann with 11, 12, …; and in turns so many messages in all of them.
    fn chats(&self, chats: u64, messages: u64) -> Vec<u64> {
        let peers: Vec<Client> = (11..11 + chats).map(|user| self.client(user)).collect();
        let ids: Vec<u64> = peers
            .iter()
            .map(|peer| peer.direct(1, ANN).conversation_id)
            .collect();
        for i in 0..messages {
            let at = usize::try_from(i % chats).unwrap();
            peers[at].acked(ids[at], i, &i.to_le_bytes());
            self.clock.forward(3);
        }
        self.wait_counted();
        ids
    }

    /// All that was acked is counted: a device's ack says nothing of what is not.
    fn wait_counted(&self) {
        Self::wait_none("counted", || self.router.counters().applier_lag.value());
    }

    /// All that was acked is counted, and then entered into inboxes.
    fn enter_inboxes(&self) {
        self.wait_counted();
        self.clock.forward(61_000);
        Self::wait_none("entered", || self.router.counters().inbox_gathering.value());
    }

    fn wait_none(what: &str, left: impl Fn() -> u64) {
        let end = Instant::now() + PATIENCE;
        while left() > 0 {
            assert!(Instant::now() < end, "{} are not {what}", left());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn wait_written(&self, receipts: u64) {
        let end = Instant::now() + PATIENCE;
        while self.router.counters().receipts.value() < receipts {
            assert!(Instant::now() < end, "receipts are not written");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The numbers that `chats` gave messages, in the order of a page.
fn numbers(messages: &[proto::Deliver]) -> Vec<u64> {
    messages.iter().map(|it| number(it.client_msg_id)).collect()
}

fn newest_first(range: std::ops::Range<u64>) -> Vec<u64> {
    range.rev().collect()
}

/// Each exactly once; of one conversation the newest first.
fn assert_walk(walk: &[proto::Deliver], mut wanted: Vec<u64>) {
    let mut found = numbers(walk);
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
    let mut last = std::collections::HashMap::new();
    for message in walk {
        let before = last.insert(message.conversation_id, message.seq);
        assert!(before.is_none_or(|seq| message.seq < seq), "{message:?}");
    }
}

#[test]
fn pages_go_through_all_conversations() {
    let stage = Stage::new();
    let ids = stage.chats(5, 250);
    let ann = stage.client(ANN);
    let first = ann.outbox(FIRST_PAGE, 100);
    assert_eq!((first.request_id, first.has_more), (80, 1));
    assert_eq!(first.messages.len(), 100);
    let of_page = first.messages.windows(2);
    assert!(
        of_page
            .into_iter()
            .all(|it| it[0].message_id > it[1].message_id)
    );
    assert_eq!(first.needs_full_sync, 1, "it never acked anything");
    let (all, needs_full_sync) = ann.whole_outbox(100);
    assert_walk(&all, (0..250).collect());
    assert!(needs_full_sync);
    // The first conversation is received: what follows is thinner, and nothing comes twice.
    ann.received(ids[0], 50);
    let second = ann.outbox(first.next_cursor, 100);
    let third = ann.outbox(second.next_cursor, 100);
    assert_eq!((third.has_more, third.needs_full_sync), (0, 0));
    // The same cursor again gives the same page.
    assert_eq!(ann.outbox(second.next_cursor, 100), third);
    let mut walk = first.messages.clone();
    let handed: Vec<u64> = numbers(&walk);
    walk.extend(second.messages);
    walk.extend(third.messages);
    let wanted = (0..250).filter(|it| it % 5 != 0 || handed.contains(it));
    assert_walk(&walk, wanted.collect());
    assert_eq!(
        ann.outbox(FIRST_PAGE, 0).messages.len(),
        1,
        "0 is taken as 1"
    );
    assert_eq!(ann.outbox(FIRST_PAGE, u32::MAX).messages.len(), 100);
    // A cursor that a client made up hands out nothing that is not its own.
    for byte in [1, 0x7f, 0xff] {
        let page = ann.outbox([byte; 36], 100);
        assert!(numbers(&page.messages).iter().all(|it| it % 5 != 0));
    }
    // Another device of hers has its own outbox, a peer's is another one's, a stranger has nothing.
    let (all, needs_full_sync) = ann.on_device(2).whole_outbox(100);
    assert_eq!((all.len(), needs_full_sync), (250, true));
    assert_eq!(stage.client(11).whole_outbox(100).0.len(), 50);
    assert_eq!(stage.client(99).whole_outbox(100), (Vec::new(), true));
    // All received: nothing is left until the next message.
    for &id in &ids {
        ann.received(id, 50);
    }
    assert_eq!(ann.whole_outbox(100), (Vec::new(), false));
    stage.client(12).acked(ids[1], 900, b"news");
    assert_eq!(numbers(&ann.whole_outbox(100).0), [900]);
}

/// What comes while a device pages is the next walk's, whether it was entered by then or not.
#[test]
fn a_walk_is_whole_though_messages_come_and_slots_pass() {
    let stage = Stage::new();
    let ids = stage.chats(4, 200);
    let ann = stage.client(ANN);
    ann.received(ids[0], 1);
    let (mut cursor, mut walk, mut n) = (FIRST_PAGE, Vec::new(), 1_000);
    loop {
        let page = ann.outbox(cursor, 30);
        walk.extend(page.messages);
        cursor = page.next_cursor;
        if page.has_more == 0 {
            break;
        }
        // Everything that gathers is entered: later ones in another slot.
        stage.enter_inboxes();
        stage.clock.forward(3 * 60 * 1_000);
        for (at, &id) in ids.iter().enumerate() {
            stage.client(11 + at as u64).acked(id, n, b"meanwhile");
            n += 1;
        }
    }
    let of_before = |it: &&proto::Deliver| number(it.client_msg_id) < 1_000;
    let before: Vec<proto::Deliver> = walk.iter().filter(of_before).cloned().collect();
    assert_walk(&before, (1..200).collect());
    let stage = stage.restart();
    let (all, _) = stage.client(ANN).whole_outbox(17);
    assert_walk(&all, (1..200).chain(1_000..n).collect());
}

/// Groups that are written to by turns gather a row for each member: so many, whoever makes them, and no more.
#[test]
fn what_gathers_for_inboxes_is_bounded_and_all_of_it_is_entered() {
    const ROWS: usize = 200;
    const BATCH_ROWS: u64 = 2_048;
    let few = |config: &mut Config| config.inbox_rows_max = ROWS;
    let stage = Stage::over(TempDir::new().unwrap(), HandClock::new(), &few);
    let ann = stage.client(ANN);
    let others: Vec<u64> = (1_000..1_049).collect();
    let mut most = 0;
    for n in 0..100 {
        let id = ann.create(n, &others).conversation_id;
        ann.acked(id, n, b"hello");
        most = most.max(stage.router.counters().inbox_gathering.value());
    }
    // Twice as many, and a batch of the applier, which is looked at before it and not within it.
    let bound = 2 * ROWS as u64 + BATCH_ROWS + 50;
    assert!(most <= bound && bound < 100 * 50, "{most} rows");
    // The clock stands: what was entered by now was so before its time.
    let (all, _) = stage.client(1_007).whole_outbox(100);
    assert_walk(&all, (0..100).collect());
    stage.enter_inboxes();
    let (all, _) = stage.client(1_048).whole_outbox(100);
    assert_walk(&all, (0..100).collect());
}

/// A user is in thousands of quiet conversations, and in one that is not.
#[test]
fn what_an_outbox_looks_at_is_what_came_and_not_all_that_there_is() {
    let stage = Stage::new();
    let ids = stage.chats(3_000, 3_000);
    let ann = stage.client(ANN);
    for &id in &ids {
        ann.received(id, 1);
    }
    let pages = |ann: &Client| {
        let (mut cursor, mut pages) = (FIRST_PAGE, 1);
        loop {
            let page = ann.outbox(cursor, 100);
            if page.has_more == 0 {
                return (page.messages.len(), pages);
            }
            assert!(page.messages.is_empty(), "all is received");
            (cursor, pages) = (page.next_cursor, pages + 1);
        }
    };
    stage.enter_inboxes();
    let (left, many) = pages(&ann);
    assert!(left == 0 && many > 1, "{many} pages over what came lately");
    stage.clock.forward(3 * 10 * 60 * 1_000);
    stage.wait_written(3_001);
    assert_eq!(pages(&ann), (0, many));
    stage.wait_written(3_002);
    // From now on it begins behind all that.
    stage.client(11).acked(ids[0], 9_000, b"news");
    assert_eq!(pages(&ann), (1, 1));
}

#[test]
fn receipts_survive_a_restart_and_never_go_back() {
    let stage = Stage::new();
    let ids = stage.chats(2, 40);
    let ann = stage.client(ANN);
    for &id in &ids {
        // An ack counts as far as is counted.
        assert_eq!(ann.sync_all(id).len(), 20);
    }
    ann.received(ids[0], 15);
    ann.received(ids[0], 12);
    ann.received(ids[1], 20);
    stage.wait_written(2);
    ann.received(ids[0], 14);
    // Not written yet, and written at the end.
    ann.received(ids[0], 16);
    let stage = stage.restart();
    let (left, needs_full_sync) = stage.client(ANN).whole_outbox(3);
    assert_walk(&left, vec![38, 36, 34, 32]);
    assert!(!needs_full_sync);
    assert_eq!(stage.router.counters().receipts_dropped.value(), 0);
}

#[test]
fn an_ack_above_the_head_is_cut_and_one_of_strangers_is_refused() {
    let stage = Stage::new();
    let ids = stage.chats(2, 10);
    let (ann, stranger) = (stage.client(ANN), stage.client(99));
    for (conversation_id, seq) in [(ids[0], 1), (ids[0], u64::MAX), (12_345, 1), (0, 0)] {
        stranger.received(conversation_id, seq);
    }
    for _ in 0..3 {
        let Frame::Error(error) = stranger.next() else {
            panic!()
        };
        assert_eq!((error.code, error.request_id), (NOT_MEMBER, 0));
    }
    ann.received(ids[0], u64::MAX);
    ann.received(ids[1], 0);
    stage.wait_written(1);
    // What comes after the head of then is not received.
    stage.client(11).acked(ids[0], 500, b"later");
    assert_walk(&ann.whole_outbox(100).0, vec![500, 9, 7, 5, 3, 1]);
    assert_eq!(stage.router.counters().receipts.value(), 1);
    assert!(!stage.mailbox.has_answer(ann.caller.conn));
}

#[test]
fn an_outbox_ends_at_a_thousand_messages_and_says_so() {
    let stage = Stage::new();
    let ids = stage.chats(3, 1_000);
    let ann = stage.client(ANN);
    ann.received(ids[0], 1);
    let (all, needs_full_sync) = ann.whole_outbox(100);
    assert_walk(&all, (1..1_000).collect());
    assert!(!needs_full_sync);
    // The newest go first: these come in a slot of their own.
    stage.enter_inboxes();
    stage.clock.forward(20 * 60 * 1_000);
    for i in 0..6 {
        stage.client(12).acked(ids[1], 5_000 + i, b"more");
        stage.clock.forward(3);
    }
    let page = ann.outbox(FIRST_PAGE, 6);
    assert_eq!(numbers(&page.messages), newest_first(5_000..5_006));
    let (all, needs_full_sync) = ann.whole_outbox(77);
    assert_eq!((all.len(), needs_full_sync), (1_000, true));
    // With one conversation received there is room for all of the others.
    ann.received(ids[0], 334);
    let (all, needs_full_sync) = ann.whole_outbox(100);
    assert_eq!((all.len(), needs_full_sync), (672, false));
}

#[test]
fn thirty_days_end_messages_and_receipts() {
    let stage = Stage::new();
    let ids = stage.chats(2, 20);
    let ann = stage.client(ANN);
    ann.received(ids[0], 10);
    ann.received(ids[1], 3);
    stage.wait_written(2);
    stage.enter_inboxes();
    stage.clock.forward(29 * DAY_MS);
    assert_eq!(ann.whole_outbox(100).0.len(), 7);
    stage.wait_written(3);
    stage.client(12).acked(ids[1], 700, b"after 29 days");
    stage.enter_inboxes();
    stage.clock.forward(2 * DAY_MS);
    let (all, needs_full_sync) = ann.whole_outbox(100);
    assert_eq!(numbers(&all), [700]);
    assert!(needs_full_sync, "seven are too old for the outbox");
    // Synced by other ways, and acked.
    assert_eq!(ann.list(0, 100).conversations.len(), 2);
    ann.received(ids[1], 11);
    assert_eq!(ann.whole_outbox(100), (Vec::new(), false));
    stage.wait_written(5);
    // Away for too long: nobody knows what it has.
    stage.clock.forward(31 * DAY_MS);
    stage.client(11).acked(ids[0], 800, b"after two months");
    let (all, needs_full_sync) = ann.whole_outbox(100);
    assert_eq!(numbers(&all), [800]);
    assert!(needs_full_sync);
    let stage = stage.restart();
    assert!(stage.client(ANN).whole_outbox(100).1);
}

#[test]
fn pages_keep_to_their_bytes() {
    let small = |config: &mut Config| config.page_bytes_max = 10_000;
    let stage = Stage::over(TempDir::new().unwrap(), HandClock::new(), &small);
    let ids = stage.chats(2, 2);
    for i in 0..20 {
        let at = i % 2;
        let peer = stage.client(11 + at);
        peer.acked(ids[usize::try_from(at).unwrap()], 100 + i, &vec![1; 3_000]);
        stage.clock.forward(3);
    }
    stage.client(12).acked(ids[1], 200, &vec![2; 30_000]);
    let ann = stage.client(ANN);
    let (mut cursor, mut walk) = (FIRST_PAGE, Vec::new());
    loop {
        let page = ann.outbox(cursor, 100);
        let bytes: usize = page.messages.iter().map(|it| it.payload.len()).sum();
        assert!(bytes <= 10_000 || page.messages.len() == 1, "{bytes}");
        walk.extend(page.messages);
        cursor = page.next_cursor;
        if page.has_more == 0 {
            break;
        }
    }
    assert_walk(&walk, (0..2).chain(100..120).chain([200]).collect());
}

/// One conversation more than a round looks into, twice.
#[test]
fn many_conversations_with_one_message_each() {
    let stage = Stage::new();
    stage.chats(65, 130);
    let (all, _) = stage.client(ANN).whole_outbox(50);
    assert_walk(&all, (0..130).collect());
}

#[test]
fn a_store_that_is_away_keeps_acks_waiting_and_drops_what_has_no_room() {
    let (brokers, services) = (Brokers::new(), Services::new());
    let (dir, mailbox) = (TempDir::new().unwrap(), Mailbox::new());
    let mut config = config(dir.path());
    config.receipts_interval = Duration::from_millis(20);
    config.receipts_max = 2;
    config.close_grace = Duration::from_secs(5);
    config.clock = HandClock::new();
    let store = GroupStore::new(&services, 1);
    let mut log = None;
    let router = start_shared(
        config,
        mailbox.clone(),
        store,
        Brokers::placement(),
        |acks, feed| Ok(log.insert(GroupLog::open(&brokers, acks, feed)).clone()),
    )
    .unwrap();
    let partitions: Vec<Partition> = (0..PARTITIONS).map(Partition).collect();
    log.unwrap().assign(&partitions);
    let (ann, bob) = (
        Client::new(&router, &mailbox, ANN),
        Client::new(&router, &mailbox, 8),
    );
    let id = bob.direct(1, ANN).conversation_id;
    for i in 0..10 {
        bob.acked(id, i, b"hello");
    }
    assert_eq!(numbers(&ann.whole_outbox(4).0), newest_first(0..10));
    services.store_away.store(true, Ordering::SeqCst);
    for seq in [3, 6, 4] {
        ann.received(id, seq);
    }
    let refused = ann.refused(Request::Outbox(proto::Outbox {
        request_id: 80,
        cursor: FIRST_PAGE,
        limit: 1,
    }));
    assert_eq!((refused.code, refused.request_id), (UNAVAILABLE, 80));
    assert!(refused.retry_after_ms > 0);
    // Two entries have room: a third device's is dropped.
    for device_id in [2, 3] {
        bob.on_device(device_id).received(id, 1);
    }
    let end = Instant::now() + PATIENCE;
    while router.counters().receipts_dropped.value() == 0 {
        assert!(Instant::now() < end, "nothing is dropped");
        std::thread::sleep(Duration::from_millis(5));
    }
    services.store_away.store(false, Ordering::SeqCst);
    assert_eq!(numbers(&ann.whole_outbox(100).0), newest_first(6..10));
    while router.counters().receipts.value() < 2 {
        assert!(Instant::now() < end, "receipts are not written");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(router.counters().receipts_dropped.value(), 1);
    assert_eq!(numbers(&ann.whole_outbox(100).0), newest_first(6..10));
    router.close();
}
