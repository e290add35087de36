//! PostgreSQL goes and comes back, hangs, refuses, and has no connection left.

use std::time::{Duration, Instant};

use rookery_router::admission::ConversationLimits;
use rookery_router::postgres::{Options, Postgres, check};
use rookery_router::problem::Problem;
use rookery_router::record::OpenKey;
use rookery_router::store::{Opening, StoreError};
use tokio::runtime::Runtime;
use tokio_postgres::NoTls;

use super::claims::address_of;
use super::postgres::{conversation, migrated};
use super::support::gate::Gate;
use super::support::{HANG, eventually, runtime};

fn behind_a_gate(runtime: &Runtime) -> (Gate, Options) {
    let mut options = migrated(runtime);
    let address = address_of(&options.url);
    let gate = Gate::before(&address);
    options.url = options.url.replace(&address, &gate.address().to_string());
    (gate, options)
}

fn assert_away<T: std::fmt::Debug>(answer: Result<T, StoreError>) {
    assert!(
        matches!(
            answer,
            Err(StoreError::Away {
                service: "postgres",
                ..
            })
        ),
        "{answer:?}"
    );
}

#[test]
fn gone_and_back() {
    let runtime = runtime();
    let (gate, options) = behind_a_gate(&runtime);
    let postgres = Postgres::new(&options).unwrap();
    let opened = conversation(1, OpenKey::direct(1, 2), &[1, 2]);
    assert_eq!(
        runtime
            .block_on(postgres.open(&opened, 0, &ConversationLimits::NONE))
            .unwrap(),
        Opening::New
    );
    gate.cut();
    for _ in 0..20 {
        assert_away(runtime.block_on(postgres.members(1)));
    }
    gate.open();
    eventually("it is back", || {
        matches!(runtime.block_on(postgres.members(1)), Ok(Some(_)))
    });
}

