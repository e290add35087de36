//! `cargo xtask compare`: other engines and servers beside Rookery, measured in the same run by the same
//! load generator, and written into `docs/density.md`.
//!
//! Each server runs alone, pinned to one core, with the load on another. A peer that cannot be installed
//! or started is a row that says why.

mod bench;
mod duels;
mod figures;
mod install;
mod launch;
mod load;
mod peers;
mod plot;
mod server;
mod table;
mod version;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use rookery_tuning::memory::Memory;
use rookery_tuning::process::open_files_limit;

use crate::checkout::Checkout;
use crate::screen::{Screen, duration};
use crate::{host, page};
use bench::{Bench, Cores, Shape};
use figures::{Comparison, Figures, Row};
use launch::Transport;
use peers::{ALL, Peer, Talk};

/// Descriptors that a server needs besides its connections.
const DESCRIPTORS_SPARE: u64 = 1_000;
/// flock's default.
const PAYLOAD_BYTES: u32 = 64;
/// Where the page and the results are.
const PAGE: &str = "docs/density.md";
const RESULTS: &str = "docs/density";

/// What is compared, and how.
#[derive(Args)]
pub(crate) struct Options {
    /// Only these peers, and Rookery
    #[arg(long, value_name = "NAME", num_args = 1.., value_parser = peers::names())]
    only: Vec<String>,
    /// Connections to hold on each, as far as its descriptors reach
    #[arg(long, value_name = "N", default_value_t = 19_000, value_parser = clap::value_parser!(u32).range(1_000..=500_000))]
    connections: u32,
    /// Messages per second over all connections
    #[arg(long, value_name = "R", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// How long messages flow, in seconds
    #[arg(long, value_name = "S", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Alternating rounds for the goals; 0 for none
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=50))]
    rounds: u32,
    /// Write the results here and leave docs/ alone [default with --only: target/xtask/compare]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Compares; true where Rookery itself could be measured.
pub(crate) fn run(checkout: &Checkout, screen: &Screen, options: &Options) -> Result<bool> {
    let began = Instant::now();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let placed = Cores::of(cores)?;
    screen.heading("build");
    install::build(checkout, screen)?;
    let bench = Bench::new(checkout, screen, placed)?;
    let open_files = open_files_limit()?.0;
    screen.heading(&format!(
        "peers: {} connections, {} messages/s for {} s, server on core {}, load on core {}",
        options.connections, options.rate, options.seconds, placed.server, placed.load
    ));
    let chosen = |name: &str| options.only.is_empty() || options.only.iter().any(|it| it == name);
    let mut rows = Vec::new();
    for peer in ALL
        .iter()
        .filter(|peer| peer.name == ALL[0].name || chosen(peer.name))
    {
        rows.extend(measure(&bench, options, peer, open_files));
    }
    split(&mut rows);
    let duels = duels::run(&bench, options.rounds, options.connections, chosen)?;
    let comparison = Comparison {
        commit: host::commit(checkout),
        kernel: host::kernel(),
        cpu: host::processor(),
        cores,
        memory_bytes: Memory::read().ok().map(|memory| memory.total),
        open_files_max: open_files,
        sysctls: host::sysctls(),
        command: host::command(),
        server_core: placed.server,
        load_core: placed.load,
        payload_bytes: PAYLOAD_BYTES,
        seconds: began.elapsed().as_secs_f64(),
        rows,
        duels,
    };
    write(checkout, screen, options, &comparison)?;
    screen.line(&format!("compared in {}", duration(began.elapsed())));
    let ours = |row: &Row| row.name == ALL[0].name && row.figures.is_none();
    Ok(!comparison.rows.iter().any(ours))
}

