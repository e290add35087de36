//! `rookery chat` against a server of a few lines: real TLS, real frames, and what goes wrong.
#![allow(
    clippy::unwrap_used,
    reason = "a test's helper functions fail as the test does"
)]

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use rookery_edge::{auth, certificate, config};
use rookery_wire::proto::{self, ClientFrame, Limits};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Bytes, Message};

const CONVERSATION: u64 = 5;

/// A listener with the data directory's certificate, and its URL.
struct Server {
    data: tempfile::TempDir,
    listener: TcpListener,
    acceptor: TlsAcceptor,
    verifier: auth::Verifier,
}

/// One connection, upgraded.
struct Peer(WebSocketStream<TlsStream<TcpStream>>);

impl Server {
    async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        certificate::load(
            &config::Tls::default(),
            data.path(),
            std::time::SystemTime::now(),
        )
        .unwrap();
        let pem = data.path().join("tls");
        let chain = CertificateDer::from_pem_file(pem.join("certificate.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(pem.join("key.pem")).unwrap();
        let (verifier, _) = auth::verifier(&config::Auth::default(), data.path()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![chain], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            data,
            listener,
            acceptor: TlsAcceptor::from(Arc::new(tls)),
            verifier,
        }
    }

    fn data(&self) -> &Path {
        self.data.path()
    }

    fn url(&self) -> String {
        format!(
            "wss://127.0.0.1:{}",
            self.listener.local_addr().unwrap().port()
        )
    }

    /// The next connection whose TLS handshake succeeds, with a verified login and a Welcome.
    async fn login(&self) -> Peer {
        let (tcp, _) = self.listener.accept().await.unwrap();
        let tls = self.acceptor.accept(tcp).await.unwrap();
        #[expect(
            clippy::result_large_err,
            reason = "the callback's type is tungstenite's"
        )]
        let choose =
            |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
                let asked = request.headers().get("Sec-WebSocket-Protocol").unwrap();
                assert_eq!(asked, proto::SUBPROTOCOL);
                response
                    .headers_mut()
                    .insert("Sec-WebSocket-Protocol", asked.clone());
                Ok(response)
            };
        let mut peer = Peer(
            tokio_tungstenite::accept_hdr_async(tls, choose)
                .await
                .unwrap(),
        );
        let frame = peer.next().await;
        let ClientFrame::Login(login) = ClientFrame::parse(&frame, &Limits::CLIENT_FRAMES).unwrap()
        else {
            panic!("the first frame is no Login")
        };
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let login = self
            .verifier
            .verify(&login.token, now.as_millis() as u64)
            .unwrap();
        let welcome = proto::Welcome {
            user_id: login.user_id,
            device_id: login.device_id,
            session_id: 1,
            resume_token: b"resume".to_vec(),
            server_time_ms: 0,
            expires_at_ms: login.expires_at_ms,
            heartbeat_interval_ms: 30_000,
            reconnect_jitter_ms: 10,
            payload_bytes_max: 65_536,
            page_messages_max: 100,
        };
        peer.send(&welcome).await;
        peer
    }

    fn chat(&self, input: &str, more: &[&str]) -> tokio::task::JoinHandle<Output> {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rookery"));
        command
            .args(["chat", "--user", "7", "--to", "8", "--url", &self.url()])
            .args(more)
            .env_clear();
        if !more.contains(&"--data") {
            command.arg("--data").arg(self.data());
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A pipe holds more than these few bytes: this does not wait for the reader.
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        tokio::task::spawn_blocking(move || child.wait_with_output().unwrap())
    }
}

impl Peer {
    /// The next binary message.
    async fn next(&mut self) -> Bytes {
        loop {
            match self.0.next().await.unwrap().unwrap() {
                Message::Binary(bytes) => return bytes,
                Message::Close(_) => panic!("closed"),
                _ => {}
            }
        }
    }

    async fn send<T: proto::Message>(&mut self, message: &T) {
        self.0
            .send(Message::Binary(proto::encode(message).into()))
            .await
            .unwrap();
    }

    async fn close(mut self, code: u16) {
        let frame = CloseFrame {
            code: code.into(),
            reason: "".into(),
        };
        self.0.close(Some(frame)).await.unwrap();
        while let Some(Ok(_)) = self.0.next().await {}
    }

    /// Answers OpenDirect with a conversation whose head is `head_seq`.
    async fn open(&mut self, head_seq: u64) {
        let frame = self.next().await;
        let ClientFrame::OpenDirect(open) =
            ClientFrame::parse(&frame, &Limits::CLIENT_FRAMES).unwrap()
        else {
            panic!("no OpenDirect")
        };
        assert_eq!(open.peer_user_id, 8);
        let request_id = open.request_id.to_native();
        let member_user_ids = vec![7, 8];
        let opened = proto::ConversationOpened {
            request_id,
            conversation_id: CONVERSATION,
            head_seq,
            member_user_ids,
        };
        self.send(&opened).await;
    }

    /// The next Send's client_msg_id and payload.
    async fn take_send(&mut self) -> (u64, Vec<u8>) {
        let frame = self.next().await;
        let ClientFrame::Send(send) = ClientFrame::parse(&frame, &Limits::CLIENT_FRAMES).unwrap()
        else {
            panic!("no Send")
        };
        (send.client_msg_id.to_native(), send.payload.to_vec())
    }

    async fn ack(&mut self, client_msg_id: u64) {
        let conversation_id = CONVERSATION;
        self.send(&proto::SendAck {
            client_msg_id,
            conversation_id,
            message_id: 1,
            hlc: 0,
        })
        .await;
    }

