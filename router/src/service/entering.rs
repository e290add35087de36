//! Enters what has gathered into inboxes, a part at a time.
//!
//! On a thread of its own, or on that of the commits: a conversation of a thousand members is as many rows, and
//! nobody's delivery waits for them. One at a time: between what is due and what was entered nobody else looks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError};

use super::clock::Clock;
use super::inbox::Inboxes;
use crate::store::{Segment, Store, StoreError};

/// Rows that are entered at once: what an embedded store writes in a few ms.
const ROWS_MAX: usize = 1_024;

/// See the module.
pub(super) struct Entering {
    store: Arc<dyn Store>,
    inboxes: Arc<Inboxes>,
    clock: Arc<dyn Clock>,
    one: Mutex<()>,
}

impl Entering {
    pub(super) fn new(
        store: Arc<dyn Store>,
        inboxes: Arc<Inboxes>,
        clock: Arc<dyn Clock>,
    ) -> Entering {
        Entering {
            store,
            inboxes,
            clock,
            one: Mutex::default(),
        }
    }

    /// Enters what is due, or all of it. What was entered before an error stays so.
    pub(super) fn enter(&self, all: bool) -> Result<(), StoreError> {
        let _one = self.one.lock().unwrap_or_else(PoisonError::into_inner);
        let due = self.inboxes.due(self.clock.now_ms(), all);
        let mut rest = &due[..];
        while !rest.is_empty() {
            let mut rows = 0;
            let fits = |segment: &&Segment| {
                rows += segment.members.len();
                rows <= ROWS_MAX
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (part, after) = rest.split_at(count);
            self.store.mark(part)?;
            self.inboxes.entered(part);
            rest = after;
        }
        Ok(())
    }

    /// Enters every `interval`, and when it is woken, until whoever wakes it is gone, or the store fails.
    pub(super) fn run(&self, woken: &Receiver<()>, interval: Duration) -> Result<(), StoreError> {
        while woken.recv_timeout(interval) != Err(RecvTimeoutError::Disconnected) {
            self.enter(false)?;
        }
        Ok(())
    }
}
