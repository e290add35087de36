//! A connection at rest: what is answered there, what wakes, and bytes that may be anything.

use proptest::prelude::*;

use super::*;
use crate::at_rest::AtRest;
use crate::frame::{NewConnectionId, kind, put_new_connection_id};

/// What becomes of a payload, and whether a datagram went out.
fn at_rest(pair: &mut Pair, payload: &[u8], from: &str) -> (&'static str, usize) {
    let mut datagram = pair.client.forge(payload, 0);
    let context = Context {
        key: &pair.server.key,
        place: pair.server.place,
        windows: Windows::default(),
    };
    let mut out = Vec::new();
    let from = from.parse().unwrap();
    let handled = pair
        .server
        .parked
        .handle(&context, pair.now, from, &mut datagram, &mut out);
    match handled {
        AtRest::Dropped => ("dropped", out.len()),
        AtRest::Answered => ("answered", out.len()),
        AtRest::Wake(pending) => {
            pair.server.awake = pending.wake(
                &mut pair.server.parked,
                context,
                pair.now,
                from,
                &mut datagram,
            );
            ("wakes", out.len())
        }
        AtRest::Reset => ("reset", out.len()),
    }
}

#[test]
fn a_ping_is_answered_and_other_things_wake() {
    let spare = |sequence| {
        let mut out = Vec::new();
        let frame = NewConnectionId {
            sequence,
            retire_prior_to: 0,
            cid: &[8; 8],
            token: [0; 16],
        };
        put_new_connection_id(&frame, &mut out);
        out
    };
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("PING", vec![1], "answered"),
        ("PING and padding", vec![1, 0, 0], "answered"),
        ("padding", vec![0, 0, 0], "dropped"),
        ("ACK", frame(kind::ACK, &[0, 0, 0, 0]), "dropped"),
        ("the spare id again", spare(1), "answered"),
        (
            "ACK of what was not sent",
            frame(kind::ACK, &[900, 0, 0, 0]),
            "wakes",
        ),
        ("one id too many", spare(2), "wakes"),
        ("data", vec![0x0a, 0, 1, b'x'], "wakes"),
        ("close", vec![0x1d, 7, 0], "wakes"),
    ];
    for (what, payload, expected) in cases {
        let mut pair = Pair::at_rest();
        let before = pair.server.parked.next_number;
        let (became, len) = at_rest(&mut pair, &payload, CLIENT);
        assert_eq!(became, expected, "{what}");
        assert_eq!(len > 0, expected == "answered", "{what}");
        assert!(len <= 40, "{what}: {len}");
        assert!(pair.server.parked.next_number - before <= 1);
    }
    let mut pair = Pair::at_rest();
    assert_eq!(at_rest(&mut pair, &[1], "203.0.113.5:2000").0, "wakes");
    assert!(!pair.server.awake.paths.is_quiet());
}

#[test]
fn a_key_update_is_followed_at_rest_and_a_forged_one_is_not() {
    let mut pair = Pair::at_rest();
    for phase in [true, false, true] {
        assert!(pair.client.parked.turn_tx());
        let mut forged = pair.client.forge(&[1], 0);
        *forged.last_mut().unwrap() ^= 1;
        let context = Context {
            key: &pair.server.key,
            place: pair.server.place,
            windows: Windows::default(),
        };
        let mut out = Vec::new();
        let from = CLIENT.parse().unwrap();
        let handled = pair
            .server
            .parked
            .handle(&context, pair.now, from, &mut forged, &mut out);
        assert_eq!((handled, out.len()), (AtRest::Dropped, 0));
        assert_eq!(pair.server.parked.tx_phase(), !phase);
        assert_eq!(at_rest(&mut pair, &[1], CLIENT).0, "answered");
        assert_eq!(pair.server.parked.tx_phase(), phase);
        assert!(pair.server.parked.phases_agree());
    }
}

