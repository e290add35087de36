//! What only the whole distributed store promises: the three services agree about a message.

use std::time::Duration;

use rookery_router::admission::ConversationLimits;
use rookery_router::record::{OpenKey, Opened};
use rookery_router::store::cluster::{ClusterStore, Options};
use rookery_router::store::{Claim, Claimed, Opening, Position, Store, StoreError};
use rookery_router::{SystemClock, postgres, redis};

use crate::cluster_subject::{open, options};
use crate::cql_subject::runtime;
use crate::store_support::messages::{Talk, fresh_id};

fn claim_of(talk: &Talk, at: usize) -> Claim {
    talk.messages[at].claim()
}

/// Two nodes on an empty log, with Redis connected.
fn two(options: &Options) -> [ClusterStore; 2] {
    let nodes = [open(options), open(options)];
    nodes[0].note_empty_log().unwrap();
    for node in &nodes {
        assert!(node.wait_for_claims(Duration::from_secs(10)));
    }
    nodes
}

#[test]
fn an_id_is_new_then_begun_then_durable() {
    let options = options();
    let [store, other] = two(&options);
    let talk = Talk::of(2);
    let claims = [claim_of(&talk, 0), claim_of(&talk, 1)];
    assert_eq!(store.claim(&claims).unwrap(), [Claimed::New; 2]);
    // On another node, before the record was consumed, with ids of its own.
    let mut retry = claims[0];
    retry.known.message_id += 1;
    let begun = Claimed::Begun(claims[0].known);
    assert_eq!(other.claim(&[retry]).unwrap(), [begun]);
    store.apply(&talk.whole()).unwrap();
    let durable = Claimed::Durable(claims[0].known);
    assert_eq!(other.claim(&[retry]).unwrap(), [durable]);
    let sent = other.sent(&[retry.name()]).unwrap();
    assert_eq!(sent[0].first().map(|sent| sent.seq), Some(1));
}

/// Redis comes back without its last second, and whoever took a claim in it is gone: who consumed the record
/// remembers.
#[test]
fn a_claim_that_redis_lost_is_taken_again_by_whoever_applied_its_record() {
    let options = options();
    let [claimer, consumer] = two(&options);
    let mut talk = Talk::of(3);
    for message in &mut talk.messages {
        message.at_ms = rookery_router::Clock::now_ms(&SystemClock);
    }
    let [first, other, forgotten] = [0, 1, 2].map(|at| claim_of(&talk, at));
    let new = [Claimed::New; 2];
    assert_eq!(claimer.claim(&[first, forgotten]).unwrap(), new);
    drop(claimer);
    consumer.apply(&talk.batch(1..=1)).unwrap();
    // All that this node's prefix has.
    runtime().block_on(async {
        let client = ::redis::Client::open(options.redis.url.as_str()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut keys = ::redis::cmd("KEYS");
        keys.arg(format!("{}*", options.redis.key_prefix));
        let keys: Vec<String> = keys.query_async(&mut connection).await.unwrap();
        let mut del = ::redis::cmd("DEL");
        let () = del.arg(keys).query_async(&mut connection).await.unwrap();
    });
    // That much is noticed by the next claim.
    assert_eq!(consumer.claim(&[other]).unwrap(), [Claimed::Unsure]);
    assert!(consumer.wait_for_claims(Duration::from_secs(10)));
    // What doubts remain end by themselves; then Redis alone answers.
    consumer.note_empty_log().unwrap();
    let late = open(&options);
    assert!(late.wait_for_claims(Duration::from_secs(10)));
    // The other one nobody remembers: that is what Redis says of a record that its consumer does not keep.
    let claimed = [Claimed::Durable(first.known), Claimed::New];
    assert_eq!(late.claim(&[first, forgotten]).unwrap(), claimed);
}

#[test]
fn two_nodes_that_open_a_conversation_have_one() {
    let options = options();
    let (one, two) = (open(&options), open(&options));
    let (low, high) = (fresh_id(), fresh_id());
    let opened = |id| Opened {
        conversation_id: id,
        hlc: id,
        opener_user_id: low,
        opener_device_id: 1,
        key: OpenKey::direct(low, high),
        members: vec![low, high],
    };
    let (first, second) = (opened(fresh_id()), opened(fresh_id()));
    assert_eq!(two.members(first.conversation_id).unwrap(), None);
    assert_eq!(
        one.open(&first, 0, &ConversationLimits::NONE).unwrap(),
        Opening::New
    );
    let exists = Opening::Exists {
        conversation_id: first.conversation_id,
        members: [low, high].into(),
    };
    assert_eq!(
        two.open(&second, 0, &ConversationLimits::NONE).unwrap(),
        exists
    );
    // What was not there a moment ago is found.
    let members = two.members(first.conversation_id).unwrap();
    assert_eq!(members.as_deref(), Some(&[low, high][..]));
}

#[test]
fn what_a_node_gave_never_falls_and_what_it_consumed_is_not_its_own() {
    let options = options();
    let store = open(&options);
    let talk = Talk::of(3);
    store.apply(&talk.whole()).unwrap();
    let before = store.position().unwrap();
    let given = Position {
        next_offset: 0,
        last_id: before.last_id + 5,
        last_hlc: before.last_hlc + (1 << 20),
    };
    store.reach(&[], &given).unwrap();
    assert_eq!(open(&options).position().unwrap(), given);
    // Nothing was given since: what is stored stays.
    store.reach(&[], &Position::default()).unwrap();
    assert_eq!(open(&options).position().unwrap(), given);
}

/// Nothing listens there.
const CLOSED: &str = "127.0.0.1:1";

#[test]
fn without_redis_what_is_stored_is_recognised_and_the_rest_is_left_to_the_consumer() {
    let mut options = options();
    options.redis = redis::Options::new(format!("redis://{CLOSED}"));
    let store = open(&options);
    assert!(!store.wait_for_claims(Duration::from_millis(50)));
    let talk = Talk::of(1);
    let claim = claim_of(&talk, 0);
    assert_eq!(store.claim(&[claim]).unwrap(), [Claimed::Unsure]);
    store.apply(&talk.whole()).unwrap();
    let durable = Claimed::Durable(claim.known);
    assert_eq!(store.claim(&[claim]).unwrap(), [durable]);
    assert_eq!(store.claim(&[]).unwrap(), []);
}

#[test]
fn without_postgres_what_the_log_told_is_known_and_the_rest_is_away() {
    let mut options = options();
    options.postgres = postgres::Options::new(format!("postgres://a@{CLOSED}/a"));
    let store = open(&options);
    let mut talk = Talk::new();
    talk.say(1, b"hello");
    let opened = Opened {
        conversation_id: talk.id,
        hlc: 1,
        opener_user_id: 3,
        opener_device_id: 1,
        key: OpenKey::direct(3, 4),
        members: vec![3, 4],
    };
    let mut batch = talk.whole();
    // Messages need it for nothing.
    store.apply(&batch).unwrap();
    assert_eq!(store.head(talk.id).unwrap(), talk.head());
    batch.opened.push(opened);
    store.apply(&batch).unwrap();
    let members = store.members(talk.id).unwrap();
    assert_eq!(members.as_deref(), Some(&[3, 4][..]));
    assert!(store.is_member(talk.id, 4).unwrap());
    assert!(!store.is_member(talk.id, 5).unwrap());
    let away = store.members(fresh_id()).unwrap_err();
    assert!(
        matches!(
            away,
            StoreError::Away {
                service: "postgres",
                ..
            }
        ),
        "{away}"
    );
}
