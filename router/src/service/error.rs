//! Why the router does not start; each variant says whose turn it is.

use std::path::PathBuf;

/// The router can't serve. Nothing was changed but what recovery itself does.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The operator gave a value that can't work.
    #[error("configuration: {0}")]
    Config(String),
    /// The operator must make the directory writable.
    #[error("data directory {path}: {source}")]
    DataDir {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The operator must say that what the store knows is enough.
    #[error(
        "{path}: the ceiling is damaged: it does not say below which time this node gave ids. With the \
         clock right remove the file: ids go on above the row of this node in the store's table `nodes`"
    )]
    Ceiling {
        /// Which.
        path: PathBuf,
    },
    /// Another process works in the directory.
    #[error("data directory {path} is in use by another process (it holds {path}/lock)")]
    Locked {
        /// Which.
        path: PathBuf,
    },
    /// The log can't be read; says where.
    #[error("log: {0}")]
    Log(String),
    /// The store can't be read. The log is the truth: see the operator's page for what to do.
    #[error("store {path}: {reason}")]
    Store {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The store was written by another version of the program.
    #[error("store {path} has layout version {found}, this program reads {expected}")]
    StoreVersion {
        /// Which.
        path: PathBuf,
        /// What stands in the store.
        found: u32,
        /// What this program writes.
        expected: u32,
    },
    /// The store is gone or older than the log reaches back, so it can't be rebuilt.
    #[error(
        "store {path} has records up to {applied}, but the log begins at {oldest}: those between \
         are lost; restore a backup of the store"
    )]
    StoreBehindLog {
        /// Which.
        path: PathBuf,
        /// The store holds every record below this position.
        applied: u64,
        /// The log's first position.
        oldest: u64,
    },
    /// The store holds records that the log lacks: it belongs to another log, or the log is gone.
    #[error("store {path} has records up to {applied}, but the log ends at {end}")]
    LogBehindStore {
        /// Which.
        path: PathBuf,
        /// The store holds every record below this position.
        applied: u64,
        /// The log's end.
        end: u64,
    },
    /// A service that the store needs is away, or not as it must be.
    #[error("{0}")]
    Service(String),
    /// The host gives no more threads.
    #[error("thread {name}: {source}")]
    Thread {
        /// Its name.
        name: &'static str,
        /// Why.
        source: std::io::Error,
    },
}
