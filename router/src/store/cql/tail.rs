//! Where the next message of a conversation goes: which partition, and whether it gets a mark.
//!
//! Pure. The invariant: a partition holds a range of message ids that no other holds, and ranges follow
//! one another by (bucket, sub). So pages by id go through the partitions one after the other, though
//! ids come out of order where nodes' clocks differ. A function of the conversation's messages in their
//! order and of the caps alone, so a replay from any older tail places every message where it is.

use super::options::Caps;
use crate::bucket;
use crate::sequencer::Head;

/// Seqs from one regular mark to the next: a page of history is 100 messages, so a scan reads about half
/// as many again as it needs, and marks are 1.6 % of the rows.
pub(super) const MARK_EVERY: u64 = 64;

/// One partition of a conversation's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Part {
    /// Ten days, by [`bucket::of_message`].
    pub(super) bucket: u32,
    /// 0, 1, … within them.
    pub(super) sub: u32,
}

impl Part {
    /// As columns. Buckets fit: the last one of the last id is 2,545.
    pub(super) fn columns(self) -> (i32, i32) {
        (self.bucket.cast_signed(), self.sub.cast_signed())
    }

    /// From columns; `None` where they cannot be.
    pub(super) fn parse(bucket: i32, sub: i32) -> Option<Part> {
        Some(Part {
            bucket: u32::try_from(bucket).ok()?,
            sub: u32::try_from(sub).ok()?,
        })
    }
}

/// A partition that is there: one row of `spans`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) part: Part,
    /// Its least message id; 0 where it begins with its bucket.
    pub(super) first_message_id: u64,
    /// The message that it was made for.
    pub(super) first_seq: u64,
}

/// How far a conversation is, and what its next message's place depends on: one row of `heads`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) head: Head,
    /// The partition of the greatest message id.
    pub(super) part: Part,
    /// Rows and payload bytes there.
    pub(super) part_rows: u32,
    pub(super) part_bytes: u64,
    /// Its least message id; 0 where it begins with its bucket.
    pub(super) part_first_id: u64,
    /// The greatest message id of the conversation.
    pub(super) last_message_id: u64,
    /// A scan from here finds the messages that come later, but those that have marks of their own.
    pub(super) mark_message_id: u64,
}

/// What is to be placed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) message_id: u64,
    pub(super) payload_bytes: u64,
    pub(super) log_offset: u64,
}

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) seq: u64,
    pub(super) part: Part,
    /// The partition's row, where it begins with this message.
    pub(super) span: Option<Span>,
    /// Whether the message gets a mark.
    pub(super) marked: bool,
}

impl Tail {
    /// Whether a message belongs to a partition before the current one: one that came late, by a clock
    /// that is behind. Its place depends on the spans of its bucket.
    pub(super) fn is_behind(&self, message_id: u64) -> bool {
        let bucket = bucket::of_message(message_id);
        self.head.last_seq > 0
            && (bucket < self.part.bucket
                || (bucket == self.part.bucket && message_id < self.part_first_id))
    }

    /// Places the next message. `spans` are those of the message's bucket where it
    /// [is behind](Self::is_behind); not looked at otherwise.
    pub(super) fn place(&mut self, arrival: Arrival, caps: Caps, spans: &[Span]) -> Place {
        let seq = self.head.last_seq + 1;
        let regular = (seq - 1).is_multiple_of(MARK_EVERY);
        let place = if self.is_behind(arrival.message_id) {
            behind(seq, arrival.message_id, spans)
        } else {
            let span = self.begins(seq, arrival.message_id, caps);
            if let Some(span) = span {
                self.part = span.part;
                self.part_first_id = span.first_message_id;
                (self.part_rows, self.part_bytes) = (0, 0);
            }
            self.part_rows += 1;
            self.part_bytes += arrival.payload_bytes;
            let marks = regular || span.is_some();
            let missed = arrival.message_id < self.mark_message_id;
            if marks {
                self.mark_message_id = arrival.message_id;
            }
            Place {
                seq,
                part: self.part,
                span,
                marked: marks || missed,
            }
        };
        self.last_message_id = self.last_message_id.max(arrival.message_id);
        self.head = Head {
            last_seq: seq,
            next_offset: arrival.log_offset + 1,
        };
        place
    }

    /// The partition that a message which is not behind begins, if it does: the first one, the first of
    /// a bucket, or where the current one is full. Only a new greatest id may begin one, so that what is
    /// in a partition already stays in its range.
    fn begins(&self, seq: u64, message_id: u64, caps: Caps) -> Option<Span> {
        let bucket = bucket::of_message(message_id);
        let (sub, first_message_id) = if seq == 1 || bucket > self.part.bucket {
            (0, 0)
        } else {
            let full = self.part_rows >= caps.rows_max || self.part_bytes >= caps.bytes_max;
            if !full || message_id <= self.last_message_id {
                return None;
            }
            (self.part.sub + 1, message_id)
        };
        Some(Span {
            part: Part { bucket, sub },
            first_message_id,
            first_seq: seq,
        })
    }
}

/// Which of the spans of a message's bucket its id lies in.
pub(super) fn holding<'a>(spans: impl Iterator<Item = &'a Span>, message_id: u64) -> Option<Part> {
    spans
        .filter(|span| span.first_message_id <= message_id)
        .map(|span| span.part)
        .max()
}

/// The place of a message that is behind: the partition whose range its id lies in, or the first one of
/// its bucket. Always marked: no scan that is about its seq goes there.
fn behind(seq: u64, message_id: u64, spans: &[Span]) -> Place {
    let bucket = bucket::of_message(message_id);
    let first = Part { bucket, sub: 0 };
    // Later ones may be there from a life of this process whose heads were not written.
    let earlier = || {
        spans
            .iter()
            .filter(|span| span.part.bucket == bucket && span.first_seq < seq)
    };
    let part = holding(earlier(), message_id).unwrap_or(first);
    let there = earlier().any(|span| span.part == part);
    let span = (!there).then_some(Span {
        part,
        first_message_id: 0,
        first_seq: seq,
    });
    Place {
        seq,
        part,
        span,
        marked: true,
    }
}
