//! Receipts of devices, and what their outboxes are computed from. Only one thread writes receipts, so
//! reading before writing needs no lock.

use std::collections::HashMap;

use ::fjall::{OwnedWriteBatch, PersistMode, Readable as _};

use super::super::expiry::RECEIPTS;
use super::super::{Below, InboxRow, Numbered, Receipt, Received, StoreError, receipt_holds, rows};
use super::{FjallStore, damaged, failed, parse};

impl FjallStore {
    pub(super) fn put_receipts(&self, receipts: &[Receipt], now_ms: u64) -> Result<(), StoreError> {
        let mut writes = OwnedWriteBatch::with_capacity(self.db.clone(), receipts.len());
        for receipt in receipts {
            let key = rows::receipt_key(receipt);
            let value = self
                .receipts
                .get(key)
                .map_err(|e| failed("read a receipt", &e))?;
            let kept = parse(RECEIPTS, &key, value, rows::receipt)?
                .filter(|(_, at_ms)| receipt_holds(*at_ms, now_ms));
            let seq = kept.map_or(receipt.seq, |(seq, _)| seq.max(receipt.seq));
            writes.insert(&self.receipts, key, rows::u64s_value(&[seq, now_ms]));
        }
        writes.commit().map_err(|e| failed("write receipts", &e))?;
        // To the kernel, so that they outlive this process. The disk may follow with the next sync: a
        // receipt that a power loss takes only makes messages come again.
        self.db
            .persist(PersistMode::Buffer)
            .map_err(|e| failed("hand over receipts", &e))
    }

    pub(super) fn receipts_of(
        &self,
        user_id: u64,
        device_id: u32,
        now_ms: u64,
    ) -> Result<Vec<Received>, StoreError> {
        let mut received = Vec::new();
        for row in self.receipts.prefix(rows::device_key(user_id, device_id)) {
            let (key, value) = row.into_inner().map_err(|e| failed("read receipts", &e))?;
            let (_, id) = key
                .split_last_chunk()
                .ok_or_else(|| damaged(RECEIPTS, &key))?;
            let (seq, at_ms) = rows::receipt(&value).ok_or_else(|| damaged(RECEIPTS, &key))?;
            if receipt_holds(at_ms, now_ms) {
                received.push(Received {
                    conversation_id: u64::from_be_bytes(*id),
                    seq,
                    age_ms: now_ms.saturating_sub(at_ms),
                });
            }
        }
        Ok(received)
    }

    /// Reads two small rows for a conversation that has something new, one for any other.
    pub(super) fn unread_of(
        &self,
        user_id: u64,
        received: &HashMap<u64, u64>,
    ) -> Result<Vec<InboxRow>, StoreError> {
        let mut unread = Vec::new();
        let at = self.db.snapshot();
        for row in at.prefix(&self.lists, user_id.to_be_bytes()) {
            let key = row.key().map_err(|e| failed("read a list", &e))?;
            let (_, id) = key
                .split_last_chunk()
                .ok_or_else(|| damaged("lists", &key))?;
            let conversation_id = u64::from_be_bytes(*id);
            let last_seq = self.head_at(&at, conversation_id)?.last_seq;
            let have_seq = received.get(&conversation_id).copied().unwrap_or(0);
            if last_seq <= have_seq {
                continue;
            }
            // Ids of one log's messages grow with their seqs, so the last one's is the greatest.
            let last_key = rows::pair_key(conversation_id, last_seq);
            let value = at
                .get(&self.index, last_key)
                .map_err(|e| failed("read the index", &e))?;
            let last_message_id = parse("index", &last_key, value, rows::one)?
                .ok_or_else(|| damaged("index", &last_key))?;
            unread.push(InboxRow {
                conversation_id,
                last_seq,
                last_message_id,
            });
        }
        Ok(unread)
    }

    pub(super) fn numbers(&self, below: &Below) -> Result<Vec<Numbered>, StoreError> {
        let mut numbers = Vec::new();
        let found = self
            .messages
            .range(rows::below(below.conversation_id, below.message_id));
        for row in found.take(below.bound.messages_max) {
            let (key, value) = row.into_inner().map_err(|e| failed("read messages", &e))?;
            let message_id = rows::message_id_of(&key);
            let numbered = message_id.zip(rows::leading_id(&value));
            let (message_id, seq) = numbered.ok_or_else(|| damaged("messages", &key))?;
            numbers.push(Numbered { message_id, seq });
        }
        Ok(numbers)
    }
}
