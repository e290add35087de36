//! Conversations, members and devices, in a schema of each test's own.

use std::sync::{Arc, Barrier};

use rookery_router::admission::{ConversationLimits, DEDUP_TTL_MS, Full, MEMBERS_MAX};
use rookery_router::ids::{EPOCH_MS, Snowflake};
use rookery_router::postgres::{Options, Postgres, check, migrate, pending};
use rookery_router::record::{OpenKey, Opened};
use rookery_router::store::{Opening, StoreError};
use tokio::runtime::Runtime;
use tokio_postgres::NoTls;

use super::support::{own_name, runtime, service};

const NOW_MS: u64 = EPOCH_MS + 1_000_000_000;

/// An empty schema of the service's database, and the way to it.
pub(crate) fn own_options(runtime: &Runtime) -> Options {
    let url = service("ROOKERY_TEST_POSTGRES");
    let schema = own_name();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(connection);
        let create = format!("CREATE SCHEMA {schema}");
        client.batch_execute(&create).await.unwrap();
    });
    let and = if url.contains('?') { '&' } else { '?' };
    Options::new(format!("{url}{and}options=-c%20search_path%3D{schema}"))
}

/// The same with its tables.
pub(crate) fn migrated(runtime: &Runtime) -> Options {
    let options = own_options(runtime);
    runtime.block_on(migrate(&options)).unwrap();
    options
}

pub(crate) fn conversation(id: u64, key: OpenKey, members: &[u64]) -> Opened {
    Opened {
        conversation_id: id,
        hlc: u64::MAX - id,
        opener_user_id: members[0],
        opener_device_id: 1,
        key,
        members: members.to_vec(),
    }
}

fn exists(id: u64, members: &[u64]) -> Opening {
    Opening::Exists {
        conversation_id: id,
        members: members.into(),
    }
}

#[test]
fn migrations_are_applied_once_by_whoever_comes_first() {
    let runtime = runtime();
    let options = own_options(&runtime);
    let before = runtime.block_on(pending(&options)).unwrap();
    assert!(before.len() >= 2);
    let applied = runtime.block_on(async {
        let one = tokio::spawn({
            let options = options.clone();
            async move { migrate(&options).await.unwrap() }
        });
        let two = migrate(&options).await.unwrap();
        [one.await.unwrap(), two].concat()
    });
    assert_eq!(applied, before);
    assert!(runtime.block_on(pending(&options)).unwrap().is_empty());
    assert!(runtime.block_on(migrate(&options)).unwrap().is_empty());
}

/// The server took over from one that had more. A key that was given away meanwhile stays where it is.
#[test]
fn what_the_log_has_is_written_again_and_what_is_there_stays() {
    let runtime = runtime();
    let postgres = Postgres::new(&migrated(&runtime)).unwrap();
    runtime.block_on(async {
        let direct = |id, peer| conversation(id, OpenKey::direct(1, peer), &[1, peer]);
        let created = |id| {
            let (user_id, request_id) = (1, 7);
            let key = OpenKey::Created {
                user_id,
                request_id,
            };
            conversation(id, key, &[1, 2, 3])
        };
        let (there, taken) = (direct(100, 2), direct(300, 3));
        for opened in [&there, &taken] {
            assert_eq!(
                postgres
                    .open(opened, NOW_MS, &ConversationLimits::NONE)
                    .await
                    .unwrap(),
                Opening::New
            );
        }
        // One is there, one is not, the key of one is another's by now, and two have the same.
        let lost = [direct(200, 4), direct(201, 3), created(202), created(203)];
        let all: Vec<Opened> = [there].iter().chain(&lost).cloned().collect();
        for _ in 0..2 {
            postgres.reopen(&all).await.unwrap();
            for opened in all.iter().chain([&taken]) {
                let members = postgres.members(opened.conversation_id).await.unwrap();
                assert_eq!(members.as_deref(), Some(&opened.members[..]));
            }
            let holder = async |opened: &Opened| postgres.opened(opened.key).await.unwrap();
            assert_eq!(holder(&all[0]).await, Some(100));
            assert_eq!(holder(&lost[0]).await, Some(200));
            assert_eq!(holder(&taken).await, Some(300));
            assert_eq!(holder(&lost[3]).await, Some(202));
        }
        let answer = postgres
            .open(&direct(400, 4), NOW_MS, &ConversationLimits::NONE)
            .await
            .unwrap();
        assert_eq!(answer, exists(200, &[1, 4]));
        let (list, _) = postgres.conversations_of(1, 0, 10).await.unwrap();
        assert_eq!(list, [100, 200, 201, 202, 203, 300]);
        postgres.reopen(&[]).await.unwrap();
    });
}

