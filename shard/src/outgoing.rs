//! What is queued for sending on one connection. On the heap, and only while there is something.

use std::collections::VecDeque;

use crate::limits::{COALESCE_BYTES_MAX, SPARE_BUFFER_BYTES_MAX, SPARE_BUFFERS_MAX};

/// The send queue of a connection. The buffer in flight is with the driver, its bytes are counted here.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    queue: VecDeque<Vec<u8>>,
    /// Bytes of the first buffer that the kernel has taken.
    from: usize,
    /// Bytes that it has not taken, of all buffers, the one in flight too.
    bytes: usize,
    /// The socket was full, and has room again.
    room_again: bool,
}

impl Outgoing {
    pub(crate) fn push(&mut self, bytes: Vec<u8>) {
        self.bytes += bytes.len();
        self.queue.push_back(bytes);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the next buffer to send and where to begin in it; small ones are joined, so that one
    /// system call and one segment carry them.
    pub(crate) fn take(&mut self, spare: &mut Spare) -> Option<(Vec<u8>, usize)> {
        let mut first = self.queue.pop_front()?;
        if self.from == 0 && self.joins(&first) {
            // Into a larger buffer where there is one: the first has seldom room for the second.
            if first.capacity() < first.len() + self.queue[0].len() {
                let mut larger = spare.take();
                larger.extend_from_slice(&first);
                spare.put(std::mem::replace(&mut first, larger));
            }
            while self.joins(&first) {
                let Some(next) = self.queue.pop_front() else {
                    break;
                };
                first.extend_from_slice(&next);
                spare.put(next);
            }
        }
        Some((first, self.from))
    }

    fn joins(&self, first: &[u8]) -> bool {
        let next = self.queue.front().map(Vec::len);
        next.is_some_and(|next| first.len() + next <= COALESCE_BYTES_MAX)
    }

    /// The kernel took `taken` bytes (from `from` on) of the buffer that it gives back. True when
    /// nothing is left.
    pub(crate) fn handle_sent(&mut self, bytes: Vec<u8>, taken: usize, spare: &mut Spare) -> bool {
        self.bytes = self.bytes.saturating_sub(taken);
        self.from += taken;
        if self.from < bytes.len() {
            self.queue.push_front(bytes);
        } else {
            self.from = 0;
            spare.put(bytes);
        }
        self.queue.is_empty()
    }

    /// The first buffer was taken only in part.
    pub(crate) fn is_partial(&self) -> bool {
        self.from > 0
    }

    /// The socket was full, and the poll says that it has room again.
    pub(crate) fn handle_room(&mut self) {
        self.room_again = true;
    }

    /// Whether what the kernel took now went into room that was made since the socket was full. Said once.
    pub(crate) fn went_on(&mut self, taken: usize) -> bool {
        taken > 0 && std::mem::take(&mut self.room_again)
    }

    /// Forgets what is queued (not what is in flight).
    pub(crate) fn discard(&mut self, spare: &mut Spare) {
        for bytes in self.queue.drain(..) {
            spare.put(bytes);
        }
        self.bytes = 0;
        self.from = 0;
    }

    /// All that is queued, in order. Nothing may be in flight, or half sent.
    pub(crate) fn into_queue(self) -> Vec<Vec<u8>> {
        self.queue.into()
    }
}

/// A few buffers between their uses, bounded in count and size so that memory returns after traffic.
#[derive(Debug, Default)]
pub(crate) struct Spare(Vec<Vec<u8>>);

impl Spare {
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    pub(crate) fn put(&mut self, mut bytes: Vec<u8>) {
        let keep = (1..=SPARE_BUFFER_BYTES_MAX).contains(&bytes.capacity());
        if keep && self.0.len() < SPARE_BUFFERS_MAX {
            bytes.clear();
            self.0.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_buffers_are_joined_and_short_sends_resumed() {
        let (mut out, mut spare) = (Outgoing::default(), Spare::default());
        for part in [&b"abc"[..], b"def", b"ghi"] {
            out.push(part.to_vec());
        }
        out.push(vec![7; COALESCE_BYTES_MAX]);
        let (bytes, from) = out.take(&mut spare).unwrap();
        assert_eq!((&bytes[..], from), (&b"abcdefghi"[..], 0));
        assert!(!out.handle_sent(bytes, 4, &mut spare));
        assert_eq!(out.bytes(), 5 + COALESCE_BYTES_MAX);
        let (bytes, from) = out.take(&mut spare).unwrap();
        assert_eq!(&bytes[from..], b"efghi");
        assert!(!out.handle_sent(bytes, 5, &mut spare));
        let (bytes, from) = out.take(&mut spare).unwrap();
        assert_eq!((bytes.len(), from), (COALESCE_BYTES_MAX, 0));
        assert!(out.handle_sent(bytes, COALESCE_BYTES_MAX, &mut spare));
        assert_eq!(out.bytes(), 0);
    }

    #[test]
    fn the_pool_is_bounded() {
        let mut spare = Spare::default();
        (0..1_000).for_each(|_| spare.put(Vec::with_capacity(100)));
        spare.put(Vec::with_capacity(SPARE_BUFFER_BYTES_MAX + 1));
        assert_eq!(spare.0.len(), SPARE_BUFFERS_MAX);
    }
}
