//! A store that refuses some rows for good, or all of them: what it takes is stored, what it never will is put
//! aside, and nothing is lost.

#![allow(clippy::unwrap_used, reason = "a test that can not go on panics")]
#![allow(
    clippy::disallowed_methods,
    reason = "a store tells nobody what it has"
)]

mod router_support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rookery_router::record::Message;
use router_support::group_edge::{Edge, all, assert_seqs_dense, pass, wait_stored};
use router_support::group_log::Brokers;
use router_support::group_store::Services;
use router_support::*;

/// Whatever of a batch the store refuses: all the rest is stored, in its order, and what was refused is in the
/// dead letters as it was, with an empty message in its place.
#[test]
fn what_the_store_refuses_for_good_is_put_aside_and_the_rest_is_stored() {
    const TEXTS: usize = 300;
    let (brokers, services) = (Brokers::new(), Services::new());
    let clock = HandClock::new();
    let edge = Edge::start_at(Arc::clone(&clock), 1, &brokers, &services);
    let ann = edge.client(1);
    let ids = [2, 3, 4].map(|peer| ann.direct(peer, peer).conversation_id);
    let refused = |n: usize| matches!(n, 0 | 7 | 150 | 151 | 299);
    let texts: Vec<Vec<u8>> = (0..TEXTS).map(|n| format!("text {n}").into()).collect();
    let refusals = texts.iter().enumerate().filter(|(n, _)| refused(*n));
    *services.refused.lock().unwrap() = refusals.map(|(_, text)| text.clone()).collect();
    let mut acks = Vec::new();
    for (n, text) in texts.iter().enumerate() {
        acks.push(ann.acked(ids[n % 3], n as u64, text));
    }
    // All of it in batches as large as they get.
    edge.log.assign(&all());
    wait_stored(&services, &ids, TEXTS);
    // Whoever sends it again is told what it was.
    assert_eq!(
        ann.acked(ids[1], 7, &texts[7]).message_id,
        acks[7].message_id
    );
    let mut stored = Vec::new();
    for id in ids {
        let messages = services.messages(id);
        assert_seqs_dense(&messages);
        assert_eq!(ann.sync_all(id), messages, "nobody is held up by a gap");
        stored.extend(messages);
    }
    assert_eq!(stored.len(), TEXTS);
    for message in &stored {
        let n = number(message.client_msg_id) as usize;
        assert_eq!(message.message_id, acks[n].message_id);
        let payload = if refused(n) { &[][..] } else { &texts[n] };
        assert_eq!(message.payload, payload, "text {n}");
    }
    let dead = brokers.dead_letters.lock().unwrap();
    let mut buried = Vec::new();
    for (record, reason) in &*dead {
        assert!(reason.contains("the test says so"), "{reason}");
        let n = stored
            .iter()
            .find(|message| {
                record
                    .body
                    .ends_with(&texts[number(message.client_msg_id) as usize])
            })
            .map(|message| (number(message.client_msg_id) as usize, message));
        let (n, message) = n.unwrap();
        let original = Message {
            message_id: message.message_id,
            hlc: message.hlc,
            conversation_id: message.conversation_id,
            sender_user_id: 1,
            sender_device_id: message.sender_device_id,
            client_msg_id: message.client_msg_id,
            repeated: false,
            payload: &texts[n],
        };
        assert_eq!(record.body, original.encode(), "text {n}");
        assert_eq!(record.key, message.conversation_id);
        buried.push(n);
    }
    buried.sort_unstable();
    assert_eq!(buried, [0, 7, 150, 151, 299]);
    drop(dead);
    assert_eq!(edge.router.counters().buried.value(), 5);
    // And goes on.
    ann.acked(ids[0], 1_000, b"after");
    wait_stored(&services, &ids, TEXTS + 1);
    pass(&clock, &services, 10_000);
    edge.router.close();
    let reached = services.reached(Brokers::partition_of(ids[0]));
    assert!(reached.next.0 > 0 && reached.next == reached.inbox);
}

/// A table that is missing, a role that may not write: no record is to blame.
#[test]
fn a_store_that_refuses_everything_is_waited_for_and_nothing_is_put_aside() {
    let (brokers, services) = (Brokers::new(), Services::new());
    let edge = Edge::start(1, &brokers, &services);
    edge.log.assign(&all());
    let ann = edge.client(1);
    let id = ann.direct(1, 2).conversation_id;
    ann.acked(id, 1_000, b"before");
    wait_stored(&services, &[id], 1);
    services.refuses_all.store(true, Ordering::SeqCst);
    for n in 0..100 {
        ann.acked(id, n, b"text");
    }
    ann.acked(id, 1_001, b"");
    let end = Instant::now() + PATIENCE;
    while edge.router.counters().store_waits.value() < 4 {
        assert!(Instant::now() < end, "nobody waits for the store");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(services.messages(id).len(), 1);
    services.refuses_all.store(false, Ordering::SeqCst);
    wait_stored(&services, &[id], 102);
    assert!(brokers.dead_letters.lock().unwrap().is_empty());
    assert_eq!(services.rewritten(), []);
    let messages = ann.sync_all(id);
    assert_seqs_dense(&messages);
    assert!(
        messages[1..101]
            .iter()
            .all(|message| message.payload == b"text")
    );
}
