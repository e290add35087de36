//! The router over a log and a store that several routers share: partitions move, services go away,
//! appends time out, and yet every acked message is there once, in one dense order.

#![allow(clippy::unwrap_used, reason = "a test that can not go on panics")]
#![allow(
    clippy::disallowed_methods,
    reason = "moves and outages are spread over real time"
)]

mod router_support;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rookery_router::Request;
use rookery_router::log::Partition;
use rookery_router::record::{Genesis, Message};
use rookery_wire::proto;
use router_support::group_edge::{Edge, all, assert_seqs_dense, wait_stored};
use router_support::group_log::{Brokers, PARTITIONS};
use router_support::group_store::Services;
use router_support::*;

#[test]
fn two_people_chat() {
    let (brokers, services) = (Brokers::new(), Services::new());
    let edge = Edge::start(1, &brokers, &services);
    edge.log.assign(&all());
    let (ann, bob) = (edge.client(1), edge.client(2));
    let id = ann.direct(1, 2).conversation_id;
    assert_eq!(bob.direct(1, 1).conversation_id, id);
    let Frame::Members(members) = bob.ask(list_members(id)) else {
        panic!()
    };
    assert_eq!(members.member_user_ids, [1, 2]);
    for n in 1..=300 {
        let (client, text) = if n % 3 == 0 {
            (&bob, b"b")
        } else {
            (&ann, b"a")
        };
        client.acked(id, n, text);
    }
    assert_seqs_dense(&bob.sync_all(id));
    assert_eq!(ann.sync_all(id), services.messages(id));
    assert_eq!(edge.mailbox.delivered(2, id), services.messages(id));
    edge.router.close();
}

#[test]
fn a_partition_that_stands_still_holds_up_its_own_conversations_only() {
    let (brokers, services) = (Brokers::new(), Services::new());
    let edge = Edge::start(1, &brokers, &services);
    let ann = edge.client(1);
    let still = ann.direct(1, 2).conversation_id;
    let goes = (3..)
        .map(|peer| ann.direct(peer, peer).conversation_id)
        .find(|id| Brokers::partition_of(*id) != Brokers::partition_of(still))
        .unwrap();
    let stuck = Brokers::partition_of(still);
    let others: Vec<Partition> = all().into_iter().filter(|id| *id != stuck).collect();
    edge.log.assign_stuck(&[stuck]);
    edge.log.assign(&others);
    // Once this is stored the router knows what it consumes, and waits for what is acked from then on.
    ann.acked(goes, 1001, b"goes");
    wait_stored(&services, &[goes], 1);
    ann.acked(still, 1002, b"stands");
    assert_eq!(ann.sync_all(goes).len(), 1);
    let sync = proto::Sync {
        request_id: 1003,
        conversation_id: still,
        have_seq: 0,
        limit: 10,
    };
    assert!(
        ann.refused(Request::Sync(sync)).retry_after_ms > 0,
        "it lacks what was acked"
    );
    edge.router.close();
}

#[test]
fn an_append_that_timed_out_and_was_written_is_one_message() {
    let (brokers, services) = (Brokers::new(), Services::new());
    let edge = Edge::start(1, &brokers, &services);
    let ann = edge.client(1);
    let id = ann.direct(1, 2).conversation_id;
    brokers.written_and_timed_out.store(1, Ordering::SeqCst);
    let refused = ann.refused(send(id, 7, b"once"));
    assert!(refused.retry_after_ms > 0);
    let ack = ann.acked(id, 7, b"once");
    // Said of the retry, which nothing remembers but the store.
    services.claims_away.store(true, Ordering::SeqCst);
    brokers.written_and_timed_out.store(1, Ordering::SeqCst);
    ann.refused(send(id, 8, b"again"));
    ann.acked(id, 8, b"again");
    ann.acked(id, 9, b"last");
    // From here on: nothing was stored by which a retry could be known.
    edge.log.assign(&all());
    wait_stored(&services, &[id], 3);
    let messages = ann.sync_all(id);
    assert_seqs_dense(&messages);
    assert_eq!(messages.len(), 3);
    assert_eq!(messages[0].message_id, ack.message_id);
    assert_eq!(brokers.records(), 1 + 5, "the log has two of them twice");
    assert_eq!(edge.router.counters().duplicates.value(), 2);
}

