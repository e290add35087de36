//! rustls's connection objects: the one file that drives them and takes their keys out.
//!
//! rustls 0.24 renames most of what is used here. It is fed one record at a time, so that it never
//! sees a byte that belongs to the session behind the handshake: a KeyUpdate answered while resident
//! would lose its reply at extraction.

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{CommonState, ConnectionTrafficSecrets, ExtractedSecrets, ProtocolVersion};

use super::record::FRAGMENT_MAX;
use super::secrets::{Heard, listen};
use super::{Alert, Blame, Error, Role, Suite};

/// Room for what a record adds to a fragment in TLS 1.2: header, explicit nonce, tag, and slack.
const RECORD_OVERHEAD: usize = 64;

/// A connection that rustls holds.
pub(super) enum Conn {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// What rustls said to one look at its input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Look again.
    Again,
    /// The handshake wants another record.
    Blocked,
    /// The handshake is over and every record shown is used up.
    Ready,
    /// The peer sends nothing more.
    PeerClosed,
}

/// The keys of a TLS 1.3 connection, by rustls's account.
pub(super) struct Extracted {
    pub(super) suite: Suite,
    secrets: ExtractedSecrets,
}

impl Conn {
    pub(super) fn role(&self) -> Role {
        match self {
            Self::Server(_) => Role::Server,
            Self::Client(_) => Role::Client,
        }
    }

    /// Lets rustls look at `input` once. Returns how many bytes at its front are used up. Plaintext
    /// is appended to `plain`, what goes to the peer to `out`, secrets to `heard`.
    pub(super) fn look(
        &mut self,
        input: &mut [u8],
        heard: &mut Heard,
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> (usize, Result<Turn, rustls::Error>) {
        listen(heard, || match self {
            Self::Server(conn) => settle(conn.process_tls_records(input), plain, out),
            Self::Client(conn) => settle(conn.process_tls_records(input), plain, out),
        })
    }

    /// Appends what rustls still wants to say after it failed: the alert. It must not look for more
    /// than that: a failed connection keeps spans of an input that is gone, and would panic.
    pub(super) fn drain(&mut self, out: &mut Vec<u8>) {
        let (mut heard, mut plain) = (Heard::default(), Vec::new());
        while self.common().wants_write() {
            let (_, Ok(Turn::Again)) = self.look(&mut [], &mut heard, &mut plain, out) else {
                return;
            };
        }
    }

    /// Encrypts at most [`FRAGMENT_MAX`] bytes. Only when the last turn was [`Turn::Ready`].
    pub(super) fn encrypt(&mut self, fragment: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        debug_assert!(fragment.len() <= FRAGMENT_MAX);
        self.write(
            fragment.len() + RECORD_OVERHEAD,
            out,
            |state, room| match state {
                Writer::Server(mut writer) => writer.encrypt(fragment, room),
                Writer::Client(mut writer) => writer.encrypt(fragment, room),
            },
        )
    }

    pub(super) fn close_notify(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        self.write(2 + RECORD_OVERHEAD, out, |state, room| match state {
            Writer::Server(mut writer) => writer.queue_close_notify(room),
            Writer::Client(mut writer) => writer.queue_close_notify(room),
        })
    }

    fn write(
        &mut self,
        room: usize,
        out: &mut Vec<u8>,
        write: impl FnOnce(Writer<'_>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), Error> {
        let writer = match self {
            Self::Server(conn) => match conn.process_tls_records(&mut []).state {
                Ok(ConnectionState::WriteTraffic(writer)) => Writer::Server(writer),
                _ => return Err(Error::Ended),
            },
            Self::Client(conn) => match conn.process_tls_records(&mut []).state {
                Ok(ConnectionState::WriteTraffic(writer)) => Writer::Client(writer),
                _ => return Err(Error::Ended),
            },
        };
        let start = out.len();
        out.resize(start + room, 0);
        let written = write(writer, &mut out[start..]);
        out.truncate(start + *written.as_ref().unwrap_or(&0));
        match written {
            Ok(_) => Ok(()),
            Err(EncryptError::EncryptExhausted) => Err(Error::Ended),
            Err(EncryptError::InsufficientSize(_)) => {
                Err(Error::Internal("a TLS 1.2 record is longer than its room"))
            }
        }
    }

    fn common(&self) -> &CommonState {
        match self {
            Self::Server(conn) => conn,
            Self::Client(conn) => conn,
        }
    }

    /// The facts about a finished handshake.
    pub(super) fn facts(&self) -> Facts {
        let common = self.common();
        Facts {
            tls13: common.protocol_version() == Some(ProtocolVersion::TLSv1_3),
            suite: common
                .negotiated_cipher_suite()
                .and_then(|suite| suite.suite().as_str()),
            group: common
                .negotiated_key_exchange_group()
                .and_then(|group| group.name().as_str()),
            alpn: common.alpn_protocol().map(<[u8]>::to_vec),
            resumed: common.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        }
    }

    /// Ends the rustls object of a TLS 1.3 connection and takes its keys.
    pub(super) fn extract(self) -> Result<Extracted, Error> {
        let secrets = match self {
            Self::Server(conn) => conn
                .dangerous_into_kernel_connection()
                .map(|(secrets, kernel)| (secrets, kernel.negotiated_cipher_suite())),
            Self::Client(conn) => conn
                .dangerous_into_kernel_connection()
                .map(|(secrets, kernel)| (secrets, kernel.negotiated_cipher_suite())),
        };
        let (secrets, suite) = secrets.map_err(|_| Error::Internal("rustls kept its secrets"))?;
        let [high, low] = u16::from(suite.suite()).to_be_bytes();
        match Suite::from_low_byte(low) {
            Some(suite) if high == 0x13 => Ok(Extracted { suite, secrets }),
            _ => Err(Error::Internal(
                "rustls agreed on a suite that we did not offer",
            )),
        }
    }
}

/// What a handshake agreed on.
pub(super) struct Facts {
    pub(super) tls13: bool,
    pub(super) suite: Option<&'static str>,
    pub(super) group: Option<&'static str>,
    pub(super) alpn: Option<Vec<u8>>,
    pub(super) resumed: bool,
}

impl Extracted {
    /// Sequence numbers (rx, tx).
    pub(super) fn seqs(&self) -> (u64, u64) {
        (self.secrets.rx.0, self.secrets.tx.0)
    }

    /// Keys and ivs (rx, tx).
    pub(super) fn keys(&self) -> Option<[(&[u8], &[u8]); 2]> {
        Some([way(&self.secrets.rx.1)?, way(&self.secrets.tx.1)?])
    }
}

/// Key and iv of one direction.
fn way(secrets: &ConnectionTrafficSecrets) -> Option<(&[u8], &[u8])> {
    match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
            Some((key.as_ref(), iv.as_ref()))
        }
        _ => None,
    }
}

