//! `cargo xtask test`: groups of tests, each with its tools, its time and its honest count.
//!
//! A group whose tool cannot be had has failed. Groups that do not mind each other run side by side. What failed
//! is told once more at the end; the last line printed is the sum over all groups.

mod cargo;
mod density;
mod fuzz;
mod go;
mod group;
mod instructions;
mod pytest;
mod services;
mod summary;
mod tally;

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::Result;
use clap::Args;

use crate::checkout::Checkout;
use crate::screen::Screen;
use crate::tools;
use group::Group;
use services::Services;
use summary::Summary;
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
    let mut summary = Summary::default();
    let mut services = Services::default();
    let chosen: Vec<Group> = Group::ALL
        .into_iter()
        .filter(|group| {
            options.only.is_empty() || options.only.iter().any(|name| name == group.name())
        })
        .collect();
    let mut left = chosen.as_slice();
    for batch in chosen.chunk_by(|one, next| one.runs_beside() && next.runs_beside()) {
        match batch {
            [group] => alone(checkout, screen, *group, &mut services, &mut summary),
            several => side_by_side(checkout, screen, several, &mut summary),
        }
        left = &left[batch.len()..];
        // Groups that measure memory come later.
        if !left.iter().any(|later| later.needs_services()) {
            services.stop(checkout)?;
        }
    }
    summary.tell(screen);
    Ok(summary.passed())
}

/// A group with the host to itself.
fn alone(
    checkout: &Checkout,
    screen: &Screen,
    group: Group,
    services: &mut Services,
    summary: &mut Summary,
) {
    screen.heading(&format!("{}: {}", group.name(), group.shows()));
    let start = Instant::now();
    let ran = ready(checkout, screen, group).and_then(|()| group.run(checkout, screen, services));
    summary.add(screen, group, of_group(group, ran), start.elapsed());
}

/// Several groups, as many at once as there are cores. Each is told of when it is over.
fn side_by_side(checkout: &Checkout, screen: &Screen, groups: &[Group], summary: &mut Summary) {
    // One after the other: they would wait for each other's locks, and build the same.
    let prepared: Vec<Result<()>> = groups
        .iter()
        .map(|&group| ready(checkout, screen, group))
        .collect();
    let waiting = Mutex::new(groups.iter().copied().zip(prepared));
    let summary = Mutex::new(summary);
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
                    let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
                    screen.heading(&format!("{}: {}", group.name(), group.shows()));
                    summary.add(screen, group, tally, start.elapsed());
                }
            });
        }
    });
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