/// To user 2.
fn wait_delivered(edge: &Edge, id: u64, messages: usize) {
    let end = Instant::now() + PATIENCE;
    while edge.mailbox.delivered(2, id).len() < messages {
        assert!(Instant::now() < end, "fewer are delivered");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Also where it was acked before its partition came here.
#[test]
fn what_was_delivered_is_there_to_be_read() {
    let (brokers, services) = (Brokers::new(), Services::new());
    services.slow.store(true, Ordering::SeqCst);
    let edge = Edge::start(1, &brokers, &services);
    let (ann, bob) = (edge.client(1), edge.client(2));
    let id = ann.direct(1, 2).conversation_id;
    ann.acked(id, 1, b"before anybody consumes");
    edge.log.assign(&all());
    wait_delivered(&edge, id, 1);
    assert_eq!(bob.sync_all(id).len(), 1);
}

/// What a store costs is requests.
#[test]
fn few_records_gather_until_somebody_reads() {
    let (brokers, services) = (Brokers::new(), Services::new());
    let edge = Edge::start_with(1, &brokers, &services, &|config| {
        config.gather = Duration::from_secs(3_600);
    });
    edge.log.assign(&all());
    let (ann, bob) = (edge.client(1), edge.client(2));
    let id = ann.direct(1, 2).conversation_id;
    for n in 1..=50 {
        ann.acked(id, n, b"one of few");
    }
    wait_delivered(&edge, id, 50);
    assert_eq!(services.messages(id).len(), 0);
    assert_eq!(bob.sync_all(id).len(), 50);
    ann.acked(id, 51, b"the last");
    wait_delivered(&edge, id, 51);
    edge.router.close();
    assert_eq!(services.messages(id).len(), 51, "an end waits for nothing");
}

#[test]
fn acks_go_on_while_the_store_is_away_and_all_is_there_when_it_is_back() {
    let (brokers, services) = (Brokers::new(), Services::new());
    let edge = Edge::start(1, &brokers, &services);
    edge.log.assign(&all());
    let (ann, bob) = (edge.client(1), edge.client(2));
    let id = ann.direct(1, 2).conversation_id;
    let first = ann.acked(id, 1, b"before");
    wait_stored(&services, &[id], 1);
    services.store_away.store(true, Ordering::SeqCst);
    for n in 2..=3_000 {
        ann.acked(id, n, b"meanwhile");
    }
    let refused = bob.refused(rookery_router::Request::Sync(proto::Sync {
        request_id: 5,
        conversation_id: id,
        have_seq: 0,
        limit: 10,
    }));
    assert!(refused.retry_after_ms > 0);
    // Those who are connected need no store to hear each other.
    wait_delivered(&edge, id, 3_000);
    assert_eq!(services.messages(id).len(), 1);
    services.store_away.store(false, Ordering::SeqCst);
    wait_stored(&services, &[id], 3_000);
    let messages = bob.sync_all(id);
    assert_seqs_dense(&messages);
    assert_eq!(
        (messages.len(), messages[0].message_id),
        (3_000, first.message_id)
    );
    assert_eq!(edge.mailbox.delivered(2, id), messages);
}

#[test]
fn poison_is_put_aside_and_the_rest_goes_on() {
    let (brokers, services) = (Brokers::new(), Services::new());
    let edge = Edge::start(1, &brokers, &services);
    let ann = edge.client(1);
    let id = ann.direct(1, 2).conversation_id;
    ann.acked(id, 1, b"before");
    brokers.write(id, b"garbage".to_vec());
    brokers.write(id, Vec::new());
    let stranger = Message {
        message_id: 5,
        hlc: 5,
        conversation_id: id + u64::from(PARTITIONS),
        sender_user_id: 1,
        sender_device_id: 1,
        client_msg_id: name(1),
        repeated: false,
        payload: b"to nobody",
    };
    brokers.write(id, stranger.encode());
    ann.acked(id, 2, b"after");
    edge.log.assign(&all());
    wait_stored(&services, &[id], 2);
    assert_seqs_dense(&ann.sync_all(id));
    let dead = brokers.dead_letters.lock().unwrap();
    let bodies: Vec<&[u8]> = dead.iter().map(|(record, _)| &record.body[..]).collect();
    let mut expected = vec![b"garbage".to_vec(), Vec::new(), stranger.encode()];
    expected.sort();
    let mut bodies: Vec<Vec<u8>> = bodies.into_iter().map(<[u8]>::to_vec).collect();
    bodies.sort();
    assert_eq!(bodies, expected);
    assert_eq!(edge.router.counters().buried.value(), 3);
}

#[test]
fn a_record_of_a_newer_program_is_waited_for_and_not_put_aside() {
    let (brokers, services) = (Brokers::new(), Services::new());
    let edge = Edge::start(1, &brokers, &services);
    let ann = edge.client(1);
    let id = ann.direct(1, 2).conversation_id;
    let mut newer = b"??".to_vec();
    newer[0] = rookery_router::record::VERSION + 1;
    brokers.write(id, newer);
    ann.acked(id, 1, b"behind it");
    edge.log.assign(&all());
    // A conversation elsewhere goes on.
    let elsewhere = (3..)
        .map(|peer| ann.direct(peer, peer).conversation_id)
        .find(|other| Brokers::partition_of(*other) != Brokers::partition_of(id))
        .unwrap();
    ann.acked(elsewhere, 2, b"not behind it");
    wait_stored(&services, &[elsewhere], 1);
    assert!(services.messages(id).is_empty());
    assert!(brokers.dead_letters.lock().unwrap().is_empty());
    edge.router.close();
    let reached = services.reached(Brokers::partition_of(id));
    assert!(
        reached.next.0 <= 2,
        "nothing is said to be stored behind it"
    );
}

/// A kind that this program does not know, of one that knows groups.
#[test]
fn a_record_of_an_unknown_kind_waits_as_well() {
    let (brokers, services) = (Brokers::new(), Services::new());
    let edge = Edge::start(1, &brokers, &services);
    let ann = edge.client(1);
    let id = ann.direct(1, 2).conversation_id;
    ann.acked(id, 1, b"before");
    brokers.write(id, vec![rookery_router::record::VERSION, 4, 0, 0]);
    ann.acked(id, 2, b"behind it");
    edge.log.assign(&all());
    wait_stored(&services, &[id], 1);
    edge.router.close();
    assert_eq!(services.messages(id).len(), 1);
    assert!(brokers.dead_letters.lock().unwrap().is_empty());
}

#[test]
fn what_was_not_committed_is_read_again_and_has_the_seqs_that_it_had() {
    let (brokers, services) = (Brokers::new(), Services::new());
    let mut seen: Vec<proto::Deliver> = Vec::new();
    let mut id = 0;
    for round in 0..6_u64 {
        services.deaf.store(round % 2 == 0, Ordering::SeqCst);
        let edge = Edge::start(1, &brokers, &services);
        edge.log.assign(&all());
        let ann = edge.client(1);
        id = ann.direct(1, 2).conversation_id;
        for n in 0..200 {
            ann.acked(id, 1_000 * round + n, b"text");
        }
        let messages = ann.sync_all(id);
        assert_seqs_dense(&messages);
        assert_eq!(messages[..seen.len()], seen);
        seen = messages;
        edge.router.close();
    }
    assert_eq!(seen.len(), 6 * 200);
    assert_eq!(services.messages(id), seen);
}

/// All that an edge admits is consumed by another one, and the clock stands still, then falls back: what
/// it gave is known from its own stored position only.
#[test]
fn no_id_is_given_twice_though_others_consume_and_the_clock_falls_back() {
    let (brokers, services) = (Brokers::new(), Services::new());
    let consumer = Edge::start(1, &brokers, &services);
    consumer.log.assign(&all());
    let clock = HandClock::new();
    let mut acked: Vec<u64> = Vec::new();
    let mut id = 0;
    for round in 0..3 {
        let edge = Edge::start_at(clock.clone(), 2, &brokers, &services);
        let ann = edge.client(1);
        id = ann.direct(1, 2).conversation_id;
        acked.extend((0..50).map(|n| ann.acked(id, 100 * round + n, b"text").message_id));
        let last = *acked.last().unwrap();
        while services.stored_id(2) < last {
            std::thread::yield_now();
        }
        edge.router.close();
        clock.back(round * 3_000);
    }
    assert!(acked.windows(2).all(|pair| pair[0] < pair[1]), "ids grow");
    wait_stored(&services, &[id], acked.len());
    assert_seqs_dense(&services.messages(id));
}

/// Moves partitions between two edges while their users send, some of the moves behind the back of the
/// one that had them, and holds what was acked and told against what is stored.
#[test]
fn partitions_that_move_under_load_keep_one_dense_order() {
    let (brokers, services) = (Brokers::new(), Services::new());
    let edges = [1, 2].map(|node| Edge::start(node, &brokers, &services));
    let clients: Vec<Client> = (1..=4)
        .map(|user| edges[user as usize % 2].client(user))
        .collect();
    let others = |user: u64| (1..=4).filter(|&other| other != user).collect::<Vec<_>>();
    let ids: Vec<u64> = (0..6)
        .map(|n| {
            clients[n % 4]
                .create(n as u64, &others(n as u64 % 4 + 1))
                .conversation_id
        })
        .collect();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let senders: Vec<_> = clients
        .iter()
        .cloned()
        .map(|client| {
            let (ids, stop) = (ids.clone(), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut acked = HashMap::new();
                for n in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let id = ids[n as usize % ids.len()];
                    let ack = client.acked(id, n, &n.to_le_bytes());
                    acked.insert((client.caller.user_id, n), (id, ack.message_id));
                    std::thread::sleep(Duration::from_micros(300));
                }
                acked
            })
        })
        .collect();
    let mut owner: HashMap<Partition, usize> = HashMap::new();
    for (n, partition) in all().into_iter().enumerate() {
        edges[n % 2].log.assign(&[partition]);
        owner.insert(partition, n % 2);
    }
    let seed = 7;
    println!("seed {seed}");
    let mut dice = Dice(seed);
    for _ in 0..60 {
        std::thread::sleep(Duration::from_millis(dice.roll(40)));
        let partition = Partition(dice.roll(u64::from(PARTITIONS)) as u32);
        let from = owner[&partition];
        if dice.roll(3) == 0 {
            // Thought dead: the other one begins while this one still works.
            edges[1 - from].log.assign(&[partition]);
            std::thread::sleep(Duration::from_millis(dice.roll(30)));
            edges[from].log.lose(&[partition]);
        } else {
            edges[from].log.revoke(&[partition]);
            edges[1 - from].log.assign(&[partition]);
        }
        owner.insert(partition, 1 - from);
    }
    stop.store(true, Ordering::SeqCst);
    let mut acked = HashMap::new();
    for sender in senders {
        acked.extend(sender.join().unwrap());
    }
    wait_stored(&services, &ids, acked.len());
    let mut found = 0;
    for &id in &ids {
        let messages = services.messages(id);
        assert_seqs_dense(&messages);
        found += messages.len();
        for message in &messages {
            let key = (message.sender_user_id, number(message.client_msg_id));
            assert_eq!(acked[&key], (id, message.message_id));
        }
        // What anybody was told live has the seq that is stored.
        for edge in &edges {
            for user in 1..=4 {
                for told in edge.mailbox.delivered(user, id) {
                    assert_eq!(messages[told.seq as usize - 1], told);
                }
            }
        }
    }
    assert_eq!(found, acked.len());
    assert!(found > 500, "{found} messages only");
}

