//! One connection to a service, to tell apart what a driver's error does not: asked by the checks of an
//! operator, after a driver could not connect. Blocks for some seconds at most; changes nothing.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, RootCertStore, SignatureScheme, Stream};

use super::{Fault, Tls};

/// How long a server may take to connect, and for each answer.
const LIMIT: Duration = Duration::from_secs(2);

/// How a protocol begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Opening {
    /// With TLS, or in plain text with these bytes, which every server answers.
    Direct(&'static [u8]),
    /// With a question in plain text whether the server speaks TLS.
    Postgres,
}

/// Where to ask.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// `host:port`.
    pub(crate) address: String,
    pub(crate) opening: Opening,
    /// Whether the driver holds certificates to the server's address, whatever it is called.
    pub(crate) by_address: bool,
}

/// SSLRequest (<https://www.postgresql.org/docs/15/protocol-message-formats.html>).
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// StartupMessage of a user without a name, which is answered with an error.
const STARTUP: &[u8] = &[0, 0, 0, 15, 0, 3, 0, 0, b'u', b's', b'e', b'r', 0, 0, 0];

/// What is wrong between the server's TLS and ours, or between its lack of it and ours. Nothing where no such
/// thing was found, be it that the server cannot be reached at all.
pub(crate) fn probe(target: &Target, tls: Option<&Tls>) -> Option<Fault> {
    let found = match tls {
        None => speaks_tls(target).map(|speaks| speaks.then_some(Fault::InsistsOnTls)),
        Some(tls) => handshake(target, tls),
    };
    // Who cannot be reached is told by the driver.
    found.ok().flatten()
}

/// Whether the server begins with TLS and answers nothing else.
fn speaks_tls(target: &Target) -> io::Result<bool> {
    // PostgreSQL says by itself that it wants TLS. One that answers takes both, and one that is silent hangs.
    let Opening::Direct(hello) = target.opening else {
        return Ok(false);
    };
    if plain(target, hello)? != Plain::End {
        return Ok(false);
    }
    // Without authorities no certificate will do; to see one is enough.
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let mut socket = connect(target)?;
    let mut connection = begin(target, &socket, Arc::new(config))?;
    Ok(match connection.complete_io(&mut socket) {
        Ok(_) => true,
        Err(error) => matches!(
            rustls_error(&error),
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_))
        ),
    })
}

/// What comes of plain text.
#[derive(PartialEq, Eq)]
enum Plain {
    Answer,
    Silence,
    /// The connection ended, perhaps with an alert of TLS.
    End,
}

fn plain(target: &Target, hello: &[u8]) -> io::Result<Plain> {
    const TLS_ALERT: u8 = 21;
    let mut socket = connect(target)?;
    socket.write_all(hello)?;
    let mut first = [0];
    Ok(match socket.read(&mut first) {
        Ok(1) if first[0] != TLS_ALERT => Plain::Answer,
        Err(error) if is_timeout(&error) => Plain::Silence,
        _ => Plain::End,
    })
}

fn handshake(target: &Target, tls: &Tls) -> io::Result<Option<Fault>> {
    let mut socket = connect(target)?;
    let hello = match target.opening {
        Opening::Direct(hello) => hello,
        Opening::Postgres => {
            socket.write_all(&SSL_REQUEST)?;
            let mut answer = [0];
            socket.read_exact(&mut answer)?;
            if answer != *b"S" {
                return Ok(Some(Fault::NoTls));
            }
            STARTUP
        }
    };
    let asked = Arc::new(AtomicBool::new(false));
    let mut config = ClientConfig::clone(&tls.config());
    config.client_auth_cert_resolver = Arc::new(Asked {
        resolver: Arc::clone(&config.client_auth_cert_resolver),
        asked: Arc::clone(&asked),
    });
    // Whether the server refuses what it was shown is told with the handshake, or (TLS 1.3) after it.
    let refused = || {
        let ours = tls.files().certificate_file.is_some();
        let asked = asked.load(Ordering::Relaxed);
        asked.then_some(match ours {
            true => Fault::CertificateRefused,
            false => Fault::CertificateDemanded,
        })
    };
    let mut connection = begin(target, &socket, Arc::new(config))?;
    if let Err(error) = connection.complete_io(&mut socket) {
        return Ok(match rustls_error(&error) {
            Some(error @ rustls::Error::AlertReceived(_)) => refused().or(Fault::of(error)),
            Some(error) if Fault::of(error).is_some() => Fault::of(error),
            // Not a word of TLS, or it ended after it asked.
            _ => match (refused(), target.opening) {
                (Some(refused), _) => Some(refused),
                (None, Opening::Postgres) => None,
                (None, Opening::Direct(hello)) => {
                    (plain(target, hello)? == Plain::Answer).then_some(Fault::NoTls)
                }
            },
        });
    }
    let mut stream = Stream::new(&mut connection, &mut socket);
    let answered = stream
        .write_all(hello)
        .and_then(|()| stream.read(&mut [0; 64]));
    Ok(match answered {
        Ok(1..) => None,
        // Silence is a trouble of another kind.
        Err(error) if is_timeout(&error) => None,
        Ok(0) | Err(_) => refused(),
    })
}

fn connect(target: &Target) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in target.address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, LIMIT) {
            Ok(socket) => {
                socket.set_read_timeout(Some(LIMIT))?;
                socket.set_write_timeout(Some(LIMIT))?;
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn begin(
    target: &Target,
    socket: &TcpStream,
    config: Arc<ClientConfig>,
) -> io::Result<ClientConnection> {
    let host = match target.address.rsplit_once(':') {
        Some((host, _)) => host.trim_matches(['[', ']']),
        None => &target.address,
    };
    let name = match target.by_address {
        true => ServerName::from(socket.peer_addr()?.ip()),
        false => ServerName::try_from(host.to_owned()).map_err(io::Error::other)?,
    };
    ClientConnection::new(config, name).map_err(io::Error::other)
}

fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// What we would show, and whether the server asked.
#[derive(Debug)]
struct Asked {
    resolver: Arc<dyn ResolvesClientCert>,
    asked: Arc<AtomicBool>,
}

impl ResolvesClientCert for Asked {
    fn resolve(
        &self,
        root_hint_subjects: &[&[u8]],
        sigschemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.resolver.resolve(root_hint_subjects, sigschemes)
    }

    /// Without certificates a resolver is not asked.
    fn has_certs(&self) -> bool {
        true
    }
}
