//! The embedded store, on `fjall`.
//!
//! Its write stalls sleep in the caller, so only the applier's thread writes
//! (and, receipts, the one that is for nothing else). Its journal is not
//! synced when a memtable is flushed, so after a power loss some tables may be ahead of others:
//! nothing here may trust a row to imply another one, but what `persist` covered.

mod fault;
mod receipts;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::fjall::{
    Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable, Snapshot,
    UserValue,
};
use rookery_wire::proto;

use super::expiry::{self, DEDUP, OPENS, RECEIPTS};
use super::{
    Batch, Below, Bound, InboxRow, LAYOUT_VERSION, Numbered, Position, Receipt, Received, Slice,
    Store, StoreError, rows,
};
use crate::admission::Known;
use crate::record::{self, OpenKey, Opened};
use crate::sequencer::Head;

/// The only rows of `meta`.
const VERSION_KEY: &[u8] = b"version";
const POSITION_KEY: &[u8] = b"position";

/// Of the tables that hold payloads, and of the small ones. Four sealed ones stall the writer.
const MESSAGES_MEMTABLE_BYTES: u64 = 32 << 20;
const SMALL_MEMTABLE_BYTES: u64 = 8 << 20;
const JOURNAL_BYTES_MAX: u64 = 128 << 20;
/// One flushes while the other compacts.
const WORKERS: usize = 2;

/// See the module.
pub struct FjallStore {
    db: Database,
    messages: Keyspace,
    index: Keyspace,
    heads: Keyspace,
    members: Keyspace,
    lists: Keyspace,
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
            index: table("index", SMALL_MEMTABLE_BYTES)?,
            heads: table("heads", SMALL_MEMTABLE_BYTES)?,
            members: table("members", SMALL_MEMTABLE_BYTES)?,
            lists: table("lists", SMALL_MEMTABLE_BYTES)?,
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
                self.persist()
            }
        }
    }

    fn put_message(&self, batch: &mut OwnedWriteBatch, message: &super::StoredMessage) {
        let deliver = &message.deliver;
        let (conversation_id, message_id) = (deliver.conversation_id, deliver.message_id);
        batch.insert(
            &self.messages,
            rows::message_key(conversation_id, message_id),
            rows::message_value(deliver),
        );
        batch.insert(
            &self.index,
            rows::pair_key(conversation_id, deliver.seq),
            message_id.to_le_bytes(),
        );
        batch.insert(
            &self.dedup,
            rows::pair_key(deliver.sender_user_id, deliver.client_msg_id),
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
            batch.insert(&self.lists, rows::pair_key(user_id, id), []);
        }
    }

    fn head_at(&self, at: &Snapshot, conversation_id: u64) -> Result<Head, StoreError> {
        let key = conversation_id.to_be_bytes();
        let value = at
            .get(&self.heads, key)
            .map_err(|e| failed("read a head", &e))?;
        parse("heads", &key, value, rows::head).map(Option::unwrap_or_default)
    }

    /// Gathers messages from rows as they come, up to the bound.
    fn gather(
        conversation_id: u64,
        rows: impl Iterator<Item = ::fjall::Guard>,
        bound: Bound,
    ) -> Result<Slice, StoreError> {
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
            let message = rows::message_id_of(&key)
                .and_then(|message_id| rows::message(conversation_id, message_id, &value))
                .ok_or_else(|| damaged("messages", &key))?;
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

    fn head(&self, conversation_id: u64) -> Result<Head, StoreError> {
        let key = conversation_id.to_be_bytes();
        let value = self.heads.get(key).map_err(|e| failed("read a head", &e))?;
        parse("heads", &key, value, rows::head).map(Option::unwrap_or_default)
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

    fn known(&self, sender: u64, client_msg_id: u64) -> Result<Option<Known>, StoreError> {
        let key = rows::pair_key(sender, client_msg_id);
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
        let first_key = rows::pair_key(conversation_id, have_seq + 1);
        let value = at
            .get(&self.index, first_key)
            .map_err(|e| failed("read the index", &e))?;
        let first = parse("index", &first_key, value, rows::one)?
            .ok_or_else(|| damaged("index", &first_key))?;
        // Newest first in the table, so the ascending way is backwards from the first one.
        let newest = conversation_id.to_be_bytes().to_vec();
        let oldest = rows::message_key(conversation_id, first).to_vec();
        let found = at.range(&self.messages, newest..=oldest).rev();
        Ok((head, Self::gather(conversation_id, found, bound)?))
    }

    fn before(&self, conversation_id: u64, before: u64, bound: Bound) -> Result<Slice, StoreError> {
        let found = self.messages.range(rows::below(conversation_id, before));
        Self::gather(conversation_id, found, bound)
    }

    fn numbers_below(&self, asked: &[Below]) -> Result<Vec<Vec<Numbered>>, StoreError> {
        asked.iter().map(|below| self.numbers(below)).collect()
    }

    fn receive(&self, receipts: &[Receipt], now_ms: u64) -> Result<(), StoreError> {
        self.put_receipts(receipts, now_ms)
    }

    fn receipts(
        &self,
        user_id: u64,
        device_id: u32,
        now_ms: u64,
    ) -> Result<Vec<Received>, StoreError> {
        self.receipts_of(user_id, device_id, now_ms)
    }

    fn unread(
        &self,
        user_id: u64,
        received: &HashMap<u64, u64>,
    ) -> Result<Vec<InboxRow>, StoreError> {
        self.unread_of(user_id, received)
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

    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        let rows_about = 4 * batch.messages.len() + 4 * batch.opened.len() + 1;
        let mut writes = OwnedWriteBatch::with_capacity(self.db.clone(), rows_about);
        for opened in &batch.opened {
            self.put_opened(&mut writes, opened);
        }
        for message in &batch.messages {
            self.put_message(&mut writes, message);
        }
        for (conversation_id, head) in &batch.heads {
            writes.insert(
                &self.heads,
                conversation_id.to_be_bytes(),
                rows::head_value(head),
            );
        }
        writes.insert(
            &self.meta,
            POSITION_KEY,
            rows::position_value(&batch.position),
        );
        writes.commit().map_err(|e| failed("write a batch", &e))
    }

    fn persist(&self) -> Result<(), StoreError> {
        self.db
            .persist(PersistMode::SyncAll)
            .map_err(|e| failed("sync", &e))
    }

    fn rest(&self) -> Result<(), StoreError> {
        let tables = [
            &self.messages,
            &self.index,
            &self.heads,
            &self.members,
            &self.lists,
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
