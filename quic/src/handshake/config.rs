//! What we offer and accept in a handshake, for both roles.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{hkdf, hmac};
use quinn_proto::{
    EndpointConfig, IdleTimeout, ServerConfig as QuinnServer, TransportConfig, VarInt,
};
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self as provider, cipher_suite::TLS13_AES_128_GCM_SHA256};
use rustls::server::{NoServerSessionStorage, ProducesTickets, ResolvesServerCert};

use super::secrets::Listener;
use super::session::{ClientTls, ServerTls, Shared};
use crate::cid::CidKey;
use crate::connection::{MAX_ACK_DELAY_MS, PEER_CIDS_MAX};
use crate::parameters::Parameters;
use crate::streams::Windows;

/// The largest datagram that we take: an Ethernet frame's.
const UDP_PAYLOAD_MAX: u64 = 1_500;

/// Between two stateless resets of quinn-proto's, which we do not send. It is added to the time: the largest
/// duration would overflow.
const RESET_INTERVAL: Duration = Duration::from_secs(365 * 86_400);

/// Why a configuration cannot be made: a failure of the cryptographic library.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the TLS library refused the configuration: {0}")]
pub struct ConfigError(String);

impl From<rustls::Error> for ConfigError {
    fn from(error: rustls::Error) -> Self {
        Self(error.to_string())
    }
}

/// Who we are to those who connect.
pub struct Server {
    /// The certificates.
    pub certificates: Arc<dyn ResolvesServerCert>,
    /// Makes one ticket for each handshake; none are made without.
    pub tickets: Option<Arc<dyn ProducesTickets>>,
}

/// What all handshakes of a socket have in common.
pub(super) struct Config {
    pub(super) key: Arc<CidKey>,
    pub(super) windows: Windows,
    pub(super) max_idle_s: u16,
    pub(super) handshakes_max: usize,
    pub(super) retry_above: usize,
    pub(super) shard: u8,
    pub(super) shards: u8,
    pub(super) endpoint: Arc<EndpointConfig>,
    pub(super) server: Option<Arc<QuinnServer>>,
    pub(super) client: Option<Arc<ClientTls>>,
    pub(super) transport: Arc<TransportConfig>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("windows", &self.windows)
            .field("max_idle_s", &self.max_idle_s)
            .field("handshakes_max", &self.handshakes_max)
            .finish_non_exhaustive()
    }
}

/// The numbers of a [`Config`].
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// What is granted.
    pub windows: Windows,
    /// A connection that is silent for so long is gone; never for 0.
    pub max_idle_s: u16,
    /// A handshake takes as long as that between two messages.
    pub handshake_timeout: Duration,
    /// Handshakes at once. More are not answered.
    pub handshakes_max: usize,
    /// Handshakes at once above which a client has to show first that its address is its own (RFC 9000
    /// section 8.1.2): it is sent a Retry, and nothing is kept of it until it comes back with the token.
    pub retry_above: usize,
    /// The shard that this is, below `shards`: what a Retry gives out leads here too.
    pub shard: u8,
    /// The number of shards, at least 1.
    pub shards: u8,
}

impl Config {
    /// `secret` is 32 random bytes that outlive a restart: the keys of connection ids, of stateless resets and of
    /// address validation tokens come of it. `cids` says the id of the next connection.
    ///
    /// # Errors
    /// The cryptographic library's.
    pub(super) fn new(
        limits: &Limits,
        secret: &[u8; 32],
        seed: [u8; 32],
        cids: super::NextCid,
    ) -> Result<Self, ConfigError> {
        let key = CidKey::new(secret).ok_or(ConfigError("a key of AES".to_owned()))?;
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let mut endpoint = EndpointConfig::new(Arc::new(root));
        endpoint
            .supported_versions(vec![1])
            .cid_generator(move || Box::new(cids.clone()))
            // What is for nobody is answered by whoever knows all slots.
            .min_reset_interval(RESET_INTERVAL)
            .rng_seed(Some(seed));
        let mut transport = TransportConfig::default();
        let timeout = limits.handshake_timeout.as_millis();
        let timeout = VarInt::from_u32(u32::try_from(timeout).unwrap_or(u32::MAX));
        transport
            .max_idle_timeout(Some(IdleTimeout::from(timeout)))
            .mtu_discovery_config(None)
            .enable_segmentation_offload(false)
            .datagram_receive_buffer_size(None);
        Ok(Self {
            key: Arc::new(key),
            windows: limits.windows,
            max_idle_s: limits.max_idle_s,
            handshakes_max: limits.handshakes_max,
            retry_above: limits.retry_above,
            shard: limits.shard,
            shards: limits.shards,
            endpoint: Arc::new(endpoint),
            server: None,
            client: None,
            transport: Arc::new(transport),
        })
    }

    /// Answers those who connect and offer one of the protocols.
    pub(super) fn serve(
        &mut self,
        server: Server,
        alpn: &[&[u8]],
        secret: &[u8; 32],
    ) -> Result<(), ConfigError> {
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(server.certificates);
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config.key_log = Arc::new(Listener);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = usize::from(server.tickets.is_some());
        if let Some(tickets) = server.tickets {
            config.ticketer = tickets;
        }
        let tls = ServerTls {
            rustls: Arc::new(config),
            shared: self.shared()?,
        };
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"rookery address validation");
        let mut quinn = QuinnServer::new(Arc::new(tls), Arc::new(salt.extract(secret)));
        quinn.transport_config(Arc::clone(&self.transport));
        self.server = Some(Arc::new(quinn));
        Ok(())
    }

    /// Connects to servers that speak one of the protocols.
    pub(super) fn connect(
        &mut self,
        verifier: Arc<dyn ServerCertVerifier>,
        alpn: &[&[u8]],
    ) -> Result<(), ConfigError> {
        let mut config = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config.key_log = Arc::new(Listener);
        config.resumption = rustls::client::Resumption::disabled();
        self.client = Some(Arc::new(ClientTls {
            rustls: Arc::new(config),
            shared: self.shared()?,
        }));
        Ok(())
    }

    fn shared(&self) -> Result<Shared, ConfigError> {
        let suite = TLS13_AES_128_GCM_SHA256
            .tls13()
            .and_then(rustls::Tls13CipherSuite::quic_suite);
        Ok(Shared {
            key: Arc::clone(&self.key),
            parameters: parameters(&self.windows, self.max_idle_s),
            suite: suite.ok_or(ConfigError("no suite for QUIC".to_owned()))?,
        })
    }
}

/// One suite only: keys of one length are what a parked connection is made of, and every implementation of TLS 1.3
/// has this one (RFC 8446 section 9.1).
fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![TLS13_AES_128_GCM_SHA256],
        ..provider::default_provider()
    })
}

/// Our transport parameters, the same for all connections.
fn parameters(windows: &Windows, max_idle_s: u16) -> Parameters {
    let stream_bytes = u64::from(windows.stream_bytes);
    Parameters {
        max_idle_timeout: Duration::from_secs(u64::from(max_idle_s)),
        max_udp_payload: UDP_PAYLOAD_MAX,
        max_data: u64::from(windows.bytes),
        stream_data_bidi_local: stream_bytes,
        stream_data_bidi_remote: stream_bytes,
        stream_data_uni: stream_bytes,
        streams_bidi: u64::from(windows.bidi),
        streams_uni: u64::from(windows.uni),
        max_ack_delay: Duration::from_millis(MAX_ACK_DELAY_MS),
        // We keep no second id of the peer's that a new address would need (RFC 9000 section 9.5).
        no_migration: true,
        cid_limit: PEER_CIDS_MAX,
        ..Parameters::default()
    }
}
