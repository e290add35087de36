//! The router when something behind it is slow, full, damaged or gone.

#![allow(clippy::unwrap_used, reason = "a test that can not go on panics")]
#![allow(
    clippy::disallowed_methods,
    reason = "what refuses for a while is told from what is slow by real time"
)]

mod router_support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rookery_router::log::AppendError;
use rookery_router::{Config, Health, Request, RouterHandle, StartError, start, start_on};
use rookery_wire::proto::{self, ErrorCode};
use router_support::memlog::Disk;
use router_support::*;
use tempfile::TempDir;

fn on(disk: &Arc<Disk>, config: Config, mailbox: &Arc<Mailbox>) -> RouterHandle {
    start_on(config, mailbox.clone(), |config, sink| {
        disk.open(config, sink)
    })
    .unwrap()
}

fn stage() -> (TempDir, Arc<Disk>, Arc<Mailbox>) {
    (TempDir::new().unwrap(), Disk::new(), Mailbox::new())
}

#[test]
fn retries_on_their_way_to_the_disk_join_the_first() {
    let (dir, disk, mailbox) = stage();
    let router = on(&disk, config(dir.path()), &mailbox);
    let devices: Vec<Client> = (0..3).map(|_| Client::new(&router, &mailbox, 7)).collect();
    let id = devices[0].direct(1, 8).conversation_id;
    disk.hold();
    for device in &devices {
        device.tell(send(id, 5, b"once"));
        device.tell(send(id, 5, b"once"));
    }
    let error = devices[0].refused(send(id, 5, b"another"));
    assert_eq!(error.code, ErrorCode::DedupConflict.code());
    assert!(
        devices
            .iter()
            .all(|device| !mailbox.has_answer(device.caller.conn))
    );
    disk.release();
    let acks: Vec<Frame> = devices.iter().flat_map(|d| [d.next(), d.next()]).collect();
    assert!(
        acks.iter()
            .all(|ack| *ack == acks[0] && matches!(ack, Frame::Ack(_))),
        "{acks:?}"
    );
    assert_eq!(devices[0].sync_all(id).len(), 1);
    assert_eq!(disk.len(), 2);
}

#[test]
fn a_full_queue_is_busy_and_what_was_accepted_is_answered() {
    let (dir, disk, mailbox) = stage();
    let mut config = config(dir.path());
    (config.in_flight_max, config.intake_queue_max) = (4, 8);
    let router = on(&disk, config, &mailbox);
    let ann = Client::new(&router, &mailbox, 7);
    let id = ann.direct(1, 8).conversation_id;
    disk.hold();
    let mut accepted = 0;
    let (begun, mut refused_since) = (Instant::now(), Instant::now());
    // So many in any case, however long that takes; then no more.
    while accepted < 13 || refused_since.elapsed() < Duration::from_millis(200) {
        assert!(begun.elapsed() < PATIENCE, "{accepted} accepted");
        if router.submit(ann.caller, send(id, accepted, b"x")).is_ok() {
            accepted += 1;
            refused_since = Instant::now();
        }
    }
    // Admission takes four, one to four wait in its hand, eight in the queue.
    assert!((13..=16).contains(&accepted), "{accepted}");
    let mut busy = 0;
    for n in 0..100 {
        busy += u64::from(
            router
                .submit(ann.caller, send(id, 1_000 + n, b"x"))
                .is_err(),
        );
    }
    assert_eq!(busy, 100);
    disk.release();
    for n in 0..accepted {
        let Frame::Ack(ack) = ann.next() else {
            panic!()
        };
        assert_eq!(ack.client_msg_id, name(n));
    }
    assert_eq!(ann.sync_all(id).len() as u64, accepted);
}

#[test]
fn large_payloads_make_the_queue_busy_sooner() {
    let (dir, disk, mailbox) = stage();
    let mut config = config(dir.path());
    config.intake_bytes_max = 100_000;
    (config.in_flight_max, config.intake_queue_max) = (1, 1_000);
    let router = on(&disk, config, &mailbox);
    let ann = Client::new(&router, &mailbox, 7);
    let id = ann.direct(1, 8).conversation_id;
    disk.hold();
    let payload = vec![1; 30_000];
    let accepted: u64 = (0..100)
        .map(|n| u64::from(router.submit(ann.caller, send(id, n, &payload)).is_ok()))
        .sum();
    assert!((3..=5).contains(&accepted), "{accepted}");
    disk.release();
    for _ in 0..accepted {
        assert!(matches!(ann.next(), Frame::Ack(_)));
    }
}

