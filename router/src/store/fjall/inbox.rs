//! Inboxes, and what devices have received of them. Only one thread writes receipts, so reading before
//! writing needs no lock.

use ::fjall::{OwnedWriteBatch, PersistMode};

use super::super::expiry::{INBOX, RECEIPTS};
use super::super::{
    Place, Receipt, Received, Segment, SegmentRow, Slot, StoreError, receipt_holds, rows,
};
use super::{FjallStore, damaged, failed, parse};

impl FjallStore {
    pub(super) fn put_segments(&self, segments: &[Segment]) -> Result<(), StoreError> {
        let rows_about = segments.iter().map(|segment| segment.members.len()).sum();
        let mut writes = OwnedWriteBatch::with_capacity(self.db.clone(), rows_about);
        for segment in segments {
            let place = Place {
                slot: segment.slot,
                conversation_id: segment.conversation_id,
                from_seq: segment.from_seq,
            };
            for &user_id in segment.members.iter() {
                let key = rows::segment_key(user_id, &place);
                writes.insert(&self.inbox, key, segment.last_seq.to_le_bytes());
            }
        }
        writes.commit().map_err(|e| failed("write segments", &e))
    }

    pub(super) fn segments_of(
        &self,
        user_id: u64,
        from: Slot,
        below: Place,
        rows_max: usize,
    ) -> Result<(Vec<SegmentRow>, bool), StoreError> {
        let oldest = Place {
            slot: from,
            ..Place::default()
        };
        let keys = rows::segment_key(user_id, &below)..=rows::segment_key(user_id, &oldest);
        let mut segments = Vec::new();
        for row in self.inbox.range(keys) {
            let (key, value) = row.into_inner().map_err(|e| failed("read an inbox", &e))?;
            let found = rows::place(&key).zip(rows::one(&value));
            let (place, last_seq) = found.ok_or_else(|| damaged(INBOX, &key))?;
            if place >= below {
                continue;
            }
            if segments.len() >= rows_max {
                return Ok((segments, true));
            }
            segments.push(SegmentRow { place, last_seq });
        }
        Ok((segments, false))
    }

    pub(super) fn put_receipts(&self, receipts: &[Receipt], now_ms: u64) -> Result<(), StoreError> {
        let mut writes = OwnedWriteBatch::with_capacity(self.db.clone(), receipts.len());
        for receipt in receipts {
            let key = rows::receipt_key(receipt);
            let kept = self.receipt(&key, now_ms)?;
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

    /// A receipt that is still kept: its seq, and when it was written.
    fn receipt(&self, key: &[u8; 20], now_ms: u64) -> Result<Option<(u64, u64)>, StoreError> {
        let value = self
            .receipts
            .get(key)
            .map_err(|e| failed("read a receipt", &e))?;
        let kept = parse(RECEIPTS, key, value, rows::receipt)?;
        Ok(kept.filter(|(_, at_ms)| receipt_holds(*at_ms, now_ms)))
    }

    pub(super) fn receipts_of(
        &self,
        device: (u64, u32),
        conversation_ids: &[u64],
        now_ms: u64,
    ) -> Result<Vec<Received>, StoreError> {
        let mut received = Vec::new();
        for &conversation_id in conversation_ids {
            let key = rows::receipt_key(&Receipt {
                user_id: device.0,
                device_id: device.1,
                conversation_id,
                seq: 0,
            });
            if let Some((seq, at_ms)) = self.receipt(&key, now_ms)? {
                received.push(Received {
                    conversation_id,
                    seq,
                    age_ms: now_ms.saturating_sub(at_ms),
                });
            }
        }
        Ok(received)
    }

    pub(super) fn has_receipt(&self, device: (u64, u32), now_ms: u64) -> Result<bool, StoreError> {
        for row in self.receipts.prefix(rows::device_key(device.0, device.1)) {
            let (key, value) = row.into_inner().map_err(|e| failed("read receipts", &e))?;
            let (_, at_ms) = rows::receipt(&value).ok_or_else(|| damaged(RECEIPTS, &key))?;
            if receipt_holds(at_ms, now_ms) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
