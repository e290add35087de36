//! The embedded store, on `fjall`.
//!
//! Its write stalls sleep in the caller, so only the applier's thread writes
//! (and, receipts, the one that is for nothing else). Its journal is not
//! synced when a memtable is flushed, so after a power loss some tables may be ahead of others:
//! nothing here may trust a row to imply another one, but what `persist` covered.

mod fault;
mod inbox;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::fjall::{
    Database, Guard, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable,
    UserValue,
};
use rookery_wire::proto;

use super::expiry::{self, DEDUP, INBOX, OPENS, RECEIPTS};
use super::{
    Batch, Below, Bound, LAYOUT_VERSION, Place, Position, Reached, Receipt, Received, Segment,
    SegmentRow, Slice, Slot, Store, StoreError, StoredMessage, rows,
};
use crate::admission::{Conversations, Known, SendKey};
use crate::log::{Offset, Partition};
use crate::record::{self, OpenKey, Opened};
use crate::sequencer::Head;

/// The only rows of `meta`.
const VERSION_KEY: &[u8] = b"version";
const POSITION_KEY: &[u8] = b"position";
const INBOX_KEY: &[u8] = b"inbox";

/// Of the tables that hold payloads, and of the small ones. Four sealed ones stall the writer.
const MESSAGES_MEMTABLE_BYTES: u64 = 32 << 20;
const SMALL_MEMTABLE_BYTES: u64 = 8 << 20;
const JOURNAL_BYTES_MAX: u64 = 128 << 20;
/// One flushes while the other compacts.
const WORKERS: usize = 2;

/// See the module.
pub struct FjallStore {
    db: Database,
    /// Each conversation's head in front of its messages. One table, so that after a power loss a head
    /// is what its messages say: what survives of a table is a prefix of what was written.
    messages: Keyspace,
    members: Keyspace,
    lists: Keyspace,
    inbox: Keyspace,
    dedup: Keyspace,
    opens: Keyspace,
    receipts: Keyspace,
    meta: Keyspace,
    now_ms: Arc<AtomicU64>,
}

impl FjallStore {
    /// Opens the store in `dir`, or makes it.
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<FjallStore, StoreError> {
        let now_ms = Arc::new(AtomicU64::new(0));
        let db = Database::builder(dir)
            .cache_size(cache_bytes)
            .worker_threads(WORKERS)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .manual_journal_persist(true)
            .with_compaction_filter_factories(expiry::filters(&now_ms))
            .open()
            .map_err(|e| failed("open", &e))?;
        let table = |name: &str, memtable_bytes: u64| {
            let options = || {
                KeyspaceCreateOptions::default()
                    .max_memtable_size(memtable_bytes)
                    .manual_journal_persist(true)
            };
            db.keyspace(name, options)
                .map_err(|e| failed("open a table", &e))
        };
        let store = FjallStore {
            messages: table("messages", MESSAGES_MEMTABLE_BYTES)?,
            members: table("members", SMALL_MEMTABLE_BYTES)?,
            lists: table("lists", SMALL_MEMTABLE_BYTES)?,
            inbox: table(INBOX, SMALL_MEMTABLE_BYTES)?,
            dedup: table(DEDUP, SMALL_MEMTABLE_BYTES)?,
            opens: table(OPENS, SMALL_MEMTABLE_BYTES)?,
            receipts: table(RECEIPTS, SMALL_MEMTABLE_BYTES)?,
            meta: table("meta", SMALL_MEMTABLE_BYTES)?,
            db,
            now_ms,
        };
        store.check_version()?;
        Ok(store)
    }

