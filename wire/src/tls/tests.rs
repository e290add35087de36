//! The record layer against a peer with the right keys and bad manners. The peer is a session of
//! ours whose [`Session::forge`] seals what no honest one would.

mod updates;

use super::certificate;
use super::parked::{Parked, Parts};
use super::record::{CIPHERTEXT_MAX, HEADER};
use super::*;
use proptest::prelude::*;

fn parked(suite: Suite, role: Role) -> Session {
    let (client, server) = ([7; 48], [9; 48]);
    let len = suite.secret_len();
    let parts = Parts {
        suite,
        role,
        client_secret: &client[..len],
        server_secret: &server[..len],
        rx_seq: 0,
        tx_seq: 0,
        keys: None,
    };
    Session::park(&parts).unwrap()
}

/// (server, client)
fn pair(suite: Suite) -> (Session, Session) {
    (parked(suite, Role::Server), parked(suite, Role::Client))
}

/// Opens all of `stream`; returns the plaintext and the records that were handled.
fn drain(session: &mut Session, stream: &mut [u8], out: &mut Vec<u8>) -> (Vec<u8>, usize) {
    let (mut at, mut plain, mut handled) = (0, Vec::new(), 0);
    loop {
        match session.open(&mut stream[at..], out).unwrap() {
            Opened::NeedMore { .. } => {
                assert_eq!(at, stream.len(), "half a record is left");
                return (plain, handled);
            }
            Opened::Data { consumed, data } => {
                plain.extend_from_slice(data);
                at += consumed;
            }
            Opened::Handled { consumed } => {
                handled += 1;
                at += consumed;
            }
            Opened::CloseNotify { consumed } => {
                at += consumed;
                if at == stream.len() {
                    return (plain, handled);
                }
            }
        }
    }
}

/// The alert that `session` answers to a forged record, as its peer reads it.
fn refusal(session: &mut Session, peer: &mut Session, stream: &mut [u8]) -> (Error, Alert) {
    let (mut at, mut out) = (0, Vec::new());
    let error = loop {
        match session.open(&mut stream[at..], &mut out) {
            Ok(Opened::Handled { consumed } | Opened::Data { consumed, .. }) => at += consumed,
            Ok(other) => panic!("accepted: {other:?}"),
            Err(error) => break error,
        }
    };
    assert_eq!(session.open(&mut [], &mut Vec::new()), Err(Error::Ended));
    assert_eq!(session.seal(b"x", &mut Vec::new()), Err(Error::Ended));
    let mut at = 0;
    loop {
        match peer.open(&mut out[at..], &mut Vec::new()) {
            Err(Error::PeerAlert(alert)) => return (error, alert),
            Ok(Opened::Handled { consumed }) => at += consumed,
            other => panic!("no alert: {other:?}"),
        }
    }
}

/// Forges one record from the client to the server, expects this alert back.
fn refused(typ: u8, content: &[u8], padding: usize, expected: Alert) {
    let mut checked = 0;
    for suite in Suite::ALL {
        let (mut server, mut client) = pair(suite);
        let mut stream = Vec::new();
        client.forge(typ, content, padding, &mut stream);
        let (error, alert) = refusal(&mut server, &mut client, &mut stream);
        assert_eq!(
            (error.alert(), alert),
            (Some(expected), expected),
            "{error}"
        );
        assert_eq!(error.blame(), Blame::PeerMisbehaved);
        checked += 1;
    }
    assert_eq!(checked, 3);
}

#[test]
fn sizes_are_those_of_the_memory_budget() {
    assert_eq!(size_of::<Parked<32>>(), 88);
    assert_eq!(size_of::<Parked<48>>(), 120);
    assert_eq!(size_of::<Session>(), 88);
    assert_eq!(size_of::<Option<Session>>(), 88);
    assert_eq!(size_of::<Handshake>(), 8);
}

#[test]
fn a_blank_session_opens_and_seals_nothing() {
    let (mut client, _) = pair(Suite::Aes128GcmSha256);
    let (mut blank, mut stream, mut out) = (Session::blank(), Vec::new(), Vec::new());
    client.seal(b"data", &mut stream).unwrap();
    assert_eq!(blank.open(&mut stream, &mut out), Err(Error::Ended));
    assert_eq!(blank.seal(b"data", &mut out), Err(Error::Ended));
    blank.close_notify(&mut out);
    assert!(out.is_empty());
    let bytes = Session::blank().into_bytes().unwrap();
    assert!(bytes[9..].iter().all(|&byte| byte == 0), "no secret in it");
}

