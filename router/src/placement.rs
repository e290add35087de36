//! Which partition a conversation's records lie in: a pure function of its id and of how many partitions
//! there were in each epoch.
//!
//! An id carries the epoch under which it was made ([`ids::epoch`]), and the count of an epoch never
//! changes once it is written. The invariant: whoever knows the epoch of an id puts it into the same
//! partition, however many epochs came later; whoever does not know it yet puts it nowhere.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use crate::ids;
use crate::log::Partition;

/// Epochs at most: as many as an id can name.
pub const EPOCHS_MAX: usize = 1 << ids::EPOCH_BITS;

/// The id is of an epoch that is not known here: partitions were added, or there is no such conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("conversation {conversation_id} is of epoch {epoch}, which is not known here")]
pub struct UnknownEpoch {
    /// Whose partition was asked for.
    pub conversation_id: u64,
    /// Its epoch.
    pub epoch: u8,
}

/// Partition counts that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "partition counts by epoch are {counts:?}: 1 to {EPOCHS_MAX} of them, each at least 1, none below the one before"
)]
pub struct WrongCounts {
    counts: Vec<u32>,
}

/// The partition counts by epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    counts: Vec<u32>,
}

impl Placement {
    /// Of a log with one partition for ever: the embedded one.
    #[must_use]
    pub fn single() -> Placement {
        Placement { counts: vec![1] }
    }

    /// By the partition count of each epoch, the first one first.
    pub fn new(counts: Vec<u32>) -> Result<Placement, WrongCounts> {
        let grow = counts.windows(2).all(|pair| pair[0] <= pair[1]);
        if !grow || counts.len() > EPOCHS_MAX || counts.first().is_none_or(|first| *first == 0) {
            return Err(WrongCounts { counts });
        }
        Ok(Placement { counts })
    }

    /// The partition of a conversation's records.
    pub fn of(&self, conversation_id: u64) -> Result<Partition, UnknownEpoch> {
        let epoch = ids::epoch(conversation_id);
        match self.counts.get(usize::from(epoch)) {
            Some(partitions) => Ok(Partition(partition_of(conversation_id, *partitions))),
            None => Err(UnknownEpoch {
                conversation_id,
                epoch,
            }),
        }
    }

    /// The epoch under which conversations are opened.
    #[must_use]
    pub fn newest(&self) -> u8 {
        (self.counts.len() - 1) as u8
    }

    /// How many partitions that epoch has: those that records may lie in.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        self.counts.last().copied().unwrap_or(1)
    }

    /// By epoch.
    #[must_use]
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// Whether it knows all that another one knows, and agrees.
    fn extends(&self, other: &Placement) -> bool {
        self.counts.starts_with(&other.counts)
    }
}

/// The placement of a running process, which may learn of epochs.
#[derive(Debug)]
pub struct SharedPlacement {
    now: RwLock<Placement>,
    unknown_met: AtomicBool,
}

impl SharedPlacement {
    /// Begins with what is known.
    #[must_use]
    pub fn new(placement: Placement) -> SharedPlacement {
        SharedPlacement {
            now: RwLock::new(placement),
            unknown_met: AtomicBool::new(false),
        }
    }

    /// What is known now.
    pub fn now(&self) -> RwLockReadGuard<'_, Placement> {
        self.now.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The partition of a conversation's records. An epoch that is not known is remembered, for whoever
    /// [learns](Self::learn) of epochs to ask.
    pub fn of(&self, conversation_id: u64) -> Result<Partition, UnknownEpoch> {
        let found = self.now().of(conversation_id);
        if found.is_err() {
            self.unknown_met.store(true, Ordering::Release);
        }
        found
    }

    /// Whether an unknown epoch was met since this was last asked.
    pub fn take_unknown_met(&self) -> bool {
        self.unknown_met.swap(false, Ordering::AcqRel)
    }

    /// Takes a placement that knows all that this one knows, and more; false where it is not such a one.
    pub fn learn(&self, placement: Placement) -> bool {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        let extends = placement.extends(&now);
        if extends {
            *now = placement;
        }
        extends
    }
}