/// Both transports of a peer.
fn measure(bench: &Bench<'_>, options: &Options, peer: &Peer, open_files: u64) -> Vec<Row> {
    let ready = peer.tool.map_or(Ok(()), |tool| {
        install::ensure(bench.checkout, bench.screen, tool)
    });
    let version = version::version(bench.checkout, peer);
    let shape = Shape {
        connections: connections(options.connections, peer.descriptors, open_files),
        rate: options.rate,
        duration: Duration::from_secs(u64::from(options.seconds)),
    };
    let one = |transport: Transport| {
        let began = Instant::now();
        let ran = match &ready {
            Ok(()) => bench.run(peer, transport, shape),
            Err(error) => Err(anyhow::anyhow!("{error:#}")),
        };
        let idle = match peer.talk {
            Talk::Echo(_) => None,
            Talk::Idle { why, .. } => Some(format!("idle only: {why}")),
        };
        // Both ends, and behind a proxy both ends again.
        let sockets = if peer.program.is_proxy() { 4.0 } else { 2.0 };
        let rate = if idle.is_some() { 0 } else { options.rate };
        let (figures, reason) = match ran {
            Ok(loaded) => (Some(Figures::new(rate, sockets, loaded)), idle),
            Err(error) => (None, Some(format!("not measured: {error:#}"))),
        };
        let row = Row {
            name: peer.name,
            what: peer.what,
            version: version.clone(),
            transport: transport.name(),
            is_proxy: peer.program.is_proxy(),
            figures,
            reason,
        };
        bench
            .screen
            .line(&format!("{}, {}", told(&row), duration(began.elapsed())));
        row
    };
    Transport::ALL.map(one).into()
}

/// As many as asked for and as descriptors reach.
fn connections(asked: u32, descriptors: u32, open_files: u64) -> u32 {
    let most = match descriptors {
        0 => u64::MAX,
        descriptors => open_files.saturating_sub(DESCRIPTORS_SPARE) / u64::from(descriptors),
    };
    u32::try_from(most).unwrap_or(u32::MAX).min(asked)
}

/// flock's ends cost what Rookery's do: half of its pairs. What is left of another's pairs is its own.
fn split(rows: &mut [Row]) {
    for transport in Transport::ALL {
        let ours = rows
            .iter()
            .find(|row| row.name == ALL[0].name && row.transport == transport.name());
        let own = ours.and_then(|row| row.figures.as_ref()?.kernel_bytes_all_ends);
        let Some(end_bytes) = own.map(|pair| pair / 2.0) else {
            continue;
        };
        for row in rows
            .iter_mut()
            .filter(|row| row.transport == transport.name())
        {
            // Behind a proxy stands a Rookery with an end for each.
            let ends = if row.is_proxy { 2.0 } else { 1.0 };
            if let Some(figures) = &mut row.figures {
                figures.split(end_bytes, ends);
            }
        }
    }
}

/// One line about a row.
fn told(row: &Row) -> String {
    let Some(figures) = &row.figures else {
        let reason = row.reason.as_deref().unwrap_or_default();
        return format!("{}, {}: {reason}", row.name, row.transport);
    };
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
    format!(
        "{}, {}: {} connections, {} B user space, {} us/message ({} user), p50 {} us",
        row.name,
        row.transport,
        figures.connections,
        number(figures.user_bytes),
        number(figures.cpu_us()),
        number(figures.cpu_user_us),
        number(figures.p50_us.map(|us| us as f64)),
    )
}

fn write(
    checkout: &Checkout,
    screen: &Screen,
    options: &Options,
    comparison: &Comparison,
) -> Result<()> {
    let section = table::markdown(comparison);
    println!("\n{section}");
    let is_whole = options.only.is_empty() && options.out.is_none();
    let folder = match &options.out {
        Some(folder) => folder.clone(),
        None if is_whole => checkout.root().join(RESULTS),
        None => checkout.logs().join("compare"),
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let file = |name: &str| folder.join(name);
    let mut json = serde_json::to_vec_pretty(comparison).context("the results as JSON")?;
    json.push(b'\n');
    save(&file("compare.json"), &json)?;
    plot::draw(comparison, &file("compare.svg"))?;
    if is_whole {
        page::rewrite(&checkout.root().join(PAGE), table::NAME, &section)?;
    } else {
        save(&file("compare.md"), section.as_bytes())?;
    }
    screen.line(&format!("results in {}", folder.display()));
    Ok(())
}

fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn descriptors_bound_the_connections() {
        assert_eq!(super::connections(19_000, 1, 20_000), 19_000);
        assert_eq!(super::connections(19_000, 2, 20_000), 9_500);
        assert_eq!(super::connections(19_000, 1, 1_024), 24);
        assert_eq!(super::connections(19_000, 0, 1_024), 19_000);
        assert_eq!(super::connections(1_000, 2, 500), 0);
    }
}
