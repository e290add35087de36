//! A thread of the router that ends while the router runs: whoever started it is told, by the thread's
//! name, and closing the rest still ends.

#![allow(clippy::unwrap_used, reason = "a test that can not go on panics")]
#![allow(
    clippy::disallowed_methods,
    reason = "a thread that ended is looked for again and again"
)]

mod router_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rookery_router::{Clock, Request, RouterHandle};
use rookery_wire::proto;
use router_support::group_edge::{Edge, all, wait_stored};
use router_support::group_log::Brokers;
use router_support::group_store::Services;
use router_support::*;
use tempfile::TempDir;

/// A clock that is the end of one thread, once it is armed.
struct Doom {
    thread: &'static str,
    armed: AtomicBool,
}

impl Doom {
    fn of(thread: &'static str) -> Arc<Doom> {
        let armed = AtomicBool::new(false);
        Arc::new(Doom { thread, armed })
    }

    fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }
}

impl Clock for Doom {
    fn now_ms(&self) -> u64 {
        let here = std::thread::current();
        let dies = self.armed.load(Ordering::SeqCst) && here.name() == Some(self.thread);
        assert!(!dies, "the test says so");
        NOW_MS
    }

    fn steady_ms(&self) -> u64 {
        0
    }
}

/// Asks for everything, whether or not anybody answers, until the router says that it has ended.
fn until_ended(ann: &Client, conversation_id: u64, thread: &str) {
    let end = Instant::now() + PATIENCE;
    for n in 100.. {
        assert!(Instant::now() < end, "nobody says that a thread is gone");
        // One that ends for want of it may be seen before it.
        if let Some(why) = ann.router.ended()
            && why.contains(thread)
        {
            assert!(why.contains("ended by itself"), "{why}");
            return;
        }
        let outbox = proto::Outbox {
            request_id: n,
            cursor: FIRST_PAGE,
            limit: 10,
        };
        let ack = proto::DeliverAck {
            conversation_id,
            seq: 1,
        };
        for request in [
            send(conversation_id, n, b"text"),
            create(n, &[n]),
            Request::Outbox(outbox),
            Request::DeliverAck(ack),
        ] {
            // A queue without its thread is full at last.
            let _ = ann.router.submit(ann.caller, request);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn told(router: &RouterHandle, ann: &Client, conversation_id: u64, thread: &str) {
    until_ended(ann, conversation_id, thread);
    router.close();
    assert_eq!(router.ended(), None, "that is how it was to end");
}

#[test]
fn any_thread_of_an_embedded_router_that_ends_is_told_of() {
    for thread in [
        "router-intake",
        "router-applier",
        "router-inboxes",
        "router-reader",
        "router-receipts",
    ] {
        let doom = Doom::of(thread);
        let clock = doom.clone();
        let with = move |config: &mut rookery_router::Config| {
            config.clock = clock.clone();
            config.close_grace = Duration::from_millis(200);
        };
        let stage = Stage::over(TempDir::new().unwrap(), HandClock::new(), &with);
        let ann = stage.client(1);
        let id = ann.direct(1, 2).conversation_id;
        ann.acked(id, 1, b"before");
        assert_eq!(stage.router.ended(), None);
        doom.arm();
        told(&stage.router, &ann, id, thread);
    }
}

fn shared(doom: &Arc<Doom>, brokers: &Arc<Brokers>, services: &Arc<Services>) -> (Edge, u64) {
    let edge = Edge::start_with(1, brokers, services, &|config| {
        config.clock = doom.clone();
        config.receipts_interval = Duration::from_millis(20);
        config.close_grace = Duration::from_millis(200);
    });
    edge.log.assign(&all());
    let ann = edge.client(1);
    let id = ann.direct(1, 2).conversation_id;
    ann.acked(id, 1, b"before");
    wait_stored(services, &[id], 1);
    assert_eq!(edge.router.ended(), None);
    (edge, id)
}

#[test]
fn any_thread_of_a_shared_router_that_ends_is_told_of() {
    for thread in [
        "router-intake",
        "router-applier",
        "router-store",
        "router-commits",
        "router-reader",
        "router-receipts",
    ] {
        let (brokers, services) = (Brokers::new(), Services::new());
        let doom = Doom::of(thread);
        let (edge, id) = shared(&doom, &brokers, &services);
        doom.arm();
        // This one looks at no clock.
        let writes = thread == "router-store";
        services.panics.store(writes, Ordering::SeqCst);
        told(&edge.router, &edge.client(1), id, thread);
    }
}

#[test]
fn a_log_that_takes_no_more_is_told_of() {
    let (brokers, services) = (Brokers::new(), Services::new());
    let (edge, _) = shared(&Doom::of("nobody"), &brokers, &services);
    brokers.fatal.store(true, Ordering::SeqCst);
    let why = edge.router.ended().unwrap();
    assert!(why.contains("fenced"), "{why}");
    edge.router.close();
}
