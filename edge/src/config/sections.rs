//! The sections and their defaults. `docs/rookery.toml` says the same to people; a test holds the two
//! together.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::services::{Cql, Kafka, Postgres, Redis};
use super::{address, empty_is_none, network};

/// Everything that `rookery serve` can be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The directory that holds everything the server writes.
    pub data: PathBuf,
    /// Where clients are awaited.
    pub listen: Listen,
    /// The certificate.
    pub tls: Tls,
    /// Who may log in.
    pub auth: Auth,
    /// What a client may do, and how long it may take.
    pub limits: Limits,
    /// How clients are sent to other servers, and how a server stops.
    pub drain: Drain,
    /// The shard engine.
    pub engine: Engine,
    /// The log and the store.
    pub router: Router,
    /// Which log and store; what is written to stderr.
    pub log: Log,
    /// Where operators ask and act.
    pub admin: Admin,
    /// The distributed log.
    pub kafka: Kafka,
    /// The distributed store.
    pub cql: Cql,
    /// Members, conversations and devices of the distributed form.
    pub postgres: Postgres,
    /// Dedup and the directory of the distributed form.
    pub redis: Redis,
}

/// `[listen]`: addresses of the listeners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// WebSocket over TLS.
    #[serde(deserialize_with = "address::list")]
    pub tls: Vec<SocketAddr>,
    /// WebSocket without TLS, for a proxy that ends TLS in front, or for tests.
    #[serde(deserialize_with = "address::list")]
    pub plain: Vec<SocketAddr>,
    /// Those of them whose connections begin with a PROXY protocol header.
    #[serde(deserialize_with = "address::list")]
    pub proxy_protocol: Vec<SocketAddr>,
    /// Who may connect to them.
    #[serde(deserialize_with = "network::list")]
    pub proxies: Vec<IpNet>,
}

/// `[tls]`: PEM files, or none of both for a self-signed certificate in the data directory; versions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// The chain, the server's own certificate first.
    #[serde(with = "empty_is_none")]
    pub certificate: Option<PathBuf>,
    /// The private key of the first certificate.
    #[serde(with = "empty_is_none")]
    pub key: Option<PathBuf>,
    /// Keys of session tickets, which several servers may have.
    #[serde(with = "empty_is_none")]
    pub ticket_keys_file: Option<PathBuf>,
    /// The oldest version of TLS that is spoken.
    pub min_version: TlsVersion,
}

/// The versions of TLS that can be spoken at all (RFC 8996 ended the others).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    Tls13,
}

/// `[auth]`: how a login token is verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// The keys. None: a development key is made in the data directory.
    pub keys: Vec<AuthKey>,
    /// A JSON Web Key Set with more of them.
    #[serde(with = "empty_is_none")]
    pub jwks_file: Option<PathBuf>,
    /// Where such a set is fetched.
    #[serde(with = "empty_is_none")]
    pub jwks_url: Option<String>,
    /// How often it is fetched, s.
    pub jwks_refresh_s: u32,
    /// The least time between two fetches, where a token names a key that is not in it, s.
    pub jwks_refresh_min_s: u32,
    /// The `iss` that a token must have.
    #[serde(with = "empty_is_none")]
    pub issuer: Option<String>,
    /// An `aud` that a token must have.
    #[serde(with = "empty_is_none")]
    pub audience: Option<String>,
    /// By how much the issuer's clock may differ from ours, ms.
    pub leeway_ms: u64,
    /// From a token's `iat` to its `exp` at most, s.
    pub token_lifetime_max_s: u32,
}

/// A month: what is revoked is remembered for as long.
pub(crate) const TOKEN_LIFETIME_MAX_S: u32 = 31 * 86_400;

impl Auth {
    /// How long after it was issued a token may be valid, ms.
    pub fn token_life_ms(&self) -> u64 {
        u64::from(self.token_lifetime_max_s) * 1_000 + self.leeway_ms
    }

    /// Whether the development key stands in.
    pub fn has_no_keys(&self) -> bool {
        self.keys.is_empty() && self.jwks_file.is_none() && self.jwks_url.is_none()
    }
}

/// One of `[[auth.keys]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthKey {
    /// The `kid` of tokens signed with it; needed where there are several keys.
    #[serde(default, with = "empty_is_none")]
    pub id: Option<String>,
    /// The one algorithm that it is used with.
    pub algorithm: Algorithm,
    /// HS256: the secret, as raw bytes. ES256 and EdDSA: the public key, PEM.
    pub file: PathBuf,
}

