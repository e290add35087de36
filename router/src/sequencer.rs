//! Gives each message its dense seq within its conversation.
//!
//! Pure: heads come from a caller that reads the store. The invariant: the n-th message of a conversation
//! in the log has seq n, whoever counts it and however often. So counting may begin anywhere: at a
//! conversation's first record from there on, its head is what the records below it come to.

use crate::generations::Generations;

/// How far a conversation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The seq of its last message, 0 for none.
    pub last_seq: u64,
    /// Every message of the conversation below this offset is counted in `last_seq`.
    pub next_offset: u64,
}

/// The heads in use. Heads are dropped only in [`Sequencer::turn`] and [`Sequencer::forget`].
#[derive(Debug)]
pub struct Sequencer {
    heads: Generations<u64, Head>,
}

impl Sequencer {
    /// A sequencer that keeps about `heads_max` heads, up to twice as many.
    pub fn new(heads_max: usize) -> Sequencer {
        Sequencer {
            heads: Generations::new(heads_max),
        }
    }

    /// Whether a conversation's head is here.
    pub fn knows(&mut self, conversation_id: u64) -> bool {
        self.heads.hit(conversation_id).is_some()
    }

    /// What the records of a conversation come to below the one that is counted next.
    pub fn learn(&mut self, conversation_id: u64, base: Head) {
        self.heads.insert(conversation_id, base, 1);
    }

    /// The head after the message at `offset`. Of a conversation that was not [learnt](Self::learn) it is
    /// the first one.
    pub fn assign(&mut self, conversation_id: u64, offset: u64) -> Head {
        let before = self.heads.hit(conversation_id).copied().unwrap_or_default();
        debug_assert!(before.next_offset <= offset, "counted twice");
        let head = Head {
            last_seq: before.last_seq + 1,
            next_offset: offset + 1,
        };
        self.heads.insert(conversation_id, head, 1);
        head
    }

    /// Partitions moved: every head is to be read again.
    pub fn forget(&mut self) {
        self.heads.clear();
    }

    /// Lets go of heads that were not used lately. Only when all that was assigned is stored.
    pub fn turn(&mut self) {
        self.heads.turn();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a store that has every message of a conversation answers, of those below an offset.
    fn base(log: &[u64], id: u64, offset: usize) -> Head {
        let of_it = (0..offset).filter(|&at| log[at] == id);
        of_it.fold(Head::default(), |head, at| Head {
            last_seq: head.last_seq + 1,
            next_offset: at as u64 + 1,
        })
    }

    proptest! {
        /// A log of messages, counted from the beginning and again from anywhere, with few heads kept.
        #[test]
        fn whoever_counts_from_anywhere_gives_every_record_its_seq_again(
            log in prop::collection::vec(0_u64..4, 1..120),
            from in 0_usize..120,
        ) {
            let mut seqs = Vec::new();
            let count = |from: usize| -> Vec<u64> {
                let mut sequencer = Sequencer::new(2);
                let counted = log.iter().enumerate().skip(from).map(|(offset, &id)| {
                    if !sequencer.knows(id) {
                        sequencer.learn(id, base(&log, id, offset));
                    }
                    let head = sequencer.assign(id, offset as u64);
                    sequencer.turn();
                    head.last_seq
                });
                counted.collect()
            };
            seqs.extend(count(0));
            for (offset, &id) in log.iter().enumerate() {
                prop_assert_eq!(seqs[offset], base(&log, id, offset + 1).last_seq);
            }
            prop_assert_eq!(&count(from)[..], seqs.get(from..).unwrap_or(&[]));
        }
    }
}