#[test]
fn the_answer_is_an_acknowledgement_that_the_client_takes() {
    let mut pair = Pair::at_rest();
    pair.client.awake = {
        let context = Context {
            key: &pair.client.key,
            place: pair.client.place,
            windows: Windows::default(),
        };
        Awake::wake(&pair.client.parked, &context)
    };
    pair.client.connection().ping();
    let now = pair.now;
    let mut sent = pair.client.transmit(now);
    let (_, datagram) = &mut sent[0];
    let mut twice = datagram.clone();
    let context = Context {
        key: &pair.server.key,
        place: pair.server.place,
        windows: Windows::default(),
    };
    let from = CLIENT.parse().unwrap();
    let mut out = Vec::new();
    let handled = pair
        .server
        .parked
        .handle(&context, now, from, datagram, &mut out);
    assert_eq!(handled, AtRest::Answered);
    let mut nothing = Vec::new();
    let again = pair
        .server
        .parked
        .handle(&context, now, from, &mut twice, &mut nothing);
    assert_eq!((again, nothing.len()), (AtRest::Dropped, 0), "a duplicate");
    pair.tell_client(&mut out);
    assert!(pair.client.awake.recovery.is_empty());
    assert!(pair.client.connection().park());
}

#[test]
fn to_wake_is_not_to_have_heard() {
    let mut pair = Pair::at_rest();
    let deadline = pair.server.parked.idle_deadline();
    let context = Context {
        key: &pair.server.key,
        place: pair.server.place,
        windows: Windows::default(),
    };
    pair.server.awake = Awake::wake(&pair.server.parked, &context);
    let now = pair.now + 30_000_000;
    assert_eq!(pair.server.connection().poll_timeout(), deadline);
    assert!(pair.server.transmit(now).is_empty());
    assert!(pair.server.connection().park());
    assert_eq!(pair.server.parked.idle_deadline(), deadline);
}

#[test]
fn nothing_rests_with_something_to_do() {
    let mut pair = Pair::at_rest();
    pair.server.connection().ping();
    assert!(!pair.server.connection().park(), "a ping waits");
    let mut pair = Pair::at_rest();
    let id = pair.client.connection().open(false).unwrap();
    pair.client.connection().write(id, b"x");
    assert!(!pair.client.connection().park(), "data waits");
    pair.exchange();
    assert!(!pair.server.connection().park(), "nobody has read");
    assert!(pair.client.connection().park());
    let mut out = Vec::new();
    assert!(pair.server.connection().poll_event().is_some());
    pair.server.connection().read(id, 10, &mut out);
    assert!(pair.server.connection().park());
    let other = pair.client.connection().open(false).unwrap();
    assert!(!pair.client.connection().park(), "two streams");
    pair.client.connection().reset(other, 1);
    pair.client.connection().stop(other, 1);
    pair.exchange();
    while pair.server.connection().poll_event().is_some() {}
    pair.server.connection().read(other, 10, &mut out);
    pair.exchange();
    while pair.client.connection().poll_event().is_some() {}
    assert!(pair.client.connection().park());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    /// Bytes of another process are believed only as far as they cannot hurt.
    #[test]
    fn changed_bytes_are_refused_or_harmless(
        changes in proptest::collection::vec((0..Parked::BYTES, any::<u8>()), 0..12),
        payload in proptest::collection::vec(0_u8..0x1f, 1..20),
    ) {
        let mut pair = Pair::at_rest();
        let mut bytes = Vec::new();
        pair.server.parked.write(&mut bytes);
        prop_assert_eq!(bytes.len(), Parked::BYTES);
        prop_assert!(Parked::read(&bytes[1..]).is_none());
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        let Some(parked) = Parked::read(&bytes) else {
            return Ok(());
        };
        let mut again = Vec::new();
        parked.write(&mut again);
        prop_assert_eq!(&again, &bytes);
        pair.server.parked = parked;
        at_rest(&mut pair, &payload, CLIENT);
        let context = Context {
            key: &pair.server.key,
            place: pair.server.place,
            windows: Windows::default(),
        };
        pair.server.awake = Awake::wake(&pair.server.parked, &context);
        let id = pair.server.connection().open(false);
        if let Some(id) = id {
            pair.server.connection().write(id, b"hello");
        }
        pair.server.transmit(pair.now);
        let mut datagram = pair.client.forge(&payload, 0);
        pair.tell_server(&mut datagram);
        if let Some(at) = pair.server.connection().poll_timeout() {
            pair.server.connection().handle_timeout(at);
            pair.server.transmit(at);
        }
        pair.server.connection().park();
    }
}
