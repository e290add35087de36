//! The answer to Outbox: the segments of the user's inbox, what the device has received of them, and the
//! page between the two. What it costs is in proportion to what came since the device was last here.

use std::collections::HashMap;

use rookery_wire::proto;

use super::{Failure, Reader};
use crate::admission::page_limit;
use crate::api::Caller;
use crate::outbox::{Cursor, MESSAGES_MAX, merge};
use crate::receipts::Device;
use crate::store::{
    Below, Bound, Place, RECEIPT_TTL_MS, Receipt, SegmentRow, Slice, Slot, StoreError,
};

/// Segments that are read at once, and that a page looks at: one of a device that has received them all
/// ends early.
const SEGMENTS: usize = 128;
const SEGMENTS_MAX: usize = 1_024;
/// Segments whose messages are read at once: each within a page's bytes.
const ROUND: usize = 16;

/// A page as it fills.
struct Page {
    cursor: Cursor,
    messages: Vec<proto::Deliver>,
    /// Messages and bytes that it may still take.
    left: usize,
    bytes_left: usize,
    full: bool,
}

impl Reader {
    pub(super) fn outbox(
        &self,
        caller: Caller,
        asked: &proto::Outbox,
    ) -> Result<Vec<Vec<u8>>, Failure> {
        let now_ms = self.config.clock.now_ms();
        let device = (caller.user_id, caller.device_id);
        // Before the store is asked: an entry that is written in between is there.
        let acked = self.acked(device);
        let known_from = self.known_from(device, &acked, now_ms)?;
        let oldest = oldest_slot(now_ms);
        let is_known = match known_from {
            Some(slot) => slot >= oldest,
            None => !acked.is_empty() || self.store.has_received(device, now_ms)?,
        };
        let from = known_from.map_or(oldest, |slot| slot.max(oldest));
        let mut cursor = Cursor::read(&asked.cursor);
        // What is entered from now on is the next walk's.
        let newest = Place {
            slot: Slot(Slot::of(now_ms).0 + 1),
            ..Place::default()
        };
        cursor.place = cursor.place.min(newest);
        // The slot of now and the one before it may still grow, and so may what came since the walk began.
        cursor.received_below = cursor.received_below.min(Slot::of(now_ms).previous());
        let limit = page_limit(asked.limit, self.config.page_messages_max);
        let mut page = Page {
            cursor,
            messages: Vec::new(),
            left: limit.min(MESSAGES_MAX.saturating_sub(cursor.handed) as usize),
            bytes_left: self.config.page_bytes_max,
            full: false,
        };
        let has_more = self.fill(&mut page, device, from, &acked, now_ms)?;
        let handed_all = has_more && page.cursor.handed >= MESSAGES_MAX;
        if !has_more && is_known {
            self.receipts.advance(device, page.cursor.received_below);
        }
        page.messages
            .sort_by_key(|message| std::cmp::Reverse(message.message_id));
        Ok(vec![proto::encode(&proto::OutboxPage {
            request_id: asked.request_id,
            messages: page.messages,
            next_cursor: page.cursor.bytes(),
            has_more: u8::from(has_more && !handed_all),
            needs_full_sync: u8::from(!is_known || handed_all),
        })])
    }

    /// The device has read all of the user's conversations, and so begins with what it lacks of each: from
    /// here on its outbox is whole again.
    pub(super) fn has_listed(&self, caller: Caller) -> Result<(), StoreError> {
        let device = (caller.user_id, caller.device_id);
        let now_ms = self.config.clock.now_ms();
        let oldest = oldest_slot(now_ms);
        let known_from = self.known_from(device, &self.acked(device), now_ms)?;
        if known_from.is_none_or(|slot| slot < oldest) {
            self.receipts.advance(device, oldest);
        }
        Ok(())
    }

    /// What a device has acked that is not in the store yet: the greatest seq of each conversation.
    fn acked(&self, device: Device) -> HashMap<u64, u64> {
        let mut acked: HashMap<u64, u64> = HashMap::new();
        for (conversation_id, seq) in self.receipts.of(device) {
            let greatest = acked.entry(conversation_id).or_insert(seq);
            *greatest = seq.max(*greatest);
        }
        acked
    }

    /// The slot below which a device has everything, where that is known.
    fn known_from(
        &self,
        device: Device,
        acked: &HashMap<u64, u64>,
        now_ms: u64,
    ) -> Result<Option<Slot>, StoreError> {
        let stored = self.store.received(device, &[Receipt::CURSOR], now_ms)?;
        let stored = stored.first().map(|kept| kept.seq);
        let known = stored.max(acked.get(&Receipt::CURSOR).copied());
        Ok(known.and_then(|slot| u32::try_from(slot).ok()).map(Slot))
    }