/// The signature algorithms of tokens. There is deliberately no `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    #[serde(rename = "HS256")]
    #[value(name = "HS256", alias = "hs256")]
    Hs256,
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    #[value(name = "ES256", alias = "es256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    #[value(name = "EdDSA", alias = "eddsa")]
    EdDsa,
}

/// `[limits]`: what a client may do, and how long it may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Open connections on this host, those that have not logged in included.
    pub connections_max: u32,
    /// Connections of one source address (of one IPv6 /64); 0: any number.
    pub connections_per_address_max: u32,
    /// Handshakes that one source address may begin in a second; 0: any number.
    pub handshakes_per_address_per_second_max: u32,
    /// Addresses that the two above do not count.
    #[serde(deserialize_with = "network::list")]
    pub exempt_networks: Vec<IpNet>,
    /// Connections that have not logged in, on this host.
    pub handshakes_max: u32,
    /// How long a shard's turn should take while handshakes wait, us.
    pub handshake_turn_us: u32,
    /// Bytes of memory above which nobody is let in; 0: seven eighths of the host's.
    pub memory_max_bytes: u64,
    /// Devices of one user that are connected at a time.
    pub devices_per_user_max: u16,
    /// Bytes of a message's payload.
    pub payload_bytes_max: u32,
    /// Messages in one answer to Sync or History.
    pub page_messages_max: u32,
    /// From the TCP connection to a verified login, TLS included.
    pub login_timeout_ms: u32,
    /// Clients are asked to send something at least this often.
    pub heartbeat_interval_ms: u32,
    /// A connection that sent nothing for this long is closed.
    pub idle_timeout_ms: u32,
    /// Pings that a shard sends per second, at most; where its connections need more, both times above
    /// stretch.
    pub pings_per_second_max: u32,
    /// Clients wait a random time up to this before they connect again, or longer where there are many.
    pub reconnect_jitter_ms: u32,
    /// Logins that this host can take in a second; 0: 3,000 for each shard.
    pub logins_per_second: u32,
    /// Bytes that may wait for a client that reads slowly.
    pub send_queue_bytes_max: u32,
    /// Bytes that may wait for all clients together, and of them: send queues, and messages that are not whole; 0: a
    /// quarter of what `memory_max_bytes` is.
    pub buffer_bytes_max: u64,
    /// Conversations that a user may open; 0: any number.
    pub conversations_opened_per_user_max: u32,
    /// Conversations that a user may be in and still be put into one more; 0: any number.
    pub conversations_per_user_max: u32,
    /// What a user's Sends and openings may cost in a second, bytes that are delivered; 0: any number.
    pub send_bytes_per_user_per_second_max: u64,
    /// The same of all Sends to one conversation.
    pub send_bytes_per_conversation_per_second_max: u64,
    /// For how long of both who was silent has saved up.
    pub send_burst_ms: u32,
    /// What becomes of a Send that is over one of them.
    pub rate_mode: RateMode,
}

/// What becomes of a Send over its user's or its conversation's rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RateMode {
    /// It is counted and passes.
    Count,
    /// It is refused.
    Refuse,
}

/// `[drain]`: how clients are sent to other servers, and how a server stops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// Over how long clients are told to go, and have gone, after SIGTERM or where a drain names none.
    pub window_ms: u32,
    /// How long the server says that it is not ready before it takes nobody any more.
    pub unready_ms: u32,
    /// Clients that are told in a second, at most; 0: as many as the window needs.
    pub clients_per_second_max: u32,
    /// WebSocket URLs of other servers, told to clients.
    pub alternatives: Vec<String>,
    /// How long a stopping server lets its last connections end politely, from the last that it told on.
    pub grace_ms: u32,
}

/// `[admin]`: the operator's way in, over HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// The socket for the operator's verbs; none: `admin.sock` in the data directory.
    #[serde(with = "empty_is_none")]
    pub socket: Option<PathBuf>,
    /// Loopback addresses, for Prometheus and scripts, with a token.
    #[serde(deserialize_with = "address::list")]
    pub listen: Vec<SocketAddr>,
    /// The token; none: `admin.token` in the data directory, made where there is none.
    #[serde(with = "empty_is_none")]
    pub token_file: Option<PathBuf>,
}

/// `[engine]`: the shard engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Engine {
    /// Shards, one thread each; 0 for one per core that this process may use.
    pub shards: u16,
    /// Whether each shard's thread stays on one core.
    pub pin: bool,
}

