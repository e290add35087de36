//! What is queued for sending on one connection. On the heap, and only while there is something.

use std::collections::VecDeque;

use crate::limits::{COALESCE_BYTES_MAX, SPARE_BUFFER_BYTES_MAX, SPARE_BUFFERS_MAX};

/// The send queue of a connection. The buffer in flight is with the driver, and is counted here.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    queue: VecDeque<Vec<u8>>,
    /// Bytes of the first buffer that the kernel has taken.
    from: usize,
    /// Bytes that it has not taken, of all buffers, the one in flight too.
    bytes: usize,
    /// What all buffers have room for.
    capacity: usize,
    /// The socket was full, and has room again.
    room_again: bool,
    /// When the socket took something last, where it is full.
    blocked_since_ns: Option<u64>,
}

impl Outgoing {
    /// Small buffers are joined, so that one system call and one segment carry them, and none keeps much more
    /// memory than it has bytes.
    pub(crate) fn push(&mut self, bytes: Vec<u8>, spare: &mut Spare) {
        self.bytes += bytes.len();
        match self.queue.back_mut() {
            Some(last) if last.len() + bytes.len() <= COALESCE_BYTES_MAX => {
                self.capacity -= last.capacity();
                last.extend_from_slice(&bytes);
                self.capacity += last.capacity();
                spare.put(bytes);
            }
            _ => {
                self.capacity += bytes.capacity();
                self.queue.push_back(bytes);
            }
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of memory that it takes, its own included.
    pub(crate) fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.queue.capacity() * size_of::<Vec<u8>>() + self.capacity
    }

    /// Takes the next buffer to send and where to begin in it.
    pub(crate) fn take(&mut self) -> Option<(Vec<u8>, usize)> {
        Some((self.queue.pop_front()?, self.from))
    }

    /// The kernel took `taken` bytes (from `from` on) of the buffer that it gives back. True when
    /// nothing is left.
    pub(crate) fn handle_sent(
        &mut self,
        mut bytes: Vec<u8>,
        taken: usize,
        spare: &mut Spare,
    ) -> bool {
        self.bytes = self.bytes.saturating_sub(taken);
        self.from += taken;
        if self.from < bytes.len() {
            // It may wait for long.
            self.capacity -= bytes.capacity();
            bytes.shrink_to_fit();
            self.capacity += bytes.capacity();
            self.queue.push_front(bytes);
        } else {
            self.from = 0;
            self.capacity -= bytes.capacity();
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

    /// The socket is full, and has just taken so many bytes.
    pub(crate) fn block(&mut self, taken: usize, now_ns: u64) {
        if taken > 0 || self.blocked_since_ns.is_none() {
            self.blocked_since_ns = Some(now_ns);
        }
    }

    /// The socket is not full.
    pub(crate) fn unblock(&mut self) {
        self.blocked_since_ns = None;
    }

    /// When the socket took something last, where it is full.
    pub(crate) fn blocked_since_ns(&self) -> Option<u64> {
        self.blocked_since_ns
    }

    /// Forgets what is queued (not what is in flight).
    pub(crate) fn discard(&mut self, spare: &mut Spare) {
        for bytes in self.queue.drain(..) {
            self.capacity -= bytes.capacity();
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
            out.push(part.to_vec(), &mut spare);
        }
        out.push(vec![7; COALESCE_BYTES_MAX], &mut spare);
        let (bytes, from) = out.take().unwrap();
        assert_eq!((&bytes[..], from), (&b"abcdefghi"[..], 0));
        assert!(!out.handle_sent(bytes, 4, &mut spare));
        assert_eq!(out.bytes(), 5 + COALESCE_BYTES_MAX);
        let (bytes, from) = out.take().unwrap();
        assert_eq!(&bytes[from..], b"efghi");
        assert!(!out.handle_sent(bytes, 5, &mut spare));
        let (bytes, from) = out.take().unwrap();
        assert_eq!((bytes.len(), from), (COALESCE_BYTES_MAX, 0));
        assert!(out.handle_sent(bytes, COALESCE_BYTES_MAX, &mut spare));
        assert_eq!((out.bytes(), out.capacity), (0, 0));
    }

    #[test]
    fn memory_follows_bytes_where_a_client_does_not_read() {
        let (mut out, mut spare) = (Outgoing::default(), Spare::default());
        let roomy = || {
            let mut bytes = Vec::with_capacity(SPARE_BUFFER_BYTES_MAX);
            bytes.extend_from_slice(&[1; 40]);
            bytes
        };
        out.push(roomy(), &mut spare);
        let (bytes, _) = out.take().unwrap();
        assert!(
            out.held_bytes() > SPARE_BUFFER_BYTES_MAX,
            "what is in flight is counted"
        );
        assert!(!out.handle_sent(bytes, 0, &mut spare));
        for _ in 0..10_000 {
            out.push(roomy(), &mut spare);
        }
        assert_eq!(out.bytes(), 10_001 * 40);
        assert!(
            out.held_bytes() < 2 * out.bytes() + 1_024,
            "{}",
            out.held_bytes()
        );
        out.discard(&mut spare);
        assert_eq!((out.bytes(), out.capacity), (0, 0));
    }

    #[test]
    fn the_pool_is_bounded() {
        let mut spare = Spare::default();
        (0..1_000).for_each(|_| spare.put(Vec::with_capacity(100)));
        spare.put(Vec::with_capacity(SPARE_BUFFER_BYTES_MAX + 1));
        assert_eq!(spare.0.len(), SPARE_BUFFERS_MAX);
    }
}
