//! `cargo xtask test`: groups of tests, each with its tools, its time and its honest count.
//!
//! A group whose tool cannot be had has failed. The last line printed is the sum over all groups.

mod cargo;
mod density;
mod fuzz;
mod go;
mod group;
mod instructions;
mod pytest;
mod services;
mod tally;

use std::time::Instant;

use anyhow::Result;
use clap::Args;

use crate::checkout::Checkout;
use crate::screen::{Screen, duration};
use crate::tools;
use group::Group;
use services::Services;
use tally::Tally;

/// Which groups run.
#[derive(Args)]
pub(crate) struct Options {
    /// Only these groups (see --list).
    #[arg(long, value_name = "GROUP", num_args = 1.., value_parser = group::names())]
    only: Vec<String>,
    /// List the groups and what each shows.
    #[arg(long)]
    list: bool,
}

/// Runs the groups; true where nothing failed.
pub(crate) fn run(checkout: &Checkout, screen: &Screen, options: &Options) -> Result<bool> {
    if options.list {
        for group in Group::ALL {
            println!("{:10} {}", group.name(), group.shows());
        }
        return Ok(true);
    }
    let mut sum = Tally::default();
    let mut services = Services::default();
    let chosen: Vec<Group> = Group::ALL
        .into_iter()
        .filter(|group| {
            options.only.is_empty() || options.only.iter().any(|name| name == group.name())
        })
        .collect();
    for (at, &group) in chosen.iter().enumerate() {
        screen.heading(&format!("{}: {}", group.name(), group.shows()));
        let start = Instant::now();
        let tally = one(checkout, screen, group, &mut services);
        for note in tally.notes.iter().chain(&tally.failures) {
            screen.line(note);
        }
        let counted = format!("{} passed, {} failed", tally.passed, tally.failed);
        screen.line(&format!(
            "{}: {counted}, {}",
            group.name(),
            duration(start.elapsed())
        ));
        sum.add(tally);
        // Groups that measure memory come later.
        if !chosen[at + 1..].iter().any(|later| later.needs_services()) {
            services.stop(checkout)?;
        }
    }
    println!("\n{} passed, {} failed", sum.passed, sum.failed);
    Ok(sum.failed == 0)
}

/// A group that cannot run is one failure that says why.
fn one(checkout: &Checkout, screen: &Screen, group: Group, services: &mut Services) -> Tally {
    let ready = group
        .tools()
        .iter()
        .try_for_each(|&tool| tools::ensure(checkout, screen, tool));
    ready
        .and_then(|()| group.run(checkout, screen, services))
        .unwrap_or_else(|error| Tally::failure(format!("{}: {error:#}", group.name())))
}
