//! How far the records are, as the threads tell each other: answered by the log, resolved by the
//! applier. Bounds what is in flight, so that no queue behind admission can be full.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::log::{Offset, Partition};

/// Waiting threads look again this often, should a wake be lost with a thread that died.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Counts of tickets since the start; tickets are answered and resolved in order.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    issued: AtomicU64,
    answered: AtomicU64,
    resolved: AtomicU64,
    bytes: AtomicU64,
    /// What is waited for will not come.
    given_up: AtomicBool,
    lock: Mutex<()>,
    moved: Condvar,
    /// Those who wait for the store right now.
    hurrying: AtomicU64,
    hurried: Condvar,
    places: Mutex<HashMap<Partition, Place>>,
}

/// How far a partition that this process consumes is.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Every record below it of which somebody was told: one of ours was acked, or any was delivered.
    told: u64,
    /// Every record below it was applied.
    applied: u64,
    /// By this process.
    consumed: bool,
}

impl Progress {
    /// Admission gives a record of `bytes` to the log.
    pub(crate) fn issue(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.issued.fetch_add(1, Ordering::Relaxed);
    }

    /// The log did not take it.
    pub(crate) fn retract(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
        self.issued.fetch_sub(1, Ordering::Relaxed);
    }

    /// The log answered; to be called before anybody is told, so that whoever was told is covered
    /// by the next [`wait_applied`](Self::wait_applied).
    pub(crate) fn answer(&self, tickets: u64) {
        self.answered.fetch_add(tickets, Ordering::Release);
    }

    /// The store has them, or they failed.
    pub(crate) fn resolve(&self, tickets: u64, bytes: usize) {
        self.bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
        self.resolved.fetch_add(tickets, Ordering::Release);
        drop(self.guard());
        self.moved.notify_all();
    }

    /// Records admitted and not resolved.
    pub(crate) fn in_flight(&self) -> u64 {
        let resolved = self.resolved.load(Ordering::Acquire);
        self.issued.load(Ordering::Relaxed).saturating_sub(resolved)
    }

    /// Waits until fewer than so many records and bytes are in flight.
    pub(crate) fn wait_for_room(&self, records_max: u64, bytes_max: u64) {
        self.wait(|| {
            self.in_flight() < records_max && self.bytes.load(Ordering::Relaxed) < bytes_max
        });
    }

    /// Waits until everything that anybody was told of is in the store.
    pub(crate) fn wait_applied(&self) {
        let answered = self.answered.load(Ordering::Acquire);
        self.wait(|| self.resolved.load(Ordering::Acquire) >= answered);
    }

    /// Somebody is about to be told of the records of a partition below `next`, in a log that many consume: ours
    /// that were acked, or those that are delivered from here.
    pub(crate) fn told_to(&self, partition: Partition, next: Offset) {
        let mut places = self.places();
        let place = places.entry(partition).or_default();
        place.told = place.told.max(next.0);
    }

    /// This process has applied a partition below `next`.
    pub(crate) fn applied_to(&self, partition: Partition, next: Offset) {
        let mut places = self.places();
        let place = places.entry(partition).or_default();
        place.applied = place.applied.max(next.0);
        drop(places);
        drop(self.guard());
        self.moved.notify_all();
    }

    /// Partitions that this process consumes from now on, or does not any more. What was acked of them
    /// before is not waited for: whoever consumed them then was to apply it.
    pub(crate) fn consumes(&self, partitions: &[Partition], consumed: bool) {
        let mut places = self.places();
        for partition in partitions {
            let place = Place {
                consumed,
                ..Place::default()
            };
            places.insert(*partition, place);
        }
    }

