//! What all groups came to, told last: the end of a long log is what one sees of it.

use std::time::Duration;

use super::group::Group;
use super::tally::Tally;
use crate::screen::{Screen, duration};

/// Each group's count, in the order in which they ended.
#[derive(Default)]
pub(super) struct Summary {
    groups: Vec<(Group, Tally)>,
}

impl Summary {
    /// Tells what a group found, and keeps it.
    pub(super) fn add(&mut self, screen: &Screen, group: Group, tally: Tally, took: Duration) {
        for note in tally.notes.iter().chain(&tally.failures) {
            screen.line(note);
        }
        let counted = format!("{} passed, {} failed", tally.passed, tally.failed);
        screen.line(&format!("{}: {counted}, {}", group.name(), duration(took)));
        self.groups.push((group, tally));
    }

    /// Whether nothing failed.
    pub(super) fn passed(&self) -> bool {
        self.groups.iter().all(|(_, tally)| tally.failed == 0)
    }

    /// Every failure once more, then each group's count, then their sum on the last line.
    pub(super) fn tell(&self, screen: &Screen) {
        if !self.passed() {
            screen.heading("what failed");
            for (group, tally) in &self.groups {
                for failure in &tally.failures {
                    screen.line(&format!("{}: {failure}", group.name()));
                }
            }
        }
        screen.heading("all groups");
        let sum = |of: fn(&Tally) -> u64| self.groups.iter().map(|(_, tally)| of(tally)).sum();
        let (passed, failed): (u64, u64) = (sum(|tally| tally.passed), sum(|tally| tally.failed));
        for (group, tally) in &self.groups {
            let counted = format!("{:5} passed, {} failed", tally.passed, tally.failed);
            screen.line(&format!("{:12} {counted}", group.name()));
        }
        println!("\n{passed} passed, {failed} failed");
    }
}
