//! The services of the distributed form, from the outside: how the configuration reaches their drivers,
//! whether each is as it must be, and how their schemas are made. Not here: what they are used for.

mod check;
mod identity;
mod migrate;
mod report;

use std::future::Future;

use anyhow::Context as _;
use rookery_router::log::kafka;
use rookery_router::record::MESSAGE_HEADER_BYTES;
use rookery_router::store::cql;
use rookery_router::tls::{Tls, TlsError};
use rookery_router::{postgres, redis};

use crate::config::{Config, Encryption, SecretError};

pub use check::{check, refuse_where_behind};
pub use identity::compare;
pub use migrate::{Step, migrate, plan};
pub use report::Checked;

/// What each driver is told.
#[derive(Clone, Debug)]
pub struct Services {
    /// The log.
    pub kafka: kafka::Options,
    /// Its topics, where they are made.
    pub topics: Topics,
    /// The store.
    pub cql: cql::Options,
    /// Members, conversations, devices.
    pub postgres: postgres::Options,
    /// Where that is, without its password.
    pub postgres_place: String,
    /// Dedup and the directory.
    pub redis: redis::Options,
    /// Where that is, without its password.
    pub redis_place: String,
}

/// How the topics are made.
#[derive(Clone, Copy, Debug)]
pub struct Topics {
    /// Of the topic of messages.
    pub partitions: u32,
    /// Of each partition.
    pub replication: u32,
}

/// A file that a section names cannot be used. The operator is to blame.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Of a password.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Of TLS.
    #[error("[{section}] {error}")]
    Tls {
        /// Which section.
        section: &'static str,
        /// What is wrong.
        error: TlsError,
    },
}

impl Services {
    /// Of a checked configuration. Reads the files of passwords and of TLS.
    pub fn of(config: &Config) -> Result<Self, FileError> {
        let (postgres, redis) = (&config.postgres, &config.redis);
        Ok(Self {
            kafka: kafka_options(config)?,
            topics: Topics {
                partitions: config.kafka.partitions,
                replication: config.kafka.replication.into(),
            },
            cql: cql_options(config)?,
            postgres: postgres::Options {
                password: postgres.secret()?.into_option(),
                tls: tls("postgres", postgres.encryption())?,
                pool_size: postgres.pool_size.into(),
                ..postgres::Options::new(postgres.url.reveal())
            },
            postgres_place: postgres.url.masked(),
            redis: redis::Options {
                password: redis.secret()?.into_option(),
                tls: tls("redis", redis.encryption())?,
                key_prefix: redis.key_prefix.clone(),
                ..redis::Options::new(redis.url.reveal())
            },
            redis_place: redis.url.masked(),
        })
    }

    /// Where each is, without secrets.
    pub fn places(&self) -> [(&'static str, String); 4] {
        [
            ("kafka", self.kafka.brokers.join(", ")),
            ("cql", self.cql.nodes.join(", ")),
            ("postgres", self.postgres_place.clone()),
            ("redis", self.redis_place.clone()),
        ]
    }
}

fn kafka_options(config: &Config) -> Result<kafka::Options, FileError> {
    let asked = &config.kafka;
    let defaults = kafka::Options::default();
    let longest = config.limits.payload_bytes_max as usize + MESSAGE_HEADER_BYTES;
    Ok(kafka::Options {
        brokers: asked.brokers.clone(),
        username: asked.username.clone(),
        password: asked.secret()?.into_option(),
        tls: tls("kafka", asked.encryption())?,
        topic_prefix: asked.topic_prefix.clone(),
        keyspace: config.cql.keyspace.clone(),
        linger_ms: asked.linger_ms,
        delivery_timeout_ms: asked.delivery_timeout_ms,
        session_timeout_ms: asked.session_timeout_ms,
        record_bytes_max: defaults.record_bytes_max.max(longest),
        ..defaults
    })
}

fn cql_options(config: &Config) -> Result<cql::Options, FileError> {
    let asked = &config.cql;
    Ok(cql::Options {
        nodes: asked.nodes.clone(),
        username: asked.username.clone().unwrap_or_default(),
        password: asked.secret()?.reveal().to_owned(),
        tls: tls("cql", asked.encryption())?,
        keyspace: asked.keyspace.clone(),
        datacenter: asked.datacenter.clone(),
        replication: cql::Replication {
            class: asked.replication_class.name().to_owned(),
            factor: asked.replication,
        },
        ..cql::Options::default()
    })
}

fn tls(section: &'static str, asked: Encryption<'_>) -> Result<Option<Tls>, FileError> {
    let loaded = asked.files().map(Tls::load).transpose();
    loaded.map_err(|error| FileError::Tls { section, error })
}

/// Drives a driver's future to its end on this thread.
fn block_on<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the drivers' runtime")?;
    Ok(runtime.block_on(work))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_said_is_what_the_drivers_think_best() {
        let mut config = Config::default();
        config.kafka.brokers.push("127.0.0.1:9092".into());
        config.cql.nodes.push("127.0.0.1:9042".into());
        let services = Services::of(&config).unwrap();
        let kafka = kafka::Options {
            brokers: vec!["127.0.0.1:9092".into()],
            ..kafka::Options::default()
        };
        assert!(services.kafka == kafka, "{:?}", services.kafka);
        services.kafka.check().unwrap();
        let cql = cql::Options {
            nodes: vec!["127.0.0.1:9042".into()],
            ..cql::Options::default()
        };
        assert_eq!(services.cql, cql);
        services.cql.check().unwrap();
        let postgres = postgres::Options::new("");
        assert_eq!(services.postgres.pool_size, postgres.pool_size);
        assert_eq!(
            services.redis.key_prefix,
            redis::Options::new("").key_prefix
        );
    }

    #[test]
    fn a_file_that_cannot_be_used_is_told_with_its_section_and_its_key() {
        let mut config = Config::default();
        config.redis.tls = true;
        config.redis.ca_file = Some("/nowhere/ca.pem".into());
        let error = Services::of(&config).unwrap_err().to_string();
        assert!(
            error.starts_with("[redis] ca_file /nowhere/ca.pem: "),
            "{error}"
        );
    }

    #[test]
    fn the_longest_message_fits_into_a_record() {
        let mut config = Config::default();
        config.limits.payload_bytes_max = 1 << 20;
        let services = Services::of(&config).unwrap();
        assert!(services.kafka.record_bytes_max > 1 << 20);
    }
}
