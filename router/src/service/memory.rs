//! What the router's queues and caches take when all of them are full: a sum of their bounds. What only one of the
//! two forms has is counted for both.

use super::config::Config;

/// A request or record in a queue, beside its payload.
const ENTRY_BYTES: u64 = 256;

/// Conversations and members in memory: audiences (2 x 2,000,000 x 16 B), intake's members (2 x 1,000,000 x 8 B),
/// heads (2 x 100,000 x 60 B), inboxes' last segments (100,000 x 200 B), openings (2 x 100,000 x 16 B), rates of users
/// and of conversations (2 x 2 x 65,536 x 50 B), conversations of users (2 x 100,000 x 60 B).
const CACHES_BYTES: u64 =
    64_000_000 + 16_000_000 + 12_000_000 + 20_000_000 + 3_200_000 + 13_200_000 + 12_000_000;

/// Memtables of the embedded store: the messages' of 32 MiB, seven of 8 MiB, and as much again while it is flushed;
/// the dedup register of the other form (400,000 claims of some 100 B) takes less.
const STORE_BYTES: u64 = 2 * ((32 << 20) + 7 * (8 << 20));

/// Between consumer, feeder, applier and the store's thread: 4, 8 and 8 MiB, and what a batch is decoded to.
const APPLY_BYTES: u64 = 32 << 20;

/// What waits aside for members, 16 MiB; a row of an inbox with its conversation, 216 B; a receipt, 120 B.
const ASIDE_BYTES: u64 = 16 << 20;
const INBOX_ROW_BYTES: u64 = 216;
const RECEIPT_BYTES: u64 = 120;

impl Config {
    /// Bytes of memory that a router takes at most, threads' stacks and the allocator's slack not included.
    pub fn memory_bytes_max(&self) -> u64 {
        let queues = (self.intake_queue_max + self.read_queue_max + self.in_flight_max) as u64;
        let pages =
            self.readers as u64 * 2 * self.page_bytes_max.max(self.payload_bytes_max) as u64;
        let receipts = (self.receipts_queue_max + self.receipts_max) as u64 * RECEIPT_BYTES;
        self.intake_bytes_max
            + 2 * self.in_flight_bytes_max
            + queues * ENTRY_BYTES
            + self.log.queue_bytes_max as u64
            + pages
            + receipts
            + 2 * self.inbox_rows_max as u64 * INBOX_ROW_BYTES
            + self.store_cache_bytes
            + CACHES_BYTES
            + STORE_BYTES
            + APPLY_BYTES
            + ASIDE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_take_less_than_a_gibibyte() {
        let bytes = Config::new("unused").memory_bytes_max();
        assert!((400 << 20..1 << 30).contains(&bytes), "{bytes}");
    }
}
