//! Two engines with keys of each other's, and packets that no engine would send.

mod breaches;
mod keys;
mod paths;
mod rest;

use std::net::SocketAddr;

use super::*;
use crate::cid::{CidKey, Place};
use crate::error::{Code, Error};
use crate::frame::put_numbers;
use crate::keys::Generation;
use crate::parameters::{Cid, Parameters};
use crate::parked::Parts;

const CLIENT: &str = "198.51.100.7:1000";
const SERVER: &str = "192.0.2.1:443";

/// One end.
struct Side {
    parked: Parked,
    awake: Awake,
    place: Place,
    key: CidKey,
}

impl Side {
    fn connection(&mut self) -> Connection<'_> {
        Connection {
            parked: &mut self.parked,
            awake: &mut self.awake,
            context: Context {
                key: &self.key,
                place: self.place,
                windows: Windows::default(),
            },
        }
    }

    /// All that it has to send.
    fn transmit(&mut self, now: u64) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut all = Vec::new();
        let mut bytes = Vec::new();
        while let Some(to) = self.connection().poll_transmit(now, &mut bytes) {
            all.push((to, std::mem::take(&mut bytes)));
        }
        all
    }

    /// Why it is closed.
    fn closed(&mut self) -> Option<Closed> {
        std::iter::from_fn(|| self.connection().poll_event()).find_map(|event| match event {
            Event::Closed(closed) => Some(closed),
            _ => None,
        })
    }

    /// Seals a payload as it stands, with bits of the first byte set.
    fn forge(&mut self, payload: &[u8], first: u8) -> Vec<u8> {
        let mut out = Vec::new();
        let (_, builder) = self.parked.build(&mut out);
        out[0] |= first;
        out.extend_from_slice(payload);
        assert!(self.parked.seal(builder, 0, &mut out));
        out
    }
}

/// Both ends of a connection right behind the handshake.
struct Pair {
    client: Side,
    server: Side,
    now: u64,
}

fn parameters() -> Parameters {
    let windows = Windows::default();
    Parameters {
        max_data: u64::from(windows.bytes),
        stream_data_bidi_local: u64::from(windows.stream_bytes),
        stream_data_bidi_remote: u64::from(windows.stream_bytes),
        stream_data_uni: u64::from(windows.stream_bytes),
        streams_bidi: u64::from(windows.bidi),
        streams_uni: u64::from(windows.uni),
        ..Parameters::default()
    }
}

impl Pair {
    fn new() -> Self {
        Self::with(60, true)
    }

    /// `has_cid` tells whether the client has a connection id.
    fn with(max_idle_s: u16, has_cid: bool) -> Self {
        let now = 1_000_000;
        let side = |is_server: bool| {
            let places = [1, 2].map(|slot| Place {
                shard: 0,
                shards: 1,
                slot,
                generation: 1,
            });
            let keys = [[1; 32], [2; 32]].map(|secret| CidKey::new(&secret).unwrap());
            let at = usize::from(is_server);
            let (ours, theirs) = (at, 1 - at);
            let their_cid = keys[theirs].cid(&places[theirs], 0);
            let generation = |of: usize| Generation::new([of as u8 + 10; 32]).unwrap();
            let peer = Parameters {
                reset_token: (!is_server).then(|| keys[theirs].reset_token(&their_cid)),
                ..parameters()
            };
            let shown: &[u8] = if is_server && !has_cid {
                &[]
            } else {
                &their_cid
            };
            let parked = Parked::new(Parts {
                is_server,
                rx: generation(theirs),
                tx: generation(ours),
                rx_header: generation(theirs).header_key().unwrap(),
                tx_header: generation(ours).header_key().unwrap(),
                peer: &peer,
                peer_cid: Cid::new(shown).unwrap(),
                remote: [SERVER, CLIENT][at].parse().unwrap(),
                max_idle_s,
                now,
            });
            let [client_key, server_key] = keys;
            let key = if is_server { server_key } else { client_key };
            let crypto: &[u8] = if is_server { b"ticket" } else { &[] };
            let context = Context {
                key: &key,
                place: places[ours],
                windows: Windows::default(),
            };
            let awake = Awake::after_handshake(&parked, &context, &peer, crypto, now);
            Side {
                parked,
                awake,
                place: places[ours],
                key,
            }
        };
        Self {
            client: side(false),
            server: side(true),
            now,
        }
    }

    fn tell_server(&mut self, datagram: &mut [u8]) {
        let (now, from) = (self.now, CLIENT.parse().unwrap());
        self.server
            .connection()
            .handle_datagram(now, from, datagram);
    }

    fn tell_client(&mut self, datagram: &mut [u8]) {
        let (now, from) = (self.now, SERVER.parse().unwrap());
        self.client
            .connection()
            .handle_datagram(now, from, datagram);
    }

    /// Carries datagrams to and fro, a millisecond each way, until nobody has anything to say.
    fn exchange(&mut self) {
        for _ in 0..200 {
            self.now += 1_000;
            let from_client = self.client.transmit(self.now);
            let from_server = self.server.transmit(self.now);
            if from_client.is_empty() && from_server.is_empty() {
                let due = [&mut self.client, &mut self.server]
                    .into_iter()
                    .filter_map(|side| side.connection().poll_timeout())
                    .min();
                // Delayed acknowledgements; the idle timeout is not waited for.
                match due.filter(|at| *at < self.now + 1_000_000) {
                    Some(at) => self.now = self.now.max(at),
                    None => return,
                }
            }
            for (_, mut datagram) in from_client {
                self.tell_server(&mut datagram);
            }
            for (_, mut datagram) in from_server {
                self.tell_client(&mut datagram);
            }
        }
        panic!("they do not come to rest");
    }

