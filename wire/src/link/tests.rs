//! Two links talk to each other in memory, their bytes cut in every way.

use super::*;
use crate::proto::CloseCode;

const SERVER: Config = Config {
    frames: ws::Config::binary(ws::Role::Server, 1 << 20),
    server: upgrade::Server::CHAT,
    pongs: Pongs::Latest,
};
const CLIENT: Config = Config {
    frames: ws::Config::binary(ws::Role::Client, 1 << 20),
    server: upgrade::Server::CHAT,
    pongs: Pongs::Latest,
};

#[test]
fn an_error_says_what_it_came_from_once() {
    let errors = [
        Error::from(tls::Error::Internal("told once")),
        Error::from(upgrade::HttpError::BadRequest("told once")),
        Error::from(upgrade::ClientError::Malformed),
        Error::from(ws::Error::Masked),
        Error::PeerEnded,
    ];
    for error in &errors {
        let mut cause = std::error::Error::source(error);
        while let Some(told) = cause {
            assert!(
                !error.to_string().contains(&told.to_string()),
                "{error}: {told}"
            );
            cause = told.source();
        }
    }
}

/// Records what came; the server's says everything back. Stops after each event where told to.
#[derive(Default)]
struct Recorder {
    opened: bool,
    messages: Vec<Vec<u8>>,
    pongs: Vec<Vec<u8>>,
    closed: Option<Option<CloseCode>>,
    idle_records: usize,
    echo: bool,
    stop: bool,
}

impl Receiver for Recorder {
    fn on_open(&mut self, writer: &mut Writer<'_>) -> Flow {
        self.opened = true;
        if !self.echo {
            writer.message(ws::Opcode::Binary, b"first");
        }
        self.flow()
    }

    fn on_event(&mut self, writer: &mut Writer<'_>, event: ws::Event<'_>) -> Flow {
        match event {
            ws::Event::Binary(bytes) => {
                if self.echo {
                    writer.message(ws::Opcode::Binary, &bytes);
                }
                self.messages.push(bytes.into_owned());
            }
            ws::Event::Close { code, .. } => self.closed = Some(code),
            ws::Event::Pong(payload) => self.pongs.push(payload.into_owned()),
            _ => {}
        }
        self.flow()
    }

    fn on_idle_record(&mut self, _: &mut Writer<'_>) -> Flow {
        self.idle_records += 1;
        self.flow()
    }
}

impl Recorder {
    fn flow(&self) -> Flow {
        if self.stop {
            Flow::Stop
        } else {
            Flow::Continue
        }
    }
}

struct End {
    link: Link,
    session: Option<tls::Session>,
    masks: Option<Masks>,
    config: Config,
    out: Vec<u8>,
    seen: Recorder,
}

impl End {
    fn feed(&mut self, bytes: &[u8]) -> Result<Flow, Error> {
        let mut bytes = bytes.to_vec();
        let masks = self.masks.as_mut();
        let end = (&mut self.session, &mut self.out, &mut self.seen);
        self.link
            .feed(&self.config, end.0, masks, end.1, end.2, &mut bytes)
    }

    fn say(&mut self, payload: &[u8]) {
        self.say_all(&[(ws::Opcode::Binary, payload)]);
    }

    /// Several messages at once.
    fn say_all(&mut self, messages: &[(ws::Opcode, &[u8])]) {
        let masks = self.masks.as_mut();
        let mut writer = Writer::gathering(self.session.as_mut(), masks, &mut self.out);
        for (opcode, payload) in messages {
            writer.message(*opcode, payload);
        }
    }
}

fn tls_configs() -> (tls::ServerConfig, tls::ClientConfig) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("rcgen");
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let server = tls::ServerConfig::from_pem(chain.as_bytes(), key.as_bytes(), tls::Tickets::One);
    let client = tls::ClientConfig::new(tls::Verify::Insecure, tls::Offer::default());
    (server.expect("server"), client.expect("client"))
}

