//! What only the distributed store promises: other processes, deposed ones, clocks that differ, servers
//! that are away, the schema.

#![allow(
    clippy::disallowed_methods,
    reason = "tests measure time and name things by it"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join;
use rookery_router::ids::EPOCH_MS;
use rookery_router::store::cql::{self, Cql, Options};
use rookery_router::store::{Bound, Position, Segment, Slot, Store, StoreError};
use tokio::runtime::Runtime;

use crate::cql_subject::{CqlStore, migrated, options, runtime};
use crate::store_support::messages::{ALL, TEN_DAYS_MS, Talk, fresh_id, name};
use crate::store_support::promises::{down, up};

/// Two processes on one keyspace.
fn two() -> (CqlStore, CqlStore) {
    let (runtime, options) = (Arc::new(runtime()), migrated());
    (
        CqlStore::new(&runtime, &options),
        CqlStore::new(&runtime, &options),
    )
}

fn connect(runtime: &Runtime, options: &Options) -> Cql {
    runtime
        .block_on(Cql::connect(options))
        .expect("options that can be")
}

#[test]
fn a_deposed_process_that_still_writes_changes_nothing() {
    let (old, new) = two();
    let talk = Talk::of(90);
    old.apply(&talk.batch(1..=60)).unwrap();
    // The partition goes to the new one while the old one still has a batch in hand.
    new.apply(&talk.batch(61..=90)).unwrap();
    old.apply(&talk.batch(61..=70)).unwrap();
    assert_eq!(new.head(talk.id).unwrap(), talk.head());
    assert_eq!(up(&new, &talk, ALL), talk.deliveries());
}

#[test]
fn another_process_reads_what_was_written_a_moment_ago() {
    let (writer, reader) = two();
    let talk = Talk::of(300);
    let bound = Bound {
        messages_max: 40,
        bytes_max: usize::MAX,
    };
    writer.apply(&talk.batch(1..=100)).unwrap();
    assert_eq!(reader.head(talk.id).unwrap(), talk.messages[99].head());
    writer.apply(&talk.batch(101..=300)).unwrap();
    for have_seq in [0, 50, 99, 100, 101, 163, 164, 250, 299] {
        let (head, slice) = reader.since(talk.id, have_seq, bound).unwrap();
        let first = have_seq as usize;
        assert_eq!(
            slice.messages,
            talk.deliveries()[first..(first + 40).min(300)]
        );
        assert_eq!((slice.has_more, head.last_seq), (first + 40 < 300, 300));
    }
    assert_eq!(reader.since(talk.id, 300, bound).unwrap().1.messages, []);
    let mut all = talk.deliveries();
    all.reverse();
    assert_eq!(down(&reader, &talk, bound), all);
}

#[test]
fn every_record_under_a_name_is_there() {
    let (store, reader) = two();
    let (talk, mut other) = (Talk::of(120), Talk::of(1));
    store.apply(&talk.whole()).unwrap();
    // The same name in another conversation, where admission could not tell.
    other.messages[0].deliver.sender_user_id = talk.id;
    other.messages[0].deliver.client_msg_id = name(78);
    store.apply(&other.whole()).unwrap();
    let asked: Vec<_> = (70..140).map(|id| (talk.id, name(id))).collect();
    let found = reader.sent(&asked).unwrap();
    for (sent, seq) in found.iter().zip(70_usize..) {
        let wanted = talk.messages.get(seq - 1).map(|it| it.deliver.message_id);
        let ids: Vec<u64> = sent.iter().map(|it| it.known.message_id).collect();
        assert_eq!(
            ids.len(),
            usize::from(wanted.is_some()) + usize::from(seq == 78)
        );
        assert!(wanted.is_none_or(|id| ids.contains(&id)));
    }
}

/// A crash may leave a part of a chunk visible, which a read has repaired onto more replicas.
#[test]
fn a_seq_that_is_not_there_yet_ends_a_page_and_is_no_damage() {
    let (store, _) = two();
    let talk = Talk::of(100);
    store.apply(&talk.whole()).unwrap();
    let options = migrated();
    store.runtime.block_on(async {
        let session = scylla::client::session_builder::SessionBuilder::new()
            .known_nodes(&options.nodes)
            .user(&options.username, &options.password)
            .build()
            .await
            .unwrap();
        let text = format!(
            "DELETE FROM {}.messages USING TIMESTAMP 10000 \
             WHERE conversation_id = ? AND block = 0 AND seq = 30",
            options.keyspace
        );
        session
            .query_unpaged(text, (talk.id.cast_signed(),))
            .await
            .unwrap();
    });
    let (head, slice) = store.since(talk.id, 0, ALL).unwrap();
    assert_eq!(
        (head.last_seq, slice.messages.len(), slice.has_more),
        (29, 29, false)
    );
    let (head, slice) = store.since(talk.id, 30, ALL).unwrap();
    assert_eq!((head.last_seq, slice.messages.len()), (100, 70));
}

