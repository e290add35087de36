//! What a peer may not do, each with the error that it is told; and anything at all, which may not hurt.

use proptest::prelude::*;

use super::*;
use crate::frame::{NewConnectionId, kind, put_new_connection_id, put_stream_header};

/// The id of the client's first stream with one direction, and of the server's.
const CLIENT_UNI: u64 = 2;
const SERVER_UNI: u64 = 3;
const SERVER_BIDI: u64 = 1;

fn new_id(sequence: u64, retire_prior_to: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let frame = NewConnectionId {
        sequence,
        retire_prior_to,
        cid: &[sequence as u8; 8],
        token: [0; 16],
    };
    put_new_connection_id(&frame, &mut out);
    out
}

fn data(id: u64, offset: u64, fin: bool) -> Vec<u8> {
    let mut out = Vec::new();
    put_stream_header(StreamId(id), offset, 1, fin, &mut out);
    out.push(b'x');
    out
}

//= test of RFC 9000 section 19.7: A server MUST treat receipt of a NEW_TOKEN frame as a connection error of type PROTOCOL_VIOLATION.
//= test of RFC 9000 section 19.20: A server MUST treat receipt of a HANDSHAKE_DONE frame as a connection error of type PROTOCOL_VIOLATION.
//= test of RFC 9000 section 19.16: Receipt of a RETIRE_CONNECTION_ID frame containing a sequence number greater than any previously sent to the peer MUST be treated as a connection error of type PROTOCOL_VIOLATION.
//= test of RFC 9000 section 5.1.1: After processing a NEW_CONNECTION_ID frame and adding and retiring active connection IDs, if the number of active connection IDs exceeds the value advertised in its active_connection_id_limit transport parameter, an endpoint MUST close the connection with an error of type CONNECTION_ID_LIMIT_ERROR.
//= test of RFC 9000 section 19.8: An endpoint MUST terminate the connection with error STREAM_STATE_ERROR if it receives a STREAM frame for a locally initiated stream that has not yet been created, or for a send-only stream.
//= test of RFC 9000 section 19.10: An endpoint that receives a MAX_STREAM_DATA frame for a receive-only stream MUST terminate the connection with error STREAM_STATE_ERROR.
//= test of RFC 9000 section 19.5: An endpoint that receives a STOP_SENDING frame for a receive-only stream MUST terminate the connection with error STREAM_STATE_ERROR.
//= test of RFC 9000 section 4.6: An endpoint that receives a frame with a stream ID exceeding the limit it has sent MUST treat this as a connection error of type STREAM_LIMIT_ERROR
//= test of RFC 9000 section 4.1: A receiver MUST close the connection with an error of type FLOW_CONTROL_ERROR if the sender violates the advertised connection or stream data limits
#[test]
fn each_breach_has_its_error() {
    let stream_bytes = u64::from(Windows::default().stream_bytes);
    let bidi = u64::from(Windows::default().bidi);
    let cases: [(&str, Vec<u8>, Code); 20] = [
        (
            "token",
            frame(kind::NEW_TOKEN, &[1, 5]),
            Code::PROTOCOL_VIOLATION,
        ),
        (
            "done",
            frame(kind::HANDSHAKE_DONE, &[]),
            Code::PROTOCOL_VIOLATION,
        ),
        (
            "crypto",
            frame(kind::CRYPTO, &[0, 1, 1]),
            Code::PROTOCOL_VIOLATION,
        ),
        (
            "unsent",
            frame(kind::ACK, &[900, 0, 0, 0]),
            Code::PROTOCOL_VIOLATION,
        ),
        (
            "retired",
            frame(kind::RETIRE_CONNECTION_ID, &[2]),
            Code::PROTOCOL_VIOLATION,
        ),
        ("three ids", new_id(2, 0), Code::CONNECTION_ID_LIMIT_ERROR),
        (
            "retires many",
            new_id(90, 90),
            Code::CONNECTION_ID_LIMIT_ERROR,
        ),
        ("another id", new_id(0, 0), Code::PROTOCOL_VIOLATION),
        ("too many ids", new_id(70_000, 0), Code::INTERNAL_ERROR),
        (
            "not opened",
            data(SERVER_BIDI, 0, false),
            Code::STREAM_STATE_ERROR,
        ),
        (
            "send-only",
            data(SERVER_UNI, 0, false),
            Code::STREAM_STATE_ERROR,
        ),
        (
            "send-only",
            frame(kind::RESET_STREAM, &[SERVER_UNI, 1, 1]),
            Code::STREAM_STATE_ERROR,
        ),
        (
            "receive-only",
            frame(kind::MAX_STREAM_DATA, &[CLIENT_UNI, 9]),
            Code::STREAM_STATE_ERROR,
        ),
        (
            "receive-only",
            frame(kind::STOP_SENDING, &[CLIENT_UNI, 9]),
            Code::STREAM_STATE_ERROR,
        ),
        (
            "too many streams",
            data(bidi << 2, 0, false),
            Code::STREAM_LIMIT_ERROR,
        ),
        (
            "reset of too many",
            frame(kind::RESET_STREAM, &[bidi << 2, 1, 1]),
            Code::STREAM_LIMIT_ERROR,
        ),
        (
            "too far",
            data(0, stream_bytes, false),
            Code::FLOW_CONTROL_ERROR,
        ),
        (
            "reset too far",
            frame(kind::RESET_STREAM, &[0, 1, stream_bytes + 1]),
            Code::FLOW_CONTROL_ERROR,
        ),
        (
            "end moves",
            [data(0, 4, true), data(0, 5, false)].concat(),
            Code::FINAL_SIZE_ERROR,
        ),
        (
            "end moves back",
            [data(0, 4, false), data(0, 0, true)].concat(),
            Code::FINAL_SIZE_ERROR,
        ),
    ];
    for (what, payload, code) in cases {
        let mut pair = Pair::new();
        assert_eq!(pair.refusal(&payload), Some(code), "{what}");
        let now = pair.now;
        assert_eq!(
            pair.server.transmit(now).len(),
            1,
            "{what}: the peer is told"
        );
    }
}

