//! The properties that the fuzz targets look for, on inputs that are mostly well-formed. proptest
//! prints the failing input and keeps its seed under `proptest-regressions/`.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use proptest::prelude::*;
use rookery_wire::ws::{Opcode, encode_header};
use rookery_wire::{link, proto, proxy_protocol, tls, ws};

/// A frame that is usually right for a server, with a payload that usually is ASCII.
fn ws_frame() -> impl Strategy<Value = Vec<u8>> {
    frame_masked(0.9)
}

fn frame_masked(masked: f64) -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop_oneof![
        4 => Just(Opcode::Continuation),
        2 => Just(Opcode::Text),
        2 => Just(Opcode::Binary),
        1 => Just(Opcode::Ping),
        1 => Just(Opcode::Pong),
        1 => Just(Opcode::Close),
    ];
    let payload = prop_oneof![
        4 => prop::collection::vec(0x20u8..0x7f, 0..300),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => "\\PC{0,30}".prop_map(String::into_bytes),
        1 => Just(b"\x03\xe8bye".to_vec()),
    ];
    (
        opcode,
        any::<bool>(),
        payload,
        prop::option::weighted(masked, any::<[u8; 4]>()),
    )
        .prop_map(|(opcode, fin, mut payload, mask)| {
            if opcode.is_control() {
                payload.truncate(125);
            }
            let fin = fin || opcode.is_control();
            let mut frame = encode_header(opcode, fin, payload.len(), mask)
                .as_bytes()
                .to_vec();
            ws::apply_mask(&mut payload, mask.unwrap_or_default(), 0);
            frame.extend(payload);
            frame
        })
}

/// What a link is handed after its knobs: frames that are right for one end or the other, or a head in front of
/// them, or what is nearly one.
fn link_input() -> impl Strategy<Value = Vec<u8>> {
    let frames =
        |masked| prop::collection::vec(frame_masked(masked), 0..6).prop_map(|it| it.concat());
    let field = prop_oneof![
        Just("Host: a\r\n".to_owned()),
        Just("Upgrade: websocket\r\n".to_owned()),
        Just("Connection: Upgrade\r\n".to_owned()),
        Just("Sec-WebSocket-Version: 13\r\n".to_owned()),
        Just("Sec-WebSocket-Key: BwcHBwcHBwcHBwcHBwcHBw==\r\n".to_owned()),
        Just("Sec-WebSocket-Protocol: rookery.v1\n".to_owned()),
        "[ -~]{0,40}\r\n",
        "x: [a-z]{0,3000}\r\n",
    ];
    let line = prop_oneof![
        Just("GET / HTTP/1.1\r\n".to_owned()),
        Just("\r\nGET /v1 HTTP/1.1\r\n".to_owned()),
        Just("HTTP/1.1 101 Switching Protocols\r\n".to_owned()),
        "[ -~]{0,20}\r\n",
    ];
    let head = (line, prop::collection::vec(field, 0..9))
        .prop_map(|(line, fields)| format!("{line}{}\r\n", fields.concat()).into_bytes());
    prop_oneof![
        3 => frames(0.98),
        2 => frames(0.02),
        2 => (head, frames(0.9)).prop_map(|(head, frames)| [head, frames].concat()),
        1 => prop::collection::vec(any::<u8>(), 0..300),
    ]
}

/// Both ends of a handshake, with a certificate of its own.
fn tls_ends() -> (tls::ServerConfig, tls::ClientConfig) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let server = tls::ServerConfig::from_pem(chain.as_bytes(), key.as_bytes(), tls::Tickets::One);
    let client = tls::ClientConfig::new(tls::Verify::Insecure, tls::Offer::default());
    (server.unwrap(), client.unwrap())
}

