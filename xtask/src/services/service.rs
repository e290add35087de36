//! The services that the distributed form needs, one per process, and where each listens.

use clap::ValueEnum;

/// A process that `cargo xtask services` looks after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Service {
    /// A Kafka broker and controller.
    #[value(name = "kafka-1")]
    Kafka1,
    /// Another.
    #[value(name = "kafka-2")]
    Kafka2,
    /// And the third.
    #[value(name = "kafka-3")]
    Kafka3,
    /// The CQL store.
    Cassandra,
    /// Conversations and members.
    Postgres,
    /// Dedup's front, and the directory.
    Redis,
}

impl Service {
    /// The slowest to start comes first.
    pub(crate) const ALL: [Self; 6] = [
        Self::Cassandra,
        Self::Kafka1,
        Self::Kafka2,
        Self::Kafka3,
        Self::Postgres,
        Self::Redis,
    ];

    /// The brokers, in the order of their node ids, which begin at 1.
    pub(crate) const BROKERS: [Self; 3] = [Self::Kafka1, Self::Kafka2, Self::Kafka3];

    /// Its name on the command line and of its folder.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kafka1 => "kafka-1",
            Self::Kafka2 => "kafka-2",
            Self::Kafka3 => "kafka-3",
            Self::Cassandra => "cassandra",
            Self::Postgres => "postgres",
            Self::Redis => "redis",
        }
    }

    /// Where it listens on 127.0.0.1: its usual port and 10,000, so that a service of the host is not in
    /// the way.
    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Kafka1 => 19092,
            Self::Kafka2 => 19093,
            Self::Kafka3 => 19094,
            Self::Cassandra => 19042,
            Self::Postgres => 15432,
            Self::Redis => 16379,
        }
    }

    /// Where it talks to others of its kind, or would: Kafka's controllers, Cassandra's nodes (its usual port
    /// and 10,000 again, which are those of no other service here).
    pub(super) fn peers_port(self) -> u16 {
        match self {
            Self::Cassandra => 17000,
            _ => self.port() + 100,
        }
    }

    /// All that anything here may listen on.
    pub(crate) fn ports() -> impl Iterator<Item = u16> {
        Self::ALL
            .into_iter()
            .flat_map(|service| [service.port(), service.peers_port(), service.tls_port()])
    }

    /// Where it takes connections with TLS: the same port where its protocol allows it.
    pub(super) fn tls_port(self) -> u16 {
        match self {
            Self::Kafka1 | Self::Kafka2 | Self::Kafka3 => self.port() + 200,
            Self::Redis => self.port() + 1,
            Self::Cassandra | Self::Postgres => self.port(),
        }
    }

    /// The node id of a broker.
    pub(super) fn broker(self) -> Option<usize> {
        let at = Self::BROKERS.iter().position(|&broker| broker == self)?;
        Some(at + 1)
    }
}
