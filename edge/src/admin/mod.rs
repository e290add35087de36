//! The operator's way in: HTTP on a Unix socket in the data directory and, where it is asked for, on
//! loopback with a token. Metrics for Prometheus, health, who is connected and who was, and what an
//! operator does to a running server.
//!
//! It runs on one thread of its own and asks the shards by mail; whatever its clients do, the shards answer
//! bounded questions and wait for nobody. Nothing here is needed for serving: where this thread is slow,
//! only operators notice.

mod answer;
mod client;
mod connections;
mod deadline;
mod health;
mod metrics;
mod query;
mod revoke;
mod routes;
mod server;
mod status;
mod token;
mod trace;
mod view;

pub use client::{Client, ClientError, socket_path};
pub use health::Health;
pub(crate) use server::{Admin, Reserved};
pub use token::TokenError;
pub(crate) use view::{Changing, Command, Outcome, View};
