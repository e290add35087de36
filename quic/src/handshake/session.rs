//! What quinn-proto takes for its TLS: rustls, with the 1-RTT keys kept back.
//!
//! quinn-proto's `crypto::Session` is a public trait. This one gives it the Initial and Handshake keys and never the
//! third set; so it shakes hands, retransmits and says that it is connected, and never sends nor reads a 1-RTT
//! packet. What TLS says behind its Finished (a ticket) is kept for our CRYPTO stream. Our transport parameters are
//! written here, with the connection ids that quinn-proto chose.

use std::any::Any;
use std::sync::Arc;

use quinn_proto::crypto::{self, ExportKeyingMaterialError, KeyPair, UnsupportedVersion};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectError, ConnectionId, Side, TransportError, TransportErrorCode};
use rustls::pki_types::ServerName;
use rustls::quic::{Connection, KeyChange, Keys, Suite, Version};

use super::retry;
use super::secrets::{self, Heard, listen};
use crate::cid::CidKey;
use crate::error::{Code, Error};
use crate::keys::{Generation, HeaderKey};
use crate::parameters::Parameters;

/// What a handshake has brought. It is taken out through `handshake_data`, the trait's one way to the caller.
#[derive(Clone)]
pub(super) struct Outcome {
    pub(super) rx: (Generation, HeaderKey),
    pub(super) tx: (Generation, HeaderKey),
    pub(super) peer: Parameters,
    pub(super) alpn: Option<Vec<u8>>,
    pub(super) server_name: Option<String>,
    /// What TLS says after its Finished.
    pub(super) crypto: Vec<u8>,
}

/// What the ends of a process have in common.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) key: Arc<CidKey>,
    /// Without connection ids and token.
    pub(super) parameters: Parameters,
    /// Of Initial packets.
    pub(super) suite: Suite,
}

impl Shared {
    /// Our transport parameters with the ids in quinn-proto's.
    fn parameters(&self, chosen: &TransportParameters, is_server: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        chosen.write(&mut bytes);
        let chosen = Parameters::read(&bytes, true).unwrap_or_default();
        let source = chosen.initial_source;
        let parameters = Parameters {
            original_destination: chosen.original_destination,
            initial_source: source,
            retry_source: chosen.retry_source,
            reset_token: source
                .filter(|_| is_server)
                .map(|cid| self.key.reset_token(cid.as_slice())),
            ..self.parameters.clone()
        };
        bytes.clear();
        parameters.write(&mut bytes);
        bytes
    }

    fn keys(&self, cid: &ConnectionId, side: Side) -> crypto::Keys {
        let side = match side {
            Side::Client => rustls::Side::Client,
            Side::Server => rustls::Side::Server,
        };
        boxed(self.suite.keys(cid, side, Version::V1))
    }
}

/// The server's side of quinn-proto's configuration.
pub(super) struct ServerTls {
    pub(super) rustls: Arc<rustls::ServerConfig>,
    pub(super) shared: Shared,
}

impl crypto::ServerConfig for ServerTls {
    fn initial_keys(
        &self,
        version: u32,
        cid: &ConnectionId,
    ) -> Result<crypto::Keys, UnsupportedVersion> {
        check(version)?;
        Ok(self.shared.keys(cid, Side::Server))
    }

    fn retry_tag(&self, _version: u32, original: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        // A tag that is none makes a client ignore the packet.
        retry::tag(original, &[packet]).unwrap_or_default()
    }

    fn start_session(
        self: Arc<Self>,
        _version: u32,
        parameters: &TransportParameters,
    ) -> Box<dyn crypto::Session> {
        let bytes = self.shared.parameters(parameters, true);
        let config = Arc::clone(&self.rustls);
        let inner = rustls::quic::ServerConnection::new(config, Version::V1, bytes);
        Box::new(Session::new(
            inner.map(Connection::Server),
            self.shared.clone(),
            Side::Server,
        ))
    }
}

/// The client's side.
pub(super) struct ClientTls {
    pub(super) rustls: Arc<rustls::ClientConfig>,
    pub(super) shared: Shared,
}

impl crypto::ClientConfig for ClientTls {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        parameters: &TransportParameters,
    ) -> Result<Box<dyn crypto::Session>, ConnectError> {
        check(version)?;
        let bytes = self.shared.parameters(parameters, false);
        let name = ServerName::try_from(server_name.to_owned())
            .map_err(|_| ConnectError::InvalidServerName(server_name.to_owned()))?;
        let config = Arc::clone(&self.rustls);
        let inner = rustls::quic::ClientConnection::new(config, Version::V1, name, bytes);
        Ok(Box::new(Session::new(
            inner.map(Connection::Client),
            self.shared.clone(),
            Side::Client,
        )))
    }
}

fn check(version: u32) -> Result<(), UnsupportedVersion> {
    (version == 1).then_some(()).ok_or(UnsupportedVersion)
}

/// A handshake's TLS.
struct Session {
    /// `Err` where rustls refused the configuration: the handshake fails with the first message.
    inner: Result<Connection, rustls::Error>,
    shared: Shared,
    side: Side,
    heard: Heard,
    /// The 1-RTT keys, checked; from here on nothing is given to quinn-proto.
    withheld: Option<[(Generation, HeaderKey); 2]>,
    /// rustls has changed to 1-RTT keys.
    is_past: bool,
    /// What TLS said since.
    after: Vec<u8>,
}