    /// Waits until what anybody was told of is applied, as far as this process consumes it; false where
    /// that did not happen within `patience`. Of `only` one partition, or of all.
    pub(crate) fn wait_consumed(&self, only: Option<Partition>, patience: Duration) -> bool {
        let behind = |place: &Place| place.consumed && place.applied < place.told;
        let goal: Vec<(Partition, u64)> = {
            let places = self.places();
            let asked = |id: &Partition| only.is_none_or(|only| only == *id);
            let ours = places
                .iter()
                .filter(|(id, place)| asked(id) && behind(place));
            ours.map(|(id, place)| (*id, place.told)).collect()
        };
        let there = || {
            let places = self.places();
            goal.iter().all(|(id, told)| {
                let place = places.get(id).copied().unwrap_or_default();
                !place.consumed || place.applied >= *told
            })
        };
        if there() {
            return true;
        }
        let _hurry = self.hurry();
        let end = now() + patience;
        let mut guard = self.guard();
        while !there() {
            // By the clock: acks wake this too, and come all the time.
            if now() >= end || self.has_given_up() {
                return false;
            }
            (guard, _) = self
                .moved
                .wait_timeout(guard, LOOK_AGAIN)
                .unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    /// Until it is dropped somebody waits for what is on its way into the store.
    pub(crate) fn hurry(&self) -> Hurry<'_> {
        self.hurrying.fetch_add(1, Ordering::Relaxed);
        drop(self.guard());
        self.hurried.notify_all();
        Hurry { of: self }
    }

    /// Waits for so long, or until somebody [hurries](Self::hurry).
    pub(crate) fn dawdle(&self, longest: Duration) {
        let calm = |(): &mut ()| self.hurrying.load(Ordering::Relaxed) == 0;
        let _woken = self
            .hurried
            .wait_timeout_while(self.guard(), longest, calm)
            .unwrap_or_else(PoisonError::into_inner);
    }

    /// A thread that others wait for is gone: nobody waits from here on.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    /// Waits until nothing is in flight; false where that did not happen within `patience`.
    pub(crate) fn wait_idle(&self, patience: Duration) -> bool {
        let mut waited = Duration::ZERO;
        let mut guard = self.guard();
        while self.in_flight() > 0 {
            if waited >= patience || self.has_given_up() {
                return false;
            }
            let before = self.resolved.load(Ordering::Relaxed);
            (guard, _) = self
                .moved
                .wait_timeout(guard, LOOK_AGAIN)
                .unwrap_or_else(PoisonError::into_inner);
            let moved = self.resolved.load(Ordering::Relaxed) != before;
            waited = if moved {
                Duration::ZERO
            } else {
                waited + LOOK_AGAIN
            };
        }
        true
    }

    fn wait(&self, ready: impl Fn() -> bool) {
        if ready() {
            return;
        }
        let mut guard = self.guard();
        while !ready() && !self.has_given_up() {
            (guard, _) = self
                .moved
                .wait_timeout(guard, LOOK_AGAIN)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn places(&self) -> MutexGuard<'_, HashMap<Partition, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn guard(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Progress::hurry`].
pub(crate) struct Hurry<'a> {
    of: &'a Progress,
}

impl Drop for Hurry<'_> {
    fn drop(&mut self) {
        self.of.hurrying.fetch_sub(1, Ordering::Relaxed);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a wait has an end; nothing is decided by it"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_for_the_store_gives_up_although_acks_go_on() {
        let progress = Progress::default();
        let partition = Partition(3);
        progress.consumes(&[partition], true);
        progress.told_to(partition, Offset(10));
        progress.applied_to(partition, Offset(9));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| progress.wait_consumed(None, Duration::from_millis(50)));
            while !waits.is_finished() {
                progress.issue(1);
                progress.resolve(1, 1);
            }
            assert!(!waits.join().unwrap_or(true));
            assert!(!progress.wait_consumed(Some(partition), Duration::ZERO));
            assert!(progress.wait_consumed(Some(Partition(4)), Duration::ZERO));
            progress.applied_to(partition, Offset(10));
            assert!(progress.wait_consumed(None, Duration::from_millis(50)));
            // Another one's business.
            progress.told_to(Partition(4), Offset(10));
            assert!(progress.wait_consumed(None, Duration::ZERO));
        });
    }
}
