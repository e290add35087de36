//! The production loop on the simulated kernel, many seeds. Rerun one: ROOKERY_SIM_SEED=17.

use rookery_shard::sim::checks::{Count, Coverage};
use rookery_shard::sim::{Outcome, SEED_VARIABLE, simulate};

/// Simulations in the tests.
const SEEDS: u64 = 1_000;

/// Simulates the seeds on two threads and returns the outcomes in the order of the seeds.
fn simulate_all(seeds: std::ops::Range<u64>) -> Vec<Outcome> {
    let middle = seeds.start + (seeds.end - seeds.start) / 2;
    let half =
        |seeds: std::ops::Range<u64>| seeds.map(|seed| simulate(seed, false)).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| half(seeds.start..middle));
        let mut second = half(middle..seeds.end);
        let mut all = first.join().expect("a simulation does not panic");
        all.append(&mut second);
        all
    })
}

fn chosen_seed() -> Option<u64> {
    let text = std::env::var(SEED_VARIABLE).ok()?;
    Some(text.parse().expect("ROOKERY_SIM_SEED is a number"))
}

#[test]
fn a_thousand_seeds_hold_every_invariant() {
    if let Some(seed) = chosen_seed() {
        let outcome = simulate(seed, true);
        println!("{outcome}\n{}", outcome.coverage);
        assert!(outcome.violation.is_none());
        return;
    }
    let outcomes = simulate_all(0..SEEDS);
    let mut coverage = Coverage::default();
    for outcome in &outcomes {
        coverage.merge(&outcome.coverage);
    }
    println!("{} simulations\n{coverage}", outcomes.len());
    let failed: Vec<&Outcome> = outcomes.iter().filter(|o| o.violation.is_some()).collect();
    for outcome in &failed {
        println!("{outcome}");
    }
    assert!(
        failed.is_empty(),
        "{} of {} seeds failed",
        failed.len(),
        outcomes.len()
    );
    for &count in Count::ALL {
        assert!(coverage.of(count) > 0, "never met: {count}");
    }
}
