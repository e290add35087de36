//! The log on real Kafka brokers: what every log promises (`log_support/promises.rs`) as `kafka::…`, and what
//! only this one does.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(
    clippy::disallowed_methods,
    reason = "a test that waits has to give up some day"
)]

#[path = "../log_support/mod.rs"]
mod log_support;
#[path = "../log_support/promises.rs"]
mod promises;

mod group;
mod topics;

promises::keeps! { kafka, crate::log_support::forms::Kafka }