#[test]
fn a_conversation_is_opened_once_and_read_back() {
    let runtime = runtime();
    let postgres = Postgres::new(&migrated(&runtime)).unwrap();
    runtime.block_on(async {
        let key = OpenKey::direct(9, 3);
        let opened = conversation(100, key, &[3, 9]);
        assert_eq!(postgres.opened(key).await.unwrap(), None);
        assert_eq!(
            postgres
                .open(&opened, NOW_MS, &ConversationLimits::NONE)
                .await
                .unwrap(),
            Opening::New
        );
        // After an error nobody knows whether it was done: again is the same.
        assert_eq!(
            postgres
                .open(&opened, NOW_MS, &ConversationLimits::NONE)
                .await
                .unwrap(),
            Opening::New
        );
        let later = conversation(101, key, &[3, 9]);
        let answer = postgres
            .open(&later, NOW_MS, &ConversationLimits::NONE)
            .await
            .unwrap();
        assert_eq!(answer, exists(100, &[3, 9]));
        assert_eq!(postgres.opened(key).await.unwrap(), Some(100));
        assert_eq!(
            postgres.members(100).await.unwrap().as_deref(),
            Some(&[3, 9][..])
        );
        assert_eq!(postgres.members(101).await.unwrap(), None);

        // Numbers of 64 bits, notes to oneself, and a direct key that is not a created one.
        let odd = OpenKey::Created {
            user_id: 3,
            request_id: u64::MAX,
        };
        let opened = conversation(1 << 62, odd, &[3]);
        assert_eq!(
            postgres
                .open(&opened, 0, &ConversationLimits::NONE)
                .await
                .unwrap(),
            Opening::New
        );
        assert_eq!(postgres.opened(odd).await.unwrap(), Some(1 << 62));
        let own = conversation(102, OpenKey::direct(3, 3), &[3]);
        assert_eq!(
            postgres
                .open(&own, NOW_MS, &ConversationLimits::NONE)
                .await
                .unwrap(),
            Opening::New
        );
        let created = OpenKey::Created {
            user_id: 3,
            request_id: 9,
        };
        let created = conversation(103, created, &[3, 4]);
        assert_eq!(
            postgres
                .open(&created, 0, &ConversationLimits::NONE)
                .await
                .unwrap(),
            Opening::New
        );
    });
}

#[test]
fn of_many_who_open_at_once_one_does() {
    const OPENERS: u64 = 12;
    let runtime = runtime();
    let options = migrated(&runtime);
    for round in 0..10 {
        let start = Arc::new(Barrier::new(OPENERS as usize));
        let threads: Vec<_> = (0..OPENERS)
            .map(|opener| {
                let (start, handle) = (Arc::clone(&start), runtime.handle().clone());
                // A pool of its own each, as of different nodes.
                let mut options = options.clone();
                options.pool_size = 1;
                let postgres = Postgres::new(&options).unwrap();
                std::thread::spawn(move || {
                    let id = 1_000 * (round + 1) + opener;
                    let opened = conversation(id, OpenKey::direct(round, 99), &[round, 99]);
                    start.wait();
                    (
                        id,
                        handle
                            .block_on(postgres.open(&opened, NOW_MS, &ConversationLimits::NONE))
                            .unwrap(),
                    )
                })
            })
            .collect();
        let answers: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect();
        let new: Vec<u64> = answers
            .iter()
            .filter(|(_, opening)| *opening == Opening::New)
            .map(|(id, _)| *id)
            .collect();
        assert_eq!(new.len(), 1, "{answers:?}");
        let found = exists(new[0], &[round, 99]);
        assert!(
            answers
                .iter()
                .all(|(id, opening)| *id == new[0] || *opening == found),
            "{answers:?}"
        );
    }
}

