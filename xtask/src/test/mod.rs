//! `cargo xtask test`: groups of tests, each with its tools, its time and its honest count.
//!
//! A group whose tool cannot be had has failed. Groups that do not mind each other run side by side. The last
//! line printed is the sum over all groups.

mod cargo;
mod density;
mod fuzz;
mod go;
mod group;
mod instructions;
mod pytest;
mod services;
mod tally;

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

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
    let mut left = chosen.as_slice();
    for batch in chosen.chunk_by(|one, next| one.runs_beside() && next.runs_beside()) {
        sum.add(match batch {
            [group] => alone(checkout, screen, *group, &mut services),
            several => side_by_side(checkout, screen, several),
        });
        left = &left[batch.len()..];
        // Groups that measure memory come later.
        if !left.iter().any(|later| later.needs_services()) {
            services.stop(checkout)?;
        }
    }
    println!("\n{} passed, {} failed", sum.passed, sum.failed);
    Ok(sum.failed == 0)
}

/// A group with the host to itself.
fn alone(checkout: &Checkout, screen: &Screen, group: Group, services: &mut Services) -> Tally {
    screen.heading(&format!("{}: {}", group.name(), group.shows()));
    let start = Instant::now();
    let ran = ready(checkout, screen, group).and_then(|()| group.run(checkout, screen, services));
    let tally = of_group(group, ran);
    tell(screen, group, &tally, start.elapsed());
    tally
}

/// Several groups, as many at once as there are cores. Each is told of when it is over.
fn side_by_side(checkout: &Checkout, screen: &Screen, groups: &[Group]) -> Tally {
    // One after the other: they would wait for each other's locks, and build the same.
    let prepared: Vec<Result<()>> = groups
        .iter()
        .map(|&group| ready(checkout, screen, group))
        .collect();
    let waiting = Mutex::new(groups.iter().copied().zip(prepared));
    let sum = Mutex::new(Tally::default());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                let next = || {
                    waiting
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .next()
                };
                while let Some((group, ready)) = next() {
                    let start = Instant::now();
                    let run = || group.run(checkout, screen, &mut Services::default());
                    let tally = of_group(group, ready.and_then(|()| run()));
                    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                    screen.heading(&format!("{}: {}", group.name(), group.shows()));
                    tell(screen, group, &tally, start.elapsed());
                    sum.add(tally);
                }
            });
        }
    });
    sum.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Installs what a group needs, and builds what it drives.
fn ready(checkout: &Checkout, screen: &Screen, group: Group) -> Result<()> {
    let mut tools = group.tools().iter();
    tools.try_for_each(|&tool| tools::ensure(checkout, screen, tool))?;
    match group.runs_beside() {
        true => crate::cargo::build_server(checkout, screen),
        false => Ok(()),
    }
}

/// A group that cannot run is one failure that says why.
fn of_group(group: Group, ran: Result<Tally>) -> Tally {
    ran.unwrap_or_else(|error| Tally::failure(format!("{}: {error:#}", group.name())))
}

fn tell(screen: &Screen, group: Group, tally: &Tally, took: Duration) {
    for note in tally.notes.iter().chain(&tally.failures) {
        screen.line(note);
    }
    let counted = format!("{} passed, {} failed", tally.passed, tally.failed);
    screen.line(&format!("{}: {counted}, {}", group.name(), duration(took)));
}