/// Everybody's messages wait for the rows of the openings before them.
#[test]
fn one_who_opens_large_groups_has_a_share() {
    let (dir, disk, mailbox) = stage();
    let router = on(&disk, config(dir.path()), &mailbox);
    let (ann, bob) = (
        Client::new(&router, &mailbox, 7),
        Client::new(&router, &mailbox, 8),
    );
    let others: Vec<u64> = (100..1_123).collect();
    disk.hold();
    ann.tell(create(1, &others));
    ann.tell(create(2, &others));
    let refused = ann.refused(create(3, &others));
    assert_eq!(refused.code, ErrorCode::Overloaded.code());
    assert!(refused.retry_after_ms > 0);
    bob.tell(create(1, &others));
    disk.release();
    for client in [&ann, &ann, &bob] {
        assert!(matches!(client.next(), Frame::Opened(_)));
    }
    // That is answered once what was acked before is applied.
    ann.list(0, 10);
    assert_eq!(ann.create(3, &others).member_user_ids.len(), 1_024);
}

#[test]
fn a_full_mailbox_is_waited_for_and_nothing_is_dropped() {
    let (dir, disk, mailbox) = stage();
    let router = on(&disk, config(dir.path()), &mailbox);
    let ann = Client::new(&router, &mailbox, 7);
    let id = ann.direct(1, 8).conversation_id;
    mailbox.full.store(true, Ordering::Relaxed);
    for n in 0..200 {
        ann.tell(send(id, n, b"x"));
    }
    while mailbox.refused.load(Ordering::Relaxed) < 20 || disk.len() < 201 {
        std::thread::yield_now();
    }
    mailbox.full.store(false, Ordering::Relaxed);
    let mut acked: Vec<u64> = (0..200)
        .map(|_| match ann.next() {
            Frame::Ack(ack) => number(ack.client_msg_id),
            other => panic!("{other:?}"),
        })
        .collect();
    acked.sort_unstable();
    assert_eq!(acked, (0..200).collect::<Vec<_>>());
    assert_eq!(ann.sync_all(id).len(), 200);
    router.close();
    assert_eq!(mailbox.delivered(8, id).len(), 200);
    assert!(router.counters().outlet_waits.value() > 0);
    assert_eq!(router.counters().dropped_at_close.value(), 0);
}

#[test]
fn closing_ends_although_no_shard_takes_anything() {
    let (dir, disk, mailbox) = stage();
    let mut config = config(dir.path());
    config.close_grace = Duration::from_millis(50);
    let router = on(&disk, config.clone(), &mailbox);
    let ann = Client::new(&router, &mailbox, 7);
    let id = ann.direct(1, 8).conversation_id;
    mailbox.full.store(true, Ordering::Relaxed);
    for n in 0..100 {
        ann.tell(send(id, n, b"x"));
    }
    router.close();
    assert!(router.counters().dropped_at_close.value() > 0);
    drop((router, ann));
    let mailbox = Mailbox::new();
    let router = on(&disk, config, &mailbox);
    assert_eq!(
        Client::new(&router, &mailbox, 8).sync_all(id).len(),
        disk.len() - 1
    );
}

#[test]
fn a_failed_append_is_told_and_its_retry_is_one_message() {
    let (dir, disk, mailbox) = stage();
    let router = on(&disk, config(dir.path()), &mailbox);
    let ann = Client::new(&router, &mailbox, 7);
    let id = ann.direct(1, 8).conversation_id;
    let failed = AppendError::Failed {
        reason: "input/output error".into(),
    };
    for (error, code) in [
        (AppendError::StorageFull, ErrorCode::StorageFull),
        (failed, ErrorCode::Unavailable),
    ] {
        disk.failures.lock().unwrap().push_back(error);
        let told = ann.refused(send(id, 5, b"x"));
        assert_eq!((told.code, told.client_msg_id), (code.code(), name(5)));
        assert!(told.retry_after_ms > 0);
    }
    disk.failures
        .lock()
        .unwrap()
        .push_back(AppendError::StorageFull);
    assert_eq!(
        ann.refused(create(9, &[8])).code,
        ErrorCode::StorageFull.code()
    );
    let made = ann.create(9, &[8]).conversation_id;
    assert_eq!(
        ann.list(0, 10).conversations.len(),
        2,
        "{made} is the only one made"
    );
    let ack = ann.acked(id, 5, b"x");
    assert_eq!(ann.acked(id, 5, b"x"), ack);
    let all = ann.sync_all(id);
    assert_dense(&all);
    assert_eq!(all.len(), 1);
    router.close();
    assert_eq!(router.counters().append_failed.value(), 3);
    assert_eq!(router.counters().applier_lag.value(), 0);
}

