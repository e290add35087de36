//! Redis restarts with and without its data, or is emptied: no id that was claimed becomes new.

use rookery_router::store::Claimed;

use super::claims::{Node, own_options, send};
use super::support::redis_server::RedisServer;
use super::support::{eventually, runtime};

#[test]
fn restarted_with_its_data_it_is_doubted_for_a_while() {
    let mut server = RedisServer::start();
    let node = Node::start_complete(&server.options());
    assert_eq!(node.claim(&[send(1, 1)]), [Claimed::New]);
    server.kill();
    assert_eq!(node.claim(&[send(2, 1)]), [Claimed::Unsure]);
    server.start_again();
    node.wait_connected();
    // A node that was not there before doubts it too.
    let other = Node::start(&server.options());
    assert_eq!(
        other.claim(&[send(1, 5), send(2, 5), send(3, 5)]),
        [
            Claimed::Begun(send(1, 1).known),
            Claimed::Begun(send(2, 1).known),
            Claimed::Unsure
        ]
    );
    // The doubt ends by itself.
    let key = "rookery:dedup:suspect";
    let left: i64 = ask(&server, redis::cmd("PTTL").arg(key));
    assert!((1..=600_000).contains(&left), "{left}");
    let (): () = ask(&server, redis::cmd("DEL").arg(key));
    assert_eq!(node.claim(&[send(4, 1)]), [Claimed::New]);
}

#[test]
fn restarted_without_its_data_it_learns_what_nodes_remember_and_is_not_trusted() {
    let mut server = RedisServer::start();
    let node = Node::start_complete(&server.options());
    assert_eq!(node.claim(&[send(1, 1)]), [Claimed::New]);
    server.kill();
    server.start_empty();
    eventually("the new one takes claims", || {
        node.claim(&[send(1, 2)]) == [Claimed::Begun(send(1, 1).known)]
    });
    let other = Node::start(&server.options());
    assert_eq!(
        other.claim(&[send(1, 5), send(2, 5)]),
        [Claimed::Begun(send(1, 1).known), Claimed::Unsure]
    );
}

#[test]
fn restarted_from_a_snapshot_it_is_trusted_with_nothing_new() {
    let mut server = RedisServer::start();
    let node = Node::start_complete(&server.options());
    assert_eq!(node.claim(&[send(1, 1)]), [Claimed::New]);
    let (): () = ask(&server, &redis::cmd("SAVE"));
    assert_eq!(node.claim(&[send(2, 1)]), [Claimed::New]);
    // Nobody remembers what the snapshot lacks.
    drop(node);
    server.kill();
    server.start_from_snapshot();
    let other = Node::start(&server.options());
    let key = "rookery:dedup:suspect";
    let gone: u64 = ask(&server, redis::cmd("DEL").arg(key));
    assert_eq!(gone, 1, "it was doubted, and that ends");
    assert_eq!(
        other.claim(&[send(1, 5), send(2, 5)]),
        [Claimed::Begun(send(1, 1).known), Claimed::Unsure]
    );
}

#[test]
fn emptied_under_a_connection_it_is_noticed_by_the_next_claim() {
    let server = RedisServer::start();
    let node = Node::start_complete(&server.options());
    assert_eq!(node.claim(&[send(1, 1)]), [Claimed::New]);
    let (): () = ask(&server, &redis::cmd("FLUSHALL"));
    assert_eq!(node.claim(&[send(2, 1)]), [Claimed::Unsure]);
    node.wait_connected();
    assert_eq!(
        node.claim(&[send(1, 2), send(2, 2), send(3, 2)]),
        [
            Claimed::Begun(send(1, 1).known),
            Claimed::Begun(send(2, 1).known),
            Claimed::Unsure
        ]
    );
}

#[test]
fn a_full_redis_refuses_claims_and_the_sends_are_asked() {
    let server = RedisServer::start();
    let node = Node::start_complete(&server.options());
    let full = ["maxmemory", "1mb", "maxmemory-policy", "noeviction"];
    let (): () = ask(&server, redis::cmd("CONFIG").arg("SET").arg(&full));
    assert_eq!(node.claim(&[send(1, 1)]), [Claimed::Unsure]);
    assert!(!node.is_connected());
    let (): () = ask(
        &server,
        redis::cmd("CONFIG").arg("SET").arg(&["maxmemory", "0"]),
    );
    node.wait_connected();
    assert_eq!(
        node.claim(&[send(1, 2)]),
        [Claimed::Begun(send(1, 1).known)]
    );
}

#[test]
fn a_key_that_holds_something_else_tells_nothing() {
    let options = own_options();
    let node = Node::start_complete(&options);
    let client = redis::Client::open(options.url.as_str()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let id = u128::from_be_bytes(send(1, 1).client_msg_id);
    let key = format!("{}d:7:{id:032x}", options.key_prefix);
    let () = redis::cmd("SET")
        .arg(key)
        .arg("x")
        .query(&mut connection)
        .unwrap();
    assert_eq!(node.claim(&[send(1, 1)]), [Claimed::Unsure]);
    node.sends.put(send(1, 9));
    assert_eq!(
        node.claim(&[send(1, 1)]),
        [Claimed::Durable(send(1, 9).known)]
    );
    assert_eq!(node.claim(&[send(2, 1)]), [Claimed::New]);
}

/// Asks the server itself.
fn ask<T: redis::FromRedisValue>(server: &RedisServer, cmd: &redis::Cmd) -> T {
    let client = redis::Client::open(server.options().url).unwrap();
    runtime().block_on(async {
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        cmd.query_async(&mut connection).await.unwrap()
    })
}
