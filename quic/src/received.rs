//! Which packets have come: the largest number and a window of 64 below it.
//!
//! It drops duplicates and says what an ACK frame says; there is nothing else, also while the connection is
//! awake. A packet below the window is dropped unread: its frames are lost, as the peer will find out.

use crate::varint;

/// Packets below the largest that are told apart.
pub const WINDOW: u64 = 64;

/// The set of received packet numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Received {
    /// One more than the largest; 0 where nothing has come.
    next: u64,
    /// Bit `i` is the packet `i + 1` below the largest.
    window: u64,
}

impl Received {
    pub(crate) const fn from_parts(next: u64, window: u64) -> Self {
        Self { next, window }
    }

    pub(crate) const fn parts(self) -> (u64, u64) {
        (self.next, self.window)
    }

    /// One more than the largest number that has come.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Whether `number` has not come and may still.
    //= RFC 9000 section 12.3: A receiver MUST discard a newly unprotected packet unless it is certain that it has not processed another packet with the same packet number from the same packet number space.
    pub fn is_new(&self, number: u64) -> bool {
        match self.next.checked_sub(number.saturating_add(1)) {
            None => true,
            Some(0) => false,
            Some(below) => below <= WINDOW && self.window >> (below - 1) & 1 == 0,
        }
    }

    /// Enters a number that [`Received::is_new`]. True where it is the next one after the largest.
    pub fn insert(&mut self, number: u64) -> bool {
        match number.checked_sub(self.next) {
            Some(skipped) => {
                // The largest so far becomes a bit, `skipped` places further down.
                let with_largest = self.window << 1 | u64::from(self.next > 0);
                self.window = if skipped < WINDOW {
                    with_largest << skipped
                } else {
                    0
                };
                self.next = number + 1;
                skipped == 0
            }
            None => {
                if let Some(below) = (self.next - 1).checked_sub(number + 1)
                    && below < WINDOW
                {
                    self.window |= 1 << below;
                }
                false
            }
        }
    }

    /// Appends an ACK frame (RFC 9000 section 19.3), at most 140 bytes; nothing where nothing has come.
    /// `delay` is already in the units of our exponent.
    pub fn put_ack(&self, delay: u64, out: &mut Vec<u8>) {
        let Some(largest) = self.next.checked_sub(1) else {
            return;
        };
        out.push(0x02);
        varint::put(largest, out);
        varint::put(delay, out);
        let first = u64::from(self.window.trailing_ones());
        let count_at = out.len();
        // Of one byte: 64 bits have at most 32 runs.
        out.push(0);
        varint::put(first, out);
        let mut bits = self.window.checked_shr(first as u32).unwrap_or(0);
        let mut ranges = 0;
        while bits != 0 {
            let gap = bits.trailing_zeros();
            bits >>= gap;
            let run = bits.trailing_ones();
            bits = bits.checked_shr(run).unwrap_or(0);
            varint::put(u64::from(gap - 1), out);
            varint::put(u64::from(run - 1), out);
            ranges += 1;
        }
        out[count_at] = ranges;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::frame::{Frame, Frames};

    fn acked(received: &Received) -> BTreeSet<u64> {
        let mut bytes = Vec::new();
        received.put_ack(0, &mut bytes);
        assert!(bytes.len() <= 140);
        let mut frames = Frames::new(&bytes);
        let Some(Ok(Frame::Ack(ack))) = frames.next() else {
            panic!("no ACK frame in {bytes:x?}");
        };
        ack.ranges().flatten().collect()
    }

    proptest! {
        //= test of RFC 9000 section 12.3: A receiver MUST discard a newly unprotected packet unless it is certain that it has not processed another packet with the same packet number from the same packet number space.
        #[test]
        fn no_number_is_taken_twice_and_acks_say_what_was(
            numbers in proptest::collection::vec(0_u64..400, 1..200),
        ) {
            let mut received = Received::default();
            let mut taken = BTreeSet::new();
            for number in numbers {
                let is_new = received.is_new(number);
                let largest = taken.last().copied();
                let in_reach = largest.is_none_or(|largest| number + WINDOW >= largest);
                prop_assert_eq!(is_new, in_reach && !taken.contains(&number));
                if is_new {
                    let follows = received.insert(number);
                    prop_assert_eq!(follows, number == largest.map_or(0, |largest| largest + 1));
                    taken.insert(number);
                }
                let least = received.next().saturating_sub(WINDOW + 1);
                let kept: BTreeSet<u64> = taken.range(least..).copied().collect();
                prop_assert_eq!(acked(&received), kept);
            }
        }
    }
}
