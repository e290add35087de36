//! Conversations that were opened lately, for the authority over members.
//!
//! It had each before its record came into the log. But it may have failed over since to a copy that lacks its
//! last moments, and what was sent to such a conversation is acked. So an opening that was applied is written
//! there again, at once and once more when it has settled; until then its partition is not said to be entered
//! beyond it, and whoever begins there reads it again. While the authority is away openings wait here, and
//! messages do not wait for them. The invariant: what waits is bounded.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::log::{Offset, Partition};
use crate::record::Opened;
use crate::store::StoreError;

/// After so long a copy that takes over has it: no longer than inboxes gather, so no partition is held longer.
const SETTLE_MS: u64 = 10_000;
/// Members that wait, and what a conversation counts beside its own: above it the oldest are written once
/// only, and at twice as many counting waits. 8 B each.
const WEIGHT_MAX: usize = 100_000;
const CONVERSATION_WEIGHT: usize = 16;
/// The weight of what is written at once.
const WRITE_WEIGHT_MAX: usize = 8_192;

/// An opening, and where it lies.
#[derive(Clone, Debug)]
pub(super) struct OpenedAt {
    pub(super) partition: Partition,
    pub(super) offset: Offset,
    pub(super) opened: Opened,
}

impl OpenedAt {
    fn weight(&self) -> usize {
        self.opened.members.len() + CONVERSATION_WEIGHT
    }
}

#[derive(Debug)]
struct Waiting {
    at: OpenedAt,
    since_ms: u64,
    written: bool,
}

impl Waiting {
    /// Also where the clock went back.
    fn has_settled(&self, now_ms: u64) -> bool {
        now_ms.abs_diff(self.since_ms) >= SETTLE_MS
    }

    fn is_due(&self, now_ms: u64, crowded: bool) -> bool {
        !self.written || crowded || self.has_settled(now_ms)
    }
}

#[derive(Debug, Default)]
struct State {
    /// The oldest first.
    waiting: VecDeque<Waiting>,
    weight: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Openings {
    state: Mutex<State>,
    /// It was said that they cannot be written.
    fails: AtomicBool,
}

impl Openings {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These were applied.
    pub(super) fn applied(&self, openings: impl Iterator<Item = OpenedAt>, now_ms: u64) {
        let mut state = self.state();
        for at in openings {
            state.weight += at.weight();
            state.waiting.push_back(Waiting {
                at,
                since_ms: now_ms,
                written: false,
            });
        }
    }

    /// Whether counting is to wait until some are written.
    pub(super) fn is_full(&self) -> bool {
        self.state().weight > 2 * WEIGHT_MAX
    }

    /// The first of each partition.
    pub(super) fn firsts(&self) -> HashMap<Partition, Offset> {
        let mut firsts = HashMap::new();
        for Waiting { at, .. } in &self.state().waiting {
            firsts.entry(at.partition).or_insert(at.offset);
        }
        firsts
    }

    /// Partitions went to another process, which reads again what waits here.
    pub(super) fn drop_partitions(&self, partitions: &[Partition]) {
        self.retain(|waiting| !partitions.contains(&waiting.at.partition));
    }

    /// Writes what is due, a part at a time, and lets go of what has settled. One at a time, and none while
    /// partitions go. Errors are said here: nothing but positions waits for it.
    pub(super) fn write(
        &self,
        now_ms: u64,
        reopen: impl FnMut(&[Opened]) -> Result<(), StoreError>,
    ) {
        match self.try_write(now_ms, reopen) {
            Err(error) if !self.fails.swap(true, Ordering::Relaxed) => tracing::warn!(
                %error,
                "openings cannot be written again; they wait, and positions of their partitions with them"
            ),
            Err(error) => tracing::debug!(%error, "openings wait"),
            Ok(()) => {
                if self.fails.swap(false, Ordering::Relaxed) {
                    tracing::info!("openings are written again");
                }
            }
        }
    }