/// What an opening, a lookup or the like said that was refused.
fn reason<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
    match answer {
        Err(StoreError::Away { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

/// The answer, once calls come through again: after one that had none in time they do not for a moment.
async fn once_it_answers<T: std::fmt::Debug>(call: impl AsyncFn() -> Result<T, StoreError>) -> T {
    for _ in 0..1_000 {
        match call().await {
            Err(StoreError::Away { .. }) => tokio::time::sleep(Duration::from_millis(10)).await,
            answer => return answer.unwrap(),
        }
    }
    panic!("10 s passed, and it is still away");
}

#[test]
fn hung_it_costs_one_call_its_time_and_the_others_nothing() {
    let runtime = runtime();
    let (gate, mut options) = behind_a_gate(&runtime);
    options.pool_size = 2;
    let postgres = Postgres::new(&options).unwrap();
    let key = OpenKey::direct(1, 2);
    let opened = conversation(1, key, &[1, 2]);
    assert_eq!(runtime.block_on(postgres.opened(key)).unwrap(), None);
    gate.hold();
    let first = reason(runtime.block_on(postgres.open(&opened, 0, &ConversationLimits::NONE)));
    assert!(first.contains("no answer within 2000 ms"), "{first}");
    for _ in 0..1_000 {
        let next = reason(runtime.block_on(postgres.members(1)));
        assert!(next.contains("is not asked until"), "{next}");
    }
    gate.open();
    // None of the connections of before is used, which may be dead.
    let answer =
        once_it_answers(async || postgres.open(&opened, 0, &ConversationLimits::NONE).await);
    assert_eq!(runtime.block_on(answer), Opening::New);
    let members = runtime.block_on(postgres.members(1)).unwrap();
    assert_eq!(members.as_deref(), Some(&[1, 2][..]));
}

#[test]
fn waiting_for_a_connection_counts_and_lets_nobody_wait_behind() {
    let runtime = runtime();
    let (gate, mut options) = behind_a_gate(&runtime);
    options.pool_size = 2;
    options.timeout = Duration::from_millis(700);
    let postgres = Postgres::new(&options).unwrap();
    let members = || {
        let postgres = postgres.clone();
        runtime.spawn(async move { postgres.members(1).await })
    };
    assert_eq!(runtime.block_on(members()).unwrap().unwrap(), None);
    gate.hold();
    // Two have a connection, the others none: all were asked at the same time, and all are told.
    let waiting: Vec<_> = (0..20).map(|_| members()).collect();
    for answer in waiting {
        let said = reason(runtime.block_on(answer).unwrap());
        assert!(
            said.contains("no answer within") || said.contains("is not asked"),
            "{said}"
        );
    }
    let said = reason(runtime.block_on(postgres.members(1)));
    assert!(said.contains("is not asked until"), "{said}");
    gate.open();
    let answer = once_it_answers(async || postgres.members(1).await);
    assert_eq!(runtime.block_on(answer), None);
}

#[test]
fn a_lock_that_somebody_holds_is_not_waited_for_longer_and_leaves_nothing_behind() {
    let runtime = runtime();
    let mut options = migrated(&runtime);
    options.timeout = Duration::from_millis(600);
    options.pool_size = 1;
    let postgres = Postgres::new(&options).unwrap();
    let opened = conversation(1, OpenKey::direct(1, 2), &[1, 2]);
    runtime.block_on(async {
        let (other, connection) = tokio_postgres::connect(&options.url, NoTls).await.unwrap();
        tokio::spawn(connection);
        other
            .batch_execute(
                "BEGIN; INSERT INTO conversations (id, kind, first, second, hlc, opener) \
                 VALUES (9, 0, 1, 2, 0, 1)",
            )
            .await
            .unwrap();
        // The key is being taken by another, who does not come to an end.
        assert_away(postgres.open(&opened, 0, &ConversationLimits::NONE).await);
        other.batch_execute("ROLLBACK").await.unwrap();
        let opening =
            once_it_answers(async || postgres.open(&opened, 0, &ConversationLimits::NONE).await)
                .await;
        assert_eq!(opening, Opening::New);
        assert_eq!(postgres.members(9).await.unwrap(), None);
    });
}

#[test]
fn a_pool_without_a_free_connection_is_away() {
    let runtime = runtime();
    let mut options = migrated(&runtime);
    options.pool_size = 1;
    options.timeout = Duration::from_millis(700);
    let postgres = Postgres::new(&options).unwrap();
    runtime.block_on(async {
        let (other, connection) = tokio_postgres::connect(&options.url, NoTls).await.unwrap();
        tokio::spawn(connection);
        let lock = "BEGIN; LOCK TABLE members IN ACCESS EXCLUSIVE MODE";
        other.batch_execute(lock).await.unwrap();
        let second = tokio::spawn({
            let postgres = postgres.clone();
            async move { postgres.members(2).await }
        });
        assert_away(postgres.members(1).await);
        assert_away(second.await.unwrap());
        other.batch_execute("ROLLBACK").await.unwrap();
        let members = once_it_answers(async || postgres.members(1).await).await;
        assert_eq!(members, None);
    });
}

#[test]
fn a_check_says_what_is_wrong_and_what_to_do() {
    let runtime = runtime();
    let good = migrated(&runtime);
    let first = |options: &Options| -> Problem {
        let mut problems = runtime.block_on(check(options));
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems.remove(0)
    };
    let mut wrong = good.clone();
    wrong.password = Some("not-it".to_owned());
    let problem = first(&wrong);
    assert!(
        problem.fatal && problem.what.contains("refuses the credentials"),
        "{problem:?}"
    );
    assert!(!problem.what.contains("not-it"), "{problem:?}");

    let database = good
        .url
        .rsplit('/')
        .next()
        .and_then(|rest| rest.split('?').next());
    let (before, _) = good.url.rsplit_once('/').unwrap();
    assert!(database.is_some());
    wrong = Options::new(format!("{before}/no_such_database"));
    let problem = first(&wrong);
    assert!(problem.what.contains("no_such_database"), "{problem:?}");
    assert!(problem.advice.contains("createdb"), "{problem:?}");

    wrong = Options::new("postgres://a@127.0.0.1:1/d");
    let problem = first(&wrong);
    assert!(
        problem.what.contains("127.0.0.1:1 cannot be reached"),
        "{problem:?}"
    );

    let gate = Gate::before(&address_of(&good.url));
    gate.hold();
    wrong = Options::new(format!("postgres://a@{}/d", gate.address()));
    let start = Instant::now();
    let problem = first(&wrong);
    assert!(problem.what.contains("did not answer"), "{problem:?}");
    assert!(start.elapsed() < HANG);

    let mut small = good.clone();
    small.pool_size = 100_000;
    let problem = first(&small);
    assert!(
        !problem.fatal && problem.what.contains("max_connections"),
        "{problem:?}"
    );
}