#[test]
fn messages_of_any_size_arrive_whole() {
    for suite in Suite::ALL {
        let (mut server, mut client) = pair(suite);
        for len in [1, 100, 16_383, 16_384, 16_385, 1 << 20] {
            let message: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let (mut stream, mut out) = (Vec::new(), Vec::new());
            let (head, tail) = message.split_at(len / 3);
            client.seal_parts(&[head, &[], tail], &mut stream).unwrap();
            assert_eq!(stream.len(), len + len.div_ceil(16_384) * 22);
            assert_eq!(drain(&mut server, &mut stream, &mut out), (message, 0));
            assert!(out.is_empty());
        }
        let mut stream = Vec::new();
        client.seal(b"", &mut stream).unwrap();
        assert!(stream.is_empty(), "nothing to say is no record");
    }
}

#[test]
fn padding_is_taken_off() {
    let (mut server, mut client) = pair(Suite::Aes128GcmSha256);
    let mut stream = Vec::new();
    client.forge(23, b"padded", 1000, &mut stream);
    client.forge(23, b"zeros\0\0", 9, &mut stream);
    client.forge(23, &[5; 10], 16_384 - 10, &mut stream);
    let (plain, _) = drain(&mut server, &mut stream, &mut Vec::new());
    assert_eq!(plain, [&b"paddedzeros\0\0"[..], &[5; 10]].concat());
}

//= test of RFC 8446 section 5.3: If a TLS implementation would need to wrap a sequence number, it MUST either rekey (Section 4.6.3) or terminate the connection.
#[test]
fn a_sequence_number_never_wraps() {
    let (_, mut client) = pair(Suite::Chacha20Poly1305Sha256);
    client.set_tx_seq(u64::MAX);
    let mut out = Vec::new();
    assert!(matches!(
        client.update_key(&mut out),
        Err(Error::Internal(_))
    ));
    assert!(out.is_empty());
}

//= test of RFC 8446 section 5.4: Implementations MUST NOT send Handshake and Alert records that have a zero-length TLSInnerPlaintext.content; if such a message is received, the receiving implementation MUST terminate the connection with an "unexpected_message" alert.
//= test of RFC 8446 section 5.1: Implementations MUST verify that all messages immediately preceding a key change align with a record boundary; if not, then they MUST terminate the connection with an "unexpected_message" alert.
//= test of RFC 8446 section 4.6.3: If an implementation receives any other value, it MUST terminate the connection with an "illegal_parameter" alert.
//= test of RFC 8446 section 5.4: If a receiving implementation does not find a non-zero octet in the cleartext, it MUST terminate the connection with an "unexpected_message" alert.
//= test of RFC 8446 section 5.4: the full encoded TLSInnerPlaintext MUST NOT exceed 2^14 + 1 octets.
#[test]
fn what_has_no_place_after_a_handshake_is_refused() {
    refused(20, &[1], 0, Alert::UNEXPECTED_MESSAGE);
    refused(0x55, b"?", 0, Alert::UNEXPECTED_MESSAGE);
    refused(22, &[], 0, Alert::UNEXPECTED_MESSAGE);
    refused(22, &[1, 0, 0, 1, 0], 0, Alert::UNEXPECTED_MESSAGE);
    // A ticket from a client.
    refused(22, &[4, 0, 0, 1, 0], 0, Alert::UNEXPECTED_MESSAGE);
    refused(22, &[24, 0, 0, 2, 0, 0], 0, Alert::DECODE_ERROR);
    refused(22, &[24, 0, 0, 0], 0, Alert::DECODE_ERROR);
    refused(22, &[24, 0, 0, 1, 2], 0, Alert::ILLEGAL_PARAMETER);
    refused(22, &[24, 0, 0, 1, 0, 24], 0, Alert::UNEXPECTED_MESSAGE);
    refused(21, &[], 0, Alert::UNEXPECTED_MESSAGE);
    refused(21, &[1, 0, 0], 0, Alert::DECODE_ERROR);
    // Nothing but padding, and content above the limit.
    refused(0, &[0; 10], 10, Alert::UNEXPECTED_MESSAGE);
    refused(23, &[1; 16_385], 0, Alert::RECORD_OVERFLOW);
}

