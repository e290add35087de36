//! The load generator against servers of this process: one that echoes, some that do not.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use clap::Parser as _;
use rookery_benches::flock::{self, Args};
use tokio_tungstenite::tungstenite::{self, Message};

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

/// Options as on the command line.
fn args(addr: SocketAddr, options: &[&str]) -> Args {
    let url = format!("ws://{addr}/");
    let line = ["flock", &url, "--server-pid", "1", "--warm-up", "0"];
    Line::parse_from(line.iter().chain(options).copied()).args
}

/// A server that runs `serve` for each connection, on a thread of its own.
fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let addr = listener.local_addr().expect("it is bound");
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (serve, stream) = (Arc::clone(&serve), stream.expect("an accept"));
            std::thread::spawn(move || serve(stream));
        }
    });
    addr
}

/// Echoes messages until the client closes; counts both. Past `drop_after` messages it echoes none.
fn echo(stream: TcpStream, echoed: &AtomicU64, closed: &AtomicU64, drop_after: u64) {
    // The load generator looks first whether anybody listens: that connection says nothing.
    let Ok(mut socket) = tungstenite::accept(stream) else {
        return;
    };
    loop {
        match socket.read() {
            Ok(message @ Message::Binary(_)) => {
                if echoed.fetch_add(1, Relaxed) < drop_after {
                    socket.send(message).expect("the client reads");
                }
            }
            Ok(_) => {}
            Err(tungstenite::Error::ConnectionClosed) => {
                closed.fetch_add(1, Relaxed);
                return;
            }
            Err(_) => return,
        }
    }
}

struct Echo {
    addr: SocketAddr,
    echoed: Arc<AtomicU64>,
    closed: Arc<AtomicU64>,
}

fn echo_server(drop_after: u64) -> Echo {
    let (echoed, closed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (e, c) = (Arc::clone(&echoed), Arc::clone(&closed));
    let addr = server(move |stream| echo(stream, &e, &c, drop_after));
    Echo {
        addr,
        echoed,
        closed,
    }
}

#[test]
fn fifty_clients_talk_to_an_echo_server() {
    let server = echo_server(u64::MAX);
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("out.json");
    let options = [
        "--echo",
        "--connections",
        "50",
        "--rate",
        "400",
        "--duration",
        "1s",
        "--shards",
        "2",
        "--json",
        json.to_str().unwrap(),
    ];
    flock::run(&args(server.addr, &options)).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let number = |field: &str| {
        report[field]
            .as_u64()
            .unwrap_or_else(|| panic!("no {field}"))
    };
    assert_eq!(
        (number("established"), number("failed"), number("lost")),
        (50, 0, 0)
    );
    assert_eq!(
        (number("sent"), number("delivered"), number("unsent")),
        (400, 400, 0)
    );
    assert_eq!(server.echoed.load(Relaxed), 400);
    assert_eq!(server.closed.load(Relaxed), 50, "every client says goodbye");
    assert!(number("rtt_p50_us") <= number("rtt_p99_us"));
    assert!(number("rtt_p99_us") <= number("rtt_max_us"));
    assert_eq!(report["rate_asked"], 400);
    assert!(
        report["errors"].as_object().unwrap().is_empty(),
        "{}",
        report["errors"]
    );
}

#[test]
fn a_run_of_stages_ends_in_a_storm_that_all_come_back_from() {
    let server = echo_server(u64::MAX);
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("out.json");
    let options = "--echo --connections 60 --stages 20,40 --rates 50,100 --stage-duration 200ms --rate 0 \
                   --duration 0s --storm --established 10 --storm-rate 100 --storm-calm 300ms \
                   --storm-window 8 --shards 2 --json";
    let options: Vec<&str> = options
        .split_whitespace()
        .chain([json.to_str().unwrap()])
        .collect();
    flock::run(&args(server.addr, &options)).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let stages = report["stages"].as_array().unwrap();
    let sizes: Vec<_> = stages
        .iter()
        .map(|stage| stage["connections"].as_u64().unwrap())
        .collect();
    assert_eq!(sizes, [20, 40, 60]);
    for stage in stages {
        let traffic = stage["traffic"].as_array().unwrap();
        let delivered: Vec<_> = traffic
            .iter()
            .map(|rate| rate["delivered"].as_u64().unwrap())
            .collect();
        assert_eq!(delivered, [10, 20], "{stage}");
        assert!(traffic[1]["rtt"]["p50_us"].as_u64().unwrap() > 0);
    }
    let storm = &report["storm"];
    let number = |field: &str| {
        storm[field]
            .as_u64()
            .unwrap_or_else(|| panic!("no {field}"))
    };
    assert_eq!(
        (number("established"), number("cut"), number("reconnected")),
        (10, 60, 60)
    );
    assert_eq!((number("lost"), number("unsent")), (0, 0));
    assert!(
        number("sent") >= 60 && number("delivered") == number("sent"),
        "{storm}"
    );
    let parts: Vec<_> = storm["phases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["name"].as_str().unwrap())
        .collect();
    assert_eq!(parts, ["before", "disconnect", "reconnect", "after"]);
    assert_eq!(
        (&report["established"], &report["lost"]),
        (&60.into(), &0.into())
    );
    assert_eq!(
        server.closed.load(Relaxed),
        70,
        "the witnesses say goodbye, who was cut off does not, and says it when it leaves at the end"
    );
}

#[test]
fn a_message_that_does_not_come_back_is_a_failure() {
    let server = echo_server(90);
    let options = [
        "--echo",
        "--connections",
        "3",
        "--rate",
        "100",
        "--duration",
        "1s",
    ];
    let error = flock::run(&args(server.addr, &options))
        .unwrap_err()
        .to_string();
    assert_eq!(error, "90 of 100 messages arrived");
}

#[test]
fn servers_that_are_none_are_named() {
    let http = server(|mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    });
    let mute = server(|mut stream| drop(stream.read(&mut [0; 1024])));
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let cases = [
        (http, "status 404 (not a WebSocket server"),
        (mute, "before it was a WebSocket"),
        (nobody, "is the server running?"),
    ];
    for (addr, expected) in cases {
        let error = flock::run(&args(addr, &["--echo", "--connections", "4"])).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_login_without_a_key_is_told_before_anything_is_connected() {
    let folder = tempfile::tempdir().unwrap();
    let addr: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let data = folder.path().to_str().unwrap();
    let error = flock::run(&args(addr, &["--data", data])).unwrap_err();
    assert!(format!("{error:#}").contains("dev-key"), "{error:#}");
}
