//! Ids and stamps over clocks that are set back, ahead and right again, with crashes between.

#![allow(clippy::unwrap_used, reason = "a test that can not go on panics")]
#![allow(
    clippy::disallowed_methods,
    reason = "what is stored is waited for in real time"
)]

mod router_support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rookery_router::ids;
use rookery_router::store::Slot;
use rookery_wire::proto;
use router_support::group_edge::{Edge, all, assert_seqs_dense, wait_stored};
use router_support::group_log::{Brokers, GroupLog};
use router_support::group_store::{GroupStore, Services};
use router_support::*;

const FOUR_DAYS_MS: u64 = 4 * DAY_MS;

/// An edge on a data directory that outlives it.
fn start_in(
    dir: &Path,
    clock: &Arc<HandClock>,
    node_id: u16,
    brokers: &Arc<Brokers>,
    services: &Arc<Services>,
) -> Edge {
    Edge::start_with(node_id, brokers, services, &|config| {
        config.data_dir = dir.to_owned();
        config.clock = clock.clone();
    })
}

/// Sends, and gives the ids and stamps of the acks.
fn sends(edge: &Edge, id: u64, names: std::ops::Range<u64>) -> Vec<(u64, u64)> {
    let ann = edge.client(1);
    let acks = names.map(|n| ann.acked(id, n, b"text"));
    acks.map(|ack| (ack.message_id, ack.hlc)).collect()
}

fn assert_above(later: &[(u64, u64)], earlier: &[(u64, u64)]) {
    for (at, part) in [
        ("ids", |it: &(u64, u64)| it.0),
        ("stamps", |it: &(u64, u64)| it.1),
    ] as [(&str, fn(&(u64, u64)) -> u64); 2]
    {
        let (newest, oldest) = (earlier.iter().map(part).max(), later.iter().map(part).min());
        assert!(
            newest < oldest,
            "{at} went back: {newest:?}, then {oldest:?}"
        );
    }
}

/// Nothing that says what was given reaches the store, as in a crash, and the clock stands a second back,
/// then one more, so that it comes across the same milliseconds again and again.
#[test]
fn no_id_is_given_twice_after_a_crash_with_the_clock_set_back() {
    let (brokers, services) = (Brokers::new(), Services::new());
    let (dir, clock) = (tempfile::tempdir().unwrap(), HandClock::new());
    let mut given: Vec<(u64, u64)> = Vec::new();
    for round in 0..4 {
        let edge = start_in(dir.path(), &clock, 1, &brokers, &services);
        let id = edge.client(1).direct(round, 2).conversation_id;
        services.store_away.store(true, Ordering::SeqCst);
        let names = 1_000 * round..1_000 * round + 300;
        let next = sends(&edge, id, names);
        assert_above(&next, &given);
        given = next;
        edge.router.close();
        services.store_away.store(false, Ordering::SeqCst);
        clock.back(1_000);
    }
}

/// The same where the data directory is lost too: the store knows.
#[test]
fn no_id_is_given_twice_by_a_fresh_host_of_the_same_number() {
    let (brokers, services) = (Brokers::new(), Services::new());
    let clock = HandClock::new();
    let mut given: Vec<(u64, u64)> = Vec::new();
    for round in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let edge = start_in(dir.path(), &clock, 1, &brokers, &services);
        let id = edge.client(1).direct(round, 2).conversation_id;
        let first = sends(&edge, id, 2_000 * round..2_000 * round + 1);
        let end = Instant::now() + PATIENCE;
        while services.stored_id(1) < first[0].0 {
            assert!(Instant::now() < end, "what was given is not stored");
            std::thread::sleep(Duration::from_millis(1));
        }
        services.store_away.store(true, Ordering::SeqCst);
        clock.forward(1_000);
        let next = sends(&edge, id, 2_000 * round + 1..2_000 * round + 300);
        assert_above(&next, &given);
        given = next;
        edge.router.close();
        services.store_away.store(false, Ordering::SeqCst);
        clock.back(1_500);
    }
}

