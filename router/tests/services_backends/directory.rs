//! Who is connected where, and which instance is which node; and what a check says of a Redis.

use std::time::{Duration, Instant};

use rookery_router::redis::{Directory, Instance, NODE_TTL, Node, Options, USER_TTL, check};
use rookery_router::store::StoreError;

use super::claims::{address_of, own_options};
use super::support::gate::Gate;
use super::support::redis_server::RedisServer;
use super::support::{eventually, runtime};

#[test]
fn users_are_found_wherever_they_have_a_device() {
    let options = own_options();
    let (one, two) = (
        Directory::new(&options, 1).unwrap(),
        Directory::new(&options, 2).unwrap(),
    );
    let users: Vec<u64> = (1..=2_500).collect();
    runtime().block_on(async {
        one.refresh(&users).await.unwrap();
        assert_eq!(two.find(&users).await.unwrap(), vec![vec![1]; 2_500]);
        two.refresh(&[5, 6]).await.unwrap();
        let mut both = one.find(&[5]).await.unwrap();
        both[0].sort_unstable();
        assert_eq!(both, [[1, 2]]);
        // A node's goodbye ends its own entries only, whichever was refreshed last.
        one.refresh(&[5]).await.unwrap();
        one.gone(&users[..1_500]).await.unwrap();
        two.gone(&[6]).await.unwrap();
        let found = one.find(&[5, 6, 1_500, 1_501, 2_501]).await.unwrap();
        assert_eq!(found, [vec![2], vec![], vec![], vec![1], vec![]]);
        assert_eq!(one.find(&[]).await.unwrap(), Vec::<Vec<u16>>::new());
    });
    let client = redis::Client::open(options.url.as_str()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let key = format!("{}nodes_of:2000", options.key_prefix);
    let left: u64 = redis::cmd("TTL").arg(key).query(&mut connection).unwrap();
    assert!((1..=USER_TTL.as_secs()).contains(&left), "{left}");
}

/// Another node of the user lives: the set does not run out, and the dead node's entry does.
#[test]
fn a_node_that_died_is_not_found_though_another_lives() {
    let options = own_options();
    let dead = Directory::new(&options, 1).unwrap();
    let dead = dead.with_ttl(Duration::from_millis(1));
    let lives = Directory::new(&options, 2).unwrap();
    runtime().block_on(async {
        lives.refresh(&[7]).await.unwrap();
        dead.refresh(&[7]).await.unwrap();
        // The shorter life of the dead one's entry must not end the set either.
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(lives.find(&[7]).await.unwrap(), [[2]]);
    });
}

#[test]
fn the_directory_waits_for_a_hung_redis_once_a_second_at_most_and_comes_back() {
    let server = RedisServer::start();
    let directory = Directory::new(&server.options(), 1).unwrap();
    let runtime = runtime();
    runtime.block_on(directory.refresh(&[1])).unwrap();
    server.hang();
    let start = Instant::now();
    let error = runtime.block_on(directory.refresh(&[1])).unwrap_err();
    assert!(matches!(error, StoreError::Away { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_millis(1_800));
    server.go_on();
    eventually("the directory is back", || {
        runtime.block_on(directory.refresh(&[1])).is_ok()
    });
}

#[test]
fn a_node_is_one_instance() {
    let options = own_options();
    let runtime = runtime();
    let take = |node_id, instance: &Instance| {
        runtime.block_on(Node::take(&options, node_id, instance, runtime.handle()))
    };
    let (one, two) = (Instance::random().unwrap(), Instance::random().unwrap());
    let held = take(3, &one).unwrap();
    let start = Instant::now();
    let error = take(3, &two).map(drop).unwrap_err().to_string();
    assert!(
        error.contains("node_id 3") && error.contains("of its own"),
        "{error}"
    );
    assert!(error.contains(&one.to_string()), "{error}");
    assert!(start.elapsed() < NODE_TTL);
    // Killed and started again on its folder, it is the same one.
    let again = take(3, &one).unwrap();
    assert!(!held.is_taken());
    drop(held);
    runtime.block_on(again.release()).unwrap();
    let start = Instant::now();
    drop(take(3, &two).unwrap());
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[test]
fn the_lease_of_a_dead_instance_runs_out() {
    let options = own_options();
    let client = redis::Client::open(options.url.as_str()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let mut set = redis::cmd("SET");
    set.arg(format!("{}node:4", options.key_prefix)).arg("gone");
    let () = set.arg("PX").arg(1_500).query(&mut connection).unwrap();
    let runtime = runtime();
    let instance = Instance::random().unwrap();
    // One that never runs out is somebody else's.
    let strange = format!("{}node:5", options.key_prefix);
    let mut set = redis::cmd("SET");
    let () = set.arg(&strange).arg("x").query(&mut connection).unwrap();
    let taken = runtime.block_on(Node::take(&options, 5, &instance, runtime.handle()));
    let error = taken.map(drop).unwrap_err().to_string();
    assert!(
        error.contains(&strange) && error.contains("delete it"),
        "{error}"
    );

    let start = Instant::now();
    let node = runtime.block_on(Node::take(&options, 4, &instance, runtime.handle()));
    assert!(!node.unwrap().is_taken());
    let waited = start.elapsed();
    assert!(
        waited > Duration::from_secs(1) && waited < Duration::from_secs(5),
        "{waited:?}"
    );
}

#[test]
fn a_check_says_what_is_wrong_and_what_to_do() {
    let runtime = runtime();
    let look = |options: &Options| runtime.block_on(check(options));
    let good = own_options();
    assert_eq!(look(&good), []);

    let mut wrong = good.clone();
    wrong.password = Some("not-it".to_owned());
    let problem = &look(&wrong)[0];
    assert!(
        problem.fatal && problem.what.contains("refuses the credentials"),
        "{problem:?}"
    );
    assert!(!problem.what.contains("not-it"));

    wrong = good.clone();
    wrong.url = "redis://127.0.0.1:1".to_owned();
    let problem = &look(&wrong)[0];
    assert!(
        problem.fatal && problem.what.contains("127.0.0.1:1"),
        "{problem:?}"
    );

    let gate = Gate::before(&address_of(&good.url));
    gate.hold();
    wrong.url = format!("redis://{}", gate.address());
    let problem = &look(&wrong)[0];
    assert!(problem.what.contains("did not answer"), "{problem:?}");

    let server = RedisServer::start();
    assert_eq!(look(&server.options()), []);
    let client = redis::Client::open(server.options().url).unwrap();
    let mut connection = client.get_connection().unwrap();
    let mut set = redis::cmd("CONFIG");
    set.arg("SET")
        .arg(&["maxmemory-policy", "volatile-lru", "appendonly", "no"]);
    let () = set.query(&mut connection).unwrap();
    let problems = look(&server.options());
    let fatal: Vec<bool> = problems.iter().map(|problem| problem.fatal).collect();
    assert_eq!(fatal, [true, false], "{problems:?}");
    assert!(problems[0].what.contains("volatile-lru"), "{problems:?}");
    assert!(problems[1].what.contains("appendonly"), "{problems:?}");
}
