//! Which shards move: one that hangs no longer turns, and one that sleeps still does once a second.

use std::time::{Duration, Instant};

/// When each shard was last seen to have moved. Knows nothing of time between two looks.
#[derive(Debug, Default)]
pub(crate) struct Pulse(Vec<(Option<u64>, Instant)>);

impl Pulse {
    /// Takes the turns of each shard since its start; none of one that has ended, which hangs no more.
    pub(crate) fn look(&mut self, turns: impl IntoIterator<Item = Option<u64>>, now: Instant) {
        for (shard, turns) in turns.into_iter().enumerate() {
            match self.0.get_mut(shard) {
                None => self.0.push((turns, now)),
                Some(seen) if seen.0 != turns || turns.is_none() => *seen = (turns, now),
                Some(_) => {}
            }
        }
    }

    /// Whether all of them have moved after a moment.
    pub(crate) fn all_moved_after(&self, moment: Instant) -> bool {
        self.0.iter().all(|(_, moved)| *moved > moment)
    }

    /// Those that have not moved for so long.
    pub(crate) fn still_for(&self, long: Duration, now: Instant) -> impl Iterator<Item = usize> {
        let shards = self.0.iter().enumerate();
        shards.filter_map(move |(shard, (_, moved))| {
            (now.duration_since(*moved) >= long).then_some(shard)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_stands_still_is_named_and_one_that_has_ended_is_not() {
        let (mut pulse, start) = (Pulse::default(), Instant::now());
        let at = |s| start + Duration::from_secs(s);
        let mut still = |turns: [Option<u64>; 2], s| {
            pulse.look(turns, at(s));
            let still = pulse.still_for(Duration::from_secs(5), at(s));
            still.collect::<Vec<_>>()
        };
        assert_eq!(still([Some(1), Some(1)], 0), [] as [usize; 0]);
        assert_eq!(still([Some(2), Some(1)], 4), [] as [usize; 0]);
        assert_eq!(still([Some(3), Some(1)], 5), [1]);
        assert_eq!(still([Some(3), Some(2)], 9), [] as [usize; 0]);
        assert_eq!(still([Some(3), Some(2)], 10), [0]);
        assert_eq!(still([None, Some(3)], 11), [] as [usize; 0]);
        assert_eq!(still([None, Some(3)], 16), [1]);
    }
}
