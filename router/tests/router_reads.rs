//! Readers take users by turns, drop what nobody waits for any more, and ask nothing that has waited for
//! too long. Told by the order in which the store was read, not by times.

#![allow(clippy::unwrap_used, reason = "a test that can not go on panics")]
#![allow(
    clippy::disallowed_methods,
    reason = "what waits too long does so in real time"
)]

mod router_support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rookery_router::Request;
use rookery_wire::proto::{self, ErrorCode};
use router_support::group_edge::{Edge, all};
use router_support::group_log::Brokers;
use router_support::group_store::Services;
use router_support::*;

/// Of one user.
const SHARE: usize = 256;

fn sync(conversation_id: u64) -> Request {
    Request::Sync(proto::Sync {
        request_id: 1,
        conversation_id,
        have_seq: 0,
        limit: 10,
    })
}

/// An edge with one reader, which is stuck with a read of user 66; and that user's conversation.
fn stuck(wait_max: Duration) -> (Arc<Services>, Edge, Client, u64) {
    let (brokers, services) = (Brokers::new(), Services::new());
    let edge = Edge::start_with(1, &brokers, &services, &|config| {
        config.readers = 1;
        config.read_wait_max = wait_max;
    });
    edge.log.assign(&all());
    let mallory = edge.client(66);
    let id = mallory.direct(1, 67).conversation_id;
    services.reads_held.store(true, Ordering::SeqCst);
    mallory.tell(sync(id));
    while services.read.lock().unwrap().is_empty() {
        std::thread::yield_now();
    }
    (services, edge, mallory, id)
}

#[test]
fn a_user_with_many_reads_waits_for_itself() {
    let (services, edge, mallory, of_mallory) = stuck(PATIENCE);
    let ann = edge.client(1);
    let of_ann = ann.direct(1, 2).conversation_id;
    let asks = |client: &Client, id| edge.router.submit(client.caller, sync(id)).is_ok();
    let devices: Vec<Client> = (2..6).map(|device| mallory.on_device(device)).collect();
    let taken = (0..4_000).filter(|n| asks(&devices[n % 4], of_mallory));
    let (taken, has_place) = (taken.count(), asks(&ann, of_ann));
    services.reads_held.store(false, Ordering::SeqCst);
    assert_eq!(taken, SHARE, "and not more, with however many devices");
    assert!(has_place, "the others have places");
    assert!(matches!(ann.next(), Frame::SyncEnd(_)));
    for device in &devices {
        for _ in 0..SHARE / devices.len() {
            assert!(matches!(device.next(), Frame::SyncEnd(_)));
        }
    }
    let read = services.read.lock().unwrap();
    let before = read.iter().take_while(|id| **id != of_ann).count();
    assert!(before <= 2, "{before} of the other one's reads came first");
    assert_eq!(read.len(), 1 + SHARE + 1);
    edge.router.close();
}

#[test]
fn the_reads_of_who_has_gone_reach_no_store() {
    let (services, edge, mallory, id) = stuck(PATIENCE);
    let stays = mallory.on_device(2);
    for _ in 0..100 {
        mallory.tell(sync(id));
    }
    stays.tell(sync(id));
    edge.router.gone(mallory.caller);
    services.reads_held.store(false, Ordering::SeqCst);
    assert!(matches!(stays.next(), Frame::SyncEnd(_)));
    edge.router.close();
    let read = services.read.lock().unwrap().len();
    assert_eq!(read, 2, "the one that was begun, and that of who stays");
}

#[test]
fn what_has_waited_for_too_long_is_refused_and_the_store_not_asked() {
    let (services, edge, mallory, id) = stuck(Duration::from_millis(20));
    for _ in 0..100 {
        mallory.tell(sync(id));
    }
    std::thread::sleep(Duration::from_millis(100));
    services.reads_held.store(false, Ordering::SeqCst);
    assert!(matches!(mallory.next(), Frame::SyncEnd(_)), "it was begun");
    for _ in 0..100 {
        let Frame::Error(error) = mallory.next() else {
            panic!()
        };
        assert_eq!(error.code, ErrorCode::Unavailable.code());
        assert!(error.retry_after_ms > 0);
    }
    assert_eq!(services.read.lock().unwrap().len(), 1);
    edge.router.close();
}
