//! Every kind of frame, whole, cut at every byte, and with each value that the standard forbids.

use proptest::prelude::*;

use super::*;
use crate::varint::put;

fn first(bytes: &[u8]) -> Result<Frame<'_>, Error> {
    Frames::new(bytes).next().expect("a frame")
}

fn code_of(bytes: &[u8]) -> Code {
    first(bytes).expect_err("an error").code
}

/// One of each, with no number of the sender's length at its end left out.
fn all() -> Vec<Vec<u8>> {
    let numbers = |kind: u64, numbers: &[u64]| {
        let mut out = Vec::new();
        put_numbers(kind, numbers, &mut out);
        out
    };
    let with = |put: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        put(&mut out);
        out
    };
    let cid = NewConnectionId {
        sequence: 7,
        retire_prior_to: 6,
        cid: &[1, 2, 3, 4, 5, 6, 7, 8],
        token: [9; 16],
    };
    let error = Error::in_frame(Code::FLOW_CONTROL_ERROR, 8, "too much");
    vec![
        numbers(kind::PING, &[]),
        numbers(kind::ACK, &[900, 25, 2, 3, 0, 0, 70, 800]),
        numbers(kind::ACK_ECN, &[900, 25, 1, 3, 0, 0, 1, 2, 3]),
        numbers(kind::RESET_STREAM, &[4, 77, 1_000]),
        numbers(kind::STOP_SENDING, &[4, 77]),
        with(&|out| {
            put_crypto_header(70, 5, out);
            out.extend_from_slice(b"hello");
        }),
        numbers(kind::NEW_TOKEN, &[1, 5]),
        with(&|out| {
            put_stream_header(StreamId(8), 1 << 40, 5, true, out);
            assert_eq!(out.len(), stream_header_len(StreamId(8), 1 << 40));
            out.extend_from_slice(b"hello");
        }),
        numbers(kind::MAX_DATA, &[1 << 30]),
        numbers(kind::MAX_STREAM_DATA, &[4, 1 << 30]),
        numbers(kind::MAX_STREAMS_BIDI, &[100]),
        numbers(kind::MAX_STREAMS_UNI, &[100]),
        numbers(kind::DATA_BLOCKED, &[5]),
        numbers(kind::STREAM_DATA_BLOCKED, &[4, 5]),
        numbers(kind::STREAMS_BLOCKED_BIDI, &[5]),
        numbers(kind::STREAMS_BLOCKED_UNI, &[5]),
        with(&|out| put_new_connection_id(&cid, out)),
        numbers(kind::RETIRE_CONNECTION_ID, &[0]),
        with(&|out| put_path(kind::PATH_CHALLENGE, [1; 8], out)),
        with(&|out| put_path(kind::PATH_RESPONSE, [1; 8], out)),
        with(&|out| put_close_transport(&error, out)),
        with(&|out| put_close_application(9, b"bye", out)),
        numbers(kind::HANDSHAKE_DONE, &[]),
    ]
}

#[test]
fn what_is_written_is_read_and_what_is_cut_is_an_error() {
    for bytes in all() {
        let mut frames = Frames::new(&bytes);
        assert!(matches!(frames.next(), Some(Ok(_))), "{bytes:x?}");
        assert!(frames.next().is_none(), "{bytes:x?}");
        for end in 1..bytes.len() {
            assert_eq!(
                code_of(&bytes[..end]),
                Code::FRAME_ENCODING_ERROR,
                "{bytes:x?} {end}"
            );
        }
    }
}

#[test]
fn acknowledged_ranges() {
    let Ok(Frame::Ack(ack)) = first(&[2, 20, 0, 2, 2, 0, 1, 3, 0]) else {
        panic!("not read");
    };
    let ranges: Vec<_> = ack.ranges().collect();
    assert_eq!(ranges, [18..=20, 15..=16, 10..=10]);
}

#[test]
fn a_stream_without_length_is_the_rest_of_the_packet() {
    assert_eq!(
        first(&[0x09, 4, b'a', b'b']),
        Ok(Frame::Stream(StreamData {
            id: StreamId(4),
            offset: 0,
            fin: true,
            data: b"ab",
        }))
    );
}

//= test of RFC 9000 section 12.4: An endpoint MUST treat the receipt of a frame of unknown type as a connection error of type FRAME_ENCODING_ERROR.
//= test of RFC 9000 section 19.7: A client MUST treat receipt of a NEW_TOKEN frame with an empty Token field as a connection error of type FRAME_ENCODING_ERROR.
//= test of RFC 9000 section 19.11: Receipt of a frame that permits opening of a stream larger than this limit MUST be treated as a connection error of type FRAME_ENCODING_ERROR.
//= test of RFC 9000 section 19.3.1: If any computed packet number is negative, an endpoint MUST generate a connection error of type FRAME_ENCODING_ERROR.
//= test of RFC 9000 section 19.15: Values less than 1 and greater than 20 are invalid and MUST be treated as a connection error of type FRAME_ENCODING_ERROR.
//= test of RFC 9000 section 19.15: Receiving a value in the Retire Prior To field that is greater than that in the Sequence Number field MUST be treated as a connection error of type FRAME_ENCODING_ERROR.
#[test]
fn what_no_frame_may_say() {
    let mut beyond = vec![0x0e, 4];
    put(crate::varint::MAX, &mut beyond);
    beyond.extend_from_slice(&[1, b'x']);
    let mut streams = vec![0x12];
    put((1 << 60) + 1, &mut streams);
    let cid = |sequence, prior, len: usize| {
        let mut out = vec![0x18, sequence, prior, len as u8];
        out.resize(out.len() + len + 16, 1);
        out
    };
    let cases = [
        ("unknown type", vec![0x1f]),
        ("DATAGRAM, which we do not offer", vec![0x30]),
        ("empty token", vec![7, 0]),
        ("too many streams", streams),
        ("first range below zero", vec![2, 5, 0, 0, 6]),
        ("a gap below zero", vec![2, 5, 0, 1, 5, 0, 0]),
        ("a cid of nothing", cid(1, 0, 0)),
        ("a cid of 21 bytes", cid(1, 0, 21)),
        ("retires itself", cid(1, 2, 8)),
        ("data behind 2^62", beyond),
    ];
    for (what, bytes) in cases {
        assert_eq!(code_of(&bytes), Code::FRAME_ENCODING_ERROR, "{what}");
    }
    assert_eq!(code_of(&[0x40, 0x01]), Code::PROTOCOL_VIOLATION);
}

proptest! {
    #[test]
    fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..1_300)) {
        let mut read = 0;
        for frame in Frames::new(&bytes) {
            read += 1;
            if let Ok(Frame::Ack(ack)) = frame {
                let ranges: Vec<_> = ack.ranges().collect();
                prop_assert!(ranges.len() <= bytes.len());
                prop_assert!(ranges.windows(2).all(|pair| pair[1].end() < pair[0].start()));
            }
        }
        prop_assert!(read <= bytes.len());
    }

    #[test]
    fn a_changed_byte_ends_too(
        which in 0_usize..23, at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut bytes = all()[which].clone();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let frames = Frames::new(&bytes).count();
        prop_assert!(frames <= bytes.len());
    }
}
