//! What is the authority over conversations and members fails over to a copy that lacks its last moments, or is
//! away: what was acked stays, since the log has the openings too.

#![allow(clippy::unwrap_used, reason = "a test that can not go on panics")]
#![allow(
    clippy::disallowed_methods,
    reason = "a store tells nobody what it has"
)]

mod router_support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use router_support::group_edge::{Edge, all, assert_seqs_dense, pass, wait_stored};
use router_support::group_log::Brokers;
use router_support::group_store::Services;
use router_support::*;

fn wait(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The opening was stored and its partition's position had moved beyond it; what came behind it was acked and
/// not consumed yet.
#[test]
fn a_conversation_that_the_authority_lost_is_there_again_with_what_was_acked() {
    let (brokers, services) = (Brokers::new(), Services::new());
    let consumer = Edge::start(1, &brokers, &services);
    consumer.log.assign(&all());
    let edge = Edge::start(2, &brokers, &services);
    let ann = edge.client(1);
    let id = ann.direct(1, 2).conversation_id;
    let partition = Brokers::partition_of(id);
    ann.acked(id, 1, b"stored");
    wait("nothing is said to be stored", || {
        services.reached(partition).next.0 > 1
    });
    consumer.router.close();
    ann.acked(id, 2, b"acked");
    services.lose_conversation(id);
    edge.router.close();

    let edge = Edge::start(2, &brokers, &services);
    edge.log.assign(&all());
    let bob = edge.client(2);
    wait("it was not written again", || services.has_conversation(id));
    bob.acked(id, 3, b"after");
    wait_stored(&services, &[id], 3);
    assert_seqs_dense(&bob.sync_all(id));
    assert!(brokers.dead_letters.lock().unwrap().is_empty());
}

/// Also by the one that goes on: it may be the only one that knows.
#[test]
fn an_opening_is_written_once_more_when_it_has_settled() {
    let (brokers, services) = (Brokers::new(), Services::new());
    let clock = HandClock::new();
    let edge = Edge::start_at(Arc::clone(&clock), 1, &brokers, &services);
    edge.log.assign(&all());
    let ann = edge.client(1);
    let id = ann.direct(1, 2).conversation_id;
    let partition = Brokers::partition_of(id);
    wait("the opening is not stored", || {
        services.reached(partition).next.0 == 1
    });
    services.lose_conversation(id);
    pass(&clock, &services, 10_000);
    wait("it was not written again", || services.has_conversation(id));
    wait("the partition stands still", || {
        services.reached(partition).inbox.0 == 1
    });
}

#[test]
fn while_the_authority_is_away_messages_are_stored_and_openings_are_not_passed() {
    let (brokers, services) = (Brokers::new(), Services::new());
    let clock = HandClock::new();
    let edge = Edge::start_at(Arc::clone(&clock), 1, &brokers, &services);
    let ann = edge.client(1);
    let id = ann.direct(1, 2).conversation_id;
    let partition = Brokers::partition_of(id);
    // Its members are known here from now on.
    ann.acked(id, 1_000, b"text");
    services.conversations_away.store(true, Ordering::SeqCst);
    edge.log.assign(&all());
    for n in 0..200 {
        ann.acked(id, n, b"text");
        pass(&clock, &services, 1_000);
    }
    wait_stored(&services, &[id], 201);
    wait("the position stands still", || {
        services.reached(partition).next.0 > 200
    });
    assert_eq!(
        services.reached(partition).inbox.0,
        0,
        "the opening was passed"
    );
    services.conversations_away.store(false, Ordering::SeqCst);
    pass(&clock, &services, 60_000);
    wait("the opening is never passed", || {
        services.reached(partition).inbox.0 > 0
    });
    edge.router.close();
    let reached = services.reached(partition);
    assert_eq!(reached.inbox, reached.next);
}

/// A partition comes here and none of its records does yet: what is to be read of it again is not said to have
/// been.
#[test]
fn what_is_to_be_entered_again_is_not_said_to_be_entered_before_it_is_read() {
    let (brokers, services) = (Brokers::new(), Services::new());
    let edge = Edge::start(1, &brokers, &services);
    edge.log.assign(&all());
    let ann = edge.client(1);
    let id = ann.direct(1, 2).conversation_id;
    let partition = Brokers::partition_of(id);
    services.inbox_away.store(true, Ordering::SeqCst);
    for n in 0..100 {
        ann.acked(id, n, b"text");
    }
    wait_stored(&services, &[id], 100);
    wait("nothing is said to be stored", || {
        services.reached(partition).next.0 > 100
    });
    edge.router.close();
    let left = services.reached(partition);
    assert!(left.inbox < left.next);
    services.inbox_away.store(false, Ordering::SeqCst);

    let edge = Edge::start(1, &brokers, &services);
    edge.log.assign_stuck(&[partition]);
    let others: Vec<_> = all().into_iter().filter(|it| *it != partition).collect();
    edge.log.assign(&others);
    let elsewhere = (3..)
        .map(|peer| edge.client(1).direct(peer, peer).conversation_id)
        .find(|id| Brokers::partition_of(*id) != partition)
        .unwrap();
    // It has stored how far partitions are since they came.
    wait("nothing is said to be stored", || {
        services.reached(Brokers::partition_of(elsewhere)).next.0 > 0
    });
    assert_eq!(services.reached(partition), left);
    edge.log.revoke(&[partition]);
    assert_eq!(services.reached(partition), left);
    assert_eq!(services.segments(2), 0);
    edge.log.assign(&[partition]);
    wait("it is not entered", || {
        edge.router.counters().inbox_gathering.value() == 2
    });
    edge.router.close();
    assert_eq!(services.segments(2), 1);
}
