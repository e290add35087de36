//! `cargo xtask density`: one server and one load generator on this host, the kernel parameters that they
//! need, and the report of what they measured: memory, connect rate, latency and processor time against
//! connections held, and a storm of reconnects.
//!
//! Everything that is changed on the host is put back, also where the run fails or is interrupted.

mod facts;
mod form;
mod load;
mod parameters;
mod server;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use rookery_benches::report::Density;

use crate::cargo;
use crate::checkout::Checkout;
use crate::screen::{Screen, duration};
use form::Form;
pub(crate) use load::Output;
pub(crate) use parameters::Parameters;
use server::Server;

const EXAMPLES: &str = "\
Examples:
  cargo xtask density                          50,000 connections, some two minutes
  cargo xtask density --connections 200000     under 8 minutes
  cargo xtask density --connections 2000000    some 35 minutes; 24 GiB of memory
  cargo xtask density --connections 100000 --plain --out target/plain

Needs root for the kernel parameters of sysctl/90-rookery-density.conf, which are put back at the end, and
for /proc/slabinfo. Exit code 1: a gate is broken; the last lines say which.";

/// What is run.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Connections to hold, both ends on this host
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(2_000..=10_000_000))]
    pub(crate) connections: u32,
    /// Smaller sizes to measure on the way, comma-separated [default: those of 10000, 100000, 500000 and
    /// 1000000 that are below]
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    pub(crate) stages: Vec<u32>,
    /// How long messages flow at the full size [default: by size, 10m from 500,000 on]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) hold: Option<Duration>,
    /// The short form, which is the default up to 50,000: one smaller size, one rate, seconds each
    #[arg(long)]
    pub(crate) quick: bool,
    /// Without TLS
    #[arg(long)]
    pub(crate) plain: bool,
    /// The server's port [default: a free one]
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// Where the report goes: PATH.html and PATH.json [default: docs/density/ and a name by size]
    #[arg(long, value_name = "PATH")]
    pub(crate) out: Option<PathBuf>,
}

impl Options {
    /// The run that `cargo xtask test` makes.
    pub(crate) fn short(out: PathBuf) -> Self {
        Self {
            connections: 50_000,
            stages: Vec::new(),
            hold: None,
            quick: true,
            plain: false,
            port: None,
            out: Some(out),
        }
    }
}

/// Builds, runs, reports; true where every gate held.
pub(crate) fn run(checkout: &Checkout, screen: &Screen, options: &Options) -> Result<bool> {
    cargo::build_server(checkout, screen)?;
    let began = Instant::now();
    let density = measure(checkout, options, &Output::Terminal)?;
    let out = out(options);
    write(checkout, &density, &out)?;
    screen.heading("goals");
    for goal in density.goals() {
        let (figure, verdict) = (goal.figure, goal.verdict());
        screen.line(&format!("{verdict:<8} {figure}"));
        screen.line(&format!("         goal: {}", goal.goal));
        screen.line(&format!("         here: {}", goal.reached));
    }
    screen.heading("gates");
    let gates = density.gates();
    for gate in &gates {
        let verdict = if gate.held { "held" } else { "BROKEN" };
        screen.line(&format!("{verdict:<8} {}: {}", gate.name, gate.found));
    }
    let broken = gates.iter().filter(|gate| !gate.held).count();
    println!(
        "\n{} and .json written in {}; {} gates held, {broken} broken",
        out.with_extension("html").display(),
        duration(began.elapsed()),
        gates.len() - broken,
    );
    Ok(broken == 0)
}

/// Runs the server and the load generator, with the kernel parameters set for as long.
pub(crate) fn measure(
    checkout: &Checkout,
    options: &Options,
    output: &Output<'_>,
) -> Result<Density> {
    let form = Form::of(options)?;
    form.fits()?;
    let interrupts = load::Interrupts::heed()?;
    let parameters = Parameters::set(checkout)?;
    let measured = with_parameters(checkout, &form, output, &interrupts, &parameters);
    // Whatever became of the run.
    parameters.put_back()?;
    // An interrupted run on a terminal has its report; as one of many tests it ends them all.
    if matches!(output, Output::Log(..)) {
        interrupts.give_in();
    }
    measured
}

fn with_parameters(
    checkout: &Checkout,
    form: &Form,
    output: &Output<'_>,
    interrupts: &load::Interrupts,
    parameters: &Parameters,
) -> Result<Density> {
    let began = Instant::now();
    let mut facts = facts::read(checkout, form, parameters)?;
    let server = Server::start(checkout, form)?;
    facts.server_command.clone_from(&server.command);
    facts.server_config.clone_from(&server.config);
    let load = load::run(checkout, form, &server, output, interrupts);
    let ended = server.stop();
    let load = load?;
    ended?;
    facts.flock_command = load.command;
    facts.took_s = began.elapsed().as_secs_f64();
    Density::compose(facts, &load.json).context("the load generator's report")
}

fn out(options: &Options) -> PathBuf {
    let kind = if options.plain { "plain" } else { "tls" };
    let named = || Path::new("docs/density").join(format!("{}-{kind}", options.connections));
    options.out.clone().unwrap_or_else(named)
}

/// Writes the page and the JSON behind it.
pub(crate) fn write(checkout: &Checkout, density: &Density, out: &Path) -> Result<()> {
    let out = checkout.root().join(out);
    if let Some(folder) = out.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    let save = |extension: &str, bytes: &[u8]| {
        let path = out.with_extension(extension);
        std::fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))
    };
    let mut json = density.json().context("the report as JSON")?;
    json.push(b'\n');
    save("json", &json)?;
    save(
        "html",
        density.page().context("the report's page")?.as_bytes(),
    )
}