#[test]
fn a_created_key_gives_way_after_seven_days_and_its_conversation_stays() {
    let runtime = runtime();
    let postgres = Postgres::new(&migrated(&runtime)).unwrap();
    let mut ids = Snowflake::new(1, 0);
    let created = OpenKey::Created {
        user_id: 3,
        request_id: 1,
    };
    let old = conversation(ids.next_id(NOW_MS), created, &[3, 4]);
    let direct = conversation(ids.next_id(NOW_MS), OpenKey::direct(3, 4), &[3, 4]);
    let later_ms = NOW_MS + DEDUP_TTL_MS;
    let new = conversation(ids.next_id(later_ms), created, &[3, 5]);
    let other = conversation(ids.next_id(later_ms), OpenKey::direct(3, 4), &[3, 4]);
    runtime.block_on(async {
        assert_eq!(
            postgres
                .open(&old, NOW_MS, &ConversationLimits::NONE)
                .await
                .unwrap(),
            Opening::New
        );
        assert_eq!(
            postgres
                .open(&direct, NOW_MS, &ConversationLimits::NONE)
                .await
                .unwrap(),
            Opening::New
        );
        let answer = postgres
            .open(&new, later_ms - 1, &ConversationLimits::NONE)
            .await
            .unwrap();
        assert_eq!(answer, exists(old.conversation_id, &[3, 4]));
        assert_eq!(
            postgres
                .open(&new, later_ms, &ConversationLimits::NONE)
                .await
                .unwrap(),
            Opening::New
        );
        assert_eq!(
            postgres.opened(created).await.unwrap(),
            Some(new.conversation_id)
        );
        let members = postgres.members(old.conversation_id).await.unwrap();
        assert_eq!(members.as_deref(), Some(&[3, 4][..]));
        let answer = postgres
            .open(&other, later_ms, &ConversationLimits::NONE)
            .await
            .unwrap();
        assert_eq!(answer, exists(direct.conversation_id, &[3, 4]));
    });
}

#[test]
fn as_many_members_as_there_may_be() {
    let runtime = runtime();
    let postgres = Postgres::new(&migrated(&runtime)).unwrap();
    let members: Vec<u64> = (0..MEMBERS_MAX as u64).map(|n| 3 * n + 1).collect();
    let key = |request_id| OpenKey::Created {
        user_id: 1,
        request_id,
    };
    runtime.block_on(async {
        let opened = conversation(1, key(1), &members);
        assert_eq!(
            postgres
                .open(&opened, 0, &ConversationLimits::NONE)
                .await
                .unwrap(),
            Opening::New
        );
        let again = conversation(2, key(1), &members);
        assert_eq!(
            postgres
                .open(&again, 0, &ConversationLimits::NONE)
                .await
                .unwrap(),
            exists(1, &members)
        );
        let small = conversation(3, key(3), &[1, 4]);
        assert_eq!(
            postgres
                .open(&small, 0, &ConversationLimits::NONE)
                .await
                .unwrap(),
            Opening::New
        );
        let many = postgres.members_many(&[1, 3, 77]).await.unwrap();
        assert_eq!(many.len(), 2);
        assert_eq!(*many[&1], *members);
        assert_eq!(*many[&3], [1, 4]);
        assert!(postgres.members_many(&[]).await.unwrap().is_empty());
    });
}

#[test]
fn lists_go_by_pages_in_the_order_of_ids() {
    let runtime = runtime();
    let postgres = Postgres::new(&migrated(&runtime)).unwrap();
    runtime.block_on(async {
        for id in [70, 10, 40] {
            let opened = conversation(id, OpenKey::direct(5, id), &[5, id]);
            postgres
                .open(&opened, NOW_MS, &ConversationLimits::NONE)
                .await
                .unwrap();
        }
        let page = |after, max| postgres.conversations_of(5, after, max);
        assert_eq!(page(0, 2).await.unwrap(), (vec![10, 40], true));
        assert_eq!(page(40, 2).await.unwrap(), (vec![70], false));
        assert_eq!(page(0, 3).await.unwrap(), (vec![10, 40, 70], false));
        assert_eq!(page(70, 3).await.unwrap(), (Vec::new(), false));
        assert_eq!(page(u64::MAX, 3).await.unwrap(), (Vec::new(), false));
        let of_peer = postgres.conversations_of(40, 0, 9).await.unwrap();
        assert_eq!(of_peer, (vec![40], false));
    });
}

