//! `cargo xtask services`: the services of the distributed form, for tests and for trying things.
//!
//! Kafka (three nodes), Cassandra, PostgreSQL and Redis on loopback, as ordinary processes with their data
//! in `target/services`. They are what they are in production; only sizes, timeouts and passwords are those
//! of a test. A service that runs elsewhere can be named instead.

mod address;
mod cassandra;
mod certificates;
mod daemon;
mod identity;
pub(crate) mod install;
pub(crate) mod java;
mod kafka;
mod place;
mod postgres;
mod redis;
mod service;
mod socket;
mod status;
mod up;
mod written;

use std::fs::{self, File};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use rustix::process::Signal;

use crate::checkout::Checkout;
use crate::screen::{Screen, duration};
pub(crate) use address::{Addresses, Given};
use daemon::Daemon;
pub(crate) use service::Service;
pub(crate) use up::{Up, up, when_interrupted};

/// What to do with the services.
#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    /// Install what is missing, start what does not run, and wait until everything answers.
    Up(Given),
    /// End everything that runs.
    Down {
        /// Remove the data too.
        #[arg(long)]
        wipe: bool,
    },
    /// Say what runs, since when, and with how much memory.
    Status(Given),
    /// Start one service; return before it answers.
    Start {
        name: Service,
        /// Return when it answers.
        #[arg(long)]
        wait: bool,
    },
    /// Ask one service to end, and kill it if it does not.
    Stop { name: Service },
    /// Kill one service (SIGKILL).
    Kill { name: Service },
    /// Let one service stand still (SIGSTOP).
    Pause { name: Service },
    /// Let a paused service go on.
    Resume { name: Service },
    /// Show the last lines that a service printed.
    Logs {
        name: Service,
        /// How many.
        #[arg(long, default_value_t = 40)]
        lines: usize,
    },
}

/// `cargo xtask services`.
pub(crate) fn run(checkout: &Checkout, screen: &Screen, options: &Options) -> Result<bool> {
    match &options.act {
        Act::Up(given) => start_all(checkout, screen, given),
        Act::Down { wipe } => end_all(checkout, screen, *wipe),
        Act::Status(given) => Ok(status::show(checkout, screen, &Addresses::of(given))),
        Act::Start { name, wait } => start(checkout, screen, *name, *wait),
        Act::Stop { name } => {
            ran(Daemon::of(checkout, *name).stop()?, *name)?;
            tell(screen, *name, "stopped")
        }
        Act::Kill { name } => {
            signal(checkout, *name, Signal::KILL)?;
            tell(screen, *name, "killed")
        }
        Act::Pause { name } => {
            signal(checkout, *name, Signal::STOP)?;
            tell(screen, *name, "paused")
        }
        Act::Resume { name } => {
            signal(checkout, *name, Signal::CONT)?;
            tell(screen, *name, "goes on")
        }
        Act::Logs { name, lines } => {
            let daemon = Daemon::of(checkout, *name);
            println!("{}", daemon.tail(*lines));
            screen.line(&format!("all of it: {}", daemon.log().display()));
            Ok(true)
        }
    }
}

fn start_all(checkout: &Checkout, screen: &Screen, given: &Given) -> Result<bool> {
    screen.heading("services");
    let up = up(checkout, screen, given)?;
    screen.line("");
    status::show(checkout, screen, &up.addresses);
    screen.line("");
    for (name, value) in up.addresses.environment() {
        screen.line(&format!("{name}={value}"));
    }
    let environment = written::environment_file(checkout);
    let cluster = written::cluster_file(checkout);
    screen.line(&format!(
        "these variables: {}; a configuration: {}",
        checkout.relative(&environment).display(),
        checkout.relative(&cluster).display()
    ));
    Ok(true)
}

fn end_all(checkout: &Checkout, screen: &Screen, wipe: bool) -> Result<bool> {
    let (ran, took) = up::down(checkout)?;
    let names: Vec<&str> = ran.iter().map(|service| service.name()).collect();
    screen.line(&match names.is_empty() {
        true => "nothing ran".to_owned(),
        false => format!("ended {}, {}", names.join(", "), duration(took)),
    });
    if wipe {
        let folder = checkout.services();
        fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    Ok(true)
}

fn start(checkout: &Checkout, screen: &Screen, service: Service, wait: bool) -> Result<bool> {
    certificates::Certificates::ensure(checkout)?;
    let daemon = Daemon::of(checkout, service);
    let identity = match daemon.identity() {
        Some(identity) => identity,
        None => {
            let step = screen.step(service.name());
            let started = daemon.start(&step);
            step.end();
            started?
        }
    };
    if wait {
        // Others of its kind may be down.
        daemon.wait(identity, 1)?;
        return tell(screen, service, "answers");
    }
    tell(screen, service, "started")
}

fn signal(checkout: &Checkout, service: Service, signal: Signal) -> Result<()> {
    ran(Daemon::of(checkout, service).signal(signal)?, service)
}

fn ran(ran: bool, service: Service) -> Result<()> {
    if !ran {
        bail!("{} does not run", service.name());
    }
    Ok(())
}

fn tell(screen: &Screen, service: Service, what: &str) -> Result<bool> {
    screen.line(&format!("{} {what}", service.name()));
    Ok(true)
}

/// The processes of the services that run here, by name.
pub(crate) fn processes(checkout: &Checkout) -> Vec<(&'static str, u32)> {
    let running = |service: Service| {
        let identity = Daemon::of(checkout, service).identity()?;
        Some((service.name(), u32::try_from(identity.pid).ok()?))
    };
    Service::ALL.into_iter().filter_map(running).collect()
}

/// Held while services are started or ended together, so that two who do it at once do it one after the
/// other. It goes with the file.
fn lock(checkout: &Checkout) -> Result<File> {
    let folder = checkout.services();
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let path = folder.join("lock");
    let file = File::create(&path).with_context(|| format!("write {}", path.display()))?;
    file.lock()
        .with_context(|| format!("lock {}", path.display()))?;
    Ok(file)
}
