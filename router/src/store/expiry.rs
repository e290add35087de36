//! Drops rows that have run out, while tables are compacted. Reading checks the time as well, so
//! when a row goes is of no consequence.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::fjall::compaction::filter::{
    CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict,
};

use super::rows;
use crate::admission::dedup_holds;

/// Dedup entries: all run out.
pub(super) const DEDUP: &str = "dedup";
/// Openings: those of created conversations run out, direct ones never.
pub(super) const OPENS: &str = "opens";

/// Which filter a table has.
type Assigner = Arc<dyn Fn(&str) -> Option<Arc<dyn Factory>> + Send + Sync>;

/// Filters for the tables whose rows run out. They never read a clock: `note_time` tells them.
pub(super) fn filters(now_ms: &Arc<AtomicU64>) -> Assigner {
    let now_ms = Arc::clone(now_ms);
    Arc::new(move |table| {
        let all = match table {
            DEDUP => true,
            OPENS => false,
            _ => return None,
        };
        Some(Arc::new(Expiry {
            now_ms: Arc::clone(&now_ms),
            all,
        }))
    })
}

struct Expiry {
    now_ms: Arc<AtomicU64>,
    /// Every row of the table runs out, or only those of created conversations.
    all: bool,
}

impl Factory for Expiry {
    fn name(&self) -> &str {
        "expiry"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(Expire {
            now_ms: self.now_ms.load(Ordering::Relaxed),
            all: self.all,
        })
    }
}

struct Expire {
    now_ms: u64,
    all: bool,
}

impl CompactionFilter for Expire {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        if !self.all && item.key().first() != Some(&rows::OPEN_CREATED) {
            return Ok(Verdict::Keep);
        }
        Ok(match rows::leading_id(&item.value()?) {
            Some(id) if !dedup_holds(id, self.now_ms) => Verdict::Remove,
            _ => Verdict::Keep,
        })
    }
}
