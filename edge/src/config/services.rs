//! The sections of the services that the distributed form needs, and their defaults. Looked at where
//! `log.kind` is "kafka" only.

use std::path::PathBuf;

use rookery_router::tls;
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
    /// The authorities that may have signed the servers' certificates, PEM; empty: the system's.
    #[serde(with = "empty_is_none")]
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, for servers that ask for one, PEM; empty: none.
    #[serde(with = "empty_is_none")]
    pub certificate_file: Option<PathBuf>,
    /// Its private key, PEM.
    #[serde(with = "empty_is_none")]
    pub key_file: Option<PathBuf>,
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
    /// Whether the connections are encrypted.
    pub tls: bool,
    /// The authorities that may have signed the servers' certificates, PEM; empty: the system's.
    #[serde(with = "empty_is_none")]
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, for servers that ask for one, PEM; empty: none.
    #[serde(with = "empty_is_none")]
    pub certificate_file: Option<PathBuf>,
    /// Its private key, PEM.
    #[serde(with = "empty_is_none")]
    pub key_file: Option<PathBuf>,
    /// The name that the servers' certificates bear; empty: the one that they are reached by.
    #[serde(with = "empty_is_none")]
    pub server_name: Option<String>,
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
    /// Whether the connections are encrypted.
    pub tls: bool,
    /// The authorities that may have signed the servers' certificates, PEM; empty: the system's.
    #[serde(with = "empty_is_none")]
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, for servers that ask for one, PEM; empty: none.
    #[serde(with = "empty_is_none")]
    pub certificate_file: Option<PathBuf>,
    /// Its private key, PEM.
    #[serde(with = "empty_is_none")]
    pub key_file: Option<PathBuf>,
    /// The name that the servers' certificates bear; empty: the one that they are reached by.
    #[serde(with = "empty_is_none")]
    pub server_name: Option<String>,
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
    /// Whether the connections are encrypted.
    pub tls: bool,
    /// The authorities that may have signed the servers' certificates, PEM; empty: the system's.
    #[serde(with = "empty_is_none")]
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, for servers that ask for one, PEM; empty: none.
    #[serde(with = "empty_is_none")]
    pub certificate_file: Option<PathBuf>,
    /// Its private key, PEM.
    #[serde(with = "empty_is_none")]
    pub key_file: Option<PathBuf>,
    /// The name that the servers' certificates bear; empty: the one that they are reached by.
    #[serde(with = "empty_is_none")]
    pub server_name: Option<String>,
    /// All keys begin with it.
    pub key_prefix: String,
}

/// What a section says about encryption, the same in each.
#[derive(Clone, Copy, Debug)]
pub struct Encryption<'c> {
    /// Whether there is any; without it the rest must not be set.
    pub tls: bool,
    /// As in the section.
    pub ca_file: Option<&'c PathBuf>,
    /// As in the section.
    pub certificate_file: Option<&'c PathBuf>,
    /// As in the section.
    pub key_file: Option<&'c PathBuf>,
    /// As in the section; Kafka's has none.
    pub server_name: Option<&'c String>,
}

impl Encryption<'_> {
    /// What is named, where connections are encrypted.
    pub fn files(&self) -> Option<tls::Files> {
        self.tls.then(|| tls::Files {
            ca_file: self.ca_file.cloned(),
            certificate_file: self.certificate_file.cloned(),
            key_file: self.key_file.cloned(),
            server_name: self.server_name.cloned(),
        })
    }
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
            certificate_file: None,
            key_file: None,
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
            tls: false,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            server_name: None,
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
            tls: false,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            server_name: None,
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
            tls: false,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            server_name: None,
            key_prefix: "rookery:".to_owned(),
        }
    }
}

impl Kafka {
    /// The password, from wherever it is.
    pub fn secret(&self) -> Result<Secret, SecretError> {
        self.password.or_file(self.password_file.as_deref())
    }

    /// How its connections are encrypted.
    pub fn encryption(&self) -> Encryption<'_> {
        Encryption {
            tls: self.tls,
            ca_file: self.ca_file.as_ref(),
            certificate_file: self.certificate_file.as_ref(),
            key_file: self.key_file.as_ref(),
            server_name: None,
        }
    }
}

impl Cql {
    /// The password, from wherever it is.
    pub fn secret(&self) -> Result<Secret, SecretError> {
        self.password.or_file(self.password_file.as_deref())
    }

    /// How its connections are encrypted.
    pub fn encryption(&self) -> Encryption<'_> {
        Encryption {
            tls: self.tls,
            ca_file: self.ca_file.as_ref(),
            certificate_file: self.certificate_file.as_ref(),
            key_file: self.key_file.as_ref(),
            server_name: self.server_name.as_ref(),
        }
    }
}

impl Postgres {
    /// The password, where it is not in the URL.
    pub fn secret(&self) -> Result<Secret, SecretError> {
        self.password.or_file(self.password_file.as_deref())
    }

    /// How its connections are encrypted.
    pub fn encryption(&self) -> Encryption<'_> {
        Encryption {
            tls: self.tls,
            ca_file: self.ca_file.as_ref(),
            certificate_file: self.certificate_file.as_ref(),
            key_file: self.key_file.as_ref(),
            server_name: self.server_name.as_ref(),
        }
    }
}

impl Redis {
    /// The password, where it is not in the URL.
    pub fn secret(&self) -> Result<Secret, SecretError> {
        self.password.or_file(self.password_file.as_deref())
    }

    /// How its connections are encrypted.
    pub fn encryption(&self) -> Encryption<'_> {
        Encryption {
            tls: self.tls,
            ca_file: self.ca_file.as_ref(),
            certificate_file: self.certificate_file.as_ref(),
            key_file: self.key_file.as_ref(),
            server_name: self.server_name.as_ref(),
        }
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
