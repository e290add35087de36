//! The sends of the store of messages, in memory, and away when a test says so. The only part of a
//! claim that is not real here: the tables have tests of their own.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rookery_router::admission::{Known, SendKey};
use rookery_router::store::cluster::Sends;
use rookery_router::store::{Claim, StoreError};

#[derive(Default)]
pub(crate) struct MemorySends {
    rows: Mutex<HashMap<SendKey, Known>>,
    away: AtomicBool,
    asked: AtomicUsize,
}

impl MemorySends {
    pub(crate) fn put(&self, claim: Claim) {
        self.rows.lock().unwrap().insert(claim.name(), claim.known);
    }

    pub(crate) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    /// How many ids were looked up so far.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Sends for MemorySends {
    async fn known_many(&self, sends: &[SendKey]) -> Result<Vec<Option<Known>>, StoreError> {
        self.asked.fetch_add(sends.len(), Ordering::Relaxed);
        if self.away.load(Ordering::Relaxed) {
            return Err(StoreError::Away {
                service: "cql",
                reason: "the test says so".to_owned(),
            });
        }
        let rows = self.rows.lock().unwrap();
        Ok(sends.iter().map(|key| rows.get(key).copied()).collect())
    }
}
