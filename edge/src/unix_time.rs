//! Wall-clock time as numbers, for files, frames and people. Before 1970 is 1970.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Seconds.
pub(crate) fn unix_s(time: SystemTime) -> u64 {
    since_1970(time).as_secs()
}

/// Milliseconds.
pub(crate) fn unix_ms(time: SystemTime) -> u64 {
    u64::try_from(since_1970(time).as_millis()).unwrap_or(u64::MAX)
}