    fn try_write(
        &self,
        now_ms: u64,
        mut reopen: impl FnMut(&[Opened]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        loop {
            let (due, crowded) = self.due(now_ms);
            if due.is_empty() {
                return Ok(());
            }
            reopen(&due)?;
            // The same again, since no others were let go of meanwhile.
            let mut left = due.len();
            self.retain(|waiting| {
                let is_written = left > 0 && waiting.is_due(now_ms, crowded);
                left -= usize::from(is_written);
                waiting.written |= is_written;
                !(is_written && (crowded || waiting.has_settled(now_ms)))
            });
        }
    }

    /// The oldest that are due, and whether they are because so many wait.
    fn due(&self, now_ms: u64) -> (Vec<Opened>, bool) {
        let state = self.state();
        let crowded = state.weight > WEIGHT_MAX;
        let mut weight = 0;
        let due = state.waiting.iter();
        let due = due.filter(|waiting| waiting.is_due(now_ms, crowded));
        let part = due.take_while(|waiting| {
            let fits = weight < WRITE_WEIGHT_MAX;
            weight += waiting.at.weight();
            fits
        });
        (part.map(|it| it.at.opened.clone()).collect(), crowded)
    }

    fn retain(&self, mut keep: impl FnMut(&mut Waiting) -> bool) {
        let mut state = self.state();
        let State { waiting, weight } = &mut *state;
        waiting.retain_mut(|it| {
            let kept = keep(it);
            *weight -= if kept { 0 } else { it.at.weight() };
            kept
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::OpenKey;

    const HERE: Partition = Partition(3);

    fn opening(offset: u64, members: u64) -> OpenedAt {
        OpenedAt {
            partition: HERE,
            offset: Offset(offset),
            opened: Opened {
                conversation_id: offset,
                hlc: 0,
                opener_user_id: 1,
                opener_device_id: 1,
                key: OpenKey::Direct { low: 1, high: 2 },
                members: (0..members).collect(),
            },
        }
    }

    /// Which are written at a time.
    fn written(openings: &Openings, now_ms: u64) -> Vec<u64> {
        let mut all = Vec::new();
        openings.write(now_ms, |part| {
            all.extend(part.iter().map(|opened| opened.conversation_id));
            Ok(())
        });
        all
    }

    #[test]
    fn an_opening_is_written_at_once_and_when_it_has_settled_and_holds_its_partition_until_then() {
        let openings = Openings::default();
        openings.applied([opening(5, 2)].into_iter(), 1_000);
        openings.applied([opening(7, 2)].into_iter(), 3_000);
        assert_eq!(written(&openings, 3_000), [5, 7]);
        assert!(written(&openings, 10_999).is_empty());
        assert_eq!(openings.firsts()[&HERE], Offset(5));
        assert_eq!(written(&openings, 11_000), [5]);
        assert_eq!(openings.firsts()[&HERE], Offset(7));
        openings.drop_partitions(&[Partition(4)]);
        assert_eq!(written(&openings, 13_000), [7]);
        openings.applied([opening(9, 2)].into_iter(), 13_000);
        openings.drop_partitions(&[HERE]);
        assert_eq!((openings.firsts().len(), openings.state().weight), (0, 0));
    }

    #[test]
    fn what_waits_is_bounded_and_goes_once_it_can_be_written() {
        let openings = Openings::default();
        let mut offset = 0;
        while !openings.is_full() {
            openings.applied([opening(offset, 984)].into_iter(), 1_000);
            offset += 1;
        }
        assert_eq!(offset, 201);
        openings.write(1_000, |_| {
            Err(StoreError::Away {
                service: "here",
                reason: "the test says so".to_owned(),
            })
        });
        assert!(openings.is_full());
        let all = written(&openings, 1_000);
        assert!(!openings.is_full());
        assert_eq!(openings.state().weight, 93_000);
        assert_eq!(all[..201], (0..201).collect::<Vec<_>>());
        assert_eq!(written(&openings, 11_000).len(), 93);
        assert!(openings.firsts().is_empty());
    }
}
