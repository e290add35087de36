//! The simulator: the production loop on a virtual network, kernel and clock.
//!
//! [`simulate`] draws a machine and a workload from one seed and runs one [`Engine`] per shard over
//! them, all in one thread, with short reads and writes, resets, full tables, late completions, stalls
//! and jumping clocks. It checks every byte at both ends, every operation that the loop submits, and
//! that everything ends ([`checks::Check`]). The same seed gives the same run to the last completion.
//! Not simulated: memory pressure, the kernel's own bugs, and concurrency between threads (shards
//! interleave at the bounds of their turns).
//!
//! [`Engine`]: crate::Engine

mod accept;
mod account;
pub mod bugs;
pub mod checks;
mod client;
mod driver;
mod faults;
mod frame;
mod kernel;
mod net;
mod ops;
mod outside;
mod peer;
mod questions;
mod ring;
mod rng;
mod socket;
mod walk;
mod workload;
mod world;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use bugs::{Bug, Faulty};
use checks::{Check, Coverage, Violation};
use driver::SimDriver;
use world::{Floor, World};

/// The environment variable that reruns one seed.
pub const SEED_VARIABLE: &str = "ROOKERY_SIM_SEED";

/// What came of a simulation.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// The hash of everything that happened, in its order.
    pub trace: u64,
    /// Steps of the scheduler.
    pub steps: u64,
    /// What was met.
    pub coverage: Coverage,
    /// What went wrong.
    pub violation: Option<Violation>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome {
            seed, trace, steps, ..
        } = self;
        write!(f, "seed {seed}: {steps} steps, trace {trace:016x}")?;
        let Some(Violation { check, detail }) = &self.violation else {
            return write!(f, ", all well");
        };
        write!(
            f,
            "\n  {check}\n  {detail}\n  rerun: {SEED_VARIABLE}={seed} cargo test --release \
             -p rookery-shard --test sim -- --nocapture"
        )
    }
}

/// Runs the simulation of a seed; `verbose` prints every operation and completion.
pub fn simulate(seed: u64, verbose: bool) -> Outcome {
    run(seed, verbose, |driver| driver)
}

/// Runs the simulation of a seed with a loop that has a bug.
pub fn simulate_bug(seed: u64, bug: Bug) -> Outcome {
    run(seed, false, |driver| Faulty::new(driver, bug))
}

fn run<D: Floor>(seed: u64, verbose: bool, wrap: impl Fn(SimDriver) -> D) -> Outcome {
    let mut world = match World::new(seed, verbose, wrap) {
        Ok(world) => world,
        Err(error) => return unable(seed, &error),
    };
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    let kernel = Rc::clone(&world.kernel);
    let checks = &mut kernel.borrow_mut().checks;
    if let Err(panic) = result {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        checks.fail(Check::Panicked, text.unwrap_or_default());
    }
    Outcome {
        seed,
        trace: checks.trace(),
        steps: world.steps,
        coverage: checks.coverage.clone(),
        violation: checks.violation.clone(),
    }
}

/// The mailboxes' bells are real descriptors.
fn unable(seed: u64, error: &std::io::Error) -> Outcome {
    let detail = format!("no bells for the mailboxes: {error}");
    Outcome {
        seed,
        trace: 0,
        steps: 0,
        coverage: Coverage::default(),
        violation: Some(Violation {
            check: Check::Panicked,
            detail,
        }),
    }
}
