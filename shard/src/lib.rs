//! The engine: one thread, a few io_uring rings and one slot table per shard.
//!
//! Bytes travel one way: completion, slot, [`Handler`], send queue, submission. The engine knows no
//! protocol; it holds connections for a few bytes each, hands bytes and events to the handler that
//! stands above it, and queues what the handler asks for. Nothing on a shard's thread blocks or waits
//! for another thread; every queue is bounded.
//!
//! All hand-written `unsafe` of the project is in [`mod@sys`].

pub mod arena;
pub mod config;
pub mod counters;
pub mod driver;
pub mod engine;
pub mod fabric;
pub mod handler;
mod holders;
mod id;
pub mod limits;
pub mod mailbox;
mod outgoing;
pub mod probe;
pub mod shard;
pub mod sim;
pub mod slot;
mod start;
mod sweep;
pub mod sys;
mod tag;
pub mod wheel;

pub use arena::Arena;
pub use config::Config;
pub use counters::Counters;
pub use driver::TcpInfo;
pub use engine::{Engine, Progress};
pub use fabric::{Fabric, Stopper};
pub use handler::{Cause, Close, Handler, Origin};
pub use holders::Holders;
pub use id::ConnId;
pub use mailbox::{Inbox, Postboxes};
pub use shard::{SendError, Shard};
pub use start::{JoinError, Running, StartError, preflight, start};
pub use sweep::Sweep;
