//! `cargo xtask flamegraph [NAME]`: the server under a load, profiled and drawn.
//!
//! One command makes `flamegraphs/NAME.svg`: it builds the server with frame pointers, starts it with a
//! load (`scenario`), samples it while the load is what the name says (`record`), and draws what was
//! sampled (`draw`), with the largest shares in words (`shares`). The sampling clock is the software one,
//! which works where a virtual machine has no counters: it sees CPU time, in the kernel too.

mod draw;
mod record;
mod running;
mod scenario;
mod shares;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use rookery_tuning::profile;
use rookery_tuning::sysctl::{Applied, ROOT};

use crate::cargo;
use crate::checkout::Checkout;
use crate::screen::Screen;
use crate::tools::{self, Tool};
use scenario::Scenario;

/// Above so many connections the kernel parameters of the density runs are set meanwhile.
const PLAIN_CONNECTIONS_MAX: u32 = 20_000;
const PROFILE: &str = "sysctl/90-rookery-density.conf";

/// What is drawn.
#[derive(Args)]
pub(crate) struct Options {
    /// The graphs [default: all]
    #[arg(value_name = "NAME", value_parser = scenario::names())]
    only: Vec<String>,
    /// Connections, instead of the scenario's number
    #[arg(long, value_name = "N")]
    connections: Option<u32>,
    /// Messages per second, instead of the scenario's number
    #[arg(long, value_name = "R")]
    rate: Option<u32>,
    /// Write the SVGs into this folder
    #[arg(long, value_name = "DIR", default_value = "flamegraphs")]
    into: PathBuf,
}

/// Draws the graphs.
pub(crate) fn run(checkout: &Checkout, screen: &Screen, options: &Options) -> Result<bool> {
    screen.heading("flame graphs");
    tools::ensure(checkout, screen, Tool::Perf)?;
    let server = build(checkout, screen)?;
    let chosen = Scenario::all().into_iter().filter(|scenario| {
        options.only.is_empty() || options.only.iter().any(|name| name == scenario.name)
    });
    for mut scenario in chosen {
        scenario.connections = options.connections.unwrap_or(scenario.connections);
        scenario.rate = options.rate.unwrap_or(scenario.rate);
        one(checkout, screen, options, &scenario, &server)
            .with_context(|| format!("the flame graph `{}`", scenario.name))?;
    }
    Ok(true)
}

fn one(
    checkout: &Checkout,
    screen: &Screen,
    options: &Options,
    scenario: &Scenario,
    server: &std::path::Path,
) -> Result<()> {
    let applied = (scenario.connections > PLAIN_CONNECTIONS_MAX)
        .then(|| apply_profile(checkout))
        .transpose()?;
    let recorded = record::record(checkout, screen, scenario, server);
    if let Some(applied) = applied {
        applied
            .restore()
            .context("put the kernel parameters back")?;
    }
    let stacks = draw::Stacks::read(checkout, &recorded?)?;
    let path = checkout
        .root()
        .join(&options.into)
        .join(format!("{}.svg", scenario.name));
    let bytes = stacks.draw(scenario, &path)?;
    screen.line(&format!(
        "{}: {} ({} KB)",
        scenario.name,
        path.display(),
        bytes / 1_000
    ));
    for line in shares::lines(&stacks) {
        screen.line(&format!("  {line}"));
    }
    Ok(())
}

fn apply_profile(checkout: &Checkout) -> Result<Applied> {
    let text = std::fs::read_to_string(checkout.root().join(PROFILE)).context(PROFILE)?;
    let settings = profile::parse(&text).context(PROFILE)?;
    Applied::apply(std::path::Path::new(ROOT), &settings).context("set the kernel parameters")
}

/// The server with frame pointers, in a folder of its own: stacks are read from them at each sample.
/// (From unwind tables they cost 8 KB and more per sample, and are cut where the stack is deeper.)
fn build(checkout: &Checkout, screen: &Screen) -> Result<PathBuf> {
    let mut command = checkout.cargo();
    command
        .args(["build", "--release", "--locked", "--bin", "rookery"])
        .arg("--target-dir")
        .arg(checkout.frames_target())
        .env("RUSTFLAGS", "-Cforce-frame-pointers=yes")
        .env(
            "CFLAGS",
            "-fno-omit-frame-pointer -mno-omit-leaf-frame-pointer",
        );
    let what = "cargo build, with frame pointers";
    cargo::build(checkout, screen, what, "flamegraph-build", &mut command)?;
    Ok(checkout.frames_target().join("release/rookery"))
}