/// `[router]`: the commit log and the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Router {
    /// This host's number in message ids; no two hosts have the same.
    pub node_id: u16,
    /// Who writes the commit log.
    pub log_writer: LogWriter,
    /// Bytes of one segment of the commit log.
    pub log_segment_bytes: u64,
    /// Segments at most: the bound of the log's disk space.
    pub log_segments_max: u32,
    /// Threads that serve Sync, History, Outbox and the lists.
    pub readers: u16,
    /// Bytes of the store's block cache.
    pub store_cache_bytes: u64,
    /// With less free space than this, new messages are refused.
    pub space_reserve_bytes: u64,
}

/// The writers of the commit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogWriter {
    /// One thread, direct and synchronous writes.
    Plain,
    /// glommio's DMA files.
    Glommio,
}

/// `[log]`: which log the messages go to (and so which store they are read from), and what is written to
/// stderr.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Which log.
    pub kind: LogKind,
    /// For people or for machines.
    pub format: LogFormat,
    /// Levels by module, as `tracing_subscriber::filter::Targets` has them.
    pub filter: String,
}

/// The logs, each with the store that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogKind {
    /// The commit log and the store in the data directory: one host, no service beside it.
    Embedded,
    /// Kafka, with CQL, PostgreSQL and Redis.
    Kafka,
}

/// The forms of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line of text each.
    Text,
    /// One JSON object per line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from(super::DATA_DEFAULT),
            listen: Listen::default(),
            tls: Tls::default(),
            auth: Auth::default(),
            limits: Limits::default(),
            drain: Drain::default(),
            engine: Engine::default(),
            router: Router::default(),
            log: Log::default(),
            admin: Admin::default(),
            kafka: Kafka::default(),
            cql: Cql::default(),
            postgres: Postgres::default(),
            redis: Redis::default(),
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            tls: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8443))],
            plain: Vec::new(),
            proxy_protocol: Vec::new(),
            proxies: Vec::new(),
        }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            jwks_file: None,
            jwks_url: None,
            jwks_refresh_s: 300,
            jwks_refresh_min_s: 10,
            issuer: None,
            audience: None,
            leeway_ms: 5_000,
            token_lifetime_max_s: TOKEN_LIFETIME_MAX_S,
        }
    }
}

/// This host's own addresses.
fn loopback() -> Vec<IpNet> {
    let v4 = Ipv4Net::new_assert(Ipv4Addr::LOCALHOST, 8).trunc();
    let v6 = Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128);
    vec![v4.into(), v6.into()]
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 100_000,
            connections_per_address_max: 10_000,
            handshakes_per_address_per_second_max: 500,
            exempt_networks: loopback(),
            handshakes_max: 16_384,
            handshake_turn_us: 1_000,
            memory_max_bytes: 0,
            devices_per_user_max: 5,
            payload_bytes_max: 65_536,
            page_messages_max: 100,
            login_timeout_ms: 8_000,
            heartbeat_interval_ms: 30_000,
            idle_timeout_ms: 75_000,
            pings_per_second_max: 2_000,
            reconnect_jitter_ms: 5_000,
            logins_per_second: 0,
            send_queue_bytes_max: 1 << 20,
            buffer_bytes_max: 0,
            conversations_opened_per_user_max: 10_000,
            conversations_per_user_max: 100_000,
            send_bytes_per_user_per_second_max: 64 << 20,
            send_bytes_per_conversation_per_second_max: 256 << 20,
            send_burst_ms: 16_000,
            rate_mode: RateMode::Refuse,
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            window_ms: 30_000,
            unready_ms: 0,
            clients_per_second_max: 0,
            alternatives: Vec::new(),
            grace_ms: 10_000,
        }
    }
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            shards: 0,
            pin: true,
        }
    }
}

impl Default for Router {
    fn default() -> Self {
        Self {
            node_id: 0,
            log_writer: LogWriter::Plain,
            log_segment_bytes: 64 << 20,
            log_segments_max: 64,
            readers: 2,
            store_cache_bytes: 64 << 20,
            space_reserve_bytes: 256 << 20,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            kind: LogKind::Embedded,
            format: LogFormat::Text,
            filter: "info,fjall=warn,lsm_tree=warn,scylla=warn,tokio_postgres=warn".to_owned(),
        }
    }
}

impl Engine {
    /// The number of shards, with 0 resolved to the cores that this process may use.
    pub fn shard_count(&self) -> u16 {
        match self.shards {
            0 => std::thread::available_parallelism()
                .map_or(1, |cores| u16::try_from(cores.get()).unwrap_or(u16::MAX)),
            some => some,
        }
    }
}
