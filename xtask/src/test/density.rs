//! The groups with many connections need kernel parameters that a fresh host does not have: they are set
//! from `sysctl/` for as long as each runs, and put back. `density` is 100,000 connections held against
//! the memory budget by the Python harness, then the short form of `cargo xtask density`, whose gates are
//! the cases; `storm` is the Python harness alone.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use super::group::Group;
use super::pytest;
use super::tally::Tally;
use crate::checkout::Checkout;
use crate::density::{self, Options, Output, Parameters};
use crate::screen::Screen;

/// Two to three minutes; a hang, not a slow machine, should meet it.
const LIMIT: Duration = Duration::from_secs(8 * 60);

/// The density group.
pub(super) fn run(checkout: &Checkout, screen: &Screen) -> Result<Tally> {
    let mut tally = with_parameters(checkout, screen, Group::Density, &["test_density.py"])?;
    tally.add(short_run(checkout, screen)?);
    Ok(tally)
}

/// A group of the Python harness on a host made ready for many connections.
pub(super) fn with_parameters(
    checkout: &Checkout,
    screen: &Screen,
    group: Group,
    files: &[&str],
) -> Result<Tally> {
    let parameters = Parameters::set(checkout)?;
    let note = parameters.note();
    let tally = pytest::run(checkout, screen, group, files);
    parameters.put_back()?;
    let mut tally = tally?;
    tally.notes.push(note);
    Ok(tally)
}

/// One case for each gate that is not about time: other work of the host is in that.
fn short_run(checkout: &Checkout, screen: &Screen) -> Result<Tally> {
    let out: PathBuf = checkout.logs().join("density");
    let step = screen.step("density");
    let measured = density::measure(
        checkout,
        &Options::short(out.clone()),
        &Output::Log(&step, LIMIT),
    );
    step.end();
    let measured = measured?;
    density::write(checkout, &measured, &out)?;
    let mut tally = Tally::default();
    for gate in measured.gates() {
        match gate.held {
            _ if gate.timed => tally.notes.push(format!("{}: {}", gate.name, gate.found)),
            true => tally.passed += 1,
            false => tally.add(Tally::failure(format!("{}: {}", gate.name, gate.found))),
        }
    }
    for goal in measured.goals() {
        tally.notes.push(format!(
            "{}: {} ({})",
            goal.figure,
            goal.reached,
            goal.verdict()
        ));
    }
    Ok(tally)
}
