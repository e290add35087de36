//! Our handshake and record layer against rustls's own, in memory: every suite, both roles, both
//! versions, key updates over generations, records cut anywhere.
#![allow(clippy::unwrap_used, reason = "test code")]

mod tls_kit;

use rookery_wire::tls::{Error, Kind, Offer, Opened, Suite, Tickets};
use tls_kit::{Rustls, call_rustls, only, open_all, pki, serve_rustls, shake};

const PIECES: [usize; 4] = [1, 7, 1000, usize::MAX >> 1];

fn message(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 31 + seed) as u8).collect()
}

/// Data in both directions, then `generations` of key updates from either side.
fn converse(session: &mut rookery_wire::tls::Session, peer: &mut Rustls, generations: usize) {
    let (mut stream, mut out) = (Vec::new(), Vec::new());
    for len in [1, 100, 16_384, 16_385, 1 << 20] {
        session.seal(&message(len, 1), &mut out).unwrap();
        assert!(
            peer.give(&out).unwrap() == message(len, 1),
            "{len} bytes to rustls"
        );
        out.clear();
        stream.extend_from_slice(&peer.seal(&message(len, 2)));
        assert!(
            open_all(session, &mut stream, &mut out).0 == message(len, 2),
            "{len} bytes"
        );
        assert!(out.is_empty());
    }
    for generation in 0..generations {
        stream.extend_from_slice(&peer.refresh());
        stream.extend_from_slice(&peer.seal(&message(50, generation)));
        let (plain, handled) = open_all(session, &mut stream, &mut out);
        assert_eq!((plain, handled), (message(50, generation), 1));
        assert!(!out.is_empty(), "rustls asks for an update in return");
        session.seal(b"new key", &mut out).unwrap();
        assert_eq!(peer.give(&out).unwrap(), b"new key");
        out.clear();
        session.update_key(&mut out).unwrap();
        session.seal(b"ours", &mut out).unwrap();
        assert_eq!(peer.give(&out).unwrap(), b"ours");
        out.clear();
    }
}

fn part(session: &mut rookery_wire::tls::Session, peer: &mut Rustls) {
    let mut out = Vec::new();
    let mut bye = peer.close();
    let len = bye.len();
    assert_eq!(
        session.open(&mut bye, &mut out),
        Ok(Opened::CloseNotify { consumed: len })
    );
    session.close_notify(&mut out);
    peer.give(&out).unwrap();
    assert_eq!(session.seal(b"x", &mut out), Err(Error::Ended));
}

#[test]
fn a_rustls_client_with_each_suite_and_each_cut() {
    let pki = pki();
    let mut checked = 0;
    for suite in Suite::ALL {
        for piece in PIECES {
            for tickets in [Tickets::None, Tickets::One] {
                let mut peer = Rustls::client(&pki, Some(suite), false);
                let mut end = serve_rustls(&pki.server(tickets), &mut peer, b"first data", piece);
                assert_eq!(end.established.version, "TLSv1.3");
                assert_eq!(end.established.alpn.as_deref(), Some(&b"http/1.1"[..]));
                assert_eq!(end.established.group, "X25519MLKEM768");
                assert_eq!(end.session.kind(), Kind::Parked(suite));
                let (plain, _) = open_all(&mut end.session, &mut end.rest, &mut Vec::new());
                assert_eq!(plain, b"first data", "what came with the Finished");
                converse(&mut end.session, &mut peer, 4);
                part(&mut end.session, &mut peer);
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 24);
}

#[test]
fn a_rustls_server_with_each_suite_and_each_cut() {
    let pki = pki();
    let mut checked = 0;
    for suite in Suite::ALL {
        for piece in PIECES {
            let mut peer = Rustls::server(&pki, false);
            let mut end = call_rustls(&pki.client(only(suite)), &mut peer, piece);
            assert_eq!(end.session.kind(), Kind::Parked(suite));
            let (_, tickets) = open_all(&mut end.session, &mut end.rest, &mut Vec::new());
            assert!(tickets > 0, "rustls sends tickets; a client drops them");
            converse(&mut end.session, &mut peer, 4);
            part(&mut end.session, &mut peer);
            checked += 1;
        }
    }
    assert_eq!(checked, 12);
}

#[test]
fn tls12_stays_resident_and_works() {
    let pki = pki();
    for piece in PIECES {
        let mut peer = Rustls::client(&pki, None, true);
        let mut end = serve_rustls(&pki.server(Tickets::One), &mut peer, b"", piece);
        assert_eq!(end.established.version, "TLSv1.2");
        assert_eq!(end.session.kind(), Kind::ResidentTls12);
        converse(&mut end.session, &mut peer, 0);
        part(&mut end.session, &mut peer);
        assert!(end.session.into_bytes().is_err(), "it cannot travel");

        let mut peer = Rustls::server(&pki, true);
        let offer = Offer {
            tls12_only: true,
            ..Offer::default()
        };
        let mut end = call_rustls(&pki.client(offer), &mut peer, piece);
        assert_eq!(end.session.kind(), Kind::ResidentTls12);
        converse(&mut end.session, &mut peer, 0);
        part(&mut end.session, &mut peer);
    }
}

#[test]
fn tls12_notices_damage() {
    let pki = pki();
    let mut peer = Rustls::client(&pki, None, true);
    let mut end = serve_rustls(&pki.server(Tickets::None), &mut peer, b"", 1000);
    let mut record = peer.seal(b"to be damaged");
    record[20] ^= 1;
    let mut out = Vec::new();
    let error = end.session.open(&mut record, &mut out).unwrap_err();
    assert!(matches!(error, Error::Handshake { .. }), "{error}");
    assert!(!out.is_empty(), "an alert is owed");
    let peer_says = peer.give(&out).unwrap_err();
    assert!(
        peer_says.to_string().contains("BadRecordMac"),
        "{peer_says}"
    );
    assert_eq!(end.session.open(&mut record, &mut out), Err(Error::Ended));
}

#[test]
fn our_own_two_ends_agree_whatever_the_cut() {
    let pki = pki();
    for piece in 1..40 {
        let (mut server, mut client) = shake(
            &pki.server(Tickets::One),
            &pki.client(Offer::default()),
            piece,
        );
        assert_eq!(server.established, client.established);
        let (mut stream, mut out) = (Vec::new(), Vec::new());
        let (_, tickets) = open_all(&mut client.session, &mut client.rest, &mut out);
        assert_eq!(tickets, 1, "one ticket");
        client.session.seal(b"hello", &mut stream).unwrap();
        let (plain, _) = open_all(&mut server.session, &mut stream, &mut out);
        assert_eq!(plain, b"hello");
    }
}

#[test]
fn a_record_may_come_byte_by_byte() {
    let pki = pki();
    let mut peer = Rustls::client(&pki, None, false);
    let mut end = serve_rustls(&pki.server(Tickets::None), &mut peer, b"", 1000);
    let sealed = [
        peer.seal(&message(300, 3)),
        peer.refresh(),
        peer.seal(b"tail"),
    ]
    .concat();
    let (mut kept, mut plain, mut out) = (Vec::new(), Vec::new(), Vec::new());
    for byte in sealed {
        kept.push(byte);
        plain.extend_from_slice(&open_all(&mut end.session, &mut kept, &mut out).0);
    }
    assert_eq!(plain, [message(300, 3), b"tail".to_vec()].concat());
    assert!(kept.is_empty());
}
