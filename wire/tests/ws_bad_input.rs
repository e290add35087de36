//! Everything a peer can do wrong on a WebSocket: the error, the close code, and silence after it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::borrow::Cow;

use rookery_wire::proto::CloseCode;
use rookery_wire::ws::{
    Config, Decoder, Error, Event, Limits, Opcode, Role, encode_close, encode_header,
    encode_message,
};

const KEY: Option<[u8; 4]> = Some([1, 2, 3, 4]);
const SERVER: Config = Config {
    role: Role::Server,
    text: true,
    limits: Limits {
        message_bytes_max: 1000,
        fragments_max: 4,
        controls_in_message_max: 2,
    },
};
const CLIENT: Config = Config {
    role: Role::Client,
    ..SERVER
};

/// One frame with any bits.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_message(Opcode::Binary, payload, KEY, &mut out);
    out[0] = first;
    out
}

/// Decodes all; the events and the error.
fn decode(config: &Config, input: &[u8]) -> (Vec<Event<'static>>, Option<Error>) {
    let mut input = input.to_vec();
    let (mut decoder, mut events, mut at) = (Decoder::new(), Vec::new(), 0);
    while at < input.len() {
        match decoder.decode(config, &mut input[at..]) {
            Ok((consumed, event)) => {
                at += consumed;
                events.extend(event.map(Event::into_owned));
            }
            Err(error) => {
                let mut more = frame(0x82, b"more");
                let len = more.len();
                let after = decoder.decode(config, &mut more);
                assert_eq!(after, Ok((len, None)), "dead after {error}");
                return (events, Some(error));
            }
        }
    }
    (events, None)
}

fn error_of(config: &Config, input: &[u8]) -> Error {
    let (events, error) = decode(config, input);
    assert!(events.is_empty(), "{events:?}");
    error.expect("it must be refused")
}

//= test of RFC 6455 section 5.1: The server MUST close the connection upon receiving a frame that is not masked.
//= test of RFC 6455 section 5.1: A client MUST close a connection if it detects a masked frame.
//= test of RFC 6455 section 5.2: MUST be 0 unless an extension is negotiated that defines meanings for non-zero values.
//= test of RFC 6455 section 5.2: If an unknown opcode is received, the receiving endpoint MUST _Fail the WebSocket Connection_.
//= test of RFC 6455 section 5.5: All control frames MUST have a payload length of 125 bytes or less and MUST NOT be fragmented.
//= test of RFC 6455 section 5.4: The fragments of one message MUST NOT be interleaved between the fragments of another message
//= test of RFC 6455 section 5.5.1: If there is a body, the first two bytes of the body MUST be a 2-byte unsigned integer
//= test of RFC 6455 section 7.4.1: 1005 is a reserved value and MUST NOT be set as a status code in a Close control frame by an endpoint.
//= test of RFC 6455 section 8.1: When an endpoint is to interpret a byte stream as UTF-8 but finds that the byte stream is not, in fact, a valid UTF-8 stream, that endpoint MUST _Fail the WebSocket Connection_.
#[test]
fn each_violation_has_its_error_and_close_code() {
    let unmasked = [0x82, 1, b'x'];
    let masked = frame(0x82, b"x");
    let mut cases: Vec<(&Config, Vec<u8>, Error, CloseCode)> = vec![
        (
            &SERVER,
            unmasked.to_vec(),
            Error::Unmasked,
            CloseCode::PROTOCOL_ERROR,
        ),
        (&CLIENT, masked, Error::Masked, CloseCode::PROTOCOL_ERROR),
        (
            &SERVER,
            frame(0x80, b"x"),
            Error::ContinuationOfNothing,
            CloseCode::PROTOCOL_ERROR,
        ),
        (
            &SERVER,
            frame(0x09, b"x"),
            Error::ControlFragmented,
            CloseCode::PROTOCOL_ERROR,
        ),
        (
            &SERVER,
            frame(0x89, &[0; 126]),
            Error::ControlTooLong,
            CloseCode::PROTOCOL_ERROR,
        ),
        (
            &SERVER,
            frame(0x88, &[3]),
            Error::CloseHalfCode,
            CloseCode::PROTOCOL_ERROR,
        ),
        (
            &SERVER,
            frame(0x81, b"\xff"),
            Error::Utf8,
            CloseCode::INVALID_UTF8,
        ),
        (
            &SERVER,
            frame(0x81, b"cut \xe2\x82"),
            Error::Utf8,
            CloseCode::INVALID_UTF8,
        ),
        (
            &SERVER,
            frame(0x88, b"\x03\xe8\xff"),
            Error::Utf8,
            CloseCode::INVALID_UTF8,
        ),
        (
            &SERVER,
            frame(0x82, &[0; 1001]),
            Error::MessageTooBig { max: 1000 },
            CloseCode::MESSAGE_TOO_BIG,
        ),
        (
            &SERVER,
            [frame(0x01, b"a"), frame(0x81, b"b")].concat(),
            Error::MessageInMessage,
            CloseCode::PROTOCOL_ERROR,
        ),
        (
            &Config {
                text: false,
                ..SERVER
            },
            frame(0x81, b"text"),
            Error::TextRefused,
            CloseCode::UNSUPPORTED_DATA,
        ),
    ];
    for bit in [0x10, 0x20, 0x40] {
        let input = frame(0x82 | bit, b"x");
        cases.push((
            &SERVER,
            input,
            Error::ReservedBits,
            CloseCode::PROTOCOL_ERROR,
        ));
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        let input = frame(0x80 | opcode, b"x");
        let error = Error::ReservedOpcode(opcode);
        cases.push((&SERVER, input, error, CloseCode::PROTOCOL_ERROR));
    }
    for code in [
        0u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535,
    ] {
        let input = frame(0x88, &code.to_be_bytes());
        let error = Error::CloseCodeInvalid(code);
        cases.push((&SERVER, input, error, CloseCode::PROTOCOL_ERROR));
    }
    let checked = cases.len();
    for (config, input, error, code) in cases {
        assert_eq!(error_of(config, &input), error, "{input:x?}");
        assert_eq!(error.close_code(), code);
    }
    assert_eq!(checked, 37);
}