    /// Writes the layout's version into a new store, and refuses another one.
    fn check_version(&self) -> Result<(), StoreError> {
        match self
            .meta
            .get(VERSION_KEY)
            .map_err(|e| failed("read the version", &e))?
        {
            Some(value) => match value.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)) {
                Some(LAYOUT_VERSION) => Ok(()),
                Some(found) => Err(StoreError::Version { found }),
                None => Err(damaged("meta", VERSION_KEY)),
            },
            None => {
                self.meta
                    .insert(VERSION_KEY, LAYOUT_VERSION.to_le_bytes())
                    .map_err(|e| failed("write the version", &e))?;
                self.sync()
            }
        }
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.db
            .persist(PersistMode::SyncAll)
            .map_err(|e| failed("sync", &e))
    }

    fn put_message(&self, batch: &mut OwnedWriteBatch, message: &StoredMessage) {
        let deliver = &message.deliver;
        let conversation_id = deliver.conversation_id;
        batch.insert(
            &self.messages,
            rows::message_key(conversation_id, deliver.seq),
            rows::message_value(message),
        );
        batch.insert(
            &self.dedup,
            rows::name_key((deliver.sender_user_id, deliver.client_msg_id)),
            rows::known_value(deliver, message.payload_hash),
        );
    }

    fn put_opened(&self, batch: &mut OwnedWriteBatch, opened: &Opened) {
        let id = opened.conversation_id;
        batch.insert(
            &self.members,
            id.to_be_bytes(),
            rows::u64s_value(&opened.members),
        );
        batch.insert(&self.opens, rows::open_key(opened.key), id.to_le_bytes());
        for &user_id in &opened.members {
            batch.insert(
                &self.lists,
                rows::pair_key(user_id, id),
                rows::list_value(user_id == opened.opener_user_id),
            );
        }
    }

    fn head_at(&self, at: &impl Readable, conversation_id: u64) -> Result<Head, StoreError> {
        let key = rows::head_key(conversation_id);
        let value = at
            .get(&self.messages, key)
            .map_err(|e| failed("read a head", &e))?;
        parse("messages", &key, value, rows::head).map(Option::unwrap_or_default)
    }

    fn base(&self, conversation_id: u64, next: Offset) -> Result<Head, StoreError> {
        let at = self.db.snapshot();
        let head = self.head_at(&at, conversation_id)?;
        if head.next_offset <= next.0 {
            return Ok(head);
        }
        // The store is ahead of what is counted again: back past those that lie at or above the offset.
        let keys = rows::message_key(conversation_id, 1)
            ..=rows::message_key(conversation_id, head.last_seq);
        for row in at.range(&self.messages, keys).rev() {
            let (key, value) = row.into_inner().map_err(|e| failed("read messages", &e))?;
            let found = rows::seq_of(&key).zip(rows::log_offset(&value));
            let (last_seq, offset) = found.ok_or_else(|| damaged("messages", &key))?;
            if offset < next.0 {
                return Ok(Head {
                    last_seq,
                    next_offset: offset + 1,
                });
            }
        }
        Ok(Head::default())
    }

    /// Gathers messages from rows as they come, up to the bound.
    fn gather(rows: impl Iterator<Item = Guard>, bound: Bound) -> Result<Slice, StoreError> {
        let mut slice = Slice::default();
        let mut bytes = 0;
        for row in rows {
            let (key, value) = row.into_inner().map_err(|e| failed("read messages", &e))?;
            let full = slice.messages.len() >= bound.messages_max
                || (!slice.messages.is_empty() && bytes + value.len() > bound.bytes_max);
            if full {
                slice.has_more = true;
                break;
            }
            bytes += value.len();
            let message = rows::message(&key, &value).ok_or_else(|| damaged("messages", &key))?;
            slice.messages.push(message);
        }
        Ok(slice)
    }
}

impl Store for FjallStore {
    fn position(&self) -> Result<Position, StoreError> {
        let value = self
            .meta
            .get(POSITION_KEY)
            .map_err(|e| failed("read the position", &e))?;
        parse("meta", POSITION_KEY, value, rows::position).map(Option::unwrap_or_default)
    }

