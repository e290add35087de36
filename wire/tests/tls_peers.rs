//! Other people's TLS over real sockets: OpenSSL's `s_client`, with key updates typed on its
//! standard input, and Python's `ssl`. The server is a blocking echo on the types under test.
#![allow(clippy::unwrap_used, reason = "test code")]

mod tls_kit;

use std::io::{PipeReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rookery_wire::tls::{
    Error, Established, Handshake, Kind, Opened, Progress, ServerConfig, Session, Suite, Tickets,
};
use tls_kit::pki;

/// A peer that hangs fails the test instead of the run.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the server saw of one connection.
struct Seen {
    established: Established,
    kind: Kind,
    bytes: usize,
    handled: usize,
    closed: bool,
}

/// Accepts one connection and echoes it until the peer ends it.
#[allow(clippy::disallowed_methods, reason = "test code with real sockets")]
fn echo_once(config: ServerConfig) -> (SocketAddr, std::thread::JoinHandle<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (
        address,
        std::thread::spawn(move || echo(&listener.accept().unwrap().0, &config)),
    )
}

fn echo(mut stream: &TcpStream, config: &ServerConfig) -> Seen {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 4096];
    let mut shake = Handshake::server(config).unwrap();
    let (mut session, mut kept, mut seen) = loop {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the peer left during the handshake");
        let mut out = Vec::new();
        let progress = shake.feed(&buffer[..count], &mut out);
        stream.write_all(&out).unwrap();
        if let Progress::Done {
            session,
            consumed,
            established,
        } = progress.unwrap()
        {
            let kind = session.kind();
            let seen = Seen {
                established,
                kind,
                bytes: 0,
                handled: 0,
                closed: false,
            };
            break (session, buffer[consumed..count].to_vec(), seen);
        }
    };
    loop {
        let mut out = Vec::new();
        let used = answer(&mut session, &mut kept, &mut out, &mut seen).unwrap();
        kept.drain(..used);
        stream.write_all(&out).unwrap();
        if seen.closed {
            return seen;
        }
        match stream.read(&mut buffer).unwrap() {
            0 => return seen,
            count => kept.extend_from_slice(&buffer[..count]),
        }
    }
}

/// Answers every whole record of `kept`; returns their bytes.
fn answer(
    session: &mut Session,
    kept: &mut [u8],
    out: &mut Vec<u8>,
    seen: &mut Seen,
) -> Result<usize, Error> {
    let mut at = 0;
    loop {
        match session.open(&mut kept[at..], out)? {
            Opened::NeedMore { .. } => return Ok(at),
            Opened::Data { consumed, data } => {
                at += consumed;
                seen.bytes += data.len();
                let data = data.to_vec();
                session.seal(&data, out)?;
            }
            Opened::Handled { consumed } => {
                at += consumed;
                seen.handled += 1;
            }
            Opened::CloseNotify { consumed } => {
                seen.closed = true;
                session.close_notify(out);
                return Ok(at + consumed);
            }
        }
    }
}