fn pair(with_tls: bool) -> (End, End) {
    let (server_tls, client_tls) = tls_configs();
    let request = upgrade::ClientRequest {
        host: "localhost",
        path: "/",
        key: [7; 16],
        subprotocol: Some("rookery.v1"),
    };
    let mut out = Vec::new();
    let hello = with_tls.then(|| tls::Handshake::client(&client_tls, "localhost", &mut out));
    let hello = hello.map(|hello| hello.expect("client"));
    let client = End {
        link: Link::connect(hello, &request, &mut out),
        session: None,
        masks: Some(Masks::new(3)),
        config: CLIENT,
        out,
        seen: Recorder::default(),
    };
    let shake = with_tls.then(|| tls::Handshake::server(&server_tls).expect("server"));
    let server = End {
        link: Link::accept(shake),
        session: None,
        masks: None,
        config: SERVER,
        out: Vec::new(),
        seen: Recorder {
            echo: true,
            ..Recorder::default()
        },
    };
    (client, server)
}

/// Carries bytes both ways, `cut` at a time, until both are silent.
fn talk(client: &mut End, server: &mut End, cut: usize) {
    loop {
        let up = std::mem::take(&mut client.out);
        let down = std::mem::take(&mut server.out);
        if up.is_empty() && down.is_empty() {
            return;
        }
        for piece in up.chunks(cut) {
            server.feed(piece).expect("server");
        }
        for piece in down.chunks(cut) {
            client.feed(piece).expect("client");
        }
    }
}

#[test]
fn messages_arrive_whatever_the_cuts() {
    for with_tls in [false, true] {
        for cut in [1, 2, 7, 100, 1_000, 100_000] {
            let (mut client, mut server) = pair(with_tls);
            talk(&mut client, &mut server, cut);
            assert!(client.seen.opened && server.seen.opened);
            let sizes = [0usize, 1, 125, 126, 20_000, 70_000];
            for size in sizes {
                client.say(&vec![size as u8; size]);
            }
            talk(&mut client, &mut server, cut);
            let lens: Vec<usize> = client.seen.messages.iter().map(Vec::len).collect();
            assert_eq!(
                lens,
                [5, 0, 1, 125, 126, 20_000, 70_000],
                "tls {with_tls}, cut {cut}"
            );
            assert_eq!(client.seen.messages, server.seen.messages);
            assert!(client.link.is_at_rest() && server.link.is_at_rest());
        }
    }
}

#[test]
fn nothing_is_lost_when_the_receiver_stops_after_each_event() {
    for with_tls in [false, true] {
        let (mut client, mut server) = pair(with_tls);
        server.seen.stop = true;
        for n in 0..5 {
            talk(&mut client, &mut server, 100_000);
            client.say(&[n; 300]);
        }
        talk(&mut client, &mut server, 100_000);
        for _ in 0..20 {
            server.feed(&[]).expect("server");
        }
        talk(&mut client, &mut server, 100_000);
        assert_eq!(server.seen.messages.len(), 6, "tls {with_tls}");
        assert_eq!(client.seen.messages, server.seen.messages);
        assert!(server.link.is_at_rest());
    }
}

#[test]
fn a_link_made_anew_goes_on_where_the_one_at_rest_was() {
    let (mut client, mut server) = pair(true);
    talk(&mut client, &mut server, 1_000);
    for n in 0..10 {
        client.link = Link::open();
        server.link = Link::open();
        client.say(&[n; 10]);
        talk(&mut client, &mut server, 3);
    }
    assert_eq!(client.seen.messages.len(), 11);
}