//= test of RFC 6455 section 5.2: in all cases, the minimal number of bytes MUST be used to encode the length
//= test of RFC 6455 section 5.2: the most significant bit MUST be 0
#[test]
fn lengths_not_in_their_shortest_form_are_refused() {
    let long = |marker: u8, len: &[u8]| [&[0x82, marker][..], len].concat();
    for input in [
        long(126, &125u16.to_be_bytes()),
        long(127, &65_535u64.to_be_bytes()),
        long(127, &0u64.to_be_bytes()),
        long(127, &(1u64 << 63).to_be_bytes()),
        long(127, &u64::MAX.to_be_bytes()),
    ] {
        assert_eq!(error_of(&CLIENT, &input), Error::LengthForm, "{input:x?}");
    }
}

#[test]
fn a_claimed_length_is_refused_before_its_bytes_come() {
    let header = encode_header(Opcode::Binary, true, usize::MAX >> 1, KEY);
    assert_eq!(
        error_of(&SERVER, header.as_bytes()),
        Error::MessageTooBig { max: 1000 }
    );
}

#[test]
fn fragments_together_are_held_to_the_message_limit() {
    let input = [
        frame(0x02, &[0; 600]),
        frame(0x00, &[0; 400]),
        frame(0x80, &[0; 1]),
    ]
    .concat();
    assert_eq!(
        error_of(&SERVER, &input),
        Error::MessageTooBig { max: 1000 }
    );
}

#[test]
fn floods_are_refused() {
    let mut input = frame(0x02, b"");
    for _ in 0..4 {
        input.extend(frame(0x00, b""));
    }
    assert_eq!(error_of(&SERVER, &input), Error::FragmentFlood);
    assert_eq!(
        Error::FragmentFlood.close_code(),
        CloseCode::POLICY_VIOLATION
    );

    let ping = frame(0x89, b"");
    let input = [frame(0x02, b"a"), ping.clone(), ping.clone(), ping.clone()].concat();
    let (events, error) = decode(&SERVER, &input);
    assert_eq!((events.len(), error), (2, Some(Error::ControlFlood)));
    // Between messages they are the session's to count.
    let (events, error) = decode(&SERVER, &ping.repeat(100));
    assert_eq!((events.len(), error), (100, None));
}