/// Reads from the child until `needle` has come; returns what came.
fn read_until(from: &mut impl Read, needle: &str) -> String {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !String::from_utf8_lossy(&text).contains(needle) {
        assert!(
            from.read(&mut byte).unwrap() == 1,
            "the peer ended before {needle:?}: {}",
            String::from_utf8_lossy(&text)
        );
        text.push(byte[0]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// The child and what it says. OpenSSL says some of it on its standard error.
fn start(program: &str, args: &[&str]) -> (Child, PipeReader) {
    let (said, out) = std::io::pipe().unwrap();
    let child = Command::new("timeout")
        .arg(PATIENCE.as_secs().to_string())
        .arg(program)
        .args(args)
        .stdin(Stdio::piped())
        .stderr(out.try_clone().unwrap())
        .stdout(out)
        .spawn()
        .unwrap_or_else(|error| panic!("this test needs {program} and timeout: {error}"));
    (child, said)
}

fn openssl(args: &[&str], updates: &[&str]) -> Seen {
    let (address, server) = echo_once(pki().server(Tickets::One));
    let target = address.to_string();
    let mut all = vec!["s_client", "-connect", &target, "-servername", "localhost"];
    all.extend_from_slice(args);
    let (mut child, mut said) = start("openssl", &all);
    let mut stdin = child.stdin.take().unwrap();
    for (round, update) in updates.iter().enumerate() {
        stdin.write_all(update.as_bytes()).unwrap();
        stdin.flush().unwrap();
        // `k` and `K` are commands only at the start of a line that holds nothing else.
        if !update.is_empty() {
            read_until(&mut said, "KEYUPDATE");
        }
        let line = format!("round {round} of the echo\n");
        stdin.write_all(line.as_bytes()).unwrap();
        stdin.flush().unwrap();
        read_until(&mut said, &line);
    }
    stdin.write_all(b"Q\n").unwrap();
    drop(stdin);
    child.wait().unwrap();
    server.join().unwrap()
}

#[test]
fn openssl_updates_its_keys_and_asks_for_ours() {
    let updates = ["", "k\n", "K\n", "K\n", "k\n", "k\n", "K\n"];
    let suites = [
        ("TLS_AES_128_GCM_SHA256", Suite::Aes128GcmSha256),
        (
            "TLS_CHACHA20_POLY1305_SHA256",
            Suite::Chacha20Poly1305Sha256,
        ),
        ("TLS_AES_256_GCM_SHA384", Suite::Aes256GcmSha384),
    ];
    let mut checked = 0;
    for (name, suite) in suites {
        let seen = openssl(&["-tls1_3", "-ciphersuites", name], &updates);
        assert_eq!(seen.established.version, "TLSv1.3");
        assert_eq!(seen.kind, Kind::Parked(suite));
        assert_eq!(seen.handled, 6, "six KeyUpdates");
        assert!(seen.closed && seen.bytes > 0);
        checked += 1;
    }
    assert_eq!(checked, 3);
}

#[test]
fn openssl_speaks_tls12() {
    let seen = openssl(&["-tls1_2"], &["", "", ""]);
    assert_eq!(
        (seen.established.version, seen.kind),
        ("TLSv1.2", Kind::ResidentTls12)
    );
    assert!(seen.closed);
}

const CLIENT: &str = r#"
import hashlib, socket, ssl, sys
port, version, roots = int(sys.argv[1]), sys.argv[2], sys.argv[3]
context = ssl.create_default_context(cafile=roots)
context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version)
context.set_alpn_protocols(["http/1.1"])
with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
    with context.wrap_socket(plain, server_hostname="localhost") as tls:
        checked = 0
        for size in (1, 100, 16384, 16385, 300000):
            sent = bytes((n * 7 + size) & 255 for n in range(size))
            got = bytearray()
            at = 0
            while at < size:
                at += tls.send(sent[at:at + 20000])
                while len(got) < at:
                    got += tls.recv(65536)
            assert bytes(got) == sent, size
            checked += 1
        print(tls.version(), tls.selected_alpn_protocol(), tls.cipher()[0], checked)
        tls.unwrap()
"#;

fn python(version: &str) -> (String, Seen) {
    let pki = pki();
    let (address, server) = echo_once(pki.server(Tickets::One));
    let name = format!(
        "rookery-roots-{}-{}.pem",
        std::process::id(),
        address.port()
    );
    let roots = std::env::temp_dir().join(name);
    std::fs::write(&roots, &pki.chain).unwrap();
    let port = address.port().to_string();
    let args = ["-c", CLIENT, &port, version, &roots.to_string_lossy()];
    let (mut child, mut pipe) = start("python3", &args);
    let mut said = String::new();
    pipe.read_to_string(&mut said).unwrap();
    let status = child.wait().unwrap();
    std::fs::remove_file(&roots).unwrap();
    assert!(status.success(), "the Python client failed: {said}");
    (said, server.join().unwrap())
}

#[test]
fn python_verifies_and_echoes_with_both_versions() {
    let (said, seen) = python("TLSv1_3");
    assert_eq!(
        said, "TLSv1.3 http/1.1 TLS_AES_128_GCM_SHA256 5\n",
        "our order of suites"
    );
    assert_eq!(seen.bytes, 1 + 100 + 16_384 + 16_385 + 300_000);
    assert!(seen.closed);
    let (said, seen) = python("TLSv1_2");
    assert_eq!(said, "TLSv1.2 http/1.1 ECDHE-ECDSA-AES128-GCM-SHA256 5\n");
    assert_eq!(seen.kind, Kind::ResidentTls12);
    assert!(seen.closed);
}
