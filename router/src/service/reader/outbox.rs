//! The answer to Outbox: what the device has received, what there is, and the page between the two.

use std::collections::HashMap;

use rookery_wire::proto;

use super::{Failure, Reader};
use crate::admission::page_limit;
use crate::api::Caller;
use crate::ids;
use crate::outbox::{self, Asked, Item, Page};
use crate::receipts::Device;
use crate::store::{Below, Bound, RECEIPT_TTL_MS, StoreError};

/// A receipt that is older is written anew when its device asks for its outbox, so that those of quiet
/// conversations live as long as the device comes back. Not each time: that would be a write for every
/// conversation.
const REFRESH_AFTER_MS: u64 = 24 * 60 * 60 * 1_000;
/// Conversations whose messages are read at once: each within a page's bytes.
const ROUND: usize = 16;

impl Reader {
    pub(super) fn outbox(
        &self,
        caller: Caller,
        asked: &proto::Outbox,
    ) -> Result<Vec<Vec<u8>>, Failure> {
        let now_ms = self.config.clock.now_ms();
        let received = self.received((caller.user_id, caller.device_id), now_ms)?;
        let rows = self.store.unread(caller.user_id, &received)?;
        let wanted = Asked {
            before_message_id: asked.before_message_id,
            limit: page_limit(asked.limit, self.config.page_messages_max),
            oldest_id: ids::least_at(now_ms.saturating_sub(RECEIPT_TTL_MS)),
        };
        let page = outbox::page(&rows, &received, wanted, |asked| {
            self.store.numbers_below(asked)
        })?;
        let messages = self.messages(&page)?;
        let has_more = page.has_more || messages.len() < page.items.len();
        Ok(vec![proto::encode(&proto::OutboxPage {
            request_id: asked.request_id,
            messages,
            has_more: u8::from(has_more),
            needs_full_sync: u8::from(page.needs_full_sync),
        })])
    }

    /// Up to where the device has each conversation: by the store, and by what it acked since.
    fn received(&self, device: Device, now_ms: u64) -> Result<HashMap<u64, u64>, StoreError> {
        // Before the store is asked: an entry that is written in between is there.
        let buffered = self.receipts.of(device);
        let stored = self.store.receipts(device.0, device.1, now_ms)?;
        let aging: Vec<(u64, u64)> = stored
            .iter()
            .filter(|it| it.age_ms > REFRESH_AFTER_MS)
            .map(|it| (it.conversation_id, it.seq))
            .collect();
        self.receipts.refresh(device, &aging);
        let stored = stored.iter().map(|it| (it.conversation_id, it.seq));
        let mut received: HashMap<u64, u64> = HashMap::new();
        for (conversation_id, seq) in stored.chain(buffered) {
            let kept = received.entry(conversation_id).or_default();
            *kept = seq.max(*kept);
        }
        Ok(received)
    }

    /// The page's messages, as many as its bytes allow, but one.
    fn messages(&self, page: &Page) -> Result<Vec<proto::Deliver>, StoreError> {
        let mut found: HashMap<Item, proto::Deliver> = HashMap::new();
        let mut messages = Vec::new();
        let mut bytes = 0;
        for (at, item) in page.items.iter().enumerate() {
            if !found.contains_key(item) {
                let missing = page.items[at..].iter();
                let missing: Vec<Item> = missing
                    .filter(|it| !found.contains_key(it))
                    .copied()
                    .collect();
                found.extend(self.read(&missing)?);
            }
            let Some(message) = found.remove(item) else {
                return Err(StoreError::Damaged {
                    table: "messages",
                    key: format!("{:016x}{:016x}", item.conversation_id, item.message_id),
                });
            };
            bytes += message.payload.len();
            if !messages.is_empty() && bytes > self.config.page_bytes_max {
                break;
            }
            messages.push(message);
        }
        Ok(messages)
    }

    /// Reads the first of some items, and others of the first few conversations among them.
    fn read(&self, items: &[Item]) -> Result<HashMap<Item, proto::Deliver>, StoreError> {
        let mut asked: Vec<Below> = Vec::new();
        for item in items {
            let of_same = asked
                .iter()
                .position(|it| it.conversation_id == item.conversation_id);
            match of_same {
                Some(at) => asked[at].bound.messages_max += 1,
                None if asked.len() == ROUND => {}
                None => asked.push(Below {
                    conversation_id: item.conversation_id,
                    message_id: item.message_id + 1,
                    bound: Bound {
                        messages_max: 1,
                        bytes_max: self.config.page_bytes_max,
                    },
                }),
            }
        }
        let slices = self.store.below(&asked)?;
        let messages = slices.into_iter().flat_map(|slice| slice.messages);
        let by_item = messages.map(|message| {
            let item = Item {
                conversation_id: message.conversation_id,
                message_id: message.message_id,
            };
            (item, message)
        });
        Ok(by_item.collect())
    }
}
