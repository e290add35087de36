//! What the router is started with. Every maximum of the router stands here, with its reason.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::atomic::AtomicCell;

use super::clock::{Clock, SystemClock};
use super::error::StartError;
use super::space::{DiskSpace, Space};
use crate::admission::{ConversationLimits, RateLimits};
use crate::ids::NODE_MAX;
use crate::log;
use crate::record::MESSAGE_HEADER_BYTES;

/// Payload bytes of one answer, where nobody asks for less.
pub const PAGE_BYTES_MAX: usize = 256 << 10;

/// Threads that read, at most: each waits for the store, and more of them only wait together.
pub const READERS_MAX: usize = 64;

/// More than the log counts for an entry of its queue besides the body.
const LOG_ENTRY_BYTES: u64 = 128;

/// The router's options; [`Config::new`] gives defaults for all but the directory.
#[derive(Clone)]
pub struct Config {
    /// Everything that the router writes lies in here: `log/`, `store/`, `lock`.
    pub data_dir: PathBuf,
    /// Goes into every message id: 0 to 1,023, different for every host.
    pub node_id: u16,
    /// The commit log's own options.
    pub log: log::Options,
    /// Writing requests that wait for admission; beyond it `submit` answers [`Busy`](crate::Busy).
    pub intake_queue_max: usize,
    /// Bytes of payload that wait for admission; beyond it, Busy too.
    pub intake_bytes_max: u64,
    /// Sync, History, Outbox and List requests that wait for a reader, a sixteenth of them of one user;
    /// beyond it, Busy too.
    pub read_queue_max: usize,
    /// How long they may wait for one where the store is on other hosts; then they are refused.
    pub read_wait_max: Duration,
    /// Records admitted and not yet in the store; beyond it admission waits, so that no queue
    /// behind it is ever full.
    pub in_flight_max: usize,
    /// The same in bytes of records.
    pub in_flight_bytes_max: u64,
    /// Threads that serve Sync, History, Outbox and List: 1 to [`READERS_MAX`].
    pub readers: usize,
    /// What users and conversations may cost in a second, of this process. May be changed while it runs.
    pub rates: Arc<AtomicCell<RateLimits>>,
    /// How many conversations a user may have.
    pub conversations: ConversationLimits,
    /// The most bytes of a payload.
    pub payload_bytes_max: usize,
    /// The most messages in one answer, 1 to 100.
    pub page_messages_max: u32,
    /// The most payload bytes in one answer; one message is sent whatever its size.
    pub page_bytes_max: usize,
    /// The store is synced and the log's watermark moved this often.
    pub persist_interval: Duration,
    /// How long few records gather for a store that many share, at most: until somebody reads what is among
    /// them.
    pub gather: Duration,
    /// Acks of devices that wait to be gathered; beyond it they are dropped, and their messages come
    /// again.
    pub receipts_queue_max: usize,
    /// Receipts, one for a device and conversation, that wait for the store, some 120 B each; beyond it
    /// acks are dropped too.
    pub receipts_max: usize,
    /// Rows that gather for inboxes, one for a conversation and member: 16 B each, and some 200 B for their
    /// conversation. Beyond it they are entered before their time; beyond twice as many counting waits.
    pub inbox_rows_max: usize,
    /// Receipts are written this often.
    pub receipts_interval: Duration,
    /// Bytes of the store's block cache.
    pub store_cache_bytes: u64,
    /// Below this much free space new messages are refused with `storage full`.
    pub space_reserve_bytes: u64,
    /// How long `close` waits for full mailboxes before it drops what it could not post.
    pub close_grace: Duration,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The free space.
    pub space: Arc<dyn Space>,
}

impl Config {
    /// The defaults, over a directory that is made where it is missing.
    pub fn new(data_dir: impl Into<PathBuf>) -> Config {
        Config {
            data_dir: data_dir.into(),
            node_id: 0,
            log: log::Options::default(),
            intake_queue_max: 16_384,
            intake_bytes_max: 64 << 20,
            read_queue_max: 4_096,
            read_wait_max: Duration::from_secs(5),
            in_flight_max: 16_384,
            in_flight_bytes_max: 32 << 20,
            readers: 2,
            rates: Arc::new(AtomicCell::new(RateLimits::DEFAULT)),
            conversations: ConversationLimits::DEFAULT,
            payload_bytes_max: 64 << 10,
            page_messages_max: 100,
            page_bytes_max: PAGE_BYTES_MAX,
            persist_interval: Duration::from_secs(2),
            gather: Duration::from_millis(50),
            receipts_queue_max: 65_536,
            receipts_max: 131_072,
            inbox_rows_max: 500_000,
            receipts_interval: Duration::from_secs(1),
            store_cache_bytes: 64 << 20,
            space_reserve_bytes: 256 << 20,
            close_grace: Duration::from_secs(5),
            clock: Arc::new(SystemClock),
            space: Arc::new(DiskSpace),
        }
    }

    /// Values that can't work, by the option's name.
    pub(super) fn check_shared(&self) -> Result<(), StartError> {
        if self.node_id > NODE_MAX {
            return wrong("node_id must be 0 to 1023");
        }
        if self.intake_queue_max == 0 || self.read_queue_max == 0 || self.in_flight_max == 0 {
            return wrong("intake_queue_max, read_queue_max and in_flight_max must be at least 1");
        }
        if self.readers == 0 || self.readers > READERS_MAX {
            return wrong(&format!("readers must be 1 to {READERS_MAX}"));
        }
        if self.page_messages_max == 0 || self.persist_interval.is_zero() {
            return wrong("page_messages_max and persist_interval must not be 0");
        }
        if self.receipts_queue_max == 0 || self.receipts_interval.is_zero() {
            return wrong("receipts_queue_max and receipts_interval must not be 0");
        }
        Ok(())
    }

    /// The same, with what the embedded log holds.
    pub(super) fn check(&self) -> Result<(), StartError> {
        self.check_shared()?;
        let record_bytes_max = self.payload_bytes_max + MESSAGE_HEADER_BYTES;
        if record_bytes_max > self.log.record_bytes_max {
            return wrong("payload_bytes_max is more than a record of the log holds");
        }
        // So that what is in flight never fills the log's queue: one record may pass the bound, and
        // each takes some bytes besides its body.
        let queue = (self.log.queue_records_max, self.log.queue_bytes_max as u64);
        let bytes_max = self.in_flight_bytes_max
            + self.log.record_bytes_max as u64
            + LOG_ENTRY_BYTES * self.in_flight_max as u64;
        if self.in_flight_max > queue.0 || bytes_max > queue.1 {
            return wrong("in_flight_max and in_flight_bytes_max must fit in the log's queue");
        }
        Ok(())
    }
}

fn wrong(what: &str) -> Result<(), StartError> {
    Err(StartError::Config(what.into()))
}