#[test]
fn devices_keep_their_first_and_last_time() {
    let runtime = runtime();
    let options = migrated(&runtime);
    let postgres = Postgres::new(&options).unwrap();
    runtime.block_on(async {
        postgres.touch_devices(&[]).await.unwrap();
        let batch = [(8, u32::MAX, 5_500), (7, 1, 5_000), (8, u32::MAX, 4_001)];
        postgres.touch_devices(&batch).await.unwrap();
        postgres
            .touch_devices(&[(7, 1, 9_000), (8, 1, 1), (8, u32::MAX, 4_500)])
            .await
            .unwrap();
        let (client, connection) = tokio_postgres::connect(&options.url, NoTls).await.unwrap();
        tokio::spawn(connection);
        let rows = client
            .query(
                "SELECT user_id, device_id, (extract(epoch FROM first_seen) * 1000)::bigint, \
                 (extract(epoch FROM last_seen) * 1000)::bigint FROM devices ORDER BY 1, 2",
                &[],
            )
            .await
            .unwrap();
        let rows: Vec<(i64, i64, i64, i64)> = rows
            .iter()
            .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)))
            .collect();
        assert_eq!(
            rows,
            [
                (7, 1, 5_000, 9_000),
                (8, 1, 1, 1),
                (8, i64::from(u32::MAX), 4_001, 5_500)
            ]
        );
    });
}

#[test]
fn a_schema_that_is_missing_or_anothers_is_told() {
    let runtime = runtime();
    let options = own_options(&runtime);
    let problems = runtime.block_on(check(&options));
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].fatal && problems[0].what.contains("0001_conversations"));
    assert!(problems[0].advice.contains("rookery migrate"));
    runtime.block_on(async {
        // A table that is not there is a defect, not something that passes.
        let postgres = Postgres::new(&options).unwrap();
        let error = postgres.members(1).await.unwrap_err();
        assert!(matches!(error, StoreError::Failed { .. }), "{error}");

        migrate(&options).await.unwrap();
        assert_eq!(check(&options).await, []);
        let (client, connection) = tokio_postgres::connect(&options.url, NoTls).await.unwrap();
        tokio::spawn(connection);
        let newer = "INSERT INTO schema_migrations (version, name) VALUES (900, '0900_x')";
        client.batch_execute(newer).await.unwrap();
        let problems = check(&options).await;
        assert!(
            problems[0].fatal && problems[0].what.contains("0900_x"),
            "{problems:?}"
        );
        let error = migrate(&options).await.unwrap_err().to_string();
        assert!(error.contains("newer program"), "{error}");
    });
}

/// What exists is told, whoever is full; what others do takes nothing of what one may open.
#[test]
fn who_has_as_many_conversations_as_there_may_be_gets_no_more() {
    let runtime = runtime();
    let postgres = Postgres::new(&migrated(&runtime)).unwrap();
    let limits = ConversationLimits {
        opened_max: 2,
        all_max: 3,
    };
    runtime.block_on(async {
        let open = async |id, opener, peer| {
            let key = OpenKey::direct(opener, peer);
            let opened = conversation(id, key, &[opener, peer]);
            postgres.open(&opened, NOW_MS, &limits).await.unwrap()
        };
        assert_eq!(open(1, 10, 11).await, Opening::New);
        assert_eq!(open(2, 10, 12).await, Opening::New);
        assert_eq!(open(3, 10, 13).await, Opening::Full(Full::Opener));
        assert_eq!(open(4, 11, 10).await, exists(1, &[10, 11]));
        // Three are in it; what it opens itself is no matter of theirs.
        assert_eq!(open(5, 13, 10).await, Opening::New);
        assert_eq!(open(6, 14, 10).await, Opening::Full(Full::Member(10)));
        assert_eq!(open(7, 14, 11).await, Opening::New);
        assert_eq!(open(8, 14, 15).await, Opening::New);
        assert_eq!(open(9, 14, 10).await, Opening::Full(Full::Opener));
        let key = OpenKey::Created {
            user_id: 16,
            request_id: 1,
        };
        let group = conversation(20, key, &[16, 10, 11, 17]);
        let answer = postgres.open(&group, NOW_MS, &limits).await.unwrap();
        assert_eq!(answer, Opening::Full(Full::Member(10)));
        assert_eq!(postgres.members(20).await.unwrap(), None);
        let none = ConversationLimits::NONE;
        assert_eq!(
            postgres.open(&group, NOW_MS, &none).await.unwrap(),
            Opening::New
        );
    });
}
