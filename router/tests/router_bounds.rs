//! What users may ask: rates of users and of conversations, and how many conversations a user may have; over the
//! embedded store, and over one that many share.

#![allow(clippy::unwrap_used, reason = "a test that can not go on panics")]

mod router_support;

use std::sync::Arc;

use rookery_router::admission::{ConversationLimits, RateLimits, RateMode, cost_of_send};
use rookery_router::{Config, Request};
use rookery_wire::proto::{self, ErrorCode};
use router_support::group_edge::{Edge, all};
use router_support::group_log::Brokers;
use router_support::group_store::Services;
use router_support::*;
use tempfile::TempDir;

/// Ten empty messages to one other, and as many in a second.
const SHARE: u64 = 10;

fn rates(mode: RateMode) -> RateLimits {
    RateLimits {
        user_bytes_per_second: SHARE * cost_of_send(2, 0),
        conversation_bytes_per_second: 0,
        burst_ms: 1_000,
        mode,
    }
}

fn staged(change: &dyn Fn(&mut Config)) -> Stage {
    Stage::over(TempDir::new().unwrap(), HandClock::new(), change)
}

fn refused(client: &Client, request: Request, code: ErrorCode) -> proto::Error {
    let error = client.refused(request);
    assert_eq!(error.code, code.code(), "{error:?}");
    error
}

/// A conversation, once there is a whole share again.
fn opened(client: &Client, clock: &HandClock, peer: u64) -> u64 {
    let id = client.direct(1, peer).conversation_id;
    clock.pass(1_000);
    id
}

/// What is over the share is refused with the moment at which there is room; a retry then is the one message, and one
/// of what was acked costs next to nothing.
fn a_share(client: &Client, clock: &HandClock, id: u64) {
    for number in 1..=SHARE {
        client.acked(id, number, b"");
    }
    let next = SHARE + 1;
    for _ in 0..3 {
        let error = refused(client, send(id, next, b""), ErrorCode::RateLimited);
        assert_eq!(
            (error.retry_after_ms, error.client_msg_id),
            (100, name(next))
        );
    }
    clock.pass(99);
    let error = refused(client, send(id, next, b""), ErrorCode::RateLimited);
    assert_eq!(error.retry_after_ms, 1);
    clock.pass(1);
    let ack = client.acked(id, next, b"");
    clock.pass(1_000);
    for _ in 0..SHARE {
        assert_eq!(client.acked(id, next, b""), ack);
    }
    // Half a share: each was answered to one.
    for number in 1..=SHARE / 2 {
        client.acked(id, 100 + number, b"");
    }
    refused(client, send(id, 200, b""), ErrorCode::RateLimited);
    let conflict = send(id, next, b"another");
    refused(client, conflict, ErrorCode::RateLimited);
}

#[test]
fn a_user_has_a_share_and_is_told_when_there_is_more() {
    let stage = staged(&|config| config.rates.store(rates(RateMode::Refuse)));
    let (ann, bob) = (stage.client(7), stage.client(8));
    let id = opened(&ann, &stage.clock, 8);
    a_share(&ann, &stage.clock, id);
    assert_eq!(stage.router.counters().over_user_rate.value(), 6);
    // The other one has its own, and all that was acked is there once.
    bob.acked(id, 1, b"");
    let messages = bob.sync_all(id);
    assert_dense(&messages);
    assert_eq!(messages.len() as u64, SHARE + 1 + SHARE / 2 + 1);
    stage.router.close();
}

#[test]
fn the_same_over_a_store_that_many_share() {
    let (brokers, services) = (Brokers::new(), Services::new());
    let clock = HandClock::new();
    let edge = Edge::start_with(1, &brokers, &services, &|config| {
        config.clock = Arc::clone(&clock) as _;
        config.rates.store(rates(RateMode::Refuse));
        config.conversations.all_max = 2;
    });
    edge.log.assign(&all());
    let ann = edge.client(7);
    let id = opened(&ann, &clock, 8);
    a_share(&ann, &clock, id);
    assert_eq!(ann.sync_all(id).len() as u64, SHARE + 1 + SHARE / 2);
    clock.pass(1_000);
    opened(&edge.client(9), &clock, 8);
    let error = refused(&edge.client(10), direct(8), ErrorCode::MemberFull);
    assert!(error.reason.ends_with(b": user 8"), "{error:?}");
    assert_eq!(edge.client(10).direct(2, 7).member_user_ids, [7, 10]);
    edge.router.close();
}