//= test of RFC 9000 section 19.9: An endpoint MUST terminate a connection with an error of type FLOW_CONTROL_ERROR if it receives more data than the maximum data value that it has sent.
#[test]
fn all_streams_together_have_a_limit() {
    let mut pair = Pair::new();
    let last = u64::from(Windows::default().stream_bytes) - 1;
    assert_eq!(pair.refusal(&data(0, last, false)), None);
    assert_eq!(pair.refusal(&data(4, last, false)), None);
    assert_eq!(
        pair.refusal(&data(8, 0, false)),
        Some(Code::FLOW_CONTROL_ERROR)
    );
}

//= test of RFC 9000 section 12.4: An endpoint MUST treat receipt of a packet containing no frames as a connection error of type PROTOCOL_VIOLATION.
//= test of RFC 9000 section 17.3.1: An endpoint MUST treat receipt of a packet that has a non-zero value for these bits, after removing both packet and header protection, as a connection error of type PROTOCOL_VIOLATION.
#[test]
fn packets_without_frames_and_with_reserved_bits() {
    let mut pair = Pair::new();
    // A packet number of four bytes needs no padding behind it.
    pair.client.parked.unacked = 1 << 24;
    assert_eq!(pair.refusal(&[]), Some(Code::PROTOCOL_VIOLATION));
    for bits in [0x08, 0x10] {
        let mut pair = Pair::new();
        let mut datagram = pair.client.forge(&[1], bits);
        pair.tell_server(&mut datagram);
        let Some(Closed::Broken(error)) = pair.server.closed() else {
            panic!("not refused");
        };
        assert_eq!(error.code, Code::PROTOCOL_VIOLATION);
    }
}

//= test of RFC 9000 section 19.15: An endpoint that is sending packets with a zero-length Destination Connection ID MUST treat receipt of a NEW_CONNECTION_ID frame as a connection error of type PROTOCOL_VIOLATION.
#[test]
fn an_empty_id_has_no_other() {
    let mut pair = Pair::with(60, false);
    assert_eq!(pair.refusal(&new_id(1, 0)), Some(Code::PROTOCOL_VIOLATION));
}

