//! Where the CQL cluster is, and how it is asked.

use std::fmt;
use std::time::Duration;

use crate::store::StoreError;
use crate::tls::Tls;

/// The longest keyspace name that servers take.
const KEYSPACE_CHARS_MAX: usize = 48;

/// See the module.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    /// `host:port` of some nodes; the others are found through them.
    pub nodes: Vec<String>,
    /// The role; empty where the cluster asks for none.
    pub username: String,
    /// Its password.
    pub password: String,
    /// How connections are encrypted; absent: not at all. The driver knows nodes by their addresses, so their
    /// certificates name those, or all one name, which is told here.
    pub tls: Option<Tls>,
    /// Lower-case letters, digits and underscores.
    pub keyspace: String,
    /// The datacenter whose nodes are asked. None: any, which is right where there is one.
    pub datacenter: Option<String>,
    /// What `migrate` creates the keyspace with, where it is missing.
    pub replication: Replication,
    /// The most that a connection may take to come up.
    pub connect_timeout: Duration,
    /// The most that a request may take, retries on other nodes and all.
    pub request_timeout: Duration,
    /// Requests of one `apply` or `persist` at a time.
    pub in_flight_max: usize,
}

/// How often a keyspace's rows are kept, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replication {
    /// `NetworkTopologyStrategy` or `SimpleStrategy`.
    pub class: String,
    /// Copies (per datacenter with `NetworkTopologyStrategy`).
    pub factor: u16,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            nodes: Vec::new(),
            username: String::new(),
            password: String::new(),
            tls: None,
            keyspace: "rookery".to_owned(),
            datacenter: None,
            replication: Replication {
                class: "NetworkTopologyStrategy".to_owned(),
                factor: 3,
            },
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(2),
            in_flight_max: 256,
        }
    }
}

impl fmt::Debug for Options {
    /// All but the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("nodes", &self.nodes)
            .field("username", &self.username)
            .field("tls", &self.tls)
            .field("keyspace", &self.keyspace)
            .field("datacenter", &self.datacenter)
            .field("replication", &self.replication)
            .field("connect_timeout", &self.connect_timeout)
            .field("request_timeout", &self.request_timeout)
            .field("in_flight_max", &self.in_flight_max)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// The keyspace's name as statements have it. Between quotes it may be a reserved word of CQL; each version
    /// of the servers reserves more of them.
    pub(super) fn quoted_keyspace(&self) -> String {
        format!("\"{}\"", self.keyspace)
    }

    /// Refuses what cannot work. The names become parts of statements, so this is also what keeps those
    /// whole.
    pub fn check(&self) -> Result<(), StoreError> {
        let refuse = |reason: String| {
            Err(StoreError::Failed {
                doing: "cql options",
                reason,
            })
        };
        if self.nodes.is_empty() {
            return refuse("no nodes".to_owned());
        }
        let named = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let keyspace = &self.keyspace;
        let begins = keyspace.starts_with(|c: char| c.is_ascii_lowercase());
        if !begins || !keyspace.chars().all(named) || keyspace.len() > KEYSPACE_CHARS_MAX {
            return refuse(format!(
                "keyspace `{keyspace}`: a lower-case letter first, then lower-case letters, digits and \
                 underscores, at most {KEYSPACE_CHARS_MAX}"
            ));
        }
        let class = &self.replication.class;
        if !["NetworkTopologyStrategy", "SimpleStrategy"].contains(&class.as_str()) {
            return refuse(format!(
                "replication class `{class}`: NetworkTopologyStrategy or SimpleStrategy"
            ));
        }
        if self.replication.factor == 0 || self.in_flight_max == 0 {
            return refuse("replication factor and in_flight_max are 1 or more".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_break_a_statement_are_refused_and_passwords_are_not_shown() {
        let good = Options {
            nodes: vec!["127.0.0.1:9042".to_owned()],
            password: "not to be seen".to_owned(),
            ..Options::default()
        };
        assert!(good.check().is_ok());
        assert!(!format!("{good:?}").contains("not to be seen"));
        for keyspace in ["", "1a", "A", "a;drop", "a b", &"a".repeat(49)] {
            let keyspace = keyspace.to_owned();
            assert!(
                Options {
                    keyspace,
                    ..good.clone()
                }
                .check()
                .is_err()
            );
        }
        let replication = Replication {
            class: "'} AND x".to_owned(),
            factor: 3,
        };
        assert!(
            Options {
                replication,
                ..good.clone()
            }
            .check()
            .is_err()
        );
        assert!(
            Options {
                nodes: Vec::new(),
                ..good
            }
            .check()
            .is_err()
        );
    }
}
