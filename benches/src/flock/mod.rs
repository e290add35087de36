//! `rookery flock`: holds many client ends on the server's own engine, lets messages flow in an open
//! loop, and tells latency and the memory that a connection costs.
//!
//! `run` goes through phases (`phases`) on the calling thread; the clients (`clients`) live on shards
//! and only do what the phases ask. `measure` looks at the host, `report` tells.

mod account;
mod args;
mod clients;
mod counts;
mod drain;
mod host;
mod measure;
mod meter;
mod phases;
mod plan;
mod progress;
pub(crate) mod record;
mod report;
mod schedule;
mod server;
mod shards;
mod share;
mod stages;
mod storm;
mod tally;
mod target;
mod timeline;
mod tokens;
mod traffic;

pub use args::Args;
pub(crate) use report::Report;

use anyhow::{Context as _, bail};

/// Runs the load that the options ask for, writes the report and prints the table on stdout.
///
/// # Errors
/// The server cannot be reached or refuses; or, without `--tolerate`, a connection or a message was lost.
pub fn run(args: &Args) -> anyhow::Result<()> {
    args.check()?;
    let report = phases::run(args)?;
    if let Some(path) = &args.json {
        let json = serde_json::to_vec_pretty(&report).context("the report as JSON")?;
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    print(report.table().as_bytes())?;
    let faults = report.faults();
    if !faults.is_empty() && !args.tolerate {
        bail!("{}", faults.join("; "));
    }
    Ok(())
}

/// A reader that has seen enough (`| head`) is no failure.
fn print(text: &[u8]) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to stdout")
        }
        _ => Ok(()),
    }
}