    fn reached(&self, partitions: &[Partition]) -> Result<Vec<Reached>, StoreError> {
        let next = Offset(self.position()?.next_offset);
        let value = self
            .meta
            .get(INBOX_KEY)
            .map_err(|e| failed("read how far the inboxes are", &e))?;
        let inbox = parse("meta", INBOX_KEY, value, rows::one)?.map_or(Offset(0), Offset);
        // It has one.
        Ok(vec![Reached { next, inbox }; partitions.len()])
    }

    fn head(&self, conversation_id: u64) -> Result<Head, StoreError> {
        let key = rows::head_key(conversation_id);
        let value = self
            .messages
            .get(key)
            .map_err(|e| failed("read a head", &e))?;
        parse("messages", &key, value, rows::head).map(Option::unwrap_or_default)
    }

    fn bases(&self, asked: &[(u64, Offset)]) -> Result<Vec<Head>, StoreError> {
        asked
            .iter()
            .map(|&(id, next)| self.base(id, next))
            .collect()
    }

    fn members(&self, conversation_id: u64) -> Result<Option<Arc<[u64]>>, StoreError> {
        let key = conversation_id.to_be_bytes();
        let value = self
            .members
            .get(key)
            .map_err(|e| failed("read members", &e))?;
        let members = parse("members", &key, value, record::u64s)?;
        Ok(members.map(Into::into))
    }

    fn is_member(&self, conversation_id: u64, user_id: u64) -> Result<bool, StoreError> {
        self.lists
            .contains_key(rows::pair_key(user_id, conversation_id))
            .map_err(|e| failed("read a membership", &e))
    }

    fn known(&self, name: SendKey) -> Result<Option<Known>, StoreError> {
        let key = rows::name_key(name);
        let value = self
            .dedup
            .get(key)
            .map_err(|e| failed("read a dedup entry", &e))?;
        parse(DEDUP, &key, value, rows::known)
    }

    fn opened(&self, key: OpenKey) -> Result<Option<u64>, StoreError> {
        let key = rows::open_key(key);
        let value = self
            .opens
            .get(key)
            .map_err(|e| failed("read an opening", &e))?;
        parse(OPENS, &key, value, rows::one)
    }

    fn since(
        &self,
        conversation_id: u64,
        have_seq: u64,
        bound: Bound,
    ) -> Result<(Head, Slice), StoreError> {
        let at = self.db.snapshot();
        let head = self.head_at(&at, conversation_id)?;
        if have_seq >= head.last_seq {
            return Ok((head, Slice::default()));
        }
        let keys = rows::message_key(conversation_id, have_seq + 1)
            ..=rows::message_key(conversation_id, head.last_seq);
        Ok((head, Self::gather(at.range(&self.messages, keys), bound)?))
    }

    fn before(&self, below: &Below) -> Result<Slice, StoreError> {
        let last = match below.before_seq {
            0 => u64::MAX,
            seq => seq - 1,
        };
        if last <= below.above_seq {
            return Ok(Slice::default());
        }
        let keys = rows::message_key(below.conversation_id, below.above_seq + 1)
            ..=rows::message_key(below.conversation_id, last);
        Self::gather(self.messages.range(keys).rev(), below.bound)
    }

    fn receive(&self, receipts: &[Receipt], now_ms: u64) -> Result<(), StoreError> {
        self.put_receipts(receipts, now_ms)
    }

    fn received(
        &self,
        device: (u64, u32),
        conversation_ids: &[u64],
        now_ms: u64,
    ) -> Result<Vec<Received>, StoreError> {
        self.receipts_of(device, conversation_ids, now_ms)
    }

    fn has_received(&self, device: (u64, u32), now_ms: u64) -> Result<bool, StoreError> {
        self.has_receipt(device, now_ms)
    }

    fn mark(&self, segments: &[Segment]) -> Result<(), StoreError> {
        self.put_segments(segments)
    }

    fn segments(
        &self,
        user_id: u64,
        from: Slot,
        below: Place,
        rows_max: usize,
    ) -> Result<(Vec<SegmentRow>, bool), StoreError> {
        self.segments_of(user_id, from, below, rows_max)
    }

