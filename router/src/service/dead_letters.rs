//! Puts aside what can never be applied, for people to look at.

use std::sync::Arc;

use super::retry::{GiveUp, Retry};
use crate::log::{Log, Record};

/// See the module.
#[derive(Clone)]
pub(super) struct DeadLetters {
    pub(super) log: Arc<dyn Log>,
    pub(super) retry: Retry,
}

impl DeadLetters {
    /// Keeps a record as it came, with the reason. Durable when this returns, and only then may consuming
    /// go on behind it.
    pub(super) fn bury(&self, record: &Record, reason: &str) -> Result<(), GiveUp> {
        let (partition, offset) = (record.partition, record.offset);
        tracing::error!(%partition, %offset, reason, "a record cannot be applied and is put aside");
        self.retry
            .until(u32::MAX, || self.log.bury(record, reason))?;
        self.retry.counters.buried.add(1);
        Ok(())
    }
}
