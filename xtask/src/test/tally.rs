//! What a group counted. The Python harness writes the same form as JSON.

use serde::Deserialize;

/// Cases that passed and failed, what was measured, and what went wrong.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tally {
    /// Cases that passed.
    pub(super) passed: u64,
    /// Cases that failed. A skipped case has failed: nothing was shown.
    pub(super) failed: u64,
    /// Figures and counts for a person to read.
    pub(super) notes: Vec<String>,
    /// One entry per failure, as far as it is known.
    pub(super) failures: Vec<String>,
}

impl Tally {
    /// One failure.
    pub(super) fn failure(why: String) -> Self {
        Self {
            failed: 1,
            failures: vec![why],
            ..Self::default()
        }
    }

    /// Adds another group's counts.
    pub(super) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.notes.extend(other.notes);
        self.failures.extend(other.failures);
    }

    /// A runner that failed without a failed case (it crashed, or built nothing) is a failure too,
    /// and so is one that ran no case.
    pub(super) fn with_verdict(mut self, success: bool, output_tail: &str) -> Self {
        if !success && self.failed == 0 {
            self.add(Self::failure(format!("the runner failed:\n{output_tail}")));
        } else if self.passed + self.failed == 0 {
            self.add(Self::failure("no case ran".to_owned()));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_and_an_empty_run_are_failures() {
        assert_eq!(Tally::default().with_verdict(true, "").failed, 1);
        assert_eq!(Tally::default().with_verdict(false, "").failed, 1);
        let some = || Tally {
            passed: 2,
            ..Tally::default()
        };
        assert_eq!(some().with_verdict(true, "").failed, 0);
        assert_eq!(some().with_verdict(false, "signal 11").failed, 1);
    }
}
