//! Properties of the decoder that the fuzz target and the property tests share.

use super::{Config, Decoder, Error, Event, Limits, Opcode, Role, encode_message};

/// Decodes `data[3..]` whole, byte by byte and in pieces chosen by `data[..3]`, and holds the three
/// against each other; then sends each event back through the encoder.
///
/// # Panics
/// Where two ways disagree: that is what a fuzzer looks for.
pub fn check(data: &[u8]) {
    let Some((&[flags, seed, limit], input)) = data.split_first_chunk::<3>() else {
        return;
    };
    let config = Config {
        role: if flags & 1 == 0 {
            Role::Server
        } else {
            Role::Client
        },
        text: flags & 2 == 0,
        limits: Limits {
            message_bytes_max: usize::from(limit) * 8,
            fragments_max: 1 + u32::from(flags >> 4),
            controls_in_message_max: u32::from(flags >> 4),
        },
    };
    let whole = decode_in_pieces(&config, input, |_| input.len());
    let bytewise = decode_in_pieces(&config, input, |_| 1);
    assert_eq!(whole, bytewise, "whole and byte by byte");
    let pieces = decode_in_pieces(&config, input, |i| {
        1 + usize::from(
            seed.wrapping_mul(31)
                .wrapping_add((i as u8).wrapping_mul(97))
                % 23,
        )
    });
    assert_eq!(whole, pieces, "whole and in pieces");
    for event in &whole.0 {
        assert!(payload_len(event) <= config.limits.message_bytes_max.max(125));
        assert_eq!(&sent_back(&config, event), event, "through the encoder");
    }
}

/// All events and what ended them; the decoder is checked to be at rest where it says so.
fn decode_in_pieces(
    config: &Config,
    input: &[u8],
    piece_len: impl Fn(usize) -> usize,
) -> (Vec<Event<'static>>, Option<Error>) {
    let mut decoder = Decoder::new();
    let mut events = Vec::new();
    let mut at = 0;
    for i in 0.. {
        if at == input.len() {
            break;
        }
        let end = (at + piece_len(i).max(1)).min(input.len());
        let mut piece = input[at..end].to_vec();
        at = end;
        let mut rest = &mut piece[..];
        while !rest.is_empty() {
            let left = rest.len();
            match decoder.decode(config, rest) {
                Ok((consumed, event)) => {
                    assert!(event.is_some() || consumed == left, "input was left behind");
                    events.extend(event.map(Event::into_owned));
                    rest = &mut rest[consumed..];
                }
                Err(error) => return (events, Some(error)),
            }
        }
    }
    (events, None)
}

fn payload_len(event: &Event<'_>) -> usize {
    match event {
        Event::Text(text) => text.len(),
        Event::Binary(bytes) | Event::Ping(bytes) | Event::Pong(bytes) => bytes.len(),
        Event::Close { reason, .. } => reason.len(),
    }
}

/// The event after it was encoded and decoded once more.
fn sent_back(config: &Config, event: &Event<'_>) -> Event<'static> {
    let mask = (config.role == Role::Server).then_some([0x9a, 0x01, 0xfe, 0x3c]);
    let mut wire = Vec::new();
    match event {
        Event::Text(text) => encode_message(Opcode::Text, text.as_bytes(), mask, &mut wire),
        Event::Binary(bytes) => encode_message(Opcode::Binary, bytes, mask, &mut wire),
        Event::Ping(bytes) => encode_message(Opcode::Ping, bytes, mask, &mut wire),
        Event::Pong(bytes) => encode_message(Opcode::Pong, bytes, mask, &mut wire),
        Event::Close { code, reason } => super::encode_close(*code, reason, mask, &mut wire),
    }
    let wire_len = wire.len();
    let (consumed, again) = Decoder::new()
        .decode(config, &mut wire)
        .expect("what the encoder writes is within the limits that the event was");
    assert_eq!(consumed, wire_len);
    again
        .map(Event::into_owned)
        .expect("a whole frame is an event")
}