    fn conversations(
        &self,
        user_id: u64,
        after: u64,
        rows_max: usize,
    ) -> Result<(Vec<proto::ConversationHead>, bool), StoreError> {
        let mut conversations = Vec::new();
        let Some(first) = after.checked_add(1) else {
            return Ok((conversations, false));
        };
        let at = self.db.snapshot();
        let range = rows::pair_key(user_id, first)..=rows::pair_key(user_id, u64::MAX);
        for row in at.range(&self.lists, range) {
            let key = row.key().map_err(|e| failed("read a list", &e))?;
            if conversations.len() >= rows_max {
                return Ok((conversations, true));
            }
            let (_, id) = key
                .split_last_chunk()
                .ok_or_else(|| damaged("lists", &key))?;
            let conversation_id = u64::from_be_bytes(*id);
            let head_seq = self.head_at(&at, conversation_id)?.last_seq;
            conversations.push(proto::ConversationHead {
                conversation_id,
                head_seq,
            });
        }
        Ok((conversations, false))
    }

    fn count_conversations(
        &self,
        user_id: u64,
        rows_max: usize,
    ) -> Result<Conversations, StoreError> {
        let mut has = Conversations::default();
        let rows = rows::pair_key(user_id, 0)..=rows::pair_key(user_id, u64::MAX);
        for row in self.lists.range(rows).take(rows_max) {
            let (_, value) = row.into_inner().map_err(|e| failed("read a list", &e))?;
            has.all += 1;
            has.opened += usize::from(rows::has_opened(&value));
        }
        Ok(has)
    }

    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        let member_rows: usize = batch.opened.iter().map(|opened| opened.members.len()).sum();
        let rows_about = 3 * batch.messages.len() + 2 * batch.opened.len() + member_rows + 1;
        let mut writes = OwnedWriteBatch::with_capacity(self.db.clone(), rows_about);
        for opened in &batch.opened {
            self.put_opened(&mut writes, opened);
        }
        let mut heads = HashMap::new();
        for message in &batch.messages {
            self.put_message(&mut writes, message);
            heads.insert(message.deliver.conversation_id, message.head());
        }
        for (conversation_id, head) in heads {
            writes.insert(
                &self.messages,
                rows::head_key(conversation_id),
                rows::head_value(&head),
            );
        }
        writes.insert(
            &self.meta,
            POSITION_KEY,
            rows::position_value(&batch.position),
        );
        writes.commit().map_err(|e| failed("write a batch", &e))
    }

    fn reach(&self, reached: &[(Partition, Reached)], _given: &Position) -> Result<(), StoreError> {
        // The position came with the batches, and with it the ids.
        for (_, reached) in reached {
            self.meta
                .insert(INBOX_KEY, reached.inbox.0.to_le_bytes())
                .map_err(|e| failed("write how far the inboxes are", &e))?;
        }
        self.sync()
    }

    fn rest(&self) -> Result<(), StoreError> {
        let tables = [
            &self.messages,
            &self.members,
            &self.lists,
            &self.inbox,
            &self.dedup,
            &self.opens,
            &self.receipts,
            &self.meta,
        ];
        for table in tables {
            // Flushed by the workers; an empty one is left alone.
            table
                .rotate_memtable()
                .map_err(|e| failed("flush a table", &e))?;
        }
        Ok(())
    }

    fn note_time(&self, now_ms: u64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
    }
}

fn parse<T>(
    table: &'static str,
    key: &[u8],
    value: Option<UserValue>,
    parse: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<Option<T>, StoreError> {
    value
        .map(|value| parse(&value).ok_or_else(|| damaged(table, key)))
        .transpose()
}

fn damaged(table: &'static str, key: &[u8]) -> StoreError {
    let key = key.iter().map(|byte| format!("{byte:02x}")).collect();
    StoreError::Damaged { table, key }
}

fn failed(doing: &'static str, error: &::fjall::Error) -> StoreError {
    StoreError::Failed {
        doing,
        reason: fault::sentence(error),
    }
}