impl Session {
    fn new(inner: Result<Connection, rustls::Error>, shared: Shared, side: Side) -> Self {
        Self {
            inner,
            shared,
            side,
            heard: Heard::default(),
            withheld: None,
            is_past: false,
            after: Vec::new(),
        }
    }

    fn peer(&self) -> Result<Option<(&[u8], Parameters)>, Error> {
        let Some(bytes) = self
            .inner
            .as_ref()
            .ok()
            .and_then(|inner| inner.quic_transport_parameters())
        else {
            return Ok(None);
        };
        let parameters = Parameters::read(bytes, self.side.is_client())?;
        Ok(Some((bytes, parameters)))
    }

    /// Keeps the keys back, where what was heard is what rustls uses.
    fn withhold(&mut self, keys: &Keys) {
        let (ours, theirs) = match self.side {
            Side::Client => (self.heard.client, self.heard.server),
            Side::Server => (self.heard.server, self.heard.client),
        };
        self.is_past = true;
        self.withheld = secrets::are_of(theirs, &keys.remote)
            .zip(secrets::are_of(ours, &keys.local))
            .map(|(rx, tx)| [rx, tx]);
    }
}

impl crypto::Session for Session {
    fn initial_keys(&self, cid: &ConnectionId, side: Side) -> crypto::Keys {
        self.shared.keys(cid, side)
    }

    /// An [`Outcome`], once the handshake has one.
    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        let inner = self.inner.as_ref().ok()?;
        let [rx, tx] = self.withheld.clone()?;
        Some(Box::new(Outcome {
            rx,
            tx,
            peer: self.peer().ok()??.1,
            alpn: inner.alpn_protocol().map(<[u8]>::to_vec),
            server_name: match inner {
                Connection::Server(server) => server.server_name().map(str::to_owned),
                Connection::Client(_) => None,
            },
            crypto: self.after.clone(),
        }))
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        None
    }

    fn early_crypto(&self) -> Option<(Box<dyn crypto::HeaderKey>, Box<dyn crypto::PacketKey>)> {
        None
    }

    fn early_data_accepted(&self) -> Option<bool> {
        Some(false)
    }

    fn is_handshaking(&self) -> bool {
        self.inner
            .as_ref()
            .is_ok_and(|inner| inner.is_handshaking())
    }

    fn read_handshake(&mut self, bytes: &[u8]) -> Result<bool, TransportError> {
        let inner = match &mut self.inner {
            Ok(inner) => inner,
            Err(error) => return Err(internal(error)),
        };
        listen(&mut self.heard, || inner.read_hs(bytes)).map_err(|error| match inner.alert() {
            Some(alert) => TransportError {
                code: TransportErrorCode::crypto(alert.into()),
                frame: None,
                reason: error.to_string(),
            },
            None => internal(&error),
        })?;
        Ok(false)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        let Some((bytes, _)) = self.peer().map_err(refused)? else {
            return Ok(None);
        };
        let read = TransportParameters::read(self.side, &mut &*bytes);
        read.map(Some).map_err(TransportError::from)
    }

    fn write_handshake(&mut self, out: &mut Vec<u8>) -> Option<crypto::Keys> {
        let inner = self.inner.as_mut().ok()?;
        let out = if self.is_past { &mut self.after } else { out };
        match listen(&mut self.heard, || inner.write_hs(out))? {
            KeyChange::Handshake { keys } => Some(boxed(keys)),
            KeyChange::OneRtt { keys, .. } => {
                self.withhold(&keys);
                None
            }
        }
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn crypto::PacketKey>>> {
        None
    }

    fn is_valid_retry(&self, original: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        payload.split_last_chunk().is_some_and(|(token, tag)| {
            retry::tag(original, &[header, token]).is_some_and(|expected| expected == *tag)
        })
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        let inner = self.inner.as_ref().map_err(|_| ExportKeyingMaterialError)?;
        inner
            .export_keying_material(output, label, Some(context))
            .map(drop)
            .map_err(|_| ExportKeyingMaterialError)
    }
}

fn internal(error: &rustls::Error) -> TransportError {
    TransportError {
        code: TransportErrorCode::INTERNAL_ERROR,
        frame: None,
        reason: error.to_string(),
    }
}

/// What our own reading of transport parameters did not like.
fn refused(error: Error) -> TransportError {
    debug_assert_eq!(error.code, Code::TRANSPORT_PARAMETER_ERROR);
    TransportError {
        code: TransportErrorCode::TRANSPORT_PARAMETER_ERROR,
        frame: None,
        reason: error.reason.to_owned(),
    }
}

fn boxed(keys: Keys) -> crypto::Keys {
    crypto::Keys {
        header: KeyPair {
            local: Box::new(keys.local.header),
            remote: Box::new(keys.remote.header),
        },
        packet: KeyPair {
            local: Box::new(keys.local.packet),
            remote: Box::new(keys.remote.packet),
        },
    }
}
