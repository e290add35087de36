//! A client whose address changes, and somebody else who only seems to be it.

use super::*;
use crate::frame::{Frame, Frames, kind, put_path};

const ELSEWHERE: &str = "203.0.113.5:2000";

fn ping_from(pair: &mut Pair, from: &str) -> usize {
    let mut ping = pair.client.forge(&[1], 0);
    let now = pair.now;
    let len = ping.len();
    pair.server
        .connection()
        .handle_datagram(now, from.parse().unwrap(), &mut ping);
    len
}

/// The challenges among datagrams, each with its address and the datagram's size.
fn challenges(
    pair: &mut Pair,
    sent: &[(SocketAddr, Vec<u8>)],
) -> Vec<(SocketAddr, [u8; 8], usize)> {
    let mut found = Vec::new();
    for (to, bytes) in sent {
        let mut bytes = bytes.clone();
        let crate::parked::Unsealed::Opened(opened) = pair.client.parked.open(&mut bytes) else {
            panic!("the client cannot open it");
        };
        for frame in Frames::new(&bytes[opened.start..opened.end]) {
            if let Ok(Frame::PathChallenge(data)) = frame {
                found.push((*to, data, bytes.len()));
            }
        }
    }
    found
}

fn response(data: [u8; 8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_path(kind::PATH_RESPONSE, data, &mut out);
    out
}

//= test of RFC 9000 section 8: Therefore, after receiving packets from an address that is not yet validated, an endpoint MUST limit the amount of data it sends to the unvalidated address to three times the amount of data received from that address.
//= test of RFC 9000 section 8.2.1: An endpoint MUST expand datagrams that contain a PATH_CHALLENGE frame to at least the smallest allowed maximum datagram size of 1200 bytes, unless the anti-amplification limit for the path does not permit sending a datagram of this size.
//= test of RFC 9000 section 9.3.3: In response to an apparent migration, endpoints MUST validate the previously active path using a PATH_CHALLENGE frame.
//= test of RFC 9000 section 9.4: On confirming a peer's ownership of its new address, an endpoint MUST immediately reset the congestion controller and round-trip time estimator for the new path to initial values (see Appendices A.3 and B.3 of [QUIC-RECOVERY]) unless the only change in the peer's address is its port number.
#[test]
fn a_new_address_gets_little_until_it_answers() {
    let mut pair = Pair::at_rest();
    let id = pair.server.connection().open(false).unwrap();
    pair.server.connection().write(id, &[7; 50_000]);
    let came = ping_from(&mut pair, ELSEWHERE);
    assert_eq!(pair.server.awake.rtt, Rtt::UNKNOWN);
    let now = pair.now;
    let mut sent = pair.server.transmit(now);
    let at = pair.server.connection().poll_timeout().unwrap();
    pair.server.connection().handle_timeout(at);
    sent.extend(pair.server.transmit(at));
    let elsewhere: SocketAddr = ELSEWHERE.parse().unwrap();
    let new_bytes: usize = sent
        .iter()
        .filter_map(|(to, bytes)| (*to == elsewhere).then_some(bytes.len()))
        .sum();
    assert!(new_bytes <= 3 * came, "{new_bytes} of {came}");
    let asked = challenges(&mut pair, &sent);
    let old = asked.iter().find(|(to, ..)| *to == CLIENT.parse().unwrap());
    assert_eq!(old.map(|(.., len)| *len), Some(DATAGRAM_BYTES));
    let new = asked.iter().find(|(to, ..)| *to == elsewhere).unwrap();
    // It answers from there: now all of the window may go.
    let mut answer = pair.client.forge(&response(new.1), 0);
    pair.server
        .connection()
        .handle_datagram(now, elsewhere, &mut answer);
    assert!(pair.server.awake.paths.is_quiet());
    let sent = pair.server.transmit(now);
    assert!(sent.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() > 5_000);
    assert!(sent.iter().all(|(to, _)| *to == elsewhere));
}

#[test]
fn another_port_keeps_what_is_known_of_the_path() {
    let mut pair = Pair::at_rest();
    let rtt = pair.server.awake.rtt;
    ping_from(&mut pair, "198.51.100.7:1001");
    assert_eq!(pair.server.awake.rtt.smoothed, rtt.smoothed);
    assert!(!pair.server.awake.paths.is_quiet());
}

#[test]
fn who_does_not_answer_loses_it_to_the_former_address() {
    let mut pair = Pair::at_rest();
    ping_from(&mut pair, ELSEWHERE);
    for _ in 0..20 {
        let at = pair.server.connection().poll_timeout().unwrap();
        pair.server.connection().handle_timeout(at);
        pair.server.transmit(at);
        if pair.server.awake.paths.is_quiet() {
            assert_eq!(pair.server.connection().remote(), CLIENT.parse().unwrap());
            return;
        }
    }
    panic!("the address is still tried");
}

#[test]
fn an_old_packet_or_a_wrong_answer_moves_nothing() {
    let mut pair = Pair::at_rest();
    let mut old = pair.client.forge(&[1], 0);
    ping_from(&mut pair, CLIENT);
    let (now, elsewhere) = (pair.now, ELSEWHERE.parse().unwrap());
    pair.server
        .connection()
        .handle_datagram(now, elsewhere, &mut old);
    assert_eq!(pair.server.connection().remote(), CLIENT.parse().unwrap());
    ping_from(&mut pair, ELSEWHERE);
    let mut wrong = pair.client.forge(&response([1; 8]), 0);
    pair.server
        .connection()
        .handle_datagram(now, elsewhere, &mut wrong);
    assert!(!pair.server.awake.paths.is_quiet());
    // The client does not follow a server that moves.
    let mut ping = pair.server.forge(&[1], 0);
    pair.client
        .connection()
        .handle_datagram(now, elsewhere, &mut ping);
    assert_eq!(pair.client.connection().remote(), SERVER.parse().unwrap());
}

//= test of RFC 9000 section 8.2.2: On receiving a PATH_CHALLENGE frame, an endpoint MUST respond by echoing the data contained in the PATH_CHALLENGE frame in a PATH_RESPONSE frame.
#[test]
fn a_challenge_is_answered_where_it_came_from() {
    let mut pair = Pair::at_rest();
    let mut challenge = Vec::new();
    put_path(kind::PATH_CHALLENGE, *b"whoareu?", &mut challenge);
    let mut datagram = pair.client.forge(&challenge, 0);
    let came = datagram.len();
    let (now, elsewhere) = (pair.now, ELSEWHERE.parse().unwrap());
    pair.server
        .connection()
        .handle_datagram(now, elsewhere, &mut datagram);
    let sent = pair.server.transmit(now);
    let (to, bytes) = &sent[0];
    assert_eq!(*to, elsewhere);
    assert!(bytes.len() <= 3 * came);
    let mut bytes = bytes.clone();
    let crate::parked::Unsealed::Opened(opened) = pair.client.parked.open(&mut bytes) else {
        panic!("not opened");
    };
    let first = Frames::new(&bytes[opened.start..opened.end]).next();
    assert_eq!(first, Some(Ok(Frame::PathResponse(*b"whoareu?"))));
    // A packet that only probes moves nothing.
    assert_eq!(pair.server.connection().remote(), CLIENT.parse().unwrap());
}
