//! PostgreSQL goes and comes back, hangs, refuses, and has no connection left.

use std::time::{Duration, Instant};

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
        runtime.block_on(postgres.open(&opened, 0)).unwrap(),
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

#[test]
fn hung_it_is_waited_for_two_seconds_and_its_connections_are_not_used_again() {
    let runtime = runtime();
    let (gate, mut options) = behind_a_gate(&runtime);
    options.pool_size = 2;
    let postgres = Postgres::new(&options).unwrap();
    let key = OpenKey::direct(1, 2);
    let opened = conversation(1, key, &[1, 2]);
    assert_eq!(runtime.block_on(postgres.opened(key)).unwrap(), None);
    gate.hold();
    // On a connection that was there, and on one that has to be made.
    for _ in 0..2 {
        let start = Instant::now();
        assert_away(runtime.block_on(postgres.open(&opened, 0)));
        let waited = start.elapsed();
        assert!(waited > Duration::from_millis(1_500), "{waited:?}");
        assert!(waited < HANG, "{waited:?}");
    }
    gate.open();
    // On one of those that hung it would have failed.
    assert_eq!(
        runtime.block_on(postgres.open(&opened, 0)).unwrap(),
        Opening::New
    );
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
        assert_away(postgres.open(&opened, 0).await);
        other.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(postgres.open(&opened, 0).await.unwrap(), Opening::New);
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
        assert_eq!(postgres.members(1).await.unwrap(), None);
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
