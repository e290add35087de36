//! When a connection must end.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The longest that a connection may last, but for one that is told of a trace.
pub(super) const CONNECTION_MAX: Duration = Duration::from_secs(30);

/// See the module. A trace puts it off.
pub(super) struct Deadline(Mutex<Instant>);

impl Deadline {
    pub(super) fn at(at: Instant) -> Self {
        Self(Mutex::new(at))
    }

    fn get(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put_off(&self, until: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    pub(super) async fn passes(&self) {
        while Instant::now() < self.get() {
            tokio::time::sleep_until(self.get().into()).await;
        }
    }
}
