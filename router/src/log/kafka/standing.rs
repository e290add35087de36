//! Which partitions stand still at a record that can be neither applied nor kept, and when it is tried
//! again. Only those stand: a try is short, and one serves for all of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::rebalance::is_among;
use crate::log::Partition;

/// How long the consumer's thread waits for a letter to be kept; no partition is read meanwhile.
pub(super) const TRY: Duration = Duration::from_secs(1);
/// From a letter that was not kept to the next try.
const BACK_OFF: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Standing {
    /// The offset of the letter, by partition.
    at: BTreeMap<i32, i64>,
    /// When a letter was not kept.
    failed: Option<Instant>,
    /// When they were last let go, to be read from their letters on.
    let_go: Option<Instant>,
}

impl Standing {
    /// Where it stands.
    pub(super) fn at(&self, partition: i32) -> Option<i64> {
        self.at.get(&partition).copied()
    }

    /// Whether a record was read ahead of the letter: it comes again after it.
    pub(super) fn is_ahead(&self, partition: i32, offset: i64) -> bool {
        self.at(partition).is_some_and(|at| offset > at)
    }

    /// Whether a letter may be tried at this time.
    pub(super) fn may_try(&self, now: Instant) -> bool {
        past(self.failed, BACK_OFF, now)
    }

    /// A letter was not kept.
    pub(super) fn failed(&mut self, now: Instant) {
        self.failed = Some(now);
    }

    pub(super) fn stand(&mut self, partition: i32, at: i64) {
        self.at.insert(partition, at);
    }

    /// Its letter was kept; true where none stands any more.
    pub(super) fn kept(&mut self, partition: i32) -> bool {
        self.failed = None;
        self.at.remove(&partition);
        self.at.is_empty()
    }

    pub(super) fn forget(&mut self, gone: &[Partition]) {
        self.at.retain(|partition, _| !is_among(*partition, gone));
    }

    /// Those that are to be read again from their letters on, now.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<(i32, i64)> {
        if self.at.is_empty() || !self.may_try(now) || !past(self.let_go, TRY, now) {
            return Vec::new();
        }
        self.let_go = Some(now);
        self.at
            .iter()
            .map(|(partition, at)| (*partition, *at))
            .collect()
    }
}

fn past(then: Option<Instant>, wait: Duration, now: Instant) -> bool {
    then.is_none_or(|then| now.saturating_duration_since(then) >= wait)
}

#[cfg(test)]
mod tests {
    use super::super::timer::now;
    use super::*;

    #[test]
    fn one_try_serves_for_all_and_waits_for_its_time() {
        let begun = now();
        let after = |wait| begun + wait;
        let mut standing = Standing::default();
        assert!(standing.may_try(begun));
        standing.failed(begun);
        standing.stand(1, 7);
        standing.stand(2, 9);
        assert!(standing.is_ahead(1, 8) && !standing.is_ahead(1, 7) && !standing.is_ahead(3, 8));
        assert!(!standing.may_try(after(BACK_OFF / 2)));
        assert_eq!(standing.take_due(after(BACK_OFF / 2)), []);
        assert_eq!(standing.take_due(after(BACK_OFF)), [(1, 7), (2, 9)]);
        assert_eq!(
            standing.take_due(after(BACK_OFF)),
            [],
            "let go a moment ago"
        );
        assert!(!standing.kept(1), "2 stands");
        standing.forget(&[Partition(2)]);
        assert_eq!(standing.take_due(after(BACK_OFF * 3)), []);
    }
}
