//! The paths: each a name, how a call's input is made, and the call that is counted.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::rc::Rc;

use anyhow::{Context as _, bail};
use rookery_wire::link::{self, Flow, Link, Receiver, Writer};
use rookery_wire::proto::{self, ClientFrame, Limits};
use rookery_wire::tls::{Handshake, Opened, Progress, Session};
use rookery_wire::ws::{self, upgrade};

use crate::ends::{Shaking, shake_hands};

/// The counted call; it tells how many bytes it has brought.
pub(crate) type Run = dyn FnMut(&mut [u8]) -> anyhow::Result<usize>;
type Input = dyn FnMut() -> anyhow::Result<Vec<u8>>;

/// See the module.
pub(crate) struct Path {
    /// Makes a call's input.
    pub(crate) input: Box<Input>,
    pub(crate) run: Box<Run>,
    /// What a call brings.
    pub(crate) bytes: RangeInclusive<usize>,
    /// Calls that make one operation.
    pub(crate) calls: u32,
}

/// What can be counted.
pub(crate) const NAMES: [&str; 10] = [
    "tls_open_64",
    "tls_open_1024",
    "tls_seal_64",
    "tls_seal_1024",
    "ws_decode_64",
    "ws_decode_1024",
    "proto_read_send_64",
    "proto_encode_deliver_64",
    "link_echo_64",
    "tls_handshake",
];

/// A path by its name.
pub(crate) fn prepare(name: &str) -> anyhow::Result<Option<Path>> {
    Ok(Some(match name {
        "tls_open_64" => open(64)?,
        "tls_open_1024" => open(1024)?,
        "tls_seal_64" => seal(64)?,
        "tls_seal_1024" => seal(1024)?,
        "ws_decode_64" => decode(64),
        "ws_decode_1024" => decode(1024),
        "proto_read_send_64" => read_send(64),
        "proto_encode_deliver_64" => encode_deliver(64),
        "link_echo_64" => echo(64)?,
        "tls_handshake" => handshake()?,
        _ => return Ok(None),
    }))
}

/// What a client says: no two bytes alike in a row, so that nothing is special about them.
fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7) as u8).collect()
}

fn path(bytes: usize, input: Box<Input>, run: Box<Run>) -> Path {
    Path {
        input,
        run,
        bytes: bytes..=bytes,
        calls: 1,
    }
}

/// Opens a record with so much data from the parked form, key schedule and all.
fn open(len: usize) -> anyhow::Result<Path> {
    let mut ends = shake_hands()?;
    let (plain, mut answers) = (payload(len), Vec::new());
    let input = move || {
        let mut record = Vec::new();
        ends.client.seal(&plain, &mut record)?;
        Ok(record)
    };
    let run = move |record: &mut [u8]| match ends.server.open(record, &mut answers)? {
        Opened::Data { data, .. } => Ok(data.len()),
        other => bail!("not data: {other:?}"),
    };
    Ok(path(len, Box::new(input), Box::new(run)))
}

/// Seals so much data into a buffer that has room.
fn seal(len: usize) -> anyhow::Result<Path> {
    const OVERHEAD: usize = 5 + 1 + 16;
    let mut ends = shake_hands()?;
    let mut out = Vec::with_capacity(len + OVERHEAD);
    let run = move |plain: &mut [u8]| {
        out.clear();
        ends.server.seal(plain, &mut out)?;
        Ok(out.len())
    };
    let input = move || Ok(payload(len));
    Ok(path(len + OVERHEAD, Box::new(input), Box::new(run)))
}

/// A client's frame around `message`.
fn masked(message: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let mask = Some([0x37, 0xfa, 0x21, 0x3d]);
    ws::encode_message(ws::Opcode::Binary, message, mask, &mut frame);
    frame
}

/// Unmasks and parses a frame with so much payload.
fn decode(len: usize) -> Path {
    let config = ws::Config::binary(ws::Role::Server, 1 << 17);
    let mut decoder = ws::Decoder::new();
    let run = move |frame: &mut [u8]| match decoder.decode(&config, frame)? {
        (_, Some(ws::Event::Binary(message))) => Ok(message.len()),
        (_, other) => bail!("not a message: {other:?}"),
    };
    let input = move || Ok(masked(&payload(len)));
    path(len, Box::new(input), Box::new(run))
}

