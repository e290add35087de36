//! The simulator's own test: each deliberate bug is caught, the same seed is the same run, and two
//! seeds are two runs.

use std::collections::BTreeSet;

use rookery_shard::sim::bugs::Bug;
use rookery_shard::sim::{Outcome, simulate, simulate_bug};

/// A bug must be caught within so many seeds.
const SEEDS_MAX: u64 = 100;

/// The first seed that catches the bug, and by what.
fn hunt(bug: Bug) -> Option<Outcome> {
    (0..SEEDS_MAX)
        .map(|seed| simulate_bug(seed, bug))
        .find(|outcome| outcome.violation.is_some())
}

#[test]
fn every_deliberate_bug_is_caught() {
    println!("{:<24} {:>4}  caught by", "bug", "seed");
    for bug in Bug::ALL {
        let caught =
            hunt(bug).unwrap_or_else(|| panic!("{bug:?} is not caught by {SEEDS_MAX} seeds"));
        let violation = caught.violation.expect("hunt returns violations");
        println!(
            "{:<24} {:>4}  {}: {:.90}",
            format!("{bug:?}"),
            caught.seed,
            violation.check,
            violation.detail
        );
    }
}

#[test]
fn a_seed_is_a_run() {
    let mut traces = BTreeSet::new();
    for seed in 0..100 {
        let (first, second) = (simulate(seed, false), simulate(seed, false));
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert_eq!(first.steps, second.steps, "seed {seed}");
        assert_eq!(first.coverage, second.coverage, "seed {seed}");
        traces.insert(first.trace);
    }
    assert_eq!(traces.len(), 100, "different seeds, different runs");
    println!("100 seeds, twice each: {} traces", traces.len());
}
