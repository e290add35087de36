//! The router: admission, ids, the log, the store, and fan-out.
//!
//! Decisions (`admission`, `hlc`, `identity`, `ids`, `outbox`, `placement`, `record`, `repetitions`, `sequencer`)
//! are pure: bytes and time come in as arguments. `service` gives them threads, queues and clocks. The log is
//! the truth: a sender is acked once its record is durable there, and the store is derived from it.

pub mod admission;
mod api;
mod bell;
mod ended;
mod generations;
pub mod hlc;
pub mod identity;
pub mod ids;
pub mod log;
mod outbox;
pub mod placement;
pub mod postgres;
pub mod problem;
mod receipts;
pub mod record;
pub mod redis;
mod repetitions;
pub mod sequencer;
pub mod service;
pub mod store;
pub mod tls;

pub use api::{Caller, DeviceKey, Event, Outlet, Request};
pub use service::clock::{Clock, SystemClock};
pub use service::config::{Config, PAGE_BYTES_MAX, READERS_MAX};
pub use service::counters::{Counters, Health};
pub use service::error::StartError;
pub use service::space::{DiskSpace, Space};
pub use service::{Busy, OpenedLog, RouterHandle, start, start_on, start_shared};