fn message_bytes() -> impl Strategy<Value = Vec<u8>> {
    let list = || prop::collection::vec(any::<u8>(), 0..100);
    let members = prop::collection::vec(any::<u64>(), 0..17);
    let id = any::<proto::ClientMsgId>;
    let send = (id(), any::<u64>(), list()).prop_map(|(id, conversation_id, payload)| {
        proto::encode(&proto::Send {
            client_msg_id: id,
            conversation_id,
            payload,
        })
    });
    let login = (list(), list()).prop_map(|(token, resume_token)| {
        proto::encode(&proto::Login {
            token,
            resume_token,
        })
    });
    let create = (any::<u64>(), members).prop_map(|(request_id, member_user_ids)| {
        proto::encode(&proto::CreateConversation {
            request_id,
            member_user_ids,
        })
    });
    let deliver = (any::<[u64; 5]>(), any::<u32>(), id(), list());
    let deliver = deliver.prop_map(|(ids, device, client_msg_id, payload)| proto::Deliver {
        conversation_id: ids[0],
        seq: ids[1],
        message_id: ids[2],
        sender_user_id: ids[3],
        sender_device_id: device,
        client_msg_id,
        hlc: ids[4],
        payload,
    });
    let page = (
        any::<[u64; 2]>(),
        prop::collection::vec(deliver, 0..8),
        any::<[u8; 2]>(),
        prop::collection::vec(any::<u8>(), 36),
    );
    let history = page.clone().prop_map(|(ids, messages, flags, _)| {
        proto::encode(&proto::HistoryPage {
            request_id: ids[0],
            conversation_id: ids[1],
            messages,
            has_more: flags[0],
        })
    });
    let outbox = page.prop_map(|(ids, messages, flags, cursor)| {
        proto::encode(&proto::OutboxPage {
            request_id: ids[0],
            messages,
            next_cursor: cursor.try_into().unwrap(),
            has_more: flags[0],
            needs_full_sync: flags[1],
        })
    });
    let error = (any::<u64>(), id(), any::<u32>(), list());
    let error = error.prop_map(|(request_id, client_msg_id, retry_after_ms, reason)| {
        proto::encode(&proto::Error {
            request_id,
            client_msg_id,
            code: 201,
            retry_after_ms,
            reason,
        })
    });
    prop_oneof![send, login, create, history, outbox, error]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn ws_pieces_do_not_matter(
        knobs in any::<[u8; 3]>(),
        frames in prop::collection::vec(ws_frame(), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut data = vec![knobs[0] & 0xfe, knobs[1], knobs[2] | 0x40];
        data.extend(frames.concat());
        ws::fuzz::check(&data);
        ws::fuzz::check(&data[..3 + cut.index(data.len() - 2)]);
    }

    #[test]
    fn ws_garbage_is_survived(data in prop::collection::vec(any::<u8>(), 0..200)) {
        ws::fuzz::check(&data);
    }

    #[test]
    fn proto_frames_are_canonical_and_survive_damage(
        frame in message_bytes(),
        at in any::<prop::sample::Index>(),
        bits in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        proto::fuzz::check(&frame);
        let mut damaged = frame.clone();
        let at = at.index(frame.len());
        damaged[at] ^= bits;
        proto::fuzz::check(&damaged);
        proto::fuzz::check(&frame[..cut.index(frame.len())]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_link_does_not_mind_how_its_bytes_are_cut(
        knobs in any::<[u8; 3]>(),
        input in link_input(),
    ) {
        link::fuzz::check(&[&knobs[..], &input].concat());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn two_links_shake_hands_and_talk(data in prop::collection::vec(any::<u8>(), 4..10)) {
        thread_local!(static ENDS: (tls::ServerConfig, tls::ClientConfig) = tls_ends());
        ENDS.with(|(server, client)| link::fuzz::check_handshake(&data, server, client));
    }
}

/// A PROXY header of either version for a client, as RFCs and the standard write addresses.
fn proxy_header(client: std::net::IpAddr, is_binary: bool) -> Vec<u8> {
    use std::net::IpAddr::{V4, V6};
    let signature = &b"\r\n\r\n\0\r\nQUIT\n\x21"[..];
    match (client, is_binary) {
        (V4(_), false) => format!("PROXY TCP4 {client} 127.0.0.1 65535 443\r\n").into_bytes(),
        (V6(_), false) => format!("PROXY TCP6 {client} ::1 65535 443\r\n").into_bytes(),
        (V4(v4), true) => [signature, &[0x11, 0, 12], &v4.octets(), &[9; 8]].concat(),
        (V6(v6), true) => [signature, &[0x21, 0, 36], &v6.octets(), &[9; 20]].concat(),
    }
}

proptest! {
    #[test]
    fn a_proxy_header_tells_the_client_and_does_not_mind_what_is_damaged(
        client in any::<std::net::IpAddr>(),
        is_binary in any::<bool>(),
        behind in prop::collection::vec(any::<u8>(), 0..600),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let header = proxy_header(client, is_binary);
        let mut stream = [&header[..], &behind].concat();
        let told = proxy_protocol::parse(&stream).unwrap().unwrap();
        prop_assert_eq!(told.source, proxy_protocol::Source::Client(client));
        prop_assert_eq!(told.bytes, header.len());
        for (at, byte) in damage {
            stream[at.index(header.len())] = byte;
        }
        proxy_protocol::fuzz::check(&stream);
    }
}

/// What the fuzz targets begin with, in the same way every time.
#[test]
fn the_committed_inputs_hold() {
    let ends = tls_ends();
    let link = |data: &[u8]| match data.split_first() {
        Some((0xff, data)) => link::fuzz::check_handshake(data, &ends.0, &ends.1),
        _ => link::fuzz::check(data),
    };
    type Check<'a> = &'a dyn Fn(&[u8]);
    let targets: [(&str, Check<'_>); 5] = [
        ("ws_decoder", &ws::fuzz::check),
        ("proto_frames", &proto::fuzz::check),
        ("proxy_header", &proxy_protocol::fuzz::check),
        ("tls_records", &tls::fuzz_open),
        ("link", &link),
    ];
    for (target, check) in targets {
        let folder = format!(
            "{}/../fuzz/corpus-seed/{target}",
            env!("CARGO_MANIFEST_DIR")
        );
        let mut inputs = 0;
        for entry in std::fs::read_dir(&folder).unwrap() {
            check(&std::fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs >= 16, "{inputs} inputs in {folder}");
    }
}
