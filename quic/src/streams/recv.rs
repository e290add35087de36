//! The receiving half of a stream (RFC 9000 section 3.2): bytes put in order.
//!
//! Bytes lie at their place in one buffer, so that no more memory is used than the window that was granted, however
//! they are cut. Invariant: no byte behind `max` or behind the final size is taken.

use std::collections::VecDeque;

use crate::error::{Code, Error};
use crate::ranges::Ranges;

/// Pieces with gaps between them that a stream may be in. A sender that retransmits in order has a few.
const PIECES_MAX: usize = 64;

/// What the application finds at the end of what it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// More may come.
    Open,
    /// That was all.
    Finished,
    /// The peer gave up, with this code. Bytes that were not read are gone.
    Reset(u64),
}

/// The receiving half.
#[derive(Debug)]
pub(crate) struct RecvStream {
    /// The first byte that was not read.
    base: u64,
    /// From `base` on, with zeros where nothing has come.
    buffer: VecDeque<u8>,
    have: Ranges,
    /// The end of what has come.
    highest: u64,
    final_size: Option<u64>,
    /// What the peer may send.
    max: u64,
    window: u64,
    reset: Option<u64>,
    /// We want no more; whether STOP_SENDING has to be sent.
    stop: Option<(u64, bool)>,
    /// MAX_STREAM_DATA has to be sent.
    pub(crate) grants: bool,
    /// The application has seen the end.
    done: bool,
}

impl RecvStream {
    /// A stream of which all before `offset` was read.
    pub(crate) fn new(offset: u64, max: u64, window: u64) -> Self {
        Self {
            base: offset,
            buffer: VecDeque::new(),
            have: Ranges::default(),
            highest: offset,
            final_size: None,
            max,
            window,
            reset: None,
            stop: None,
            grants: false,
            done: false,
        }
    }

    /// Takes a piece and tells by how much the stream's end moved.
    pub(crate) fn insert(&mut self, offset: u64, data: &[u8], fin: bool) -> Result<u64, Error> {
        let end = offset + data.len() as u64;
        self.check_end(end, fin)?;
        let moved = end.saturating_sub(self.highest);
        self.highest = self.highest.max(end);
        if fin {
            self.final_size = Some(end);
        }
        // After a reset, or where nobody wants it, it only counts.
        if self.reset.is_some() || self.stop.is_some() {
            return Ok(moved);
        }
        let skip = self.base.saturating_sub(offset).min(data.len() as u64);
        let (start, data) = (offset + skip, &data[skip as usize..]);
        if !data.is_empty() {
            self.have.insert(start..end);
            if self.have.count() > PIECES_MAX {
                return Err(Error::new(
                    Code::INTERNAL_ERROR,
                    "a stream in too many pieces",
                ));
            }
            self.put(start, data);
        }
        Ok(moved)
    }

    //= RFC 9000 section 4.5: Once a final size for a stream is known, it cannot change.
    fn check_end(&self, end: u64, fin: bool) -> Result<(), Error> {
        //= RFC 9000 section 4.1: A receiver MUST close the connection with an error of type FLOW_CONTROL_ERROR if the sender violates the advertised connection or stream data limits
        if end > self.max {
            return Err(Error::new(
                Code::FLOW_CONTROL_ERROR,
                "data behind the limit of a stream",
            ));
        }
        let moves = match self.final_size {
            Some(size) => end > size || (fin && end != size),
            None => fin && end < self.highest,
        };
        if moves {
            let reason = "the end of a stream moved, or data came behind it";
            return Err(Error::new(Code::FINAL_SIZE_ERROR, reason));
        }
        Ok(())
    }

    fn put(&mut self, start: u64, data: &[u8]) {
        let at = (start - self.base) as usize;
        let end = at + data.len();
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        for (place, byte) in self.buffer.range_mut(at..end).zip(data) {
            *place = *byte;
        }
    }

    /// RESET_STREAM. Tells by how much the stream's end moved, and how many bytes nobody will read.
    pub(crate) fn reset(&mut self, code: u64, final_size: u64) -> Result<(u64, u64), Error> {
        self.check_end(final_size, true)?;
        let moved = final_size.saturating_sub(self.highest);
        self.highest = final_size;
        let was_whole =
            self.final_size.is_some() && self.have.end_from(self.base) == self.final_size;
        self.final_size = Some(final_size);
        if self.reset.is_some() || self.done || was_whole {
            return Ok((moved, 0));
        }
        self.reset = Some(code);
        let unread = if self.stop.is_some() {
            moved
        } else {
            final_size - self.base
        };
        self.base = final_size;
        self.buffer = VecDeque::new();
        self.have.clear();
        Ok((moved, unread))
    }

    /// Moves at most `max` bytes to `out`.
    pub(crate) fn read(&mut self, max: usize, out: &mut Vec<u8>) -> (usize, Rest) {
        let there = self
            .have
            .end_from(self.base)
            .map_or(0, |end| end - self.base);
        let len = (there as usize).min(max);
        out.extend(self.buffer.drain(..len));
        let from = self.base;
        self.base += len as u64;
        self.have.remove(from..self.base);
        if self.buffer.is_empty() {
            self.buffer = VecDeque::new();
        }
        self.grant();
        let rest = match (self.reset, self.final_size) {
            (Some(code), _) => Rest::Reset(code),
            (None, Some(size)) if size == self.base => Rest::Finished,
            _ => Rest::Open,
        };
        self.done |= rest != Rest::Open;
        (len, rest)
    }

    /// More is granted once half of the window was read.
    fn grant(&mut self) {
        let max = self.base + self.window;
        if self.final_size.is_none() && self.stop.is_none() && max > self.max + self.window / 2 {
            self.max = max;
            self.grants = true;
        }
    }

    /// Asks the peer to send no more. Tells how many bytes nobody will read.
    pub(crate) fn stop(&mut self, code: u64) -> u64 {
        if self.stop.is_some() || self.reset.is_some() || self.done {
            return 0;
        }
        self.stop = Some((code, self.final_size.is_none()));
        let unread = self.highest - self.base;
        self.base = self.highest;
        self.buffer = VecDeque::new();
        self.have.clear();
        self.done = true;
        unread
    }

    /// Bytes that come after the application has said stop are nobody's: they count as read at once.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.is_some()
    }

    pub(crate) fn has_stop(&self) -> bool {
        matches!(self.stop, Some((_, true))) && self.final_size.is_none()
    }

    pub(crate) fn take_stop(&mut self) -> Option<u64> {
        let (code, _) = self.stop.filter(|_| self.has_stop())?;
        self.stop = Some((code, false));
        Some(code)
    }

    pub(crate) fn on_stop_lost(&mut self) {
        if let Some((code, _)) = self.stop {
            self.stop = Some((code, true));
        }
    }

    /// What the peer may send.
    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    /// The end of what has come and the first byte that was not read.
    pub(crate) fn offsets(&self) -> (u64, u64) {
        (self.highest, self.base)
    }

    /// Whether there is something to read, be it the end.
    pub(crate) fn is_readable(&self) -> bool {
        !self.done
            && (self.reset.is_some()
                || self.have.end_from(self.base).is_some()
                || self.final_size == Some(self.base))
    }

    /// Whether all that came was read, and more may come.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.highest == self.base
            && self.final_size.is_none()
            && self.stop.is_none()
            && !self.grants
    }

    /// Whether nothing more will come and the application knows.
    pub(crate) fn is_done(&self) -> bool {
        self.done && self.final_size.is_some()
    }
}
