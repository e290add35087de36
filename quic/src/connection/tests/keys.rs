//! Key updates, and keys that are worn.

use super::*;
use crate::keys::{SEALED_MAX, SEALED_UPDATE};

fn phases(pair: &Pair) -> [bool; 2] {
    [&pair.client, &pair.server].map(|side| side.parked.tx_phase())
}

//= test of RFC 9001 section 6.1: An endpoint MUST NOT initiate a subsequent key update unless it has received an acknowledgment for a packet that was sent protected with keys from the current key phase.
//= test of RFC 9001 section 6.2: The endpoint MUST update its send keys to the corresponding key phase in response
#[test]
fn one_turns_and_the_other_follows() {
    let mut pair = Pair::new();
    assert!(
        !pair.server.connection().update_keys(),
        "nothing is acknowledged"
    );
    pair.exchange();
    for round in 1..6 {
        assert!(pair.server.connection().update_keys());
        assert!(!pair.server.connection().update_keys());
        pair.server.connection().ping();
        pair.exchange();
        assert_eq!(phases(&pair), [round % 2 == 1; 2]);
        assert!(pair.server.parked.phases_agree() && pair.client.parked.phases_agree());
    }
    assert!(pair.server.connection().park());
}

#[test]
fn what_was_late_opens_with_the_keys_before() {
    let mut pair = Pair::at_rest();
    let mut late = pair.client.forge(&[1], 0);
    assert!(pair.client.parked.turn_tx());
    let mut turned = pair.client.forge(&[1], 0);
    pair.tell_server(&mut turned);
    assert!(pair.server.parked.tx_phase(), "it follows");
    let next = pair.server.parked.received.next();
    assert!(pair.server.parked.received.is_new(next - 2));
    pair.tell_server(&mut late);
    assert!(!pair.server.parked.received.is_new(next - 2));
    assert_eq!(pair.server.closed(), None);
}

//= test of RFC 9001 section 6.4: An endpoint that successfully removes protection with old keys when newer keys were used for packets with lower packet numbers MUST treat this as a connection error of type KEY_UPDATE_ERROR.
#[test]
fn old_keys_behind_new_ones_are_an_error() {
    let mut pair = Pair::at_rest();
    let number = pair.client.parked.next_number;
    let mut other = Pair::at_rest();
    assert_eq!(other.client.parked.next_number, number);
    // With new keys, and before it in number one with old keys.
    assert!(other.client.parked.turn_tx());
    let mut new_keys = other.client.forge(&[1], 0);
    pair.client.parked.next_number += 1;
    let mut old_keys = pair.client.forge(&[1], 0);
    pair.tell_server(&mut old_keys);
    pair.tell_server(&mut new_keys);
    let Some(Closed::Broken(error)) = pair.server.closed() else {
        panic!("not refused");
    };
    assert_eq!(error.code, Code::KEY_UPDATE_ERROR);
}

//= test of RFC 9001 section 6.6: Endpoints MUST initiate a key update before sending more protected packets than the confidentiality limit for the selected AEAD permits.
//= test of RFC 9001 section 6.6: If a key update is not possible or integrity limits are reached, the endpoint MUST stop using the connection and only send stateless resets in response to receiving packets.
#[test]
fn worn_keys_are_changed_or_not_used_any_more() {
    let mut pair = Pair::new();
    pair.exchange();
    pair.server.parked.sealed = SEALED_UPDATE;
    pair.server.connection().ping();
    pair.exchange();
    assert_eq!(phases(&pair), [true; 2]);
    assert!(pair.server.parked.sealed < 10);
    // Where the peer acknowledges nothing, they end.
    let mut pair = Pair::new();
    pair.server.parked.sealed = SEALED_MAX;
    let now = pair.now;
    assert!(pair.server.transmit(now).is_empty());
    let Some(Closed::Broken(error)) = pair.server.closed() else {
        panic!("still used");
    };
    assert_eq!(error.code, Code::AEAD_LIMIT_REACHED);
    assert!(pair.server.connection().is_over());
}

//= test of RFC 9001 section 6.6: If the total number of received packets that fail authentication within the connection, across all keys, exceeds the integrity limit for the selected AEAD, the endpoint MUST immediately close the connection with a connection error of type AEAD_LIMIT_REACHED and not process any more packets.
#[test]
fn damaged_packets_are_dropped_up_to_a_limit() {
    let mut pair = Pair::at_rest();
    let damaged = |pair: &mut Pair| {
        let mut datagram = pair.client.forge(&[1], 0);
        *datagram.last_mut().unwrap() ^= 1;
        pair.tell_server(&mut datagram);
    };
    damaged(&mut pair);
    assert_eq!(pair.server.closed(), None);
    pair.server.parked.set_failed(u32::MAX - 1);
    damaged(&mut pair);
    let Some(Closed::Broken(error)) = pair.server.closed() else {
        panic!("not closed");
    };
    assert_eq!(error.code, Code::AEAD_LIMIT_REACHED);
}