#[test]
fn plain_http_on_the_tls_port_gets_an_answer_it_can_read() {
    let (_, mut server) = pair(true);
    let error = server
        .feed(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect_err("not TLS");
    assert_eq!(error, Error::Tls(tls::Error::PlainHttp));
    assert!(server.out.starts_with(b"HTTP/1.1 400 "));
}

#[test]
fn the_last_words_fit_the_stage() {
    let (_, mut server) = pair(true);
    server.feed(&[0xff; 64]).expect_err("garbage");
    assert_eq!(server.out.first(), Some(&21), "an alert record");

    let (_, mut server) = pair(false);
    server
        .feed(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect_err("no such path");
    assert!(server.out.starts_with(b"HTTP/1.1 404 "));

    let (mut client, mut server) = pair(false);
    talk(&mut client, &mut server, 1_000);
    let error = server.feed(&[0x82, 0x01, 0x00]).expect_err("not masked");
    assert_eq!(error.close_code(), Some(CloseCode::PROTOCOL_ERROR));
    assert_eq!(
        server.out[..4],
        [0x88, server.out.len() as u8 - 2, 0x03, 0xea]
    );
}

/// How many TLS records `bytes` are.
fn records(bytes: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    while at < bytes.len() {
        at += 5 + usize::from(u16::from_be_bytes([bytes[at + 3], bytes[at + 4]]));
        count += 1;
    }
    count
}

#[test]
fn the_latest_ping_of_a_record_stands_for_all_of_them() {
    use ws::Opcode::{Binary, Ping};
    for (pongs, expected, records_max) in [(Pongs::Latest, 1, 1), (Pongs::Each, 1_300, 16)] {
        let (mut client, mut server) = pair(true);
        server.config.pongs = pongs;
        talk(&mut client, &mut server, 100_000);
        let numbers: Vec<[u8; 4]> = (0..1_300_u32).map(u32::to_be_bytes).collect();
        let pings: Vec<_> = numbers.iter().map(|number| (Ping, &number[..])).collect();
        client.say_all(&pings);
        let asked = std::mem::take(&mut client.out);
        server.feed(&asked).expect("server");
        assert!(records(&server.out) <= records_max, "{pongs:?}");
        talk(&mut client, &mut server, 100_000);
        assert_eq!(client.seen.pongs.len(), expected);
        assert_eq!(
            client.seen.pongs.last(),
            numbers.last().map(|last| last.to_vec()).as_ref()
        );

        // What stands between pings is answered between their answers.
        client.seen.pongs.clear();
        client.say_all(&[(Ping, b"a"), (Ping, b"b"), (Binary, b"said"), (Ping, b"c")]);
        let asked = std::mem::take(&mut client.out);
        server.feed(&asked).expect("server");
        assert_eq!(records(&server.out), 1);
        talk(&mut client, &mut server, 100_000);
        assert!(client.seen.pongs.ends_with(&[b"b".to_vec(), b"c".to_vec()]));
        assert_eq!(client.seen.messages.last(), Some(&b"said".to_vec()));
    }
}

#[test]
fn records_without_data_are_told_in_their_place_and_may_stop_the_link() {
    for stop in [false, true] {
        let (mut client, mut server) = pair(true);
        talk(&mut client, &mut server, 1_000);
        server.seen.messages.clear();
        server.seen.stop = stop;
        for n in 0..3 {
            let session = client.session.as_mut().expect("TLS");
            session.update_key(&mut client.out).expect("an update");
            client.say(&[n; 10]);
        }
        let stream = std::mem::take(&mut client.out);
        server.feed(&stream).expect("server");
        let seen = &server.seen;
        let expected = if stop { (1, 0) } else { (3, 3) };
        assert_eq!((seen.idle_records, seen.messages.len()), expected);
        for _ in 0..6 {
            server.feed(&[]).expect("server");
        }
        assert_eq!(
            (server.seen.idle_records, server.seen.messages.len()),
            (3, 3)
        );
    }
}

//= test of RFC 6455 section 5.1: a client MUST mask all frames that it sends to the server
//= test of RFC 6455 section 5.1: A server MUST NOT mask any frames that it sends to the client.
#[test]
fn a_clients_frames_are_masked_and_a_servers_are_not() {
    let (mut client, mut server) = pair(false);
    talk(&mut client, &mut server, 1_000);
    for end in [&mut client, &mut server] {
        let mut writer = Writer::new(None, end.masks.as_mut(), &mut end.out);
        writer.message(ws::Opcode::Binary, &[1; 10]);
        writer.message(ws::Opcode::Ping, &[2; 10]);
        writer.close(CloseCode::NORMAL, "");
    }
    let masked = |out: &[u8], header: usize| {
        let starts = [0, header + 10, 2 * (header + 10)];
        starts.map(|at| out[at + 1] & 0x80 != 0)
    };
    assert_eq!(masked(&client.out, 6), [true; 3]);
    assert_eq!(masked(&server.out, 2), [false; 3]);
    // Each with a key of its own.
    assert_ne!(client.out[2..6], client.out[18..22]);
}