#[test]
fn a_late_write_does_not_shorten_a_segment() {
    let (store, reader) = two();
    let user = fresh_id();
    let segment = |last_seq| Segment {
        slot: Slot(2_900_000),
        conversation_id: 7,
        from_seq: 5,
        last_seq,
        members: [user].into(),
    };
    store.mark(&[segment(9)]).unwrap();
    // What a deposed process has still in hand.
    reader.mark(&[segment(6)]).unwrap();
    let below = rookery_router::store::Place {
        slot: Slot(2_900_001),
        ..Default::default()
    };
    let (rows, _) = store.segments(user, Slot(2_899_000), below, 10).unwrap();
    assert_eq!(rows.iter().map(|row| row.last_seq).collect::<Vec<_>>(), [9]);
}

#[test]
fn a_nodes_ids_never_fall() {
    let (store, reader) = two();
    let node = u16::try_from(fresh_id() % 1_000).expect("below 1,000");
    let position = |last_id, ms: u64| Position {
        next_offset: 5,
        last_id,
        last_hlc: ms << 16,
    };
    let give = |position| {
        store
            .runtime
            .block_on(store.cql.reach(&[], node, &position))
            .unwrap()
    };
    let now_ms = EPOCH_MS + fresh_id() % TEN_DAYS_MS;
    give(position(20, now_ms + 2));
    give(position(10, now_ms + 1));
    let read = reader.runtime.block_on(reader.cql.position(node)).unwrap();
    assert_eq!((read.last_id, read.last_hlc), (20, (now_ms + 2) << 16));
}

#[test]
fn migrations_run_once_though_two_run_them_at_once() {
    let runtime = runtime();
    let options = options();
    let pending = runtime.block_on(cql::pending(&options)).unwrap();
    assert!(!pending.is_empty());
    let missing = runtime.block_on(cql::check(&options));
    assert!(
        missing
            .iter()
            .any(|problem| problem.fatal && problem.what.contains("is missing"))
    );
    let both = join(cql::migrate(&options), cql::migrate(&options));
    let (one, other) = runtime.block_on(both);
    assert!(one.unwrap().len() + other.unwrap().len() >= pending.len());
    assert_eq!(
        runtime.block_on(cql::pending(&options)).unwrap(),
        Vec::<String>::new()
    );
    assert_eq!(
        runtime.block_on(cql::migrate(&options)).unwrap(),
        Vec::<String>::new()
    );
    let problems = runtime.block_on(cql::check(&options));
    // A test keyspace has one copy, and that is all there is to say.
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(!problems[0].fatal && problems[0].what.contains("keeps 1 copy"));
    let talk = Talk::of(3);
    let store = CqlStore::new(&Arc::new(runtime), &options);
    store.apply(&talk.whole()).unwrap();
    assert_eq!(up(&store, &talk, ALL), talk.deliveries());
}

#[test]
fn a_keyspace_may_be_called_by_a_reserved_word() {
    let runtime = runtime();
    let options = Options {
        keyspace: "alter".to_owned(),
        ..options()
    };
    runtime.block_on(cql::migrate(&options)).unwrap();
    let pending = runtime.block_on(cql::pending(&options)).unwrap();
    assert_eq!(pending, Vec::<String>::new());
    let talk = Talk::of(3);
    let store = CqlStore::new(&Arc::new(runtime), &options);
    store.apply(&talk.whole()).unwrap();
    assert_eq!(up(&store, &talk, ALL), talk.deliveries());
}

#[test]
fn a_wrong_password_and_a_datacenter_that_is_not_there_are_told_apart() {
    let runtime = runtime();
    let wrong = Options {
        password: "wrong".to_owned(),
        ..migrated()
    };
    let problems = runtime.block_on(cql::check(&wrong));
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].fatal && problems[0].what.contains("refuses the role `rookery`"),
        "{problems:?}"
    );
    let elsewhere = Options {
        datacenter: Some("nowhere".to_owned()),
        ..migrated()
    };
    let problems = runtime.block_on(cql::check(&elsewhere));
    assert!(
        problems
            .iter()
            .any(|problem| problem.what.contains("datacenter `nowhere`")),
        "{problems:?}"
    );
}

/// Needs no server: nothing listens there.
#[test]
fn a_server_that_is_away_is_told_so_at_once_and_awaited() {
    let runtime = runtime();
    let options = Options {
        nodes: vec!["127.0.0.1:1".to_owned()],
        connect_timeout: Duration::from_millis(500),
        ..Options::default()
    };
    let began = Instant::now();
    let cql = connect(&runtime, &options);
    // Waited for, each would take the half second of a connection.
    for _ in 0..200 {
        let head = runtime.block_on(cql.heads(&[1]));
        assert!(
            matches!(head, Err(StoreError::Away { service: "cql", .. })),
            "{head:?}"
        );
    }
    assert!(began.elapsed() < Duration::from_secs(50));
    let problems = runtime.block_on(cql::check(&options));
    assert!(
        problems.len() == 1 && problems[0].what.contains("cannot reach 127.0.0.1:1"),
        "{problems:?}"
    );
}

#[test]
fn options_that_cannot_be_are_refused() {
    let runtime = runtime();
    for options in [
        Options::default(),
        Options {
            in_flight_max: 0,
            nodes: vec!["a:1".to_owned()],
            ..Options::default()
        },
    ] {
        let refused = runtime.block_on(Cql::connect(&options));
        assert!(matches!(refused, Err(StoreError::Failed { .. })));
    }
}