#[test]
fn what_a_newer_program_wrote_is_waited_for_and_not_put_aside() {
    let (brokers, services) = (Brokers::new(), Services::new());
    let edge = Edge::start(1, &brokers, &services);
    edge.log.assign(&all());
    let ann = edge.client(1);
    let id = ann.direct(1, 2).conversation_id;
    ann.acked(id, 1, b"before");
    wait_stored(&services, &[id], 1);
    // Neither a message nor anything else of a conversation.
    let genesis = Genesis {
        log_id: 7,
        partition: Brokers::partition_of(id).0,
        partitions: PARTITIONS,
    };
    brokers.write(id, genesis.encode());
    ann.acked(id, 2, b"behind a genesis");
    wait_stored(&services, &[id], 2);
    brokers.write(id, vec![1, 9, 0]);
    ann.acked(id, 3, b"behind a kind that is not known");
    let end = Instant::now() + PATIENCE;
    while edge.router.counters().held_partitions.value() == 0 {
        assert!(Instant::now() < end, "nothing waits");
        std::thread::sleep(Duration::from_millis(5));
    }
    edge.router.close();
    assert!(brokers.dead_letters.lock().unwrap().is_empty());
    assert_seqs_dense(&services.messages(id));
    assert_eq!(services.messages(id).len(), 2);
}
