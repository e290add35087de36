//! The messages of a conversation below an id, newest first: through its partitions, the last one first.
//! Partitions hold ranges of ids that follow one another, so no sorting is needed.

use rookery_wire::proto::Deliver;
use scylla::response::PagingState;

use super::messages::{self, Scan};
use super::session::Live;
use super::spans;
use super::tail::Part;
use crate::bucket;
use crate::store::{Bound, Numbered, Slice, StoreError};

/// `newest` is the greatest id that is wanted.
pub(super) async fn read(
    live: &Live,
    conversation_id: u64,
    newest: u64,
    bound: Bound,
) -> Result<Slice, StoreError> {
    let mut page = Page {
        bound,
        slice: Slice::default(),
        bytes: 0,
    };
    let bucket = bucket::of_message(newest);
    let mut spans_left = Some(PagingState::start());
    while let Some(state) = spans_left {
        let (spans, next) = spans::up_to(live, conversation_id, bucket, state).await?;
        spans_left = next;
        for span in spans {
            if span.first_message_id <= newest
                && page.fill(live, conversation_id, span.part, newest).await?
            {
                return Ok(page.slice);
            }
        }
    }
    Ok(page.slice)
}

/// The ids and seqs of the same messages, so many or all there are.
pub(super) async fn numbers(
    live: &Live,
    conversation_id: u64,
    newest: u64,
    rows: usize,
) -> Result<Vec<Numbered>, StoreError> {
    let mut found = Vec::new();
    let bucket = bucket::of_message(newest);
    let mut spans_left = Some(PagingState::start());
    while let Some(state) = spans_left {
        let (spans, next) = spans::up_to(live, conversation_id, bucket, state).await?;
        spans_left = next;
        let wanted = spans.iter().filter(|span| span.first_message_id <= newest);
        for span in wanted {
            let mut left = Some(PagingState::start());
            while let Some(state) = left.filter(|_| found.len() < rows) {
                let page = rows - found.len();
                let (numbers, next) =
                    messages::numbers(live, conversation_id, span.part, newest, page, state)
                        .await?;
                found.extend(numbers);
                left = next;
            }
            if found.len() >= rows {
                found.truncate(rows);
                return Ok(found);
            }
        }
    }
    Ok(found)
}

struct Page {
    bound: Bound,
    slice: Slice,
    bytes: usize,
}

impl Page {
    /// Takes the messages of a partition; whether the page is full and more lie beyond it.
    async fn fill(
        &mut self,
        live: &Live,
        conversation_id: u64,
        part: Part,
        newest: u64,
    ) -> Result<bool, StoreError> {
        let mut scan = Scan::down(live, conversation_id, part, newest);
        loop {
            // One more tells whether there is more.
            let left = self.bound.messages_max - self.slice.messages.len();
            let rows = left.saturating_add(1);
            let bytes = self.bound.bytes_max.saturating_sub(self.bytes);
            let Some(messages) = scan.next(rows, bytes).await? else {
                return Ok(false);
            };
            if messages.into_iter().any(|message| !self.take(message)) {
                self.slice.has_more = true;
                return Ok(true);
            }
        }
    }

    /// Whether the message had room.
    fn take(&mut self, message: Deliver) -> bool {
        let bytes = self.bytes + message.payload.len();
        let fits = self.slice.messages.len() < self.bound.messages_max
            && (self.slice.messages.is_empty() || bytes <= self.bound.bytes_max);
        if fits {
            self.bytes = bytes;
            self.slice.messages.push(message);
        }
        fits
    }
}