//= test of RFC 8446 section 5.1: Handshake messages MUST NOT be interleaved with other record types.
#[test]
fn a_handshake_message_may_come_in_pieces_but_not_with_others_between() {
    let (mut server, mut client) = pair(Suite::Aes128GcmSha256);
    let (mut stream, mut out) = (Vec::new(), Vec::new());
    for byte in [24, 0, 0, 1, 1] {
        client.forge(22, &[byte], 0, &mut stream);
    }
    let (_, handled) = drain(&mut server, &mut stream, &mut out);
    assert_eq!((handled, out.len()), (5, 27));

    let (mut server, mut client) = pair(Suite::Aes128GcmSha256);
    stream.clear();
    client.forge(22, &[24, 0], 0, &mut stream);
    client.forge(23, b"between", 0, &mut stream);
    let (_, alert) = refusal(&mut server, &mut client, &mut stream);
    assert_eq!(alert, Alert::UNEXPECTED_MESSAGE);
}

#[test]
fn a_client_drops_tickets_however_they_are_cut() {
    let ticket = |len: u8| [&[4, 0, 0, len][..], &vec![len; usize::from(len)]].concat();
    let run = [ticket(1), ticket(200), ticket(77)].concat();
    let mut checked = 0;
    for cut in 1..run.len() {
        let (mut server, mut client) = pair(Suite::Aes128GcmSha256);
        let mut stream = Vec::new();
        server.forge(22, &run[..cut], 0, &mut stream);
        server.forge(22, &run[cut..], 0, &mut stream);
        server.seal(b"data", &mut stream).unwrap();
        let (plain, handled) = drain(&mut client, &mut stream, &mut Vec::new());
        assert_eq!((&plain[..], handled), (&b"data"[..], 2));
        checked += 1;
    }
    assert_eq!(checked, run.len() - 1);
    let (mut server, mut client) = pair(Suite::Aes128GcmSha256);
    let mut stream = Vec::new();
    server.forge(22, &[4, 1, 0, 1], 0, &mut stream);
    let (_, alert) = refusal(&mut client, &mut server, &mut stream);
    assert_eq!(alert, Alert::DECODE_ERROR, "a ticket of 65,537 bytes");
}

#[test]
fn alerts_end_the_session_by_name() {
    let (mut server, mut client) = pair(Suite::Aes128GcmSha256);
    let (mut stream, mut out) = (Vec::new(), Vec::new());
    client.forge(21, &[1, 42], 0, &mut stream);
    let error = server.open(&mut stream, &mut out).unwrap_err();
    assert_eq!(error, Error::PeerAlert(Alert(42)));
    assert_eq!(
        error.to_string(),
        "the peer ended the session with the alert bad_certificate"
    );
    assert!(out.is_empty(), "an alert gets no answer");

    let (mut server, mut client) = pair(Suite::Aes128GcmSha256);
    stream.clear();
    client.seal(b"last", &mut stream).unwrap();
    client.close_notify(&mut stream);
    client.close_notify(&mut stream);
    assert_eq!(stream.len(), 26 + 24, "close_notify is sent once");
    assert_eq!(client.seal(b"more", &mut stream), Err(Error::Ended));
    assert_eq!(client.update_key(&mut stream), Err(Error::Ended));
    stream.extend_from_slice(b"ignored");
    assert_eq!(drain(&mut server, &mut stream, &mut out).0, b"last");
    server.seal(b"half-closed", &mut out).unwrap();
    assert_eq!(
        drain(&mut client, &mut out, &mut Vec::new()).0,
        b"half-closed"
    );
}

//= test of RFC 8446 section 5.2: If the decryption fails, the receiver MUST terminate the connection with a "bad_record_mac" alert.
#[test]
fn every_damaged_byte_and_every_cut_is_noticed() {
    for suite in Suite::ALL {
        let (_, mut client) = pair(suite);
        let mut record = Vec::new();
        client.seal(&[0xa5; 40], &mut record).unwrap();
        for at in 0..record.len() {
            for bit in 0..8 {
                let mut damaged = record.clone();
                damaged[at] ^= 1 << bit;
                let mut out = Vec::new();
                let mut server = parked(suite, Role::Server);
                match server.open(&mut damaged, &mut out) {
                    // A longer length: the record is not yet whole.
                    Ok(Opened::NeedMore { want }) => assert!((3..5).contains(&at) && want > 62),
                    Ok(other) => panic!("byte {at} bit {bit}: {other:?}"),
                    Err(error) => {
                        let expected = match at {
                            0 => Alert::UNEXPECTED_MESSAGE,
                            3 if bit >= 6 => Alert::RECORD_OVERFLOW,
                            _ => Alert::BAD_RECORD_MAC,
                        };
                        assert_eq!(error.alert(), Some(expected), "byte {at} bit {bit}");
                        assert_eq!(out.len(), 24, "the alert is sent");
                    }
                }
            }
        }
        let mut server = parked(suite, Role::Server);
        for cut in 0..record.len() {
            let want = if cut < 5 { 5 } else { record.len() };
            let found = server.open(&mut record[..cut], &mut Vec::new());
            assert_eq!(found, Ok(Opened::NeedMore { want }));
        }
        let plain = drain(&mut server, &mut record, &mut Vec::new()).0;
        assert_eq!(plain, [0xa5; 40]);
    }
}

