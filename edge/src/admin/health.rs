//! Whether the server lives, and whether new clients should be sent to it.
//!
//! It lives while every shard turns: one that sleeps still turns once a second. It is ready while it lives,
//! can make messages durable, has memory for newcomers and is not about to stop.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::view::View;

/// A shard that has not turned for so long hangs.
const HANGS_AFTER: Duration = Duration::from_secs(5);

/// What is wrong; empty where all is well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Why the process should be started again.
    pub dead: Vec<String>,
    /// Why no new clients should be sent here.
    pub unready: Vec<String>,
}

impl Health {
    /// Whether the process is well.
    pub fn is_live(&self) -> bool {
        self.dead.is_empty()
    }

    /// Whether new clients may come.
    pub fn is_ready(&self) -> bool {
        self.is_live() && self.unready.is_empty()
    }
}

/// The turns of each shard when they last changed.
#[derive(Default)]
pub(super) struct Pulse(Mutex<Vec<(u64, Instant)>>);

impl Pulse {
    /// Takes the shards' counts of turns; which of them have stood still for too long.
    fn take(&self, turns: impl Iterator<Item = u64>, now: Instant) -> Vec<usize> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hang = Vec::new();
        for (shard, turns) in turns.enumerate() {
            match seen.get_mut(shard) {
                None => seen.push((turns, now)),
                Some(last) if last.0 != turns => *last = (turns, now),
                Some(last) if now.duration_since(last.1) >= HANGS_AFTER => hang.push(shard),
                Some(_) => {}
            }
        }
        hang
    }
}

/// What is wrong now. Called at least once a second.
pub(super) fn judge(view: &View, pulse: &Pulse, now: Instant) -> Health {
    let counters = view.fabric.counters();
    let hang = pulse.take(counters.iter().map(|shard| shard.turns), now);
    let mut health = Health::default();
    for shard in hang {
        health.dead.push(format!("shard {shard} hangs"));
    }
    let router = view.router();
    health.dead.extend(router.ended());
    match router.health() {
        rookery_router::Health::Serving => {}
        rookery_router::Health::StorageFull => {
            health
                .unready
                .push("no room on the disk for messages".into());
        }
        rookery_router::Health::StoreFailed => {
            health
                .unready
                .push("the store failed and is opened again".into());
        }
    }
    if !view.drain.is_ready() {
        health.unready.push("it is drained".into());
    }
    if router.counters().clock_off.value() > 0 {
        health
            .unready
            .push("the clock is off: nothing is stamped".into());
    }
    if view.gate.is_short_of_memory() {
        health.unready.push("no memory for more connections".into());
    }
    if view.gate.connections() >= u64::from(view.gate.limits().connections_max) {
        health
            .unready
            .push("as many connections as limits.connections_max".into());
    }
    health
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_stands_still_hangs_and_one_that_goes_on_does_not() {
        let (pulse, start) = (Pulse::default(), Instant::now());
        let at = |s| start + Duration::from_secs(s);
        let take = |turns: [u64; 2], s| pulse.take(turns.into_iter(), at(s));
        assert_eq!(take([1, 1], 0), [] as [usize; 0]);
        assert_eq!(take([2, 1], 4), [] as [usize; 0]);
        assert_eq!(take([3, 1], 5), [1]);
        assert_eq!(take([3, 2], 9), [] as [usize; 0]);
        assert_eq!(take([3, 2], 10), [0]);
    }
}
