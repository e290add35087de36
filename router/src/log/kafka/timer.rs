//! The time of the log's own timers: when to do what, never what is written.

use std::time::Instant;

#[expect(
    clippy::disallowed_methods,
    reason = "its threads have timers of their own"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}