//= test of RFC 9000 section 5.1.2: Upon receipt of an increased Retire Prior To field, the peer MUST stop using the corresponding connection IDs and retire them with RETIRE_CONNECTION_ID frames before adding the newly provided connection ID to the set of active connection IDs.
//= test of RFC 9000 section 19.15: An endpoint that receives a NEW_CONNECTION_ID frame with a sequence number smaller than the Retire Prior To field of a previously received NEW_CONNECTION_ID frame MUST send a corresponding RETIRE_CONNECTION_ID frame that retires the newly received connection ID, unless it has already done so for that sequence number.
#[test]
fn a_retired_id_of_the_peer_is_not_used_any_more() {
    let mut pair = Pair::at_rest();
    assert_eq!(pair.refusal(&new_id(3, 2)), None);
    assert_eq!(pair.server.parked.peer_cid(), [3; 8]);
    assert_eq!(pair.server.awake.control.retires, [0, 1]);
    pair.server.awake.control.retires.clear();
    assert_eq!(pair.refusal(&new_id(1, 0)), None);
    assert_eq!(pair.server.awake.control.retires, [1]);
    let now = pair.now + 30_000;
    let sent = pair.server.transmit(now);
    assert_eq!(&sent[0].1[1..9], [3; 8], "the new id is in use");
}

#[test]
fn a_retired_id_of_ours_is_followed_by_another() {
    let mut pair = Pair::at_rest();
    for round in 0..5 {
        let retire = frame(kind::RETIRE_CONNECTION_ID, &[round]);
        assert_eq!(pair.refusal(&retire), None);
        let [a, b] = pair.server.parked.ours;
        assert_eq!(u64::from(a.min(b)), round + 1);
        // The client would use the next one.
        let next = pair.server.key.cid(&pair.server.place, a.min(b));
        pair.client.parked.set_peer_cid(&next);
        // Said again, it changes nothing.
        assert_eq!(pair.refusal(&retire), None);
        assert_eq!(pair.server.parked.ours, [a, b]);
    }
    assert!(pair.server.awake.control.new_ids.len() <= 2);
}

#[test]
fn a_flood_of_control_frames_fills_no_memory() {
    let mut pair = Pair::at_rest();
    for round in 0..2_000_u64 {
        let challenge = [&[0x1a][..], &round.to_be_bytes()].concat();
        let stop = frame(kind::STOP_SENDING, &[0, round]);
        assert_eq!(pair.refusal(&[challenge, stop].concat()), None);
    }
    assert!(!pair.server.awake.paths.is_quiet());
    let mut events = 0;
    while pair.server.connection().poll_event().is_some() {
        events += 1;
    }
    assert!(events <= 2, "{events}");
    let now = pair.now;
    assert!(pair.server.transmit(now).len() < 8);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Frames with small numbers, which mean something more often than random bytes do.
    #[test]
    fn whatever_comes_is_refused_or_taken(
        frames in proptest::collection::vec((0_u8..0x20, proptest::collection::vec(0_u8..40, 0..30)), 1..12),
        noise in proptest::collection::vec(any::<u8>(), 0..60),
        steps in 0_u64..5,
    ) {
        let mut pair = Pair::new();
        let id = pair.server.connection().open(false).unwrap();
        pair.server.connection().write(id, &[7; 3_000]);
        for (kind, body) in frames {
            let payload = [&[kind][..], &body].concat();
            let mut datagram = pair.client.forge(&payload, 0);
            pair.tell_server(&mut datagram);
            pair.server.transmit(pair.now);
        }
        let mut datagram = pair.client.forge(&noise, 0);
        pair.tell_server(&mut datagram);
        for _ in 0..steps {
            let Some(at) = pair.server.connection().poll_timeout() else { break };
            pair.server.connection().handle_timeout(at);
            pair.server.transmit(at);
        }
        let mut out = Vec::new();
        pair.server.connection().read(StreamId(0), 100, &mut out);
        pair.server.connection().park();
    }
}