/// Reads a Send in place: validated, bounded, nothing copied.
fn read_send(len: usize) -> Path {
    let send = proto::Send {
        client_msg_id: [0x12; 16],
        conversation_id: 99,
        payload: payload(len),
    };
    let run = move |frame: &mut [u8]| match ClientFrame::parse(frame, &Limits::CLIENT_FRAMES)? {
        ClientFrame::Send(send) if send.conversation_id.to_native() == 99 => Ok(send.payload.len()),
        _ => bail!("not the Send that was encoded"),
    };
    let input = move || Ok(proto::encode(&send));
    path(len, Box::new(input), Box::new(run))
}

/// Encodes a Deliver into a buffer that has room.
fn encode_deliver(len: usize) -> Path {
    let deliver = proto::Deliver {
        conversation_id: 99,
        seq: 7,
        message_id: 1 << 40,
        sender_user_id: 12,
        sender_device_id: 1,
        client_msg_id: [0x12; 16],
        hlc: 1 << 50,
        payload: payload(len),
    };
    let bytes = proto::encode(&deliver).len();
    let mut out = Vec::with_capacity(bytes);
    let run = move |_: &mut [u8]| {
        out.clear();
        proto::encode_into(&deliver, &mut out);
        Ok(out.len())
    };
    path(bytes, Box::new(|| Ok(Vec::new())), Box::new(run))
}

/// Says every message back.
struct Echo;

impl Receiver for Echo {
    fn on_open(&mut self, _: &mut Writer<'_>) -> Flow {
        Flow::Continue
    }

    fn on_event(&mut self, writer: &mut Writer<'_>, event: ws::Event<'_>) -> Flow {
        if let ws::Event::Binary(message) = event {
            writer.message(ws::Opcode::Binary, &message);
        }
        Flow::Continue
    }
}

/// The server's side of an echo over TLS, from one rest to the next: a link is opened over the parked
/// session, decodes, answers, and is dropped.
fn echo(len: usize) -> anyhow::Result<Path> {
    const OVERHEAD: usize = 5 + 2 + 1 + 16;
    let config = link::Config {
        frames: ws::Config::binary(ws::Role::Server, 1 << 17),
        server: upgrade::Server::ECHO,
        pongs: link::Pongs::Latest,
    };
    let mut ends = shake_hands()?;
    let input = move || {
        let mut record = Vec::new();
        ends.client.seal(&masked(&payload(len)), &mut record)?;
        Ok(record)
    };
    let mut session: Option<Session> = Some(ends.server);
    let mut out = Vec::with_capacity(len + OVERHEAD);
    let run = move |record: &mut [u8]| {
        out.clear();
        let mut link = Link::open();
        link.feed(&config, &mut session, None, &mut out, &mut Echo, record)?;
        if !link.is_at_rest() {
            bail!("something is left under way");
        }
        Ok(out.len())
    };
    Ok(path(len + OVERHEAD, Box::new(input), Box::new(run)))
}

/// The server's side of a whole handshake, parked at its end: one call for the ClientHello, one for the
/// client's Finished.
fn handshake() -> anyhow::Result<Path> {
    let shaking = Shaking::new()?;
    let config = shaking.config.clone();
    let shaking = RefCell::new(shaking);
    let flight = Rc::new(RefCell::new(Vec::new()));
    let said = Rc::clone(&flight);
    let input = move || shaking.borrow_mut().says(&said.borrow());
    let mut under_way: Option<Handshake> = None;
    let run = move |bytes: &mut [u8]| {
        let mut out = flight.borrow_mut();
        out.clear();
        match under_way.take() {
            None => {
                let mut server = Handshake::server(&config)?;
                if matches!(server.feed(bytes, &mut out)?, Progress::Done { .. }) {
                    bail!("a server was content with a ClientHello");
                }
                under_way = Some(server);
            }
            Some(mut server) => match server.feed(bytes, &mut out)? {
                Progress::Done { session, .. } => drop(session),
                Progress::NeedMore => bail!("the client's Finished did not end the handshake"),
            },
        }
        Some(out.len()).context("nothing was said")
    };
    Ok(Path {
        input: Box::new(input),
        run: Box::new(run),
        // A flight with a certificate, and a ticket.
        bytes: 100..=2_000,
        calls: 2,
    })
}
