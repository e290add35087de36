//! What only the distributed store promises: other processes, deposed ones, clocks that differ, servers
//! that are away, the schema.

#![allow(
    clippy::disallowed_methods,
    reason = "tests measure time and name things by it"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join;
use rookery_router::ids::{EPOCH_MS, Snowflake};
use rookery_router::record::{OpenKey, Opened};
use rookery_router::store::cql::{self, Caps, Cql, Options};
use rookery_router::store::{Batch, Bound, InboxRow, Placed, Position, Store, StoreError};
use tokio::runtime::Runtime;

use crate::cql_subject::{CqlStore, migrated, options, runtime};
use crate::store_support::messages::{ALL, BUCKET_MS, Talk, fresh_id, head_after};
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
    old.persist().unwrap();
    // The partition goes to the new one while the old one still has a batch in hand.
    new.apply(&talk.batch(61..=90)).unwrap();
    new.persist().unwrap();
    old.apply(&talk.batch(61..=70)).unwrap();
    old.persist().unwrap();
    new.forget();
    assert_eq!(new.head(talk.id).unwrap(), talk.head());
    assert_eq!(up(&new, &talk, ALL), talk.deliveries());
}

#[test]
fn another_process_reads_what_is_newer_than_the_stored_head() {
    let (writer, reader) = two();
    let talk = Talk::of(300);
    let bound = Bound {
        messages_max: 40,
        bytes_max: usize::MAX,
    };
    writer.apply(&talk.batch(1..=100)).unwrap();
    writer.persist().unwrap();
    writer.apply(&talk.batch(101..=300)).unwrap();
    assert_eq!(
        reader.head(talk.id).unwrap(),
        head_after(&talk.messages[99])
    );
    for have_seq in [0, 50, 99, 100, 101, 163, 164, 250, 299] {
        let (head, slice) = reader.since(talk.id, have_seq, bound).unwrap();
        let first = have_seq as usize;
        assert_eq!(
            slice.messages,
            talk.deliveries()[first..(first + 40).min(300)]
        );
        assert_eq!(slice.has_more, first + 40 < 300);
        let last = slice.messages.last().expect("some").seq;
        assert!(head.last_seq >= last.max(100) && head.last_seq <= 300);
    }
    assert_eq!(reader.since(talk.id, 300, bound).unwrap().1.messages, []);
    let mut all = talk.deliveries();
    all.reverse();
    assert_eq!(down(&reader, &talk, bound), all);
}

#[test]
fn clocks_that_differ_leave_no_gap_and_no_message_twice() {
    let (store, reader) = two();
    let mut talk = Talk::new();
    let start_ms = EPOCH_MS + 3 * BUCKET_MS - 200_000;
    let mut nodes: Vec<Snowflake> = (0..4).map(|node| Snowflake::new(node, 0)).collect();
    // One is right, one 20 s behind, one 90 s ahead, one hours ahead for a while, over a bucket's end.
    for i in 0..400_u64 {
        let now_ms = start_ms + 1_000 * i;
        let (node, off_ms) = match i % 11 {
            3 => (1, -20_000),
            5 => (2, 90_000),
            7 if i < 200 => (3, 7_200_000),
            _ => (0, 0),
        };
        let message_id = nodes[node].next_id(now_ms.saturating_add_signed(off_ms));
        talk.say_as(message_id, format!("{i}").as_bytes());
    }
    for first in (1..=400).step_by(25) {
        store.apply(&talk.batch(first..=first + 24)).unwrap();
        if first % 100 == 1 {
            store.persist().unwrap();
            store.forget();
        }
    }
    store.persist().unwrap();
    let mut newest_first = talk.deliveries();
    newest_first.sort_by_key(|message| std::cmp::Reverse(message.message_id));
    for store in [&store, &reader] {
        for messages_max in [10, 100] {
            let bound = Bound {
                messages_max,
                bytes_max: usize::MAX,
            };
            assert_eq!(up(store, &talk, bound), talk.deliveries());
            assert_eq!(down(store, &talk, bound), newest_first);
        }
        for message in &talk.messages {
            let placed = store.placed(talk.id, message.deliver.message_id).unwrap();
            let wanted = Placed {
                seq: message.deliver.seq,
                log_offset: message.log_offset,
            };
            assert_eq!(placed, Some(wanted));
        }
    }
}

#[test]
fn a_message_has_its_place_by_id_and_by_sender() {
    let (store, reader) = two();
    let talk = Talk::of(120);
    store.apply(&talk.whole()).unwrap();
    let message = &talk.messages[77];
    let wanted = Placed {
        seq: 78,
        log_offset: message.log_offset,
    };
    let deliver = &message.deliver;
    assert_eq!(
        reader.placed(talk.id, deliver.message_id).unwrap(),
        Some(wanted)
    );
    let by_sender = reader.placed_by_sender(deliver.sender_user_id, deliver.client_msg_id);
    assert_eq!(by_sender.unwrap(), Some(wanted));
    assert_eq!(
        reader.placed(talk.id, deliver.message_id + 1).unwrap(),
        None
    );
    assert_eq!(reader.placed(fresh_id(), deliver.message_id).unwrap(), None);
    assert_eq!(
        reader
            .placed_by_sender(deliver.sender_user_id, 121)
            .unwrap(),
        None
    );

    let asked: Vec<(u64, u64)> = (100..140).map(|id| (deliver.sender_user_id, id)).collect();
    let known = reader
        .runtime
        .block_on(reader.cql.known_many(&asked))
        .unwrap();
    let ids = known
        .iter()
        .map(|known| known.map(|known| known.message_id));
    let of_seq = |seq: u64| {
        talk.messages
            .get(seq as usize - 1)
            .map(|m| m.deliver.message_id)
    };
    assert!(ids.eq((100..140).map(of_seq)));
}

