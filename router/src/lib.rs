//! The router: admission, ids, the log, the store, and fan-out.
//!
//! Decisions (`admission`, `bucket`, `hlc`, `ids`, `record`, `sequencer`) are pure: bytes and time
//! come in as arguments. `service` gives them threads, queues and clocks. The log is the truth: a
//! sender is acked once its record is durable there, and the store is derived from it.

mod api;
pub mod log;
pub mod service;

pub use api::{Caller, Event, Outlet, Request};
pub use service::clock::{Clock, SystemClock};
pub use service::config::Config;
pub use service::counters::{Counters, Health};
pub use service::error::StartError;
pub use service::space::{DiskSpace, Space};
pub use service::{Busy, RouterHandle, start};