    /// A quiet pair.
    fn at_rest() -> Self {
        let mut pair = Self::new();
        pair.exchange();
        let event = pair.client.connection().poll_event();
        assert_eq!(event, Some(Event::Confirmed));
        assert!(pair.client.connection().park());
        assert!(pair.server.connection().park());
        pair
    }

    /// What the server says to a client that sends this.
    fn refusal(&mut self, payload: &[u8]) -> Option<Code> {
        let mut datagram = self.client.forge(payload, 0);
        self.tell_server(&mut datagram);
        match self.server.closed() {
            Some(Closed::Broken(Error { code, .. })) => Some(code),
            Some(other) => panic!("{other:?}"),
            None => None,
        }
    }
}

/// A frame of numbers.
fn frame(kind: u64, numbers: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    put_numbers(kind, numbers, &mut out);
    out
}

#[test]
fn two_engines_talk_and_close() {
    let mut pair = Pair::new();
    let id = pair.client.connection().open(false).unwrap();
    assert_eq!(pair.client.connection().write(id, b"hello"), Some(5));
    pair.client.connection().finish(id);
    pair.exchange();
    let mut heard = Vec::new();
    assert_eq!(
        pair.server.connection().read(id, 100, &mut heard),
        Some((5, Rest::Finished))
    );
    assert_eq!(heard, b"hello");
    let now = pair.now;
    pair.client.connection().close(7, b"bye", now);
    let sent = pair.client.transmit(now);
    assert_eq!(sent.len(), 1);
    pair.tell_server(&mut sent[0].1.clone());
    let reason = b"bye".to_vec();
    assert_eq!(pair.server.closed(), Some(Closed::Peer { code: 7, reason }));
    assert_eq!(pair.client.closed(), Some(Closed::Ours(7)));
    assert!(
        pair.server.transmit(now).is_empty(),
        "draining says nothing"
    );
    // Who goes on sending is told again, but not each time.
    let mut told = 0;
    for _ in 0..20 {
        let mut ping = pair.server.forge(&[1], 0);
        pair.tell_client(&mut ping);
        told += pair.client.transmit(now).len();
    }
    assert!((3..8).contains(&told), "{told}");
    for side in [&mut pair.client, &mut pair.server] {
        let until = side.connection().poll_timeout().unwrap();
        side.connection().handle_timeout(until);
        assert!(side.connection().is_over());
    }
}

//= test of RFC 9001 section 4.1.2: The server MUST send a HANDSHAKE_DONE frame as soon as the handshake is complete.
#[test]
fn a_server_confirms_until_it_is_acknowledged() {
    let mut pair = Pair::new();
    let now = pair.now;
    assert_eq!(pair.server.transmit(now).len(), 1, "lost");
    assert!(!pair.server.connection().park());
    let due = pair.server.connection().poll_timeout().unwrap();
    pair.server.connection().handle_timeout(due);
    pair.now = due;
    pair.exchange();
    assert_eq!(
        pair.client.connection().poll_event(),
        Some(Event::Confirmed)
    );
    assert!(pair.server.connection().park());
}

//= test of RFC 9000 section 13.2.1: Every packet SHOULD be acknowledged at least once, and ack-eliciting packets MUST be acknowledged at least once within the maximum delay an endpoint communicated using the max_ack_delay transport parameter
#[test]
fn one_packet_waits_for_its_acknowledgement_and_two_do_not() {
    let mut pair = Pair::at_rest();
    let now = pair.now;
    let mut ping = pair.client.forge(&[1], 0);
    pair.tell_server(&mut ping);
    assert!(pair.server.transmit(now).is_empty());
    let due = pair.server.connection().poll_timeout().unwrap();
    assert_eq!(due, now + MAX_ACK_DELAY_MS * 1_000);
    assert_eq!(pair.server.transmit(due).len(), 1);
    for _ in 0..2 {
        let mut ping = pair.client.forge(&[1], 0);
        pair.tell_server(&mut ping);
    }
    assert_eq!(pair.server.transmit(now).len(), 1);
}

//= test of RFC 9000 section 10.1: To avoid excessively small idle timeout periods, endpoints MUST increase the idle timeout period to be at least three times the current Probe Timeout (PTO).
#[test]
fn silence_ends_it_and_not_too_soon() {
    let mut pair = Pair::with(1, true);
    let pto = pair.server.connection().pto();
    assert!(3 * pto > 1_000_000);
    let mut ping = pair.client.forge(&[1], 0);
    pair.tell_server(&mut ping);
    let ends = pair.now + 3 * pto;
    pair.server.connection().handle_timeout(ends - 1);
    assert!(pair.server.connection().is_open());
    pair.server.connection().handle_timeout(ends);
    assert_eq!(pair.server.closed(), Some(Closed::Idle));
    assert!(pair.server.transmit(ends).is_empty());
}

//= test of RFC 9000 section 10.3.1: If the last 16 bytes of the datagram are identical in value to a stateless reset token, the endpoint MUST enter the draining period and not send any further packets on this connection.
#[test]
fn a_stateless_reset_ends_it() {
    let mut pair = Pair::new();
    pair.client.connection().ping();
    let cid = pair.server.key.cid(&pair.server.place, 0);
    let mut other = Vec::new();
    let mut reset = Vec::new();
    for (cid, out) in [([9; 8], &mut other), (cid, &mut reset)] {
        assert!(crate::cid::put_stateless_reset(
            &pair.server.key,
            &cid,
            60,
            &[3; 32],
            out
        ));
    }
    pair.tell_client(&mut other);
    assert!(pair.client.connection().is_open());
    pair.tell_client(&mut reset);
    assert_eq!(pair.client.closed(), Some(Closed::Reset));
    let now = pair.now;
    assert!(pair.client.transmit(now).is_empty());
}
