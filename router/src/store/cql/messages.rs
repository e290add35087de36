//! The rows of `messages`, and reading them block by block in either direction.

use rookery_wire::proto::Deliver;
use scylla::response::PagingState;

use super::session::Live;
use super::statements::Query;
use super::{bits, block, fault, from_bits, heads};
use crate::sequencer::Head;
use crate::store::{Below, Bound, Slice, StoreError};

/// The fewest and most rows that a page asks for; the first page asks for no more than this either.
const PAGE_ROWS: std::ops::RangeInclusive<usize> = 4..=64;

type Row = (
    i64,
    i64,
    i64,
    i64,
    i32,
    Vec<u8>,
    Vec<u8>,
    Option<i64>,
    Option<i64>,
);

/// A message with the head of its block.
struct Found {
    deliver: Deliver,
    head: Option<Head>,
}

fn parse(conversation_id: u64, row: Row) -> Result<Found, StoreError> {
    let (seq, message_id, hlc, sender, device, client_msg_id, payload, last_seq, next_offset) = row;
    let client_msg_id = client_msg_id
        .try_into()
        .map_err(|_| fault::damaged("messages", &[conversation_id, from_bits(seq)]))?;
    Ok(Found {
        deliver: Deliver {
            conversation_id,
            seq: from_bits(seq),
            message_id: from_bits(message_id),
            sender_user_id: from_bits(sender),
            sender_device_id: device.cast_unsigned(),
            client_msg_id,
            hlc: from_bits(hlc),
            payload,
        },
        head: heads::head((last_seq, next_offset)),
    })
}

/// Messages that are read up to a bound: as many as fit, and whether one more was met.
struct Gather {
    bound: Bound,
    bytes: usize,
    slice: Slice,
}

impl Gather {
    fn new(bound: Bound) -> Gather {
        Gather {
            bound,
            bytes: 0,
            slice: Slice::default(),
        }
    }

    /// Takes a message where it fits; false where it does not.
    fn take(&mut self, deliver: Deliver) -> bool {
        let messages = &mut self.slice.messages;
        let bytes = self.bytes + deliver.payload.len();
        let fits = messages.len() < self.bound.messages_max
            && (messages.is_empty() || bytes <= self.bound.bytes_max);
        if fits {
            self.bytes = bytes;
            messages.push(deliver);
        } else {
            self.slice.has_more = true;
        }
        fits
    }

    /// Rows that a page is to hold: one more than fits, by the payloads met so far.
    fn rows(&self) -> usize {
        let met = self.slice.messages.len();
        let row_bytes = self.bytes.checked_div(met).unwrap_or(0).max(1);
        let left = self.bound.bytes_max.saturating_sub(self.bytes) / row_bytes;
        (self.bound.messages_max - met)
            .min(left)
            .saturating_add(1)
            .clamp(*PAGE_ROWS.start(), *PAGE_ROWS.end())
    }
}

/// Reads one block page by page.
struct Scan<'a> {
    live: &'a Live,
    query: &'a Query,
    conversation_id: u64,
    block: i32,
    /// From which seq, or down to which.
    seq: u64,
    left: Option<PagingState>,
}

impl Scan<'_> {
    async fn next(&mut self, rows: usize) -> Result<Option<Vec<Found>>, StoreError> {
        let Some(state) = self.left.take() else {
            return Ok(None);
        };
        let values = (bits(self.conversation_id), self.block, bits(self.seq));
        let key = [self.conversation_id];
        let (page, left) = self
            .live
            .page::<Row>(self.query, values, &key, rows, state)
            .await?;
        self.left = left;
        let found = page.into_iter().map(|row| parse(self.conversation_id, row));
        found.collect::<Result<_, _>>().map(Some)
    }
}

/// The head, and the messages from a seq on, ascending. A seq that is not there although one above it is
/// being written: both end before it. One request, one more at a block's end, and one or two for a head that is
/// not in the block where the page ends.
pub(super) async fn since(
    live: &Live,
    conversation_id: u64,
    first: u64,
    bound: Bound,
) -> Result<(Head, Slice), StoreError> {
    let mut gather = Gather::new(bound);
    let mut next = first;
    // Of the last block that was read; none while nothing was met in it.
    let mut block_head;
    'blocks: loop {
        let block = block::of(next);
        block_head = None;
        let mut scan = Scan {
            live,
            query: &live.statements.messages_up,
            conversation_id,
            block,
            seq: next,
            left: Some(PagingState::start()),
        };
        while let Some(page) = scan.next(gather.rows()).await? {
            for found in page {
                block_head = found.head;
                if found.deliver.seq != next {
                    let head = Head {
                        last_seq: next - 1,
                        next_offset: 0,
                    };
                    return Ok((head, gather.slice));
                }
                if !gather.take(found.deliver) {
                    break 'blocks;
                }
                next += 1;
            }
        }
        // The last seq of a block: on to the next one.
        if next <= block::end(block) || next > block::SEQ_MAX {
            break;
        }
    }
    let is_last = |head: &Head| head.last_seq < block::end(block::of(head.last_seq));
    let head = match block_head.filter(is_last) {
        Some(head) => head,
        None => heads::read(live, conversation_id).await?,
    };
    // What came while this was read is the next page's; the one who asks may be above all that there is.
    let met = if next > first { next - 1 } else { 0 };
    let head = Head {
        last_seq: head.last_seq.max(met),
        ..head
    };
    Ok((head, gather.slice))
}

/// Messages below a seq and above another, descending.
pub(super) async fn before(live: &Live, below: &Below) -> Result<Slice, StoreError> {
    let mut gather = Gather::new(below.bound);
    let asked = match below.before_seq {
        0 => u64::MAX,
        seq => seq - 1,
    };
    let mut last = asked;
    if asked > block::SEQ_MAX {
        last = heads::read(live, below.conversation_id).await?.last_seq;
    }
    let mut met = false;
    while last > below.above_seq {
        let block = block::of(last);
        let mut scan = Scan {
            live,
            query: &live.statements.messages_down,
            conversation_id: below.conversation_id,
            block,
            seq: last,
            left: Some(PagingState::start()),
        };
        while let Some(page) = scan.next(gather.rows()).await? {
            for found in page {
                met = true;
                let wanted = found.deliver.seq > below.above_seq;
                if !wanted || !gather.take(found.deliver) {
                    return Ok(gather.slice);
                }
            }
        }
        last = block::end(block) - block::SEQS;
        if !met {
            // Asked for from above the head: on from there.
            let head = heads::read(live, below.conversation_id).await?;
            last = last.min(head.last_seq);
            met = true;
        }
    }
    Ok(gather.slice)
}