/// The partition of a key among so many, as Kafka's own clients have it. `partitions` is at least 1.
#[must_use]
pub fn partition_of(key: u64, partitions: u32) -> u32 {
    // Java takes the hash's lower 31 bits for a positive number (`Utils.toPositive`).
    (murmur2(&key.to_be_bytes()) & 0x7fff_ffff) % partitions
}

/// The hash of `org.apache.kafka.common.utils.Utils.murmur2`.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mix = |k: u32| {
        let k = k.wrapping_mul(M);
        (k ^ (k >> 24)).wrapping_mul(M)
    };
    let (words, rest) = data.as_chunks::<4>();
    let mut h = 0x9747_b28c ^ data.len() as u32;
    for word in words {
        h = h.wrapping_mul(M) ^ mix(u32::from_le_bytes(*word));
    }
    if !rest.is_empty() {
        let tail = rest
            .iter()
            .rev()
            .fold(0, |tail, byte| tail << 8 | u32::from(*byte));
        h = (h ^ tail).wrapping_mul(M);
    }
    h = (h ^ (h >> 13)).wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::{ConversationIds, EPOCH_MS, NODE_MAX};

    #[test]
    fn the_hash_is_that_of_java() {
        // From Kafka's UtilsTest.
        assert_eq!(murmur2(b"21") as i32, -973_932_308);
        assert_eq!(murmur2(b"foobar") as i32, -790_332_482);
        assert_eq!(murmur2(b"a-little-bit-long-string") as i32, -985_981_536);
        assert_eq!(murmur2(b"abc") as i32, 479_470_107);
    }

    #[test]
    fn counts_that_cannot_be_are_refused() {
        for counts in [vec![], vec![0], vec![12, 6], vec![1; EPOCHS_MAX + 1]] {
            assert!(Placement::new(counts.clone()).is_err(), "{counts:?}");
        }
        let most = Placement::new(vec![1; EPOCHS_MAX]).unwrap();
        assert_eq!((most.newest(), most.partitions()), (15, 1));
    }

    #[test]
    fn an_epoch_that_is_met_unknown_is_asked_for_once_and_learnt() {
        let shared = SharedPlacement::new(Placement::new(vec![12]).unwrap());
        let id = ConversationIds::new(1, 0).next_id(EPOCH_MS + 9, 1);
        assert_eq!(shared.of(id).unwrap_err().epoch, 1);
        assert!(shared.take_unknown_met() && !shared.take_unknown_met());
        let other = Placement::new(vec![6, 24]).unwrap();
        assert!(!shared.learn(other), "another history of the same log");
        let grown = Placement::new(vec![12, 24]).unwrap();
        assert!(shared.learn(grown.clone()));
        assert_eq!(shared.of(id), grown.of(id));
        assert!(!shared.learn(Placement::new(vec![12]).unwrap()), "older");
    }

    proptest! {
        /// Whoever can tell the partition of an id tells the same one, whatever epochs it knows besides.
        #[test]
        fn an_id_has_one_partition_at_every_knowledge_of_epochs(
            first in 1_u32..100,
            more in prop::collection::vec(0_u32..100, 0..EPOCHS_MAX - 1),
            node in 0_u16..=NODE_MAX,
            steps in prop::collection::vec(0_u64..1 << 40, 1..50),
        ) {
            let counts = more.iter().fold(vec![first], |mut counts, step| {
                counts.push(counts[counts.len() - 1] + step);
                counts
            });
            let mut ids = ConversationIds::new(node, 0);
            for known in 1..=counts.len() {
                let opener = Placement::new(counts[..known].to_vec()).unwrap();
                for ms in &steps {
                    let id = ids.next_id(EPOCH_MS + ms, opener.newest());
                    let partition = opener.of(id).unwrap();
                    prop_assert!(partition.0 < counts[known - 1]);
                    for other in 1..=counts.len() {
                        let there = Placement::new(counts[..other].to_vec()).unwrap().of(id);
                        match other < known {
                            true => prop_assert!(there.is_err()),
                            false => prop_assert_eq!(there, Ok(partition)),
                        }
                    }
                }
            }
        }
    }
}
