//! Drops rows that have run out, while tables are compacted. Reading checks the time as well, so
//! when a row goes is of no consequence.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::fjall::compaction::filter::{
    CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict,
};

use super::{INBOX_TTL_MS, Place, SLOT_MS, receipt_holds, rows};
use crate::admission::dedup_holds;

/// Dedup entries: all run out.
pub(super) const DEDUP: &str = "dedup";
/// Openings: those of created conversations run out, direct ones never.
pub(super) const OPENS: &str = "opens";

/// Receipts of devices: all run out.
pub(super) const RECEIPTS: &str = "receipts";
/// Segments of inboxes: all run out.
pub(super) const INBOX: &str = "inbox";

/// Which filter a table has.
type Assigner = Arc<dyn Fn(&str) -> Option<Arc<dyn Factory>> + Send + Sync>;

/// Filters for the tables whose rows run out. They never read a clock: `note_time` tells them.
pub(super) fn filters(now_ms: &Arc<AtomicU64>) -> Assigner {
    let now_ms = Arc::clone(now_ms);
    Arc::new(move |table| {
        let holds: Holds = match table {
            DEDUP => id_holds,
            OPENS => |key, value, now_ms| {
                key.first() != Some(&rows::OPEN_CREATED) || id_holds(key, value, now_ms)
            },
            RECEIPTS => |_, value, now_ms| {
                rows::receipt(value).is_none_or(|(_, at_ms)| receipt_holds(at_ms, now_ms))
            },
            INBOX => |key, _, now_ms| {
                let entered = |place: Place| u64::from(place.slot.0) * SLOT_MS;
                rows::place(key).is_none_or(|place| now_ms < entered(place) + INBOX_TTL_MS)
            },
            _ => return None,
        };
        Some(Arc::new(Expiry {
            now_ms: Arc::clone(&now_ms),
            holds,
        }))
    })
}

/// Whether a row, by its key and value, is still kept at a time. One without its shape is: reading it
/// says so.
type Holds = fn(&[u8], &[u8], u64) -> bool;

fn id_holds(_: &[u8], value: &[u8], now_ms: u64) -> bool {
    rows::leading_u64(value).is_none_or(|id| dedup_holds(id, now_ms))
}

struct Expiry {
    now_ms: Arc<AtomicU64>,
    holds: Holds,
}

impl Factory for Expiry {
    fn name(&self) -> &str {
        "expiry"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(Expire {
            now_ms: self.now_ms.load(Ordering::Relaxed),
            holds: self.holds,
        })
    }
}

struct Expire {
    now_ms: u64,
    holds: Holds,
}

impl CompactionFilter for Expire {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        // `now_ms` is 0 until `note_time`: everything holds then.
        Ok(
            match (self.holds)(item.key(), &item.value()?, self.now_ms) {
                true => Verdict::Keep,
                false => Verdict::Remove,
            },
        )
    }
}