//= test of RFC 8446 section 5.2: The length MUST NOT exceed 2^14 + 256 bytes.  An endpoint that receives a record that exceeds this length MUST terminate the connection with a "record_overflow" alert.
#[test]
fn a_record_longer_than_the_limit_is_refused_by_its_header() {
    let mut server = parked(Suite::Aes128GcmSha256, Role::Server);
    let [high, low] = (CIPHERTEXT_MAX as u16).to_be_bytes();
    let mut header = [23, 3, 3, high, low];
    let found = server.open(&mut header, &mut Vec::new());
    assert_eq!(
        found,
        Ok(Opened::NeedMore {
            want: HEADER + CIPHERTEXT_MAX
        })
    );
    let error = server
        .open(&mut [23, 3, 3, high, low + 1], &mut Vec::new())
        .unwrap_err();
    assert_eq!(error.alert(), Some(Alert::RECORD_OVERFLOW));
}

#[test]
fn a_session_goes_on_after_a_journey_as_bytes() {
    for suite in Suite::ALL {
        let (mut server, mut client) = pair(suite);
        let mut stream = Vec::new();
        for journey in 0..3u8 {
            client.seal(&[journey], &mut stream).unwrap();
            client.update_key(&mut stream).unwrap();
            assert_eq!(
                drain(&mut server, &mut stream, &mut Vec::new()),
                (vec![journey], 1)
            );
            stream.clear();
            let bytes = server.into_bytes().unwrap();
            for cut in 0..bytes.len() {
                assert!(Session::from_bytes(&bytes[..cut]).is_none());
            }
            for (at, wrong) in [(0, 2), (1, 0), (1, 9), (2, 0x80), (3, 33), (4, 5)] {
                let mut damaged = bytes.to_vec();
                damaged[at] = wrong;
                assert!(
                    Session::from_bytes(&damaged).is_none(),
                    "byte {at} as {wrong}"
                );
            }
            server = Session::from_bytes(&bytes).unwrap();
            assert_eq!(server.kind(), Kind::Parked(suite));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_input_breaks_the_record_layer(data in prop::collection::vec(any::<u8>(), 0..2000)) {
        fuzz_open(&data);
    }

    #[test]
    fn no_forgery_breaks_the_record_layer(
        choice in any::<u8>(),
        records in prop::collection::vec(
            (any::<u8>(), any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 0..60),
    ) {
        let mut data = vec![choice | 1];
        for (what, padding, content) in records {
            data.extend_from_slice(&[what, padding, content.len() as u8, 0]);
            data.extend_from_slice(&content);
        }
        fuzz_open(&data);
    }

    #[test]
    fn no_certificate_breaks_the_date_reader(data in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = certificate::validity(&data);
    }
}

/// The keys are rustls's and the secrets are what its key log was told: no handshake looks whether they belong
/// together.
#[test]
fn after_a_handshake_the_keys_are_those_of_the_secrets() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let server = ServerConfig::from_pem(chain.as_bytes(), key.as_bytes(), Tickets::One).unwrap();
    for suite in Suite::ALL {
        let offer = Offer {
            suite: Some(suite),
            ..Offer::default()
        };
        let client = ClientConfig::new(Verify::Insecure, offer).unwrap();
        let (mut hello, mut flight, mut finished) = (Vec::new(), Vec::new(), Vec::new());
        let mut there = Handshake::client(&client, "localhost", &mut hello).unwrap();
        let mut here = Handshake::server(&server).unwrap();
        let more = here.feed(&hello, &mut flight).unwrap();
        assert!(matches!(more, Progress::NeedMore));
        let ends = [
            there.feed(&flight, &mut finished).unwrap(),
            here.feed(&finished, &mut Vec::new()).unwrap(),
        ];
        // Both ends have the same secrets, and the first to go takes the keys with it.
        for end in &ends {
            let Progress::Done { session, .. } = end else {
                panic!("the handshake is not over");
            };
            assert_eq!(session.kind(), Kind::Parked(suite));
            assert!(session.keys_come_of_secrets(), "{suite:?}");
        }
    }
}
