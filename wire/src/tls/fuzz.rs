//! The fuzz entry of the record layer: a session with fixed keys against bytes of an attacker.
//!
//! Arbitrary bytes rarely decrypt, so the first byte chooses: raw bytes, or instructions by which a
//! peer with the right keys seals records of any type, content and padding, and may then damage
//! them. It is compiled always, because a target that only builds under a flag rots.

use super::parked::Parts;
use super::{IDLE_RECORDS_MAX, Opened, Role, Session, Suite};

/// Most bytes that one input may make a peer send.
const STREAM_MAX: usize = 1 << 17;

/// Runs one input. Panics when an invariant breaks: `consumed` beyond the input, data outside of the
/// record, a `want` that is already there, a session that goes on after an error, an answer without
/// bound.
pub fn fuzz_open(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else {
        return;
    };
    let suite = Suite::ALL[usize::from(choice >> 2) % Suite::ALL.len()];
    let (role, peer) = match choice & 2 {
        0 => (Role::Server, Role::Client),
        _ => (Role::Client, Role::Server),
    };
    let (Some(mut session), Some(mut peer)) = (fixed(suite, role), fixed(suite, peer)) else {
        return;
    };
    if choice & 1 == 0 {
        drive(&mut session, &mut data.to_vec());
    } else {
        let mut stream = Vec::new();
        forge(&mut peer, data, &mut stream);
        drive(&mut session, &mut stream);
    }
}

/// A session with keys that anybody knows.
pub(crate) fn fixed(suite: Suite, role: Role) -> Option<Session> {
    let (client, server) = ([0x11; 48], [0x22; 48]);
    let len = suite.secret_len();
    Session::park(&Parts {
        suite,
        role,
        client_secret: &client[..len],
        server_secret: &server[..len],
        rx_seq: 0,
        tx_seq: 0,
        keys: None,
    })
    .ok()
}

/// Each instruction is four bytes (what, padding, length low, length high) and its content.
fn forge(peer: &mut Session, mut data: &[u8], stream: &mut Vec<u8>) {
    while let Some((&[what, padding, low, high], rest)) = data.split_first_chunk() {
        let wanted = usize::from(u16::from_le_bytes([low, high])) % 16_384;
        let (content, rest) = rest.split_at(wanted.min(rest.len()));
        data = rest;
        let start = stream.len();
        match what % 8 {
            0..=3 => peer.forge(20 + what % 4, content, usize::from(padding), stream),
            4 => peer.forge(what, content, usize::from(padding), stream),
            5 => drop(peer.update_key(stream)),
            6 => peer.forge(22, &[24, 0, 0, 1, padding % 3], 0, stream),
            _ => {
                peer.forge(23, content, 0, stream);
                let at = start + usize::from(padding) % (stream.len() - start);
                stream[at] ^= what | 1;
            }
        }
        if stream.len() > STREAM_MAX {
            return;
        }
    }
}

fn drive(session: &mut Session, stream: &mut [u8]) {
    let (mut at, mut idle, mut out) = (0, 0_usize, Vec::new());
    let mut data_records = 0;
    loop {
        let left = stream.len() - at;
        let before = out.len();
        match session.open(&mut stream[at..], &mut out) {
            Ok(Opened::NeedMore { want }) => {
                assert!(want > left, "wants {want} of {left} bytes");
                break;
            }
            Ok(Opened::Data { consumed, data }) => {
                assert!(!data.is_empty() && data.len() < consumed && consumed <= left);
                (at, data_records) = (at + consumed, data_records + 1);
            }
            Ok(Opened::Handled { consumed }) => {
                assert!(consumed > 0 && consumed <= left && out.len() - before <= 64);
                (at, idle) = (at + consumed, idle + 1);
                let idle_max = usize::from(IDLE_RECORDS_MAX) + data_records;
                assert!(idle <= idle_max, "a flood got through");
            }
            Ok(Opened::CloseNotify { consumed }) => {
                assert!(consumed <= left);
                break;
            }
            Err(_) => {
                assert!(out.len() - before <= 64, "an alert is one small record");
                assert!(
                    session.open(&mut [], &mut out).is_err(),
                    "a failed session went on"
                );
                assert!(
                    session.seal(b"x", &mut out).is_err(),
                    "a failed session sent"
                );
                break;
            }
        }
    }
}
