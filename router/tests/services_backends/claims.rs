//! What claims come to while Redis answers, is away, hangs and comes back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rookery_router::Clock;
use rookery_router::admission::{DEDUP_TTL_MS, Known};
use rookery_router::redis::{Claims, Options};
use rookery_router::store::cluster::claim;
use rookery_router::store::{Claim, Claimed};
use tokio::runtime::Runtime;

use super::support::gate::Gate;
use super::support::redis_server::RedisServer;
use super::support::sends::MemorySends;
use super::support::{HANG, SetClock, eventually, own_name, runtime, service};

/// A node: its claims, and the sends of all.
pub(crate) struct Node {
    runtime: Runtime,
    pub(crate) clock: SetClock,
    pub(crate) sends: MemorySends,
    claims: Claims,
}

impl Node {
    pub(crate) fn start(options: &Options) -> Node {
        let runtime = runtime();
        let clock = SetClock::new();
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let claims = Claims::start(options, shared, runtime.handle()).unwrap();
        let node = Node {
            runtime,
            clock,
            sends: MemorySends::default(),
            claims,
        };
        node.wait_connected();
        node
    }

    /// One whose Redis is complete from the start.
    pub(crate) fn start_complete(options: &Options) -> Node {
        let node = Node::start(options);
        node.runtime.block_on(node.claims.note_empty_log()).unwrap();
        node
    }

    pub(crate) fn wait_connected(&self) {
        let connected = self.claims.wait_connected(Duration::from_secs(10));
        assert!(self.runtime.block_on(connected));
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.claims.is_connected()
    }

    pub(crate) fn claim(&self, claims: &[Claim]) -> Vec<Claimed> {
        let done = claim(&self.claims, &self.sends, claims);
        self.runtime.block_on(done).unwrap()
    }
}

pub(crate) fn own_options() -> Options {
    let mut options = Options::new(service("ROOKERY_TEST_REDIS"));
    options.key_prefix = format!("{}:", own_name());
    options
}

/// The `n`-th message of user 7, as its `attempt` would be known.
pub(crate) fn send(n: u64, attempt: u64) -> Claim {
    Claim {
        sender_user_id: 7,
        client_msg_id: u128::from(n).to_le_bytes(),
        known: Known {
            conversation_id: 5,
            payload_hash: n,
            message_id: 1_000 * n + attempt,
            hlc: attempt,
        },
    }
}

/// Has ids 1 to 3 answered by sends that have, lack, and are away.
fn by_sends(node: &Node) -> [Claimed; 3] {
    node.sends.put(send(1, 9));
    let have = node.claim(&[send(1, 2)])[0];
    let lack = node.claim(&[send(2, 2)])[0];
    node.sends.set_away(true);
    let away = node.claim(&[send(3, 2)])[0];
    node.sends.set_away(false);
    [have, lack, away]
}

#[test]
fn new_ids_are_new_and_old_ones_are_looked_up() {
    let node = Node::start_complete(&own_options());
    let first = node.claim(&[send(1, 1), send(2, 1), send(3, 1)]);
    assert_eq!(first, [Claimed::New; 3]);
    assert_eq!(node.sends.asked(), 0);
    assert_eq!(
        by_sends(&node),
        [
            Claimed::Durable(send(1, 9).known),
            Claimed::Begun(send(2, 1).known),
            Claimed::Begun(send(3, 1).known)
        ]
    );
    // With what Redis says, an id that is new needs nobody else.
    node.sends.set_away(true);
    assert_eq!(node.claim(&[send(4, 1)]), [Claimed::New]);
}

