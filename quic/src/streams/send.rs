//! The sending half of a stream (RFC 9000 section 3.1): what was written and is not acknowledged.
//!
//! It says what is to be sent next, never when. Invariant: the buffer holds exactly the bytes from `base` to the
//! end of what was written; what is below `next` is acknowledged, lost or under way.

use std::collections::VecDeque;
use std::ops::Range;

use crate::ranges::Ranges;

/// Bytes that a stream keeps which the peer has not acknowledged.
pub(crate) const BUFFER_BYTES_MAX: usize = 256 * 1024;

/// How far the end of the stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// More may be written.
    Open,
    /// The end is known and has to be sent.
    ToSend,
    /// It is under way.
    Sent,
    /// The peer has it.
    Acked,
}

/// How far a reset is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reset {
    ToSend(u64),
    Sent(u64),
    Acked,
}

/// What is to be sent next of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) offsets: Range<u64>,
    pub(crate) fin: bool,
    /// Bytes that were never sent before: they count against the connection's limit.
    pub(crate) fresh: u64,
}

/// The sending half.
#[derive(Debug)]
pub(crate) struct SendStream {
    /// All below is acknowledged.
    base: u64,
    buffer: VecDeque<u8>,
    /// The first byte that was never sent.
    next: u64,
    acked: Ranges,
    lost: Ranges,
    /// What the peer allows.
    max: u64,
    end: End,
    reset: Option<Reset>,
    /// The application was refused some bytes and waits.
    pub(crate) waits: bool,
}

impl SendStream {
    /// A stream of which all before `offset` is acknowledged.
    pub(crate) fn new(offset: u64, max: u64) -> Self {
        Self {
            base: offset,
            buffer: VecDeque::new(),
            next: offset,
            acked: Ranges::default(),
            lost: Ranges::default(),
            max,
            end: End::Open,
            reset: None,
            waits: false,
        }
    }

    /// Takes as much of `bytes` as there is room for.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room());
        self.buffer.extend(&bytes[..taken]);
        self.waits |= taken < bytes.len();
        taken
    }

    pub(crate) fn room(&self) -> usize {
        BUFFER_BYTES_MAX.saturating_sub(self.buffer.len())
    }

    /// Whether bytes may still be written.
    pub(crate) fn is_open(&self) -> bool {
        self.end == End::Open && self.reset.is_none()
    }

    pub(crate) fn finish(&mut self) {
        if self.is_open() {
            self.end = End::ToSend;
        }
    }

    /// Gives up what the peer has not got. False where there is nothing to give up any more.
    pub(crate) fn reset(&mut self, code: u64) -> bool {
        if self.end == End::Acked || self.reset.is_some() {
            return false;
        }
        self.reset = Some(Reset::ToSend(code));
        self.buffer = VecDeque::new();
        self.lost.clear();
        self.acked.clear();
        true
    }

    //= RFC 9000 section 4.1: A sender MUST ignore any MAX_STREAM_DATA or MAX_DATA frames that do not increase flow control limits.
    pub(crate) fn allow(&mut self, max: u64) {
        self.max = self.max.max(max);
    }

    /// Whether all that was ever written is acknowledged and nothing of the stream is under way.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.buffer.is_empty() && self.end == End::Open && self.reset.is_none()
    }

    /// Whether the peer knows all that there will ever be.
    pub(crate) fn is_done(&self) -> bool {
        match self.reset {
            Some(reset) => reset == Reset::Acked,
            None => self.end == End::Acked && self.buffer.is_empty(),
        }
    }

    /// The next byte and what the peer allows.
    pub(crate) fn limits(&self) -> (u64, u64) {
        (self.next, self.max)
    }

    fn written(&self) -> u64 {
        self.base + self.buffer.len() as u64
    }

    /// Whether [`SendStream::next_chunk`] has something.
    pub(crate) fn has_chunk(&self, credit: u64) -> bool {
        self.reset.is_none()
            && (!self.lost.is_empty()
                || (self.next < self.written().min(self.max) && credit > 0)
                || (self.end == End::ToSend && self.next == self.written()))
    }

    /// Takes what is to be sent next: at most `room` bytes, `credit` of them fresh.
    pub(crate) fn next_chunk(&mut self, room: u64, credit: u64) -> Option<Chunk> {
        if !self.has_chunk(credit) {
            return None;
        }
        let (offsets, fresh) = if self.lost.is_empty() {
            let end = self.written().min(self.max);
            let fresh = end.saturating_sub(self.next).min(credit).min(room);
            let offsets = self.next..self.next + fresh;
            self.next = offsets.end;
            (offsets, fresh)
        } else {
            (self.lost.take_first(room)?, 0)
        };
        let fin = self.end == End::ToSend && offsets.end == self.written();
        if fin {
            self.end = End::Sent;
        }
        (fin || !offsets.is_empty()).then_some(Chunk {
            offsets,
            fin,
            fresh,
        })
    }

    /// Appends the bytes of a chunk.
    pub(crate) fn put(&self, offsets: &Range<u64>, out: &mut Vec<u8>) {
        let at = |offset: u64| (offset.saturating_sub(self.base) as usize).min(self.buffer.len());
        out.extend(self.buffer.range(at(offsets.start)..at(offsets.end)));
    }

    pub(crate) fn on_acked(&mut self, offsets: Range<u64>, fin: bool) {
        if fin && self.end != End::Open {
            self.end = End::Acked;
        }
        if self.reset.is_some() {
            return;
        }
        self.lost.remove(offsets.clone());
        self.acked.insert(offsets.start.max(self.base)..offsets.end);
        if let Some(end) = self.acked.end_from(self.base) {
            self.acked.remove(self.base..end);
            self.buffer.drain(..(end - self.base) as usize);
            self.base = end;
            if self.buffer.is_empty() {
                self.buffer = VecDeque::new();
            }
        }
    }

    pub(crate) fn on_lost(&mut self, offsets: Range<u64>, fin: bool) {
        if self.reset.is_some() {
            return;
        }
        if fin && self.end == End::Sent {
            self.end = End::ToSend;
        }
        // What was acknowledged with another packet is not lost.
        let mut lost = Ranges::default();
        lost.insert(offsets.start.max(self.base)..offsets.end);
        for acked in self.acked.iter() {
            lost.remove(acked.clone());
        }
        for range in lost.iter() {
            self.lost.insert(range.clone());
        }
    }

    /// The code and final size of a RESET_STREAM that is to be sent.
    pub(crate) fn take_reset(&mut self) -> Option<(u64, u64)> {
        let Some(Reset::ToSend(code)) = self.reset else {
            return None;
        };
        self.reset = Some(Reset::Sent(code));
        Some((code, self.next))
    }

    pub(crate) fn has_reset(&self) -> bool {
        matches!(self.reset, Some(Reset::ToSend(_)))
    }

    pub(crate) fn on_reset_acked(&mut self) {
        if self.reset.is_some() {
            self.reset = Some(Reset::Acked);
        }
    }

    pub(crate) fn on_reset_lost(&mut self) {
        if let Some(Reset::Sent(code)) = self.reset {
            self.reset = Some(Reset::ToSend(code));
        }
    }
}