#[test]
fn a_mode_counts_and_refuses_nobody() {
    let stage = staged(&|config| config.rates.store(rates(RateMode::Count)));
    let ann = stage.client(7);
    let id = opened(&ann, &stage.clock, 8);
    for number in 1..=3 * SHARE {
        ann.acked(id, number, b"");
    }
    let counters = stage.router.counters();
    assert_eq!(counters.over_user_rate.value(), 2 * SHARE);
    assert_eq!(ann.sync_all(id).len() as u64, 3 * SHARE);
    stage.router.close();
}

#[test]
fn who_writes_to_a_conversation_shares_its_rate_by_members_and_bytes() {
    let stage = staged(&|config| {
        config.rates.store(RateLimits {
            user_bytes_per_second: 0,
            conversation_bytes_per_second: 4 * cost_of_send(5, 1_000),
            ..rates(RateMode::Refuse)
        });
    });
    let clients: Vec<Client> = (1..=5).map(|user_id| stage.client(user_id)).collect();
    let id = clients[0].create(1, &[2, 3, 4, 5]).conversation_id;
    let other = clients[4].direct(1, 1).conversation_id;
    for client in &clients[..4] {
        client.acked(id, 1, &[0; 1_000]);
    }
    refused(&clients[4], send(id, 1, b""), ErrorCode::RateLimited);
    for number in 2..=9 {
        clients[4].acked(other, number, &[0; 1_000]);
    }
    stage.clock.pass(250);
    clients[4].acked(id, 1, &[0; 1_000]);
    refused(&clients[4], send(id, 10, b""), ErrorCode::RateLimited);
    let counters = stage.router.counters();
    assert_eq!(counters.over_conversation_rate.value(), 2);
    assert_eq!(counters.over_user_rate.value(), 0);
    stage.router.close();
}

fn direct(peer_user_id: u64) -> Request {
    Request::OpenDirect(proto::OpenDirect {
        request_id: 5,
        peer_user_id,
    })
}

fn limited(config: &mut Config) {
    config.conversations = ConversationLimits {
        opened_max: 3,
        all_max: 4,
    };
}

#[test]
fn others_use_up_nothing_of_what_one_may_open_and_who_is_full_is_named() {
    let stage = staged(&limited);
    let victim = stage.client(1);
    for user_id in 11..=14 {
        stage.client(user_id).direct(1, 1);
    }
    let error = refused(&stage.client(15), direct(1), ErrorCode::MemberFull);
    assert_eq!((error.request_id, error.retry_after_ms), (5, 0));
    assert!(error.reason.ends_with(b": user 1"), "{error:?}");
    refused(
        &stage.client(15),
        create(6, &[2, 1, 3]),
        ErrorCode::MemberFull,
    );
    // What was refused took nothing of anybody, and what is there is found.
    assert_eq!(stage.client(11).direct(9, 1).member_user_ids, [1, 11]);
    for peer in 21..=23 {
        victim.direct(peer, peer);
    }
    refused(&victim, direct(24), ErrorCode::TooManyConversations);
    refused(&victim, create(7, &[24]), ErrorCode::TooManyConversations);
    assert_eq!(victim.list(0, 100).conversations.len(), 7);
    // Counted anew from what is stored.
    stage.router.close();
    let stage = Stage::over(stage.dir, stage.clock, &limited);
    let victim = stage.client(1);
    refused(&victim, direct(24), ErrorCode::TooManyConversations);
    refused(&stage.client(15), direct(1), ErrorCode::MemberFull);
    assert_eq!(victim.direct(9, 21).member_user_ids, [1, 21]);
    stage.client(15).direct(1, 24);
    stage.router.close();
}