#[test]
fn a_redis_that_knows_nothing_is_not_trusted_for_seven_days() {
    let options = own_options();
    let node = Node::start(&options);
    assert_eq!(
        by_sends(&node),
        [
            Claimed::Durable(send(1, 9).known),
            Claimed::Unsure,
            Claimed::Unsure
        ]
    );
    // Another node is told by Redis what the sends said, also where they are away now.
    let other = Node::start(&options);
    other.sends.set_away(true);
    assert_eq!(
        other.claim(&[send(1, 3)]),
        [Claimed::Begun(send(1, 9).known)]
    );

    node.clock.advance(DEDUP_TTL_MS - 1);
    assert_eq!(node.claim(&[send(4, 1)]), [Claimed::Unsure]);
    node.clock.advance(1);
    let asked = node.sends.asked();
    assert_eq!(node.claim(&[send(5, 1)]), [Claimed::New]);
    assert_eq!(node.sends.asked(), asked);
}

#[test]
fn what_was_claimed_while_redis_was_away_is_told_before_it_is_trusted() {
    let direct = own_options();
    let gate = Gate::before(&address_of(&direct.url));
    let mut options = direct.clone();
    options.url = direct
        .url
        .replace(&address_of(&direct.url), &gate.address().to_string());
    let node = Node::start_complete(&options);
    assert_eq!(node.claim(&[send(9, 1)]), [Claimed::New]);

    gate.cut();
    eventually("the cut is noticed", || {
        node.claim(&[send(8, 1)]) == [Claimed::Unsure]
    });
    assert_eq!(
        by_sends(&node),
        [
            Claimed::Durable(send(1, 9).known),
            Claimed::Unsure,
            Claimed::Unsure
        ]
    );
    // Cut off, it is not waited for: each of these would take the time limit of 250 ms, 100 s in all.
    let start = Instant::now();
    for _ in 0..400 {
        assert_eq!(node.claim(&[send(8, 1)]), [Claimed::Unsure]);
    }
    assert!(start.elapsed() < HANG);

    gate.open();
    node.wait_connected();
    let other = Node::start(&direct);
    assert_eq!(
        other.claim(&[send(2, 5), send(3, 5), send(4, 5)]),
        [
            Claimed::Begun(send(2, 2).known),
            Claimed::Begun(send(3, 2).known),
            Claimed::New
        ]
    );
}

#[test]
fn a_hung_redis_is_waited_for_once_and_briefly() {
    let server = RedisServer::start();
    let node = Node::start_complete(&server.options());
    assert_eq!(node.claim(&[send(1, 1)]), [Claimed::New]);
    server.hang();
    let start = Instant::now();
    assert_eq!(node.claim(&[send(1, 2)]), [Claimed::Unsure]);
    let first = start.elapsed();
    assert!(first >= Duration::from_millis(200), "{first:?}");
    assert!(first < HANG, "{first:?}");
    // Once: each of these would take as long again.
    let start = Instant::now();
    for _ in 0..400 {
        assert_eq!(node.claim(&[send(2, 1)]), [Claimed::Unsure]);
    }
    assert!(start.elapsed() < HANG);
    server.go_on();
    node.wait_connected();
    assert_eq!(
        node.claim(&[send(2, 2)]),
        [Claimed::Begun(send(2, 1).known)]
    );
}

#[test]
fn a_large_batch_is_answered_in_order() {
    let node = Node::start_complete(&own_options());
    let odd: Vec<Claim> = (0..500).map(|n| send(2 * n + 1, 1)).collect();
    assert!(
        node.claim(&odd)
            .iter()
            .all(|&claimed| claimed == Claimed::New)
    );
    let all: Vec<Claim> = (0..1_000).map(|n| send(n, 2)).collect();
    for (n, claimed) in (0..).zip(node.claim(&all)) {
        if n % 2 == 0 {
            assert_eq!(claimed, Claimed::New);
        } else {
            assert_eq!(claimed, Claimed::Begun(send(n, 1).known));
        }
    }
}

/// `host:port` of an url.
pub(crate) fn address_of(url: &str) -> String {
    let after = url.rsplit('@').next().unwrap_or(url);
    after.split('/').next().unwrap_or(after).to_owned()
}
