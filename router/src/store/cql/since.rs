//! The messages of a conversation from a seq on: exact up to its head, though rows lie by message id.
//!
//! Three ways, each taken only where the one before it leaves a gap: a scan from the mark at or before
//! the seq; the marks of messages that a scan must miss; and, where a clock was far off, a look through
//! the ids and seqs of whole partitions. Seqs up to the head are all there, so a gap below it that
//! remains is damage. Beyond the head (which lags where another process consumes the conversation) a gap
//! is a message that is being written, and the page ends before it.

use std::collections::HashSet;

use futures_util::future::try_join;
use scylla::response::PagingState;

use super::messages::{self, Scan};
use super::plan::{self, Gather, Mark, Plan};
use super::session::Live;
use super::tail::{Part, Tail};
use super::{bits, fault, from_bits, heads, spans};
use crate::sequencer::Head;
use crate::store::{Bound, Slice, StoreError};

/// Ids and seqs at a time, 16 B a row.
const LOOK_ROWS: usize = 5_000;

/// `kept` is the conversation's tail where this process consumes it. `first` is a seq that can be.
pub(super) async fn read(
    live: &Live,
    conversation_id: u64,
    first: u64,
    bound: Bound,
    kept: Option<Tail>,
) -> Result<(Head, Slice), StoreError> {
    let tail = async {
        match kept {
            Some(tail) => Ok(tail),
            None => heads::read(live, conversation_id).await,
        }
    };
    let window = plan::window(first, bound.messages_max);
    let (tail, marks) = try_join(tail, read_marks(live, conversation_id, window)).await?;
    let head = tail.head;
    let mut read = Read {
        live,
        conversation_id,
        bound,
        gather: Gather::new(first, bound),
    };
    let plan = Plan::new(&marks, first);
    // Most who ask have everything: only what is newer than the head is read then.
    let news = (first > head.last_seq && head.last_seq > 0).then(|| plan.after(&tail));
    read.scan(news.as_ref().unwrap_or(&plan)).await?;
    if read.gather.has_gap() && news.is_some() {
        read.scan(&plan).await?;
    }
    read.points(&plan).await?;
    if read.gather.lacks_below(head.last_seq) {
        read.look(head.last_seq).await?;
    }
    if read.gather.lacks_below(head.last_seq) {
        let key = [conversation_id, read.gather.next()];
        return Err(fault::damaged("messages", &key));
    }
    let last_seq = head.last_seq.max(read.gather.next() - 1);
    let head = Head { last_seq, ..head };
    Ok((head, read.gather.slice(last_seq)))
}

async fn read_marks(
    live: &Live,
    conversation_id: u64,
    (first, last): (u64, u64),
) -> Result<Vec<Mark>, StoreError> {
    let last = last.min(i64::MAX as u64);
    let values = (bits(conversation_id), bits(first), bits(last));
    let rows = live
        .rows::<(i64, i64, i32, i32)>(&live.statements.marks, values, &[conversation_id])
        .await?;
    let parse = |(seq, message_id, bucket, sub)| {
        let part = Part::parse(bucket, sub)?;
        Some(Mark {
            seq: from_bits(seq),
            message_id: from_bits(message_id),
            part,
        })
    };
    let marks: Option<Vec<Mark>> = rows.into_iter().map(parse).collect();
    marks.ok_or_else(|| fault::damaged("marks", &[conversation_id]))
}

struct Read<'a> {
    live: &'a Live,
    conversation_id: u64,
    bound: Bound,
    gather: Gather,
}

impl Read<'_> {
    async fn scan(&mut self, plan: &Plan) -> Result<(), StoreError> {
        for &(part, from) in &plan.scans {
            let mut scan = Scan::up(self.live, self.conversation_id, part, from);
            // What lies between the mark and the first one wanted is read too.
            while let Some(page) = scan
                .next(self.bound.messages_max + 1, self.bound.bytes_max)
                .await?
            {
                for message in page {
                    self.gather.take(message);
                }
                if self.gather.is_full() || self.gather.is_past() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Messages that no scan met, each by its own mark.
    async fn points(&mut self, plan: &Plan) -> Result<(), StoreError> {
        for mark in &plan.points {
            if self.gather.lacks(mark.seq) {
                self.take(mark.part, mark.message_id).await?;
            }
        }
        Ok(())
    }

    async fn take(&mut self, part: Part, message_id: u64) -> Result<(), StoreError> {
        let message = messages::one(self.live, self.conversation_id, part, message_id).await?;
        if let Some(message) = message {
            self.gather.take(message);
        }
        Ok(())
    }

    /// Looks for what is missing up to `last_seq` through whole partitions, the newest first.
    async fn look(&mut self, last_seq: u64) -> Result<(), StoreError> {
        let missing = self.gather.missing(last_seq);
        let mut missing: HashSet<u64> = missing.collect();
        let mut spans_left = Some(PagingState::start());
        while let Some(state) = spans_left {
            let every = i32::MAX as u32;
            let (spans, next) = spans::up_to(self.live, self.conversation_id, every, state).await?;
            spans_left = next;
            for span in spans {
                self.look_in(span.part, &mut missing).await?;
                if missing.is_empty() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn look_in(&mut self, part: Part, missing: &mut HashSet<u64>) -> Result<(), StoreError> {
        let mut left = Some(PagingState::start());
        while let Some(state) = left.take() {
            let (page, next) =
                messages::seqs(self.live, self.conversation_id, part, LOOK_ROWS, state).await?;
            for (message_id, seq) in page {
                if missing.remove(&seq) {
                    self.take(part, message_id).await?;
                }
            }
            if !missing.is_empty() {
                left = next;
            }
        }
        Ok(())
    }
}