    /// Takes what the page has room for; whether there is more.
    fn fill(
        &self,
        page: &mut Page,
        device: Device,
        from: Slot,
        acked: &HashMap<u64, u64>,
        now_ms: u64,
    ) -> Result<bool, StoreError> {
        let mut looked_at = 0;
        let mut segments: Vec<SegmentRow> = page.cursor.left().into_iter().collect();
        loop {
            let below = page.cursor.place;
            // First what waits: what is entered in between is in both.
            let (mut waiting, more_wait) = self.inboxes.of_user(device.0, below, SEGMENTS, now_ms);
            let (mut stored, more_stored) = self.store.segments(device.0, from, below, SEGMENTS)?;
            // Down to where both are known: the rest is the next round's.
            let lowest =
                |rows: &[SegmentRow], more: bool| rows.last().filter(|_| more).map(|row| row.place);
            let known = lowest(&waiting, more_wait).max(lowest(&stored, more_stored));
            let more = known.is_some();
            waiting.retain(|row| known.is_none_or(|known| row.place >= known));
            stored.retain(|row| known.is_none_or(|known| row.place >= known));
            segments.extend(merge(stored, waiting));
            if segments.is_empty() {
                return Ok(false);
            }
            looked_at += segments.len();
            self.take(page, device, &std::mem::take(&mut segments), acked, now_ms)?;
            if page.full {
                return Ok(true);
            }
            if !more {
                return Ok(false);
            }
            if looked_at >= SEGMENTS_MAX {
                return Ok(true);
            }
        }
    }

    /// Takes what of these segments was not received, as far as there is room.
    fn take(
        &self,
        page: &mut Page,
        device: Device,
        segments: &[SegmentRow],
        acked: &HashMap<u64, u64>,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        let mut ids: Vec<u64> = segments.iter().map(|it| it.place.conversation_id).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut received: HashMap<u64, u64> = HashMap::new();
        for kept in self.store.received(device, &ids, now_ms)? {
            received.insert(kept.conversation_id, kept.seq);
        }
        let have_seq = |id: u64| {
            let stored = received.get(&id).copied().unwrap_or(0);
            stored.max(acked.get(&id).copied().unwrap_or(0))
        };
        let mut rest = segments.iter().peekable();
        while rest.peek().is_some() {
            let round: Vec<(&SegmentRow, Below)> = rest
                .by_ref()
                .take(ROUND)
                .map(|row| {
                    let place = row.place;
                    let above_seq =
                        (place.from_seq.saturating_sub(1)).max(have_seq(place.conversation_id));
                    let below = Below {
                        conversation_id: place.conversation_id,
                        before_seq: row.last_seq.saturating_add(1),
                        above_seq,
                        bound: Bound {
                            // Of a page that is full one message more tells that there is more.
                            messages_max: page.left.max(1),
                            bytes_max: page.bytes_left,
                        },
                    };
                    (row, below)
                })
                .collect();
            self.take_round(page, &round)?;
            if page.full {
                return Ok(());
            }
        }
        Ok(())
    }

    fn take_round(
        &self,
        page: &mut Page,
        round: &[(&SegmentRow, Below)],
    ) -> Result<(), StoreError> {
        let unread: Vec<Below> = round
            .iter()
            .map(|(_, below)| *below)
            .filter(is_unread)
            .collect();
        let mut slices = self.store.before_many(&unread)?.into_iter();
        for (row, below) in round {
            let cursor = &mut page.cursor;
            let mut slice = Slice::default();
            if is_unread(below) {
                slice = slices.next().unwrap_or_default();
                cursor.received_below = cursor.received_below.min(row.place.slot);
            }
            let has_more = slice.has_more;
            for message in slice.messages {
                let bytes = message.payload.len();
                let fits = page.left > 0 && (page.messages.is_empty() || bytes <= page.bytes_left);
                if !fits {
                    page.full = true;
                    return Ok(());
                }
                cursor.place = row.place;
                cursor.before_seq = message.seq;
                cursor.handed += 1;
                page.left -= 1;
                page.bytes_left = page.bytes_left.saturating_sub(bytes);
                page.messages.push(message);
            }
            if has_more {
                page.full = true;
                return Ok(());
            }
            cursor.place = row.place;
            cursor.before_seq = 0;
        }
        Ok(())
    }
}

/// Nothing older is handed out.
fn oldest_slot(now_ms: u64) -> Slot {
    Slot::of(now_ms.saturating_sub(RECEIPT_TTL_MS))
}

/// Whether there is a seq between the two.
fn is_unread(below: &Below) -> bool {
    below.above_seq.saturating_add(1) < below.before_seq
}
