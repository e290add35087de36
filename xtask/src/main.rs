//! Project chores, run as `cargo xtask <chore>`: tests with foreign clients, density runs, lint, house rules, tools.
//!
//! Nothing here is part of the product. A chore works on a fresh machine: what it needs and does not
//! find it installs into `.tools/` of the checkout (Debian packages by apt-get), and says so.

mod cargo;
mod checkout;
mod compare;
mod density;
mod faults;
mod flamegraph;
mod flock;
mod host;
mod instructions;
mod lint;
mod package;
mod page;
mod performance;
mod process;
mod screen;
mod services;
mod serving;
mod test;
mod tidy;
mod tools;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use checkout::Checkout;
use screen::Screen;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Project chores of Rookery", version)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Run the tests in groups: our own in Rust, then foreign clients against the built server.
    Test(test::Options),
    /// Hold many connections on this host, measure them, and write the report.
    Density(density::Options),
    /// Formatting, clippy with warnings denied, and `tidy`.
    Lint,
    /// The house rules that no compiler checks.
    Tidy,
    /// Measure other engines and servers beside Rookery, and write docs/density.md.
    Compare(compare::Options),
    /// Say which tools the tests need, and install what is missing.
    Tools,
    /// Count the instructions of the pure paths and hold them to the committed counts.
    Instructions(instructions::Options),
    /// Profile the server under load and draw `flamegraphs/NAME.svg`.
    Flamegraph(flamegraph::Options),
    /// Start and stop the services of the distributed form: Kafka, Cassandra, PostgreSQL, Redis.
    Services(services::Options),
    /// The long form of the fault suite on real services; writes docs/faults.md.
    Faults(faults::Options),
    /// Measure the distributed form beside Kafka's own producer and the embedded form; writes
    /// docs/performance.md.
    Performance(performance::Options),
    /// Build the Debian package.
    Package(package::Options),
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let checkout = Checkout::find()?;
    let screen = Screen::new();
    match &arguments.chore {
        Chore::Test(options) => test::run(&checkout, &screen, options),
        Chore::Density(options) => density::run(&checkout, &screen, options),
        Chore::Lint => lint::run(&checkout, &screen),
        Chore::Tidy => tidy::run(&checkout, &screen),
        Chore::Compare(options) => compare::run(&checkout, &screen, options),
        Chore::Tools => tools::run(&checkout, &screen),
        Chore::Instructions(options) => instructions::run(&checkout, &screen, options),
        Chore::Flamegraph(options) => flamegraph::run(&checkout, &screen, options),
        Chore::Services(options) => services::run(&checkout, &screen, options),
        Chore::Faults(options) => faults::run(&checkout, &screen, options),
        Chore::Performance(options) => performance::run(&checkout, &screen, options),
        Chore::Package(options) => package::run(&checkout, &screen, options),
    }
}