#[test]
fn text_that_ends_within_a_character_is_refused() {
    let input = [
        frame(0x01, b"a\xe2"),
        frame(0x00, b"\x82"),
        frame(0x80, b""),
    ]
    .concat();
    assert_eq!(error_of(&SERVER, &input), Error::Utf8);
    let input = [
        frame(0x01, b"a\xe2"),
        frame(0x00, b"\x82"),
        frame(0x80, b"\xac"),
    ]
    .concat();
    let (events, _) = decode(&SERVER, &input);
    assert_eq!(events, [Event::Text(Cow::Borrowed("a\u{20ac}"))]);
}

/// Autobahn 6.4: the first byte that cannot be part of UTF-8 ends it, whatever is still to come.
#[test]
fn text_fails_at_the_first_impossible_byte() {
    let text = b"\xce\xba\xe1\xbd\xb9\xf4\x90\x80\x80edited";
    let header = encode_header(Opcode::Text, true, text.len(), Some([0; 4]));
    let (mut decoder, mut at) = (Decoder::new(), None);
    assert_eq!(
        decoder.decode(&SERVER, &mut header.as_bytes().to_vec()),
        Ok((6, None))
    );
    for (i, byte) in text.iter().enumerate() {
        match decoder.decode(&SERVER, &mut [*byte]) {
            Ok((1, None)) => {}
            Err(Error::Utf8) => {
                at = Some(i);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(at, Some(6), "f4 may begin a character, f4 90 may not");
}

#[test]
fn close_is_the_last_event() {
    let mut input = Vec::new();
    encode_close(Some(CloseCode::GOING_AWAY), "bye", KEY, &mut input);
    input.extend(frame(0x82, b"too late"));
    let (events, error) = decode(&SERVER, &input);
    let reason = Cow::Borrowed("bye");
    assert_eq!(
        events,
        [Event::Close {
            code: Some(CloseCode::GOING_AWAY),
            reason
        }]
    );
    assert_eq!(error, None);
    let (events, _) = decode(&SERVER, &frame(0x88, b""));
    assert_eq!(
        events,
        [Event::Close {
            code: None,
            reason: Cow::Borrowed("")
        }]
    );
}

#[test]
fn nothing_is_held_between_messages() {
    assert_eq!(size_of::<Decoder>(), size_of::<usize>());
    let mut decoder = Decoder::new();
    let input = [
        frame(0x01, b"Hel"),
        frame(0x89, b"ping"),
        frame(0x80, b"lo"),
    ]
    .concat();
    let mut events = Vec::new();
    for (i, byte) in input.iter().enumerate() {
        assert_eq!(decoder.is_at_rest(), i == 0);
        let mut input = [*byte];
        let (consumed, event) = decoder.decode(&SERVER, &mut input).unwrap();
        assert_eq!(consumed, 1);
        events.extend(event.map(Event::into_owned));
    }
    assert!(decoder.is_at_rest());
    let (ping, text) = (Cow::Borrowed(&b"ping"[..]), Cow::Borrowed("Hello"));
    assert_eq!(events, [Event::Ping(ping), Event::Text(text)]);
}

#[test]
fn a_whole_message_is_borrowed() {
    let mut input = frame(0x82, b"in place");
    let range = input.as_ptr_range();
    let (_, event) = Decoder::new().decode(&SERVER, &mut input).unwrap();
    let Some(Event::Binary(Cow::Borrowed(bytes))) = event else {
        panic!("{event:?}")
    };
    assert_eq!(bytes, b"in place");
    assert!(range.contains(&bytes.as_ptr()));
}

#[test]
fn lengths_around_each_form_survive() {
    let config = Config::echo(Role::Server);
    let mut checked = 0;
    for len in [0, 1, 125, 126, 127, 65_535, 65_536, 65_537, 1 << 20] {
        let payload: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        let mut input = Vec::new();
        encode_message(Opcode::Binary, &payload, KEY, &mut input);
        let (events, error) = decode(&config, &input);
        assert_eq!((events.len(), error), (1, None));
        assert!(
            events[0] == Event::Binary(Cow::Owned(payload)),
            "length {len}"
        );
        checked += 1;
    }
    assert_eq!(checked, 9);
}

#[test]
fn a_reason_is_cut_at_a_character() {
    let mut out = Vec::new();
    encode_close(
        Some(CloseCode::NORMAL),
        &"\u{e4}".repeat(80),
        None,
        &mut out,
    );
    assert_eq!(out.len(), 2 + 2 + 122);
    let (events, error) = decode(&CLIENT, &out);
    assert!(matches!(&events[..], [Event::Close { reason, .. }] if reason.chars().count() == 61));
    assert_eq!(error, None);
}
