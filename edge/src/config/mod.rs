//! The configuration: what it holds, where its values come from, and how a mistake in it is told.
//!
//! Values come from four places, the later over the earlier: the defaults, the TOML file, the
//! environment (`ROOKERY_SECTION_KEY`), the command line. Every value remembers where it came from,
//! so that a mistake names its line; all mistakes are told at once. A [`Config`] that
//! [`Config::load`] returns has passed every check of [`check`].

mod address;
mod check;
mod check_services;
mod empty_is_none;
mod environment;
mod error;
mod fields;
mod identifiers;
mod list;
mod load;
mod nearest;
mod network;
mod secret;
mod sections;
mod services;
mod show;
mod source;
mod unused;

pub use address::listen_address;
pub use check::buffer_bytes_least;
pub use environment::Environment;
pub use error::{ConfigError, Mistake};
pub use load::Overrides;
pub use secret::{Secret, SecretError, ServiceUrl};
pub(crate) use sections::TOKEN_LIFETIME_MAX_S;
pub use sections::{
    Admin, Algorithm, Auth, AuthKey, Config, Drain, Engine, Limits, Listen, Log, LogFormat,
    LogKind, LogWriter, RateMode, Router, Tls, TlsVersion,
};
pub use services::{Cql, Encryption, Kafka, Postgres, Redis, ReplicationClass};
pub use source::Origin;

/// Where the data directory is when nobody says anything.
pub(crate) const DATA_DEFAULT: &str = "rookery-data";

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_environment;
#[cfg(test)]
mod tests_services;
