//! Snowflake ids: 41 bits of ms since 2025, 10 bits of node, 12 bits of sequence; the top bit is 0. Of a
//! conversation's id the upper four bits of the sequence are the epoch of the partition count under which
//! it was opened ([`crate::placement`]).
//!
//! Not a clock: the time is an argument. The invariant: ids of one generator strictly grow,
//! whatever the clock does, and go on above the id that it was started from.

/// 2025-01-01T00:00:00Z as Unix ms; 41 bits last until 2094.
pub const EPOCH_MS: u64 = 1_735_689_600_000;
/// The highest node id.
pub const NODE_MAX: u16 = (1 << NODE_BITS) - 1;

/// Bits of the epoch in a conversation's id.
pub const EPOCH_BITS: u32 = 4;

const NODE_BITS: u32 = 10;
const SEQUENCE_BITS: u32 = 12;
const SEQUENCE_MASK: u64 = (1 << SEQUENCE_BITS) - 1;
const MS_MAX: u64 = (1 << 41) - 1;
/// What is left of a conversation id's sequence.
const OPENING_BITS: u32 = SEQUENCE_BITS - EPOCH_BITS;
const OPENING_MASK: u64 = (1 << OPENING_BITS) - 1;
const EPOCH_MASK: u64 = (1 << EPOCH_BITS) - 1;

/// Makes the ids of one node.
#[derive(Clone, Debug)]
pub struct Snowflake {
    node: u64,
    /// Time and sequence of the last id, next to each other so that one addition carries.
    stamp: u64,
}

impl Snowflake {
    /// A generator whose ids are all greater than `last` (0 for none), which may be of any node.
    pub fn new(node: u16, last: u64) -> Snowflake {
        let ms = last >> (NODE_BITS + SEQUENCE_BITS);
        let sequence = last & SEQUENCE_MASK;
        // Of another node the id might be greater with the same stamp: begin in the next ms then.
        let last_node = (last >> SEQUENCE_BITS) & u64::from(NODE_MAX);
        let stamp = if last_node > u64::from(node) {
            (ms << SEQUENCE_BITS) | SEQUENCE_MASK
        } else {
            (ms << SEQUENCE_BITS) | sequence
        };
        Snowflake {
            node: u64::from(node.min(NODE_MAX)),
            stamp,
        }
    }

    /// The next id. Over 4,096 in a ms borrow from the next one rather than wait.
    pub fn next_id(&mut self, now_ms: u64) -> u64 {
        let ms = now_ms.saturating_sub(EPOCH_MS).min(MS_MAX);
        self.stamp = (ms << SEQUENCE_BITS).max(self.stamp + 1);
        let (ms, sequence) = (self.stamp >> SEQUENCE_BITS, self.stamp & SEQUENCE_MASK);
        (ms << (NODE_BITS + SEQUENCE_BITS)) | (self.node << SEQUENCE_BITS) | sequence
    }
}

/// Makes the conversation ids of one node, beside its message ids: the two are never compared.
#[derive(Clone, Debug)]
pub struct ConversationIds {
    node: u64,
    /// Time and sequence of the last id, as in [`Snowflake`].
    stamp: u64,
}

impl ConversationIds {
    /// A generator whose ids are all of a later ms than `last` (0 for none), which may be of any node.
    pub fn new(node: u16, last: u64) -> ConversationIds {
        let ms = last >> (NODE_BITS + SEQUENCE_BITS);
        ConversationIds {
            node: u64::from(node.min(NODE_MAX)),
            stamp: (ms << OPENING_BITS) | OPENING_MASK,
        }
    }

    /// The next id, opened under an epoch. Over 256 in a ms borrow from the next one rather than wait.
    pub fn next_id(&mut self, now_ms: u64, epoch: u8) -> u64 {
        let ms = now_ms.saturating_sub(EPOCH_MS).min(MS_MAX);
        self.stamp = (ms << OPENING_BITS).max(self.stamp + 1);
        let (ms, sequence) = (self.stamp >> OPENING_BITS, self.stamp & OPENING_MASK);
        let epoch = (u64::from(epoch) & EPOCH_MASK) << OPENING_BITS;
        (ms << (NODE_BITS + SEQUENCE_BITS)) | (self.node << SEQUENCE_BITS) | epoch | sequence
    }
}

/// The epoch under which a conversation was opened.
pub fn epoch(conversation_id: u64) -> u8 {
    (conversation_id >> OPENING_BITS & EPOCH_MASK) as u8
}

/// The node that made an id.
pub fn node(id: u64) -> u16 {
    (id >> SEQUENCE_BITS) as u16 & NODE_MAX
}

/// When an id was made, Unix ms.
pub fn unix_ms(id: u64) -> u64 {
    EPOCH_MS + (id >> (NODE_BITS + SEQUENCE_BITS))
}

/// The least id that can have been made at a time or later.
pub fn least_at(ms: u64) -> u64 {
    let ms = ms.saturating_sub(EPOCH_MS).min(MS_MAX);
    ms << (NODE_BITS + SEQUENCE_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_has_its_three_parts() {
        let id = Snowflake::new(513, 0).next_id(EPOCH_MS + 77);
        assert_eq!(id, (77 << 22) | (513 << 12));
        assert_eq!(unix_ms(id), EPOCH_MS + 77);
    }

    #[test]
    fn more_than_a_millisecond_holds_goes_into_the_next() {
        let mut ids = Snowflake::new(1, 0);
        let all: Vec<u64> = (0..5_000).map(|_| ids.next_id(EPOCH_MS + 9)).collect();
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(unix_ms(all[4_095]), EPOCH_MS + 9);
        assert_eq!(unix_ms(all[4_096]), EPOCH_MS + 10);
    }

    #[test]
    fn a_conversation_id_has_its_epoch_and_more_than_a_millisecond_holds_goes_into_the_next() {
        let mut ids = ConversationIds::new(513, 0);
        assert_eq!(
            ids.next_id(EPOCH_MS + 77, 3),
            (77 << 22) | (513 << 12) | (3 << 8)
        );
        let all: Vec<u64> = (0..300).map(|_| ids.next_id(EPOCH_MS + 78, 15)).collect();
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(all.iter().all(|id| epoch(*id) == 15));
        assert_eq!(
            (unix_ms(all[255]), unix_ms(all[256])),
            (EPOCH_MS + 78, EPOCH_MS + 79)
        );
        let after = ConversationIds::new(0, all[299]).next_id(EPOCH_MS, 15);
        assert!(after > all[299]);
    }

    proptest! {
        /// Clocks that jump either way and restarts between any two ids, on any node.
        #[test]
        fn ids_grow_through_clock_jumps_and_restarts(
            steps in prop::collection::vec((0_u64..1 << 41, prop::option::of(0_u16..=NODE_MAX)), 1..200)
        ) {
            let mut ids = Snowflake::new(7, 0);
            let mut last = 0;
            for (ms, restart) in steps {
                if let Some(node) = restart {
                    ids = Snowflake::new(node, last);
                }
                let id = ids.next_id(EPOCH_MS.saturating_add(ms >> 1));
                prop_assert!(id > last, "{id} after {last}");
                prop_assert!(id < 1 << 63);
                last = id;
            }
        }
    }
}
