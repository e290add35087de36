//! What the TLS tests share: a certificate, handshakes of ours in memory, and rustls as a peer.
#![allow(clippy::unwrap_used, reason = "test code")]
#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(missing_docs, unreachable_pub, reason = "test code")]

use std::io::{Read, Write};
use std::sync::Arc;

use rookery_wire::tls::{
    ClientConfig, Error, Established, Handshake, Offer, Opened, Progress, ServerConfig, Session,
    Suite, Tickets, Verify,
};

pub struct Pki {
    pub chain: String,
    pub key: String,
}

/// A self-signed certificate for `localhost` and 127.0.0.1, valid now.
pub fn pki() -> Pki {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    Pki {
        chain: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
    }
}

impl Pki {
    pub fn server(&self, tickets: Tickets) -> ServerConfig {
        ServerConfig::from_pem(self.chain.as_bytes(), self.key.as_bytes(), tickets).unwrap()
    }

    pub fn client(&self, offer: Offer) -> ClientConfig {
        ClientConfig::new(Verify::Roots(self.chain.as_bytes()), offer).unwrap()
    }
}

pub fn only(suite: Suite) -> Offer {
    Offer {
        suite: Some(suite),
        ..Offer::default()
    }
}

pub struct End {
    pub session: Session,
    pub established: Established,
    /// What came behind the handshake.
    pub rest: Vec<u8>,
}

/// Feeds in pieces of `piece` bytes. `Ok(None)` while the handshake lasts.
pub fn feed(
    shake: &mut Handshake,
    bytes: &[u8],
    piece: usize,
    out: &mut Vec<u8>,
) -> Result<Option<End>, Error> {
    let mut at = 0;
    while at < bytes.len() {
        let end = bytes.len().min(at + piece);
        match shake.feed(&bytes[at..end], out)? {
            Progress::NeedMore => at = end,
            Progress::Done {
                session,
                consumed,
                established,
            } => {
                assert!(consumed <= end - at);
                let rest = bytes[at + consumed..].to_vec();
                return Ok(Some(End {
                    session,
                    established,
                    rest,
                }));
            }
        }
    }
    Ok(None)
}

/// Both ends are ours. Returns (server, client).
pub fn shake(server: &ServerConfig, client: &ClientConfig, piece: usize) -> (End, End) {
    let (mut up, mut down) = (Vec::new(), Vec::new());
    let mut client = Handshake::client(client, "localhost", &mut up).unwrap();
    let mut server = Handshake::server(server).unwrap();
    let (mut server_end, mut client_end) = (None, None);
    for _flight in 0..8 {
        let bytes = std::mem::take(&mut up);
        if server_end.is_none() {
            server_end = feed(&mut server, &bytes, piece, &mut down).unwrap();
        }
        let bytes = std::mem::take(&mut down);
        match &mut client_end {
            None => client_end = feed(&mut client, &bytes, piece, &mut up).unwrap(),
            // A ticket that came after the client was done.
            Some(end) => end.rest.extend_from_slice(&bytes),
        }
        if up.is_empty() && client_end.is_some() {
            return server_end.zip(client_end).unwrap();
        }
    }
    panic!("the handshake does not end");
}