#[test]
fn a_host_four_days_ahead_gives_no_id_and_infects_nobody() {
    let (brokers, services) = (Brokers::new(), Services::new());
    let (right, ahead) = (HandClock::new(), HandClock::new());
    ahead.forward(FOUR_DAYS_MS);
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let start =
        |n: usize, clock| start_in(dirs[n].path(), clock, n as u16 + 1, &brokers, &services);
    let (one, other) = (start(0, &right), start(1, &ahead));
    one.log.assign(&all()[..2]);
    other.log.assign(&all()[2..]);
    let id = one.client(1).direct(1, 2).conversation_id;
    let first = sends(&one, id, 0..50);
    let refused = other.client(1).refused(send(id, 1_000, b"from the future"));
    assert_eq!(refused.code, proto::ErrorCode::Unavailable as u16);
    assert!(refused.retry_after_ms > 0);
    let open = proto::OpenDirect {
        request_id: 5,
        peer_user_id: 9,
    };
    let open = rookery_router::Request::OpenDirect(open);
    assert!(other.client(1).refused(open).retry_after_ms > 0);
    assert!(other.client(1).refused(create(6, &[2, 3])).retry_after_ms > 0);
    let off = |edge: &Edge| edge.router.counters().clock_off.value();
    assert_eq!((off(&one), off(&other)), (0, 1));
    let beside = sends(&one, id, 50..100);
    assert_eq!(beside.len(), 50, "the one beside it never notices");
    ahead.back(FOUR_DAYS_MS);
    let corrected = sends(&other, id, 1_000..1_050);
    assert_eq!((off(&one), off(&other)), (0, 0));
    for edge in [one, other] {
        edge.router.close();
    }
    let (one, other) = (start(0, &right), start(1, &ahead));
    one.log.assign(&all());
    let after = [
        sends(&one, id, 2_000..2_050),
        sends(&other, id, 3_000..3_050),
    ]
    .concat();
    let latest = NOW_MS + 60_000;
    for (message_id, hlc) in [first, beside, corrected, after].concat() {
        assert!(ids::unix_ms(message_id) < latest && hlc >> 16 < latest);
    }
    assert!(
        [1, 2]
            .iter()
            .all(|node| ids::unix_ms(services.stored_id(*node)) < latest)
    );
    wait_stored(&services, &[id], 250);
    assert_seqs_dense(&services.messages(id));
}

/// It consumes and reads all the same, and what it writes for others has their time.
#[test]
fn a_host_four_days_ahead_enters_into_inboxes_at_the_time_that_it_was_told() {
    let (brokers, services) = (Brokers::new(), Services::new());
    let (right, ahead) = (HandClock::new(), HandClock::new());
    ahead.forward(FOUR_DAYS_MS);
    let one = Edge::start_at(right, 1, &brokers, &services);
    let other = Edge::start_at(ahead, 2, &brokers, &services);
    other.log.assign(&all());
    let id = one.client(1).direct(1, 2).conversation_id;
    sends(&one, id, 0..50);
    wait_stored(&services, &[id], 50);
    assert_eq!(other.client(2).sync_all(id).len(), 50);
    other.router.close();
    assert_eq!(services.newest_slot(2), Some(Slot::of(NOW_MS)));
    one.router.close();
}

