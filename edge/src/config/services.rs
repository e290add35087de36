//! The sections of the services that the distributed form needs, and their defaults. Looked at where
//! `log.kind` is "kafka" only.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::empty_is_none;
use super::secret::{Secret, SecretError, ServiceUrl};

/// `[kafka]`: the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kafka {
    /// Some of the brokers, host:port; the others are learned from them.
    pub brokers: Vec<String>,
    /// For SASL PLAIN; empty: no authentication.
    #[serde(with = "empty_is_none")]
    pub username: Option<String>,
    /// Its password.
    pub password: Secret,
    /// Or the file that has it in its first line.
    #[serde(with = "empty_is_none")]
    pub password_file: Option<PathBuf>,
    /// Whether the connections are encrypted.
    pub tls: bool,
    /// The authorities that may have signed the brokers' certificates, PEM; empty: the system's.
    #[serde(with = "empty_is_none")]
    pub ca_file: Option<PathBuf>,
    /// Names of topics and of the consumer group begin with it.
    pub topic_prefix: String,
    /// Partitions of a topic that `migrate` makes.
    pub partitions: u32,
    /// Copies of each partition of a topic that `migrate` makes.
    pub replication: u16,
    /// How long a record waits for others to travel with, ms.
    pub linger_ms: u32,
    /// After this a send that the brokers did not confirm is refused with a retry-after, ms.
    pub delivery_timeout_ms: u32,
    /// A consumer that was silent for this long loses its partitions to the others, ms.
    pub session_timeout_ms: u32,
}

/// `[cql]`: the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cql {
    /// Some of the nodes, host:port; the others are learned from them.
    pub nodes: Vec<String>,
    /// Empty: no authentication.
    #[serde(with = "empty_is_none")]
    pub username: Option<String>,
    /// Its password.
    pub password: Secret,
    /// Or the file that has it in its first line.
    #[serde(with = "empty_is_none")]
    pub password_file: Option<PathBuf>,
    /// Where the tables are.
    pub keyspace: String,
    /// The datacenter whose nodes are asked; empty: any.
    #[serde(with = "empty_is_none")]
    pub datacenter: Option<String>,
    /// How `migrate` makes the keyspace.
    pub replication_class: ReplicationClass,
    /// Copies of each row in a keyspace that `migrate` makes (in each datacenter).
    pub replication: u16,
}

/// How a keyspace spreads its copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplicationClass {
    /// So many in each datacenter.
    NetworkTopologyStrategy,
    /// So many in all, for a cluster of one datacenter.
    SimpleStrategy,
}

/// `[postgres]`: members, conversations, devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Postgres {
    /// `postgres://user@host:5432/database`.
    pub url: ServiceUrl,
    /// The password, where it is not in the URL.
    pub password: Secret,
    /// Or the file that has it in its first line.
    #[serde(with = "empty_is_none")]
    pub password_file: Option<PathBuf>,
    /// Connections at most.
    pub pool_size: u16,
}

/// `[redis]`: dedup and the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Redis {
    /// `redis://host:6379/0`.
    pub url: ServiceUrl,
    /// The password, where it is not in the URL.
    pub password: Secret,
    /// Or the file that has it in its first line.
    #[serde(with = "empty_is_none")]
    pub password_file: Option<PathBuf>,
    /// All keys begin with it.
    pub key_prefix: String,
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            brokers: Vec::new(),
            username: None,
            password: Secret::default(),
            password_file: None,
            tls: false,
            ca_file: None,
            topic_prefix: "rookery".to_owned(),
            partitions: 12,
            replication: 3,
            linger_ms: 5,
            delivery_timeout_ms: 10_000,
            session_timeout_ms: 10_000,
        }
    }
}

impl Default for Cql {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            username: None,
            password: Secret::default(),
            password_file: None,
            keyspace: "rookery".to_owned(),
            datacenter: None,
            replication_class: ReplicationClass::NetworkTopologyStrategy,
            replication: 3,
        }
    }
}

impl Default for Postgres {
    fn default() -> Self {
        Self {
            url: ServiceUrl::default(),
            password: Secret::default(),
            password_file: None,
            pool_size: 8,
        }
    }
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            url: ServiceUrl::default(),
            password: Secret::default(),
            password_file: None,
            key_prefix: "rookery:".to_owned(),
        }
    }
}

impl Kafka {
    /// The password, from wherever it is.
    pub fn secret(&self) -> Result<Secret, SecretError> {
        self.password.or_file(self.password_file.as_deref())
    }
}

impl Cql {
    /// The password, from wherever it is.
    pub fn secret(&self) -> Result<Secret, SecretError> {
        self.password.or_file(self.password_file.as_deref())
    }
}

impl Postgres {
    /// The password, where it is not in the URL.
    pub fn secret(&self) -> Result<Secret, SecretError> {
        self.password.or_file(self.password_file.as_deref())
    }
}

impl Redis {
    /// The password, where it is not in the URL.
    pub fn secret(&self) -> Result<Secret, SecretError> {
        self.password.or_file(self.password_file.as_deref())
    }
}

impl ReplicationClass {
    /// As CQL has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NetworkTopologyStrategy => "NetworkTopologyStrategy",
            Self::SimpleStrategy => "SimpleStrategy",
        }
    }
}
