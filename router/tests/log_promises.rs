//! The embedded log keeps what every log promises (`log_support/promises.rs`), under either writer.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod log_support;
#[path = "log_support/promises.rs"]
mod promises;

promises::keeps! { plain, crate::log_support::forms::Plain }
promises::keeps! { glommio, crate::log_support::forms::Glommio }
