//! The load generator against servers that speak a protocol of their own over WebSocket.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use clap::Parser as _;
use rookery_benches::flock::{self, Args};
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn run(addr: SocketAddr, options: &[&str]) -> anyhow::Result<()> {
    let url = format!("ws://{addr}/");
    let line = [
        "flock",
        &url,
        "--server-pid",
        "1",
        "--warm-up",
        "0",
        "--echo",
        "--brief",
    ];
    flock::run(&Line::parse_from(line.iter().chain(options).copied()).args)
}

/// A server that runs `serve` for each connection, on a thread of its own; what these told.
fn server<T: Send + 'static>(serve: fn(TcpStream, &Sender<T>)) -> (SocketAddr, Receiver<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let addr = listener.local_addr().expect("it is bound");
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (tell, stream) = (tell.clone(), stream.expect("an accept"));
            std::thread::spawn(move || serve(stream, &tell));
        }
    });
    (addr, told)
}

/// The subset of NATS that a publisher to itself needs. Tells each subject that was published to.
fn nats(stream: TcpStream, told: &Sender<String>) {
    // The load generator looks first whether anybody listens: that connection says nothing.
    let Ok(mut socket) = tungstenite::accept(stream) else {
        return;
    };
    socket
        .send(Message::binary(&b"INFO {}\r\n"[..]))
        .expect("the client reads");
    let mut subscribed = BTreeMap::new();
    while let Ok(message) = socket.read() {
        if let Message::Binary(bytes) = message {
            answer(&mut socket, &mut subscribed, &bytes, told);
        }
    }
}

fn answer(
    socket: &mut WebSocket<TcpStream>,
    subscribed: &mut BTreeMap<String, String>,
    mut bytes: &[u8],
    told: &Sender<String>,
) {
    while let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") {
        let line = String::from_utf8(bytes[..end].to_vec()).expect("a line is text");
        bytes = &bytes[end + 2..];
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["SUB", subject, id] => drop(subscribed.insert(subject.to_owned(), id.to_owned())),
            ["PING"] => socket
                .send(Message::binary(&b"PONG\r\n"[..]))
                .expect("the client reads"),
            ["PUB", subject, len] => {
                let len: usize = len.parse().expect("a length");
                let id = &subscribed[subject];
                let mut said = format!("MSG {subject} {id} {len}\r\n").into_bytes();
                said.extend_from_slice(&bytes[..len + 2]);
                bytes = &bytes[len + 2..];
                socket
                    .send(Message::binary(said))
                    .expect("the client reads");
                told.send(subject.to_owned()).expect("the test listens");
            }
            _ => assert!(line.starts_with("CONNECT {"), "{line}"),
        }
    }
}

#[test]
fn nats_clients_hear_what_they_publish() {
    let (addr, told) = server(nats);
    run(
        addr,
        &[
            "--nats",
            "--connections",
            "6",
            "--rate",
            "60",
            "--duration",
            "1s",
        ],
    )
    .unwrap();
    let subjects: Vec<String> = told.try_iter().collect();
    assert_eq!(subjects.len(), 60);
    let mut different = subjects.clone();
    different.sort();
    different.dedup();
    assert!(different.len() > 1 && different.len() <= 6, "{different:?}");
}

/// Agrees to the subprotocol `xmpp` alone. Tells the first message.
fn xmpp(stream: TcpStream, told: &Sender<Message>) {
    #[allow(clippy::result_large_err, reason = "tungstenite's type")]
    let agree = |request: &Request, mut response: Response| {
        let offered = request.headers().get("Sec-WebSocket-Protocol");
        if offered == Some(&HeaderValue::from_static("xmpp")) {
            let agreed = HeaderValue::from_static("xmpp");
            response
                .headers_mut()
                .insert("Sec-WebSocket-Protocol", agreed);
        }
        Ok(response)
    };
    let Ok(mut socket) = tungstenite::accept_hdr(stream, agree) else {
        return;
    };
    if let Ok(first) = socket.read() {
        told.send(first).expect("the test listens");
    }
    while socket.read().is_ok() {}
}

#[test]
fn a_subprotocol_is_offered_and_the_first_message_said() {
    let (addr, told) = server(xmpp);
    let hold = ["--connections", "3", "--rate", "0", "--duration", "100ms"];
    let options = ["--subprotocol", "xmpp", "--preamble", "<open/>"];
    run(addr, &[&hold[..], &options].concat()).unwrap();
    assert_eq!(
        told.try_iter().collect::<Vec<_>>(),
        [(); 3].map(|()| Message::text("<open/>"))
    );

    let error = run(addr, &[&hold[..], &["--subprotocol", "other"]].concat()).unwrap_err();
    assert!(
        error.to_string().contains("subprotocol was not agreed to"),
        "{error}"
    );
}