#[test]
fn a_row_that_is_gone_is_damage_and_not_an_end() {
    let (store, _) = two();
    let talk = Talk::of(100);
    store.apply(&talk.whole()).unwrap();
    store.persist().unwrap();
    let options = migrated();
    store.runtime.block_on(async {
        let session = scylla::client::session_builder::SessionBuilder::new()
            .known_nodes(&options.nodes)
            .user(&options.username, &options.password)
            .build()
            .await
            .unwrap();
        let deliver = &talk.messages[29].deliver;
        let bucket = rookery_router::bucket::of_message(deliver.message_id).cast_signed();
        let text = format!(
            "DELETE FROM {}.messages WHERE conversation_id = ? AND bucket = ? AND sub = 0 AND message_id = ?",
            options.keyspace
        );
        let values = (talk.id.cast_signed(), bucket, deliver.message_id.cast_signed());
        session.query_unpaged(text, values).await.unwrap();
    });
    store.forget();
    let damaged = store.since(talk.id, 0, ALL);
    assert!(
        matches!(&damaged, Err(StoreError::Damaged { table: "messages", key }) if key.ends_with("1e")),
        "{damaged:?}"
    );
    let (_, slice) = store.since(talk.id, 30, ALL).unwrap();
    assert_eq!(slice.messages.len(), 70);
}

#[test]
fn inboxes_are_newest_first_and_a_late_write_does_not_turn_them_back() {
    let (store, reader) = two();
    let (user, other) = (fresh_id(), fresh_id());
    let (quiet, mut busy) = (Talk::of(1), Talk::of(3));
    busy.say(BUCKET_MS, b"news");
    let members: Arc<[u64]> = vec![user, other].into();
    let apply = |store: &CqlStore, batch: &Batch| {
        let of = |id| (id != busy.id || batch.opened.is_empty()).then(|| Arc::clone(&members));
        store.runtime.block_on(store.cql.apply(batch, &of)).unwrap();
        store.persist().unwrap();
    };
    let silent = Opened {
        conversation_id: (1 << 62) + fresh_id() % (1 << 32),
        hlc: 1,
        opener_user_id: user,
        key: OpenKey::direct(user, other),
        members: vec![user],
    };
    let opened = Batch {
        opened: vec![silent.clone()],
        ..Batch::default()
    };
    apply(&store, &opened);
    apply(&store, &quiet.whole());
    apply(&store, &busy.whole());
    // What a deposed process has still in hand.
    apply(&reader, &busy.batch(1..=2));
    let silent = InboxRow {
        conversation_id: silent.conversation_id,
        last_seq: 0,
        last_message_id: 0,
    };
    let inbox = |user, rows_max| {
        reader
            .runtime
            .block_on(reader.cql.inbox_of(user, rows_max))
            .unwrap()
    };
    let mut wanted = vec![silent, busy.inbox_row(), quiet.inbox_row()];
    wanted.sort_by_key(|row| std::cmp::Reverse(row.last_message_id.max(row.conversation_id)));
    assert_eq!(inbox(user, 10), wanted);
    assert_eq!(inbox(user, 1), wanted[..1]);
    assert_eq!(inbox(other, 10), wanted[1..]);
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
    let persist = |position| {
        store
            .runtime
            .block_on(store.cql.persist(node, &position))
            .unwrap()
    };
    let now_ms = EPOCH_MS + fresh_id() % BUCKET_MS;
    persist(position(20, now_ms + 2));
    persist(position(10, now_ms + 1));
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
    for _ in 0..50 {
        let head = runtime.block_on(cql.head(1));
        assert!(
            matches!(head, Err(StoreError::Away { service: "cql", .. })),
            "{head:?}"
        );
    }
    assert!(began.elapsed() < Duration::from_secs(10));
    let problems = runtime.block_on(cql::check(&options));
    assert!(
        problems.len() == 1 && problems[0].what.contains("cannot reach 127.0.0.1:1"),
        "{problems:?}"
    );
}

#[test]
fn options_that_cannot_be_are_refused() {
    let runtime = runtime();
    let caps = Caps {
        rows_max: 0,
        bytes_max: 1,
    };
    for options in [
        Options::default(),
        Options {
            caps,
            nodes: vec!["a:1".to_owned()],
            ..Options::default()
        },
    ] {
        let refused = runtime.block_on(Cql::connect(&options));
        assert!(matches!(refused, Err(StoreError::Failed { .. })));
    }
}