#[test]
fn a_disk_that_fills_refuses_new_messages_and_serves_the_rest_and_recovers() {
    let (dir, mailbox) = (TempDir::new().unwrap(), Mailbox::new());
    let mut config = config(dir.path());
    let space = Arc::new(HandSpace(1_000.into()));
    config.space = space.clone();
    config.space_reserve_bytes = 500;
    let router = start(config, mailbox.clone()).unwrap();
    let ann = Client::new(&router, &mailbox, 7);
    let id = ann.direct(1, 8).conversation_id;
    let ack = ann.acked(id, 0, b"before");
    space.0.store(499, Ordering::Relaxed);
    let mut acked = 1;
    let error = loop {
        match ann.send(id, acked, b"x") {
            Frame::Ack(_) => acked += 1,
            Frame::Error(error) => break error,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(error.code, ErrorCode::StorageFull.code());
    assert!(error.retry_after_ms > 0);
    assert_eq!(router.health(), Health::StorageFull);
    assert_eq!(
        ann.acked(id, 0, b"before"),
        ack,
        "a retry of what is there is answered"
    );
    assert_eq!(ann.sync_all(id).len() as u64, acked);
    space.0.store(1_000, Ordering::Relaxed);
    while let Frame::Error(_) = ann.send(id, acked, b"x") {}
    assert_eq!(ann.sync_all(id).len() as u64, acked + 1);
    assert_eq!(router.health(), Health::Serving);
}

/// Every message of every conversation, as user 7 sees them.
fn contents(router: &RouterHandle, mailbox: &Arc<Mailbox>) -> Vec<Vec<proto::Deliver>> {
    let ann = Client::new(router, mailbox, 7);
    let rows = ann.list(0, 100).conversations;
    rows.iter()
        .map(|row| ann.sync_all(row.conversation_id))
        .collect()
}

#[test]
fn a_replay_over_a_store_that_is_ahead_changes_nothing() {
    let (dir, disk, mailbox) = stage();
    disk.stuck_watermark.store(true, Ordering::SeqCst);
    let router = on(&disk, config(dir.path()), &mailbox);
    let ann = Client::new(&router, &mailbox, 7);
    let ids = [8, 9, 10].map(|peer| ann.direct(peer, peer).conversation_id);
    for n in 0..300 {
        ann.acked(ids[n as usize % 3], n, &n.to_le_bytes());
    }
    let before = contents(&router, &mailbox);
    let mut ack = ann.acked(ids[0], 0, &0_u64.to_le_bytes());
    router.close();
    drop((router, ann));
    for _ in 0..3 {
        assert_eq!(disk.watermark(), 0, "everything is replayed");
        let router = on(&disk, config(dir.path()), &mailbox);
        assert_eq!(contents(&router, &mailbox), before);
        let ann = Client::new(&router, &mailbox, 7);
        let again = ann.acked(ids[0], 0, &0_u64.to_le_bytes());
        assert_eq!(std::mem::replace(&mut ack, again.clone()), again);
        router.close();
    }
}

#[test]
fn a_consumer_that_fails_refuses_and_what_was_acked_is_applied_at_the_next_start() {
    let (dir, disk, mailbox) = stage();
    let router = on(&disk, config(dir.path()), &mailbox);
    let ann = Client::new(&router, &mailbox, 7);
    let id = ann.direct(1, 8).conversation_id;
    ann.acked(id, 1, b"before");
    assert_eq!(ann.sync_all(id).len(), 1);
    disk.garble.store(true, Ordering::SeqCst);
    let ack = ann.acked(id, 2, b"acked, and never applied");
    let sync = proto::Sync {
        request_id: 9,
        conversation_id: id,
        have_seq: 0,
        limit: 10,
    };
    let refused = ann.refused(Request::Sync(sync));
    assert_eq!(
        refused.code,
        ErrorCode::Unavailable.code(),
        "rather than an answer without it"
    );
    assert_eq!(
        ann.refused(send(id, 3, b"x")).code,
        ErrorCode::Unavailable.code()
    );
    assert_eq!(router.health(), Health::StoreFailed);
    router.close();
    assert!(
        disk.watermark() < disk.len() as u64,
        "not past what was applied"
    );
    disk.garble.store(false, Ordering::SeqCst);
    let router = on(&disk, config(dir.path()), &mailbox);
    let ann = Client::new(&router, &mailbox, 7);
    assert_eq!(ann.acked(id, 2, b"acked, and never applied"), ack);
    let all = ann.sync_all(id);
    assert_dense(&all);
    assert_eq!(all.len(), 2);
}

fn fill(dir: &Path, config: &Config, messages: u64, payload: usize) -> Vec<Vec<proto::Deliver>> {
    let mailbox = Mailbox::new();
    let router = start(config.clone(), mailbox.clone()).unwrap();
    let ann = Client::new(&router, &mailbox, 7);
    let ids = [8, 9].map(|peer| ann.direct(peer, peer).conversation_id);
    for n in 0..messages {
        ann.acked(ids[n as usize % 2], n, &vec![n as u8; payload]);
    }
    let before = contents(&router, &mailbox);
    router.close();
    assert!(dir.join("store").is_dir() && dir.join("log").is_dir());
    before
}

#[test]
fn a_lost_store_is_rebuilt_where_the_log_reaches_back_to_its_beginning() {
    let dir = TempDir::new().unwrap();
    let config = config(dir.path());
    let before = fill(dir.path(), &config, 400, 50);
    std::fs::remove_dir_all(dir.path().join("store")).unwrap();
    let mailbox = Mailbox::new();
    let router = start(config, mailbox.clone()).unwrap();
    let after = contents(&router, &mailbox);
    assert_eq!(after.iter().map(Vec::len).sum::<usize>(), 400);
    assert_eq!(after, before);
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn an_older_store_that_was_put_back_is_brought_up_to_the_log() {
    let dir = TempDir::new().unwrap();
    let config = config(dir.path());
    let (store, backup) = (dir.path().join("store"), dir.path().join("backup"));
    let early = fill(dir.path(), &config, 100, 50);
    copy_dir(&store, &backup);
    let late = fill(dir.path(), &config, 300, 50);
    assert_eq!(
        early.iter().chain(&late).map(Vec::len).sum::<usize>(),
        100 + 300
    );
    std::fs::remove_dir_all(&store).unwrap();
    std::fs::rename(&backup, &store).unwrap();
    let mailbox = Mailbox::new();
    let router = start(config, mailbox.clone()).unwrap();
    assert_eq!(contents(&router, &mailbox), late);
}

#[test]
fn a_lost_store_is_refused_where_the_log_was_recycled() {
    let dir = TempDir::new().unwrap();
    let mut config = config(dir.path());
    config.log.segment_bytes = 1 << 20;
    config.log.batch_bytes_max = 256 << 10;
    config.log.record_bytes_max = 70 << 10;
    config.persist_interval = Duration::from_millis(5);
    fill(dir.path(), &config, 100, 60_000);
    std::fs::rename(dir.path().join("store"), dir.path().join("kept")).unwrap();
    let refused = start(config.clone(), Mailbox::new())
        .map(|_| ())
        .unwrap_err();
    let StartError::StoreBehindLog {
        applied: 0, oldest, ..
    } = refused
    else {
        panic!("{refused:?}");
    };
    assert!(
        oldest > 0 && refused.to_string().contains("restore"),
        "{refused}"
    );
    std::fs::remove_dir_all(dir.path().join("store")).unwrap();
    std::fs::rename(dir.path().join("kept"), dir.path().join("store")).unwrap();
    let mailbox = Mailbox::new();
    let router = start(config, mailbox.clone()).unwrap();
    assert_eq!(
        contents(&router, &mailbox)
            .iter()
            .map(Vec::len)
            .sum::<usize>(),
        100
    );
}

#[test]
fn starts_that_can_not_be_say_whose_turn_it_is() {
    let dir = TempDir::new().unwrap();
    let config = config(dir.path());
    fill(dir.path(), &config, 10, 10);
    let refused = |config: &Config| {
        start(config.clone(), Mailbox::new())
            .map(|_| ())
            .unwrap_err()
    };

    let running = start(config.clone(), Mailbox::new()).unwrap();
    assert!(matches!(refused(&config), StartError::Locked { .. }));
    running.close();
    drop(running);

    let mut wrong = config.clone();
    wrong.node_id = 1_024;
    assert!(matches!(refused(&wrong), StartError::Config(_)));
    wrong = config.clone();
    wrong.payload_bytes_max = 1 << 30;
    assert!(matches!(refused(&wrong), StartError::Config(_)));
    wrong = config.clone();
    wrong.data_dir = dir.path().join("lock");
    assert!(matches!(refused(&wrong), StartError::DataDir { .. }));

    std::fs::rename(dir.path().join("log"), dir.path().join("kept")).unwrap();
    assert!(matches!(
        refused(&config),
        StartError::LogBehindStore { end: 0, .. }
    ));
    std::fs::remove_dir_all(dir.path().join("log")).unwrap();
    std::fs::rename(dir.path().join("kept"), dir.path().join("log")).unwrap();

    let garbage = dir.path().join("store").join("version");
    let good = std::fs::read(&garbage).unwrap();
    std::fs::write(&garbage, b"garbage").unwrap();
    assert!(matches!(refused(&config), StartError::Store { .. }));
    std::fs::write(&garbage, good).unwrap();
    drop(start(config, Mailbox::new()).unwrap());
}