    /// Reads until the client has gone.
    async fn drain(mut self) {
        while let Some(Ok(_)) = self.0.next().await {}
    }
}

fn deliver(seq: u64, payload: &[u8]) -> proto::Deliver {
    proto::Deliver {
        conversation_id: CONVERSATION,
        seq,
        message_id: seq,
        sender_user_id: 8,
        sender_device_id: 1,
        client_msg_id: seq,
        hlc: 0,
        payload: payload.to_vec(),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn piped_lines_are_sent_and_it_leaves_once_they_are_durable() {
    let server = Server::start().await;
    let client = server.chat("hi\nho\n", &[]);
    let mut peer = server.login().await;
    peer.open(0).await;
    let (first, payload) = peer.take_send().await;
    assert_eq!(payload, b"hi");
    let (second, payload) = peer.take_send().await;
    assert_eq!(payload, b"ho");
    assert_ne!(first, second);
    peer.send(&deliver(1, b"hello yourself")).await;
    peer.ack(first).await;
    peer.ack(second).await;
    peer.drain().await;
    let output = client.await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let expected = "00:00:00Z 8: hello yourself\n  ✓ 00:00:00Z hi\n  ✓ 00:00:00Z ho\n";
    assert_eq!(text(&output.stdout), expected);
}

#[tokio::test]
async fn it_comes_back_after_a_restart_syncs_and_sends_again_under_the_same_id() {
    let server = Server::start().await;
    let client = server.chat("hi\n", &[]);
    let mut peer = server.login().await;
    peer.open(0).await;
    let (before, _) = peer.take_send().await;
    peer.close(1012).await;

    let mut peer = server.login().await;
    peer.open(2).await;
    let frame = peer.next().await;
    let ClientFrame::Sync(sync) = ClientFrame::parse(&frame, &Limits::CLIENT_FRAMES).unwrap()
    else {
        panic!("no Sync")
    };
    assert_eq!(sync.have_seq, 0);
    let request_id = sync.request_id.to_native();
    let (after, payload) = peer.take_send().await;
    assert_eq!((after, payload.as_slice()), (before, &b"hi"[..]));
    peer.send(&deliver(1, b"one")).await;
    peer.send(&deliver(2, b"two")).await;
    peer.send(&proto::SyncEnd {
        request_id,
        conversation_id: CONVERSATION,
        last_seq: 2,
        head_seq: 2,
    })
    .await;
    peer.ack(after).await;
    peer.drain().await;
    let output = client.await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(
        text(&output.stdout),
        "00:00:00Z 8: one\n00:00:00Z 8: two\n  ✓ 00:00:00Z hi\n"
    );
    assert!(text(&output.stderr).contains("closed with 1012 (service_restart)"));
}

#[tokio::test]
async fn what_the_server_refuses_for_now_is_sent_again_when_it_said() {
    let server = Server::start().await;
    let client = server.chat("hi\n", &[]);
    let mut peer = server.login().await;
    let refusal = |request_id| proto::Error {
        request_id,
        code: 201,
        retry_after_ms: 300,
        reason: b"too many requests wait".to_vec(),
    };
    let frame = peer.next().await;
    let ClientFrame::OpenDirect(open) = ClientFrame::parse(&frame, &Limits::CLIENT_FRAMES).unwrap()
    else {
        panic!("no OpenDirect")
    };
    peer.send(&refusal(open.request_id.to_native())).await;
    peer.open(0).await;
    let (first, payload) = peer.take_send().await;
    let refused = std::time::Instant::now();
    peer.send(&refusal(first)).await;
    let again = peer.take_send().await;
    // The next heartbeat, which sends again too, is 24 s away.
    let waited = refused.elapsed().as_millis();
    assert!((300..15_000).contains(&waited), "{waited} ms");
    assert_eq!(again, (first, payload));
    peer.ack(first).await;
    peer.drain().await;
    let output = client.await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "  ✓ 00:00:00Z hi\n");
    let told = text(&output.stderr);
    let waits = "-- the server says: too many requests wait; trying again in 0.3 s\n";
    assert_eq!(told.matches(waits).count(), 2, "{told}");
}

#[tokio::test]
async fn a_close_that_asks_to_act_ends_it_with_the_reason() {
    let server = Server::start().await;
    let client = server.chat("hi\n", &[]);
    server.login().await.close(4410).await;
    let output = client.await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("4410 (device_replaced)"),
        "{}",
        text(&output.stderr)
    );
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_refused_and_insecure_is_loud() {
    let server = Server::start().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let elsewhere = elsewhere.path().to_str().unwrap();
    let client = server.chat("hi\n", &["--data", elsewhere]);
    let (tcp, _) = server.listener.accept().await.unwrap();
    assert!(server.acceptor.accept(tcp).await.is_err());
    let output = client.await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("no TLS with wss://"),
        "{}",
        text(&output.stderr)
    );

    let client = server.chat("", &["--insecure"]);
    let mut peer = server.login().await;
    peer.open(0).await;
    peer.drain().await;
    let output = client.await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("certificate is NOT verified"));
}

#[tokio::test]
async fn no_server_is_told_with_what_to_do() {
    let server = Server::start().await;
    let url = server.url();
    let Server { data, listener, .. } = server;
    drop(listener);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_rookery"))
        .args(["chat", "--user", "7", "--to", "8", "--url", &url, "--data"])
        .arg(data.path())
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("is the server running?"),
        "{}",
        text(&output.stderr)
    );
}
