//! The production loop on the simulated kernel, many seeds. Rerun one, with every operation printed:
//! `ROOKERY_SIM_SEED=17`. Look further than the tests do: `ROOKERY_SIM_SEEDS=20000`.

use rookery_shard::sim::checks::{Count, Coverage};
use rookery_shard::sim::{Outcome, SEED_VARIABLE, simulate};

/// Simulations, where nobody says otherwise.
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

fn chosen(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is a number")),
    )
}

#[test]
fn a_thousand_seeds_hold_every_invariant() {
    if let Some(seed) = chosen(SEED_VARIABLE) {
        let outcome = simulate(seed, true);
        println!("{outcome}\n{}", outcome.coverage);
        assert!(outcome.violation.is_none());
        return;
    }
    let outcomes = simulate_all(0..chosen("ROOKERY_SIM_SEEDS").unwrap_or(SEEDS));
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