/// Opens all of `stream`; returns the plaintext and how many records were handled. Keeps half a
/// record at the front of `stream`.
pub fn open_all(
    session: &mut Session,
    stream: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> (Vec<u8>, usize) {
    let (mut at, mut plain, mut handled) = (0, Vec::new(), 0);
    loop {
        match session.open(&mut stream[at..], out).unwrap() {
            Opened::NeedMore { .. } => break,
            Opened::Data { consumed, data } => {
                plain.extend_from_slice(data);
                at += consumed;
            }
            Opened::Handled { consumed } => {
                handled += 1;
                at += consumed;
            }
            Opened::CloseNotify { consumed } => {
                at += consumed;
                break;
            }
        }
    }
    stream.drain(..at);
    (plain, handled)
}

/// rustls, buffered, as the other end.
pub enum Rustls {
    Server(rustls::ServerConnection),
    Client(rustls::ClientConnection),
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

impl Rustls {
    pub fn client(pki: &Pki, suite: Option<Suite>, tls12: bool) -> Self {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        if let Some(suite) = suite {
            provider
                .cipher_suites
                .retain(|s| u16::from(s.suite()) == 0x1300 | suite as u16);
        }
        let versions: &[_] = if tls12 {
            &[&rustls::version::TLS12]
        } else {
            &[&rustls::version::TLS13]
        };
        let mut roots = rustls::RootCertStore::empty();
        for cert in certificates(pki) {
            roots.add(cert).unwrap();
        }
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let name = "localhost".try_into().unwrap();
        Self::Client(rustls::ClientConnection::new(Arc::new(config), name).unwrap())
    }

    pub fn server(pki: &Pki, tls12: bool) -> Self {
        use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
        let versions: &[_] = if tls12 {
            &[&rustls::version::TLS12]
        } else {
            &[&rustls::version::TLS13]
        };
        let key = PrivateKeyDer::from_pem_slice(pki.key.as_bytes()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates(pki), key)
            .unwrap();
        Self::Server(rustls::ServerConnection::new(Arc::new(config)).unwrap())
    }

    /// What it has to send.
    pub fn take(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Server(conn) => {
                while conn.wants_write() && conn.write_tls(&mut bytes).unwrap() > 0 {}
            }
            Self::Client(conn) => {
                while conn.wants_write() && conn.write_tls(&mut bytes).unwrap() > 0 {}
            }
        }
        bytes
    }

    /// Gives it bytes; returns the plaintext.
    pub fn give(&mut self, mut bytes: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let mut plain = Vec::new();
        while !bytes.is_empty() {
            match self {
                Self::Server(conn) => {
                    conn.read_tls(&mut bytes).unwrap();
                    conn.process_new_packets()?;
                    let _ = conn.reader().read_to_end(&mut plain);
                }
                Self::Client(conn) => {
                    conn.read_tls(&mut bytes).unwrap();
                    conn.process_new_packets()?;
                    let _ = conn.reader().read_to_end(&mut plain);
                }
            }
        }
        Ok(plain)
    }

    /// Seals `plain`.
    pub fn seal(&mut self, mut plain: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::new();
        while !plain.is_empty() {
            let count = match self {
                Self::Server(conn) => conn.writer().write(plain).unwrap(),
                Self::Client(conn) => conn.writer().write(plain).unwrap(),
            };
            plain = &plain[count..];
            sealed.extend_from_slice(&self.take());
        }
        sealed
    }

    /// A KeyUpdate that asks for one back.
    pub fn refresh(&mut self) -> Vec<u8> {
        match self {
            Self::Server(conn) => conn.refresh_traffic_keys().unwrap(),
            Self::Client(conn) => conn.refresh_traffic_keys().unwrap(),
        }
        self.take()
    }

    pub fn close(&mut self) -> Vec<u8> {
        match self {
            Self::Server(conn) => conn.send_close_notify(),
            Self::Client(conn) => conn.send_close_notify(),
        }
        self.take()
    }
}

fn certificates(pki: &Pki) -> Vec<rustls::pki_types::CertificateDer<'static>> {
    use rustls::pki_types::pem::PemObject;
    rustls::pki_types::CertificateDer::pem_slice_iter(pki.chain.as_bytes())
        .collect::<Result<_, _>>()
        .unwrap()
}

/// Our server against rustls's client. What rustls sealed meanwhile is in `rest`.
pub fn serve_rustls(config: &ServerConfig, peer: &mut Rustls, early: &[u8], piece: usize) -> End {
    let mut server = Handshake::server(config).unwrap();
    let mut out = Vec::new();
    let hello = peer.take();
    assert!(
        feed(&mut server, &hello, piece, &mut out)
            .unwrap()
            .is_none()
    );
    for _flight in 0..4 {
        peer.give(&std::mem::take(&mut out)).unwrap();
        let mut up = peer.take();
        if !early.is_empty() && !is_handshaking(peer) {
            // The Finished and the first data in one run of bytes.
            up.extend_from_slice(&peer.seal(early));
        }
        if let Some(end) = feed(&mut server, &up, piece, &mut out).unwrap() {
            peer.give(&out).unwrap();
            return end;
        }
    }
    panic!("the handshake does not end");
}

fn is_handshaking(peer: &Rustls) -> bool {
    match peer {
        Rustls::Server(conn) => conn.is_handshaking(),
        Rustls::Client(conn) => conn.is_handshaking(),
    }
}

/// Our client against rustls's server. What rustls sealed meanwhile (tickets) is in `rest`.
pub fn call_rustls(config: &ClientConfig, peer: &mut Rustls, piece: usize) -> End {
    let mut out = Vec::new();
    let mut client = Handshake::client(config, "localhost", &mut out).unwrap();
    for _flight in 0..4 {
        peer.give(&std::mem::take(&mut out)).unwrap();
        let down = peer.take();
        if let Some(mut end) = feed(&mut client, &down, piece, &mut out).unwrap() {
            peer.give(&out).unwrap();
            end.rest.extend_from_slice(&peer.take());
            return end;
        }
    }
    panic!("the handshake does not end");
}
