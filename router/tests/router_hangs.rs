//! The service that knows conversations hangs, or is asked for what does not exist: whoever does not need
//! it goes on, and all are answered in the end.

#![allow(clippy::unwrap_used, reason = "a test that can not go on panics")]
#![allow(
    clippy::disallowed_methods,
    reason = "what is refused for a while is asked again"
)]

mod router_support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rookery_router::Request;
use rookery_wire::proto::{self, ErrorCode};
use router_support::group_edge::{Edge, all, assert_seqs_dense, wait_stored};
use router_support::group_log::Brokers;
use router_support::group_store::Services;
use router_support::*;

fn edge(node_id: u16) -> (Arc<Brokers>, Arc<Services>, Edge) {
    let (brokers, services) = (Brokers::new(), Services::new());
    let edge = Edge::start(node_id, &brokers, &services);
    edge.log.assign(&all());
    (brokers, services, edge)
}

fn open(request_id: u64, peer_user_id: u64) -> Request {
    Request::OpenDirect(proto::OpenDirect {
        request_id,
        peer_user_id,
    })
}

#[test]
fn known_conversations_go_on_while_another_user_asks_a_service_that_hangs() {
    let (_, services, edge) = edge(1);
    let (ann, bob, mallory) = (edge.client(1), edge.client(3), edge.client(66));
    let id = ann.direct(1, 2).conversation_id;
    ann.acked(id, 1, b"before");
    wait_stored(&services, &[id], 1);
    services.hangs.store(true, Ordering::SeqCst);
    // Conversations that nobody has, and openings.
    for n in 0..1_000 {
        mallory.tell(send(1_000_000 + n, n, b"to nobody"));
        mallory.tell(open(n, 1_000 + n));
    }
    bob.tell(open(7, 4));
    for n in 2..=300 {
        ann.acked(id, n, b"meanwhile");
    }
    assert!(!bob.mailbox.has_answer(bob.caller.conn), "that needs it");
    services.hangs.store(false, Ordering::SeqCst);
    // One user does not take all the places: the others have theirs.
    match bob.next() {
        Frame::Opened(opened) => assert_eq!(opened.member_user_ids, [3, 4]),
        // It hung for too long for bob.
        Frame::Error(error) => assert_eq!(error.code, ErrorCode::Unavailable.code()),
        other => panic!("{other:?}"),
    }
    let overloaded = (0..2_000).filter(|_| match mallory.next() {
        Frame::Error(error) => error.code == ErrorCode::Overloaded.code(),
        _ => false,
    });
    assert!(overloaded.count() > 1_000, "what waited was bounded");
    wait_stored(&services, &[id], 300);
    assert_seqs_dense(&ann.sync_all(id));
    edge.router.close();
}

#[test]
fn what_waited_for_members_is_sent_in_its_order() {
    let (brokers, services, other) = edge(2);
    let (id, elsewhere) = {
        let ann = other.client(1);
        (
            ann.direct(1, 2).conversation_id,
            ann.direct(2, 3).conversation_id,
        )
    };
    let here = Edge::start(1, &brokers, &services);
    let (ann, bob) = (here.client(1), here.client(2));
    services.hangs.store(true, Ordering::SeqCst);
    for n in 1..=50 {
        ann.tell(send(id, n, b"a"));
        ann.tell(send(elsewhere, 100 + n, b"a"));
        bob.tell(send(id, 1_000 + n, b"b"));
    }
    assert!(!ann.mailbox.has_answer(ann.caller.conn));
    services.hangs.store(false, Ordering::SeqCst);
    for n in 51..=100 {
        ann.tell(send(id, n, b"a"));
    }
    for _ in 0..150 {
        assert!(matches!(ann.next(), Frame::Ack(_)));
    }
    for _ in 0..50 {
        assert!(matches!(bob.next(), Frame::Ack(_)));
    }
    wait_stored(&services, &[id, elsewhere], 200);
    let messages = services.messages(id);
    assert_seqs_dense(&messages);
    let of_ann = messages.iter().filter(|it| it.sender_user_id == 1);
    let numbers: Vec<u64> = of_ann.map(|it| number(it.client_msg_id)).collect();
    assert_eq!(numbers, (1..=100).collect::<Vec<_>>());
    here.router.close();
    other.router.close();
}

#[test]
fn a_conversation_that_does_not_exist_is_asked_for_once_a_second() {
    let (brokers, services) = (Brokers::new(), Services::new());
    let clock = HandClock::new();
    let edge = Edge::start_at(clock.clone(), 1, &brokers, &services);
    let mallory = edge.client(66);
    for second in 1..=3 {
        for n in 0..100 {
            let error = mallory.refused(send(1, n, b"to nobody"));
            assert_eq!(error.code, ErrorCode::NotMember.code());
        }
        assert_eq!(services.asked_in_vain.load(Ordering::SeqCst), second);
        clock.forward(1_000);
    }
    edge.router.close();
}

#[test]
fn closing_answers_what_waits_for_a_service_that_hangs() {
    let (brokers, services) = (Brokers::new(), Services::new());
    let edge = Edge::start_with(1, &brokers, &services, &|config| {
        config.close_grace = Duration::from_millis(200);
    });
    let ann = edge.client(1);
    services.hangs.store(true, Ordering::SeqCst);
    for n in 0..10 {
        ann.tell(send(1, n, b"text"));
    }
    let (router, hung) = (edge.router.clone(), Arc::clone(&services));
    let closing = std::thread::spawn(move || router.close());
    for _ in 0..10 {
        let Frame::Error(error) = ann.next() else {
            panic!()
        };
        assert!(error.retry_after_ms > 0);
    }
    hung.hangs.store(false, Ordering::SeqCst);
    closing.join().unwrap();
}
