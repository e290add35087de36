//! A server of a few lines, and a `rookery chat` that talks to it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use rookery_edge::{auth, certificate, config};
use rookery_wire::proto::{self, ClientFrame, ClientMsgId, Limits};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Bytes, Message};

pub(crate) const CONVERSATION: u64 = 5;

/// A listener with the data directory's certificate, and its URL.
pub(crate) struct Server {
    pub(crate) data: tempfile::TempDir,
    pub(crate) listener: TcpListener,
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) heartbeat_interval_ms: u32,
    verifier: auth::Verifier,
}

/// One connection, upgraded.
pub(crate) struct Peer {
    socket: WebSocketStream<TlsStream<TcpStream>>,
    /// Of the conversation, once it is open.
    head_seq: u64,
}

impl Server {
    pub(crate) async fn start() -> Self {
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
        let verifier = auth::LoginKeys::load(&config::Auth::default(), data.path())
            .unwrap()
            .verifier(&auth::FetchedSet::default(), &auth::Wanted::default());
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
            heartbeat_interval_ms: 30_000,
            verifier,
        }
    }

    /// Another server, with the same certificate and keys.
    pub(crate) async fn beside(&self) -> Self {
        let verifier = auth::LoginKeys::load(&config::Auth::default(), self.data())
            .unwrap()
            .verifier(&auth::FetchedSet::default(), &auth::Wanted::default());
        Self {
            data: tempfile::tempdir().unwrap(),
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            acceptor: self.acceptor.clone(),
            heartbeat_interval_ms: self.heartbeat_interval_ms,
            verifier,
        }
    }

    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    pub(crate) fn url(&self) -> String {
        format!(
            "wss://127.0.0.1:{}",
            self.listener.local_addr().unwrap().port()
        )
    }

    /// The next connection whose TLS handshake succeeds, with a verified login and a Welcome.
    pub(crate) async fn login(&self) -> Peer {
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
        let mut peer = Peer {
            socket: tokio_tungstenite::accept_hdr_async(tls, choose)
                .await
                .unwrap(),
            head_seq: 0,
        };
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
            heartbeat_interval_ms: self.heartbeat_interval_ms,
            reconnect_jitter_ms: 10,
            payload_bytes_max: 65_536,
            page_messages_max: 100,
        };
        peer.send(&welcome).await;
        peer
    }

    /// A chat of user 7 with 8, for which the input is all there is.
    pub(crate) fn chat(&self, input: &str, more: &[&str]) -> tokio::task::JoinHandle<Output> {
        let mut child = self.command(more).stdin(Stdio::piped()).spawn().unwrap();
        // A pipe holds more than these few bytes: this does not wait for the reader.
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        tokio::task::spawn_blocking(move || child.wait_with_output().unwrap())
    }

    /// The same, not started yet.
    pub(crate) fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rookery"));
        command
            .args(["chat", "--user", "7", "--to", "8", "--url", &self.url()])
            .args(more)
            .env_clear();
        if !more.contains(&"--data") {
            command.arg("--data").arg(self.data());
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

impl Peer {
    /// The next frame, but for a Sync to which there is nothing to say: that is answered here.
    pub(crate) async fn next(&mut self) -> Bytes {
        loop {
            let bytes = match self.socket.next().await.unwrap().unwrap() {
                Message::Binary(bytes) => bytes,
                Message::Close(_) => panic!("closed"),
                _ => continue,
            };
            match ClientFrame::parse(&bytes, &Limits::CLIENT_FRAMES).unwrap() {
                ClientFrame::Sync(sync) if sync.have_seq >= self.head_seq => {
                    self.sync_end(sync.request_id.to_native()).await;
                }
                _ => return bytes,
            }
        }
    }

    pub(crate) async fn send<T: proto::Message>(&mut self, message: &T) {
        self.socket
            .send(Message::Binary(proto::encode(message).into()))
            .await
            .unwrap();
    }

    pub(crate) async fn close(mut self, code: u16) {
        let frame = CloseFrame {
            code: code.into(),
            reason: "".into(),
        };
        self.socket.close(Some(frame)).await.unwrap();
        while let Some(Ok(_)) = self.socket.next().await {}
    }

    /// Answers OpenDirect with a conversation whose head is `head_seq`.
    pub(crate) async fn open(&mut self, head_seq: u64) {
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
        self.head_seq = head_seq;
        self.send(&opened).await;
    }

    /// The next Sync's request id.
    pub(crate) async fn take_sync(&mut self, have_seq: u64) -> u64 {
        let frame = self.next().await;
        let ClientFrame::Sync(sync) = ClientFrame::parse(&frame, &Limits::CLIENT_FRAMES).unwrap()
        else {
            panic!("no Sync")
        };
        assert_eq!(sync.have_seq, have_seq);
        sync.request_id.to_native()
    }

    /// The end of a Sync's answer that goes up to the head.
    pub(crate) async fn sync_end(&mut self, request_id: u64) {
        let (conversation_id, head_seq) = (CONVERSATION, self.head_seq);
        self.send(&proto::SyncEnd {
            request_id,
            conversation_id,
            last_seq: head_seq,
            head_seq,
        })
        .await;
    }

    /// The next Send's client_msg_id and payload.
    pub(crate) async fn take_send(&mut self) -> (ClientMsgId, Vec<u8>) {
        let frame = self.next().await;
        let ClientFrame::Send(send) = ClientFrame::parse(&frame, &Limits::CLIENT_FRAMES).unwrap()
        else {
            panic!("no Send")
        };
        (send.client_msg_id, send.payload.to_vec())
    }

    pub(crate) async fn ack(&mut self, client_msg_id: ClientMsgId) {
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
    pub(crate) async fn drain(mut self) {
        while let Some(Ok(_)) = self.socket.next().await {}
    }
}