enum Writer<'a> {
    Server(rustls::unbuffered::WriteTraffic<'a, rustls::server::ServerConnectionData>),
    Client(rustls::unbuffered::WriteTraffic<'a, rustls::client::ClientConnectionData>),
}

fn settle<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    plain: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> (usize, Result<Turn, rustls::Error>) {
    let turn = status.state.and_then(|state| match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                plain.extend_from_slice(record?.payload);
            }
            Ok(Turn::Again)
        }
        ConnectionState::EncodeTlsData(mut data) => {
            encode(out, |room| data.encode(room));
            Ok(Turn::Again)
        }
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(Turn::Again)
        }
        ConnectionState::BlockedHandshake => Ok(Turn::Blocked),
        ConnectionState::WriteTraffic(_) => Ok(Turn::Ready),
        ConnectionState::PeerClosed | ConnectionState::Closed => Ok(Turn::PeerClosed),
        // Early data is not offered by our configurations; the enum is open besides.
        _ => Err(rustls::Error::General(
            "rustls is in a state that we do not know".into(),
        )),
    });
    (status.discard, turn)
}

/// Appends a chunk whose size only the failed attempt tells.
fn encode(out: &mut Vec<u8>, mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) {
    let start = out.len();
    if let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) =
        encode(&mut [])
    {
        out.resize(start + required_size, 0);
        let written = encode(&mut out[start..]).unwrap_or(0);
        out.truncate(start + written);
    }
}

/// Our account of a rustls error. `sent` is what was appended to `out` with it.
pub(super) fn judge(error: &rustls::Error, sent: &[u8]) -> Error {
    use rustls::Error as E;
    let blame = match error {
        E::AlertReceived(alert) => return Error::PeerAlert(Alert(u8::from(*alert))),
        E::PeerIncompatible(_) | E::NoApplicationProtocol => Blame::PeerIncompatible,
        E::InvalidCertificate(_)
        | E::UnsupportedNameType
        | E::NoCertificatesPresented
        | E::InvalidCertRevocationList(_) => Blame::PeerUntrusted,
        E::InappropriateMessage { .. }
        | E::InappropriateHandshakeMessage { .. }
        | E::InvalidMessage(_)
        | E::PeerMisbehaved(_)
        | E::DecryptError
        | E::PeerSentOversizedRecord => Blame::PeerMisbehaved,
        _ => Blame::Us,
    };
    let alert = match sent {
        [.., super::record::ALERT, 3, _, 0, 2, 2, description] => Some(Alert(*description)),
        _ => None,
    };
    Error::Handshake {
        why: error.to_string().into(),
        blame,
        alert,
    }
}