/// Nobody need be asked: what was told before says what time it is now.
#[test]
fn a_clock_that_jumps_is_refused_at_once_and_taken_once_it_is_right() {
    let (brokers, services) = (Brokers::new(), Services::new());
    brokers.now_ms.store(NOW_MS, Ordering::SeqCst);
    let (dir, clock) = (tempfile::tempdir().unwrap(), HandClock::new());
    let edge = start_in(dir.path(), &clock, 1, &brokers, &services);
    let id = edge.client(1).direct(1, 2).conversation_id;
    let mut given = sends(&edge, id, 0..50);
    services.store_away.store(true, Ordering::SeqCst);
    for (round, jump_ms) in (1..).zip([2 * 3_600_000, 11_000, FOUR_DAYS_MS]) {
        for (there, back) in [
            (
                HandClock::forward as fn(&HandClock, u64),
                HandClock::back as fn(&HandClock, u64),
            ),
            (HandClock::back, HandClock::forward),
        ] {
            there(&clock, jump_ms);
            let refused = edge.client(1).refused(send(id, 100 * round, b"off"));
            assert!(refused.retry_after_ms > 0);
            back(&clock, jump_ms);
        }
        let next = sends(&edge, id, 100 * round..100 * round + 50);
        assert_above(&next, &given);
        given = next;
    }
    // What is less than that is no reason to refuse, and passes what was reserved.
    clock.forward(9_999);
    let next = sends(&edge, id, 1_000..1_050);
    assert_above(&next, &given);
    clock.pass(3_600_000);
    brokers.now_ms.fetch_add(3_600_000, Ordering::SeqCst);
    assert_above(&sends(&edge, id, 2_000..2_050), &next);
    edge.router.close();
}

/// The store's clock was right at the start; the brokers' is not, or it is this host's: nobody can tell, and
/// there is no ack of the brokers that says otherwise for longer than a minute.
#[test]
fn an_ack_tells_the_time_where_nobody_else_does() {
    let (brokers, services) = (Brokers::new(), Services::new());
    brokers.now_ms.store(NOW_MS, Ordering::SeqCst);
    let (dir, clock) = (tempfile::tempdir().unwrap(), HandClock::new());
    let edge = start_in(dir.path(), &clock, 1, &brokers, &services);
    let id = edge.client(1).direct(1, 2).conversation_id;
    sends(&edge, id, 0..50);
    services.store_away.store(true, Ordering::SeqCst);
    clock.pass(61_000);
    brokers
        .now_ms
        .store(NOW_MS + 61_000 - 20_000, Ordering::SeqCst);
    sends(&edge, id, 50..51);
    let end = Instant::now() + PATIENCE;
    while edge.router.counters().clock_off.value() == 0 {
        assert!(Instant::now() < end, "nobody says that it is off");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(edge.client(1).refused(send(id, 60, b"off")).retry_after_ms > 0);
    clock.back(20_000);
    sends(&edge, id, 60..70);
    edge.router.close();
}

/// Which of the two is wrong nobody can tell.
#[test]
fn a_start_beside_a_clock_that_contradicts_gives_nothing_until_they_agree() {
    let (brokers, services) = (Brokers::new(), Services::new());
    services.now_ms.store(0, Ordering::SeqCst);
    let (dir, clock) = (tempfile::tempdir().unwrap(), HandClock::new());
    let edge = start_in(dir.path(), &clock, 1, &brokers, &services);
    let open = create(1, &[2, 3]);
    assert!(edge.client(1).refused(open).retry_after_ms > 0);
    services.now_ms.store(NOW_MS, Ordering::SeqCst);
    let end = Instant::now() + PATIENCE;
    while edge.router.counters().clock_off.value() == 1 {
        assert!(Instant::now() < end, "nobody says that it is right");
        std::thread::sleep(Duration::from_millis(5));
    }
    edge.client(1).create(2, &[2, 3]);
    edge.router.close();
}

#[test]
fn a_start_on_a_damaged_ceiling_is_refused_with_a_sentence() {
    let (brokers, services) = (Brokers::new(), Services::new());
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ceiling"), "1790000015000 beef").unwrap();
    let refused = rookery_router::start_shared(
        config(dir.path()),
        Mailbox::new(),
        GroupStore::new(&services, 1),
        Brokers::placement(),
        |acks, feed| Ok(GroupLog::open(&brokers, acks, feed)),
    );
    let said = refused.err().unwrap().to_string();
    assert!(
        said.contains("the ceiling is damaged") && said.contains("remove"),
        "{said}"
    );
}
