//! What comes again, late, or cannot be entered for a while: one message, in one place.

#![allow(clippy::unwrap_used, reason = "a test that can not go on panics")]
#![allow(
    clippy::disallowed_methods,
    reason = "moves and outages are spread over real time"
)]

mod router_support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rookery_router::log::Partition;
use rookery_router::record::Message;
use router_support::group_edge::{Edge, all, assert_seqs_dense, pass, wait_stored};
use router_support::group_log::Brokers;
use router_support::group_store::Services;
use router_support::*;

/// A record lands after its repetition, and after its consumer was assigned an unrelated partition, or
/// another one has taken over.
#[test]
fn a_record_that_lands_late_is_no_second_message_whoever_consumes() {
    for takes_over in [false, true] {
        let (brokers, services) = (Brokers::new(), Services::new());
        brokers.now_ms.store(NOW_MS, Ordering::SeqCst);
        let edge = Edge::start(1, &brokers, &services);
        let ann = edge.client(1);
        let id = ann.direct(1, 2).conversation_id;
        let own = Brokers::partition_of(id);
        let others: Vec<Partition> = all().into_iter().filter(|it| *it != own).collect();
        edge.log.assign(&[own]);
        // Its edge was not sure, so it says that it may be a repetition.
        services.claims_away.store(true, Ordering::SeqCst);
        let ack = ann.acked(id, 7, b"once");
        wait_stored(&services, &[id], 1);
        if takes_over {
            let next = Edge::start(2, &brokers, &services);
            edge.log.revoke(&[own]);
            next.log.assign(&all());
            land_late(&brokers, id, ack.message_id, ack.hlc);
            next.client(1).acked(id, 8, b"after");
            wait_stored(&services, &[id], 2);
            next.router.close();
        } else {
            edge.log.assign(&others);
            land_late(&brokers, id, ack.message_id, ack.hlc);
            ann.acked(id, 8, b"after");
            wait_stored(&services, &[id], 2);
        }
        edge.router.close();
        let messages = services.messages(id);
        assert_seqs_dense(&messages);
        assert_eq!((messages.len(), services.rewritten()), (2, vec![]));
    }
}

/// The original of a message, unmarked, 20 s after its retry.
fn land_late(brokers: &Brokers, id: u64, message_id: u64, hlc: u64) {
    brokers.now_ms.fetch_add(20_000, Ordering::SeqCst);
    let original = Message {
        message_id,
        hlc,
        conversation_id: id,
        sender_user_id: 1,
        sender_device_id: 1,
        client_msg_id: name(7),
        repeated: false,
        payload: b"once",
    };
    brokers.write(id, original.encode());
}

/// Inboxes cannot be written for long, and there is much that would be: counting waits, sends go on, and nothing
/// of it is lost.
#[test]
fn while_too_much_waits_for_inboxes_sends_go_on_and_counting_waits() {
    const ROWS: usize = 10;
    let (brokers, services) = (Brokers::new(), Services::new());
    let edge = Edge::start_with(1, &brokers, &services, &|config| {
        config.inbox_rows_max = ROWS;
    });
    edge.log.assign(&all());
    let ann = edge.client(1);
    let talks = |from: u64| -> Vec<u64> {
        let opened = (from..from + 40).map(|user| ann.direct(user, user).conversation_id);
        opened.collect()
    };
    let ids = talks(100);
    services.inbox_away.store(true, Ordering::SeqCst);
    for (n, &id) in (0..).zip(&ids) {
        ann.acked(id, n, b"text");
    }
    let gathering = || edge.router.counters().inbox_gathering.value();
    let more: Vec<u64> = ids.iter().rev().copied().collect();
    for (n, &id) in (100..).zip(&more) {
        ann.acked(id, n, b"more");
    }
    let end = Instant::now() + PATIENCE;
    while edge.router.counters().store_waits.value() == 0 {
        assert!(Instant::now() < end, "counting does not wait");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(gathering() < 80, "all of it was counted");
    services.inbox_away.store(false, Ordering::SeqCst);
    wait_stored(&services, &ids, 80);
    edge.router.close();
    assert_eq!(gathering(), 0);
}

/// Inboxes cannot be written for a while: what gathers stays bounded, and what is acked is not lost.
#[test]
fn messages_that_no_inbox_takes_are_stored_and_read_and_entered_later() {
    let (brokers, services) = (Brokers::new(), Services::new());
    let clock = HandClock::new();
    let edge = Edge::start_at(Arc::clone(&clock), 1, &brokers, &services);
    edge.log.assign(&all());
    let (ann, bob) = (edge.client(1), edge.client(2));
    let id = ann.direct(1, 2).conversation_id;
    services.inbox_away.store(true, Ordering::SeqCst);
    for n in 0..100 {
        ann.acked(id, n, b"text");
    }
    wait_stored(&services, &[id], 100);
    assert_eq!(bob.sync_all(id).len(), 100);
    // Behind the opening at the most.
    assert!(services.reached(Brokers::partition_of(id)).inbox.0 <= 1);
    assert_eq!(services.segments(2), 0);
    services.inbox_away.store(false, Ordering::SeqCst);
    pass(&clock, &services, 10_000);
    edge.router.close();
    assert_eq!(services.segments(2), 1);
    let reached = services.reached(Brokers::partition_of(id));
    assert!(reached.inbox == reached.next && reached.next.0 > 100);
}
