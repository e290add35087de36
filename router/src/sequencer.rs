//! Gives each message its dense seq within its conversation.
//!
//! Pure: heads come from a caller that reads the store. The invariant: the n-th message record of a
//! conversation in the log has seq n, also when a replay meets a store that is already ahead in
//! part. For that a head holds, next to the last seq, how far in the log it counts.

use crate::generations::Generations;

/// How far a conversation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The seq of its last message, 0 for none.
    pub last_seq: u64,
    /// Every message record of the conversation below this offset is counted in `last_seq`.
    pub next_offset: u64,
}

/// A head's claim contradicts the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "conversation {conversation_id}: its head counts {last_seq} messages, the log has {in_log} of them"
)]
pub struct HeadError {
    /// Which conversation.
    pub conversation_id: u64,
    /// The head's.
    pub last_seq: u64,
    /// Below the head's offset, in the replayed part alone.
    pub in_log: u64,
}

#[derive(Clone, Copy, Debug)]
struct Counted {
    head: Head,
    /// Records that the replay will bring again although the head counts them.
    again: u64,
}

/// The heads in use. Heads are dropped only in [`Sequencer::turn`].
#[derive(Debug)]
pub struct Sequencer {
    heads: Generations<u64, Counted>,
}

impl Sequencer {
    /// A sequencer that keeps about `heads_max` heads, up to twice as many.
    pub fn new(heads_max: usize) -> Sequencer {
        Sequencer {
            heads: Generations::new(heads_max),
        }
    }

    /// The head after the message at `offset`. `load` reads the stored head where it is not here.
    pub fn assign<E>(
        &mut self,
        conversation_id: u64,
        offset: u64,
        load: impl FnOnce() -> Result<Head, E>,
    ) -> Result<Head, E> {
        let counted = self.counted(conversation_id, load)?;
        counted.head = Head {
            last_seq: counted.head.last_seq + 1,
            next_offset: offset + 1,
        };
        Ok(counted.head)
    }

    /// Whether the message at `offset` is counted in the head already: it was consumed before. For a
    /// log without replays, whose heads never count what the store lacks.
    pub fn counts<E>(
        &mut self,
        conversation_id: u64,
        offset: u64,
        load: impl FnOnce() -> Result<Head, E>,
    ) -> Result<bool, E> {
        let counted = self.counted(conversation_id, load)?;
        Ok(offset < counted.head.next_offset)
    }

    /// Partitions moved: every head is to be read again.
    pub fn forget(&mut self) {
        self.heads.clear();
    }

    /// First pass of a replay: a message record will be replayed.
    pub fn observe<E>(
        &mut self,
        conversation_id: u64,
        offset: u64,
        load: impl FnOnce() -> Result<Head, E>,
    ) -> Result<(), E> {
        let counted = self.counted(conversation_id, load)?;
        if offset < counted.head.next_offset {
            counted.again += 1;
        }
        Ok(())
    }

    /// Between the passes: takes back what the replay will count again.
    pub fn rewind(&mut self) -> Result<(), HeadError> {
        for (&conversation_id, counted) in self.heads.young_mut() {
            let last_seq = counted.head.last_seq;
            let in_log = std::mem::take(&mut counted.again);
            counted.head.last_seq = last_seq.checked_sub(in_log).ok_or(HeadError {
                conversation_id,
                last_seq,
                in_log,
            })?;
        }
        Ok(())
    }

    /// Lets go of heads that were not used lately. Only when all that was assigned is stored, and
    /// never during a replay.
    pub fn turn(&mut self) {
        self.heads.turn();
    }

    fn counted<E>(
        &mut self,
        conversation_id: u64,
        load: impl FnOnce() -> Result<Head, E>,
    ) -> Result<&mut Counted, E> {
        if self.heads.hit(conversation_id).is_none() {
            let head = load()?;
            self.heads
                .insert(conversation_id, Counted { head, again: 0 }, 1);
        }
        Ok(self
            .heads
            .hit(conversation_id)
            .expect("it was there or was inserted above"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::convert::Infallible;

    type Stored = HashMap<u64, Head>;

    fn load(stored: &Stored, id: u64) -> Result<Head, Infallible> {
        Ok(stored.get(&id).copied().unwrap_or_default())
    }

    #[test]
    fn a_head_that_counts_more_than_it_can_is_an_error() {
        let mut sequencer = Sequencer::new(10);
        let lying = || {
            Ok::<_, Infallible>(Head {
                last_seq: 1,
                next_offset: 9,
            })
        };
        sequencer.observe(5, 7, lying).unwrap();
        sequencer.observe(5, 8, lying).unwrap();
        assert_eq!(
            sequencer.rewind(),
            Err(HeadError {
                conversation_id: 5,
                last_seq: 1,
                in_log: 2
            })
        );
    }

    proptest! {
        /// A log of messages; the store stopped at a different point for every conversation (rows
        /// that were not synced are lost one by one); the replay begins anywhere below them all.
        #[test]
        fn a_replay_over_a_torn_store_gives_every_record_its_seq_again(
            log in prop::collection::vec(0_u64..4, 1..120),
            stopped in prop::collection::vec(0_usize..120, 4),
            from in 0_usize..120,
        ) {
            let mut seqs = Vec::new();
            let mut truth = Sequencer::new(2);
            let mut all = Stored::new();
            let mut stored = Stored::new();
            for (offset, &id) in log.iter().enumerate() {
                let head = truth.assign(id, offset as u64, || load(&all, id)).unwrap();
                truth.turn();
                all.insert(id, head);
                seqs.push(head.last_seq);
                if offset < from.max(stopped[id as usize]) {
                    stored.insert(id, head);
                }
            }
            let mut again = Sequencer::new(2);
            for (offset, &id) in log.iter().enumerate().skip(from) {
                again.observe(id, offset as u64, || load(&stored, id)).unwrap();
            }
            again.rewind().unwrap();
            for (offset, &id) in log.iter().enumerate().skip(from) {
                let head = again.assign(id, offset as u64, || load(&stored, id)).unwrap();
                prop_assert_eq!(head.last_seq, seqs[offset]);
            }
        }
    }
}
