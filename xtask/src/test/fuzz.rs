//! The group `fuzz`: each libFuzzer target of `fuzz/` for a minute, from its committed corpus; as many at once
//! as there are cores.
//!
//! The targets are those of `cargo fuzz`, built without its sanitizers: the code under test has no
//! `unsafe`, so that panics and broken assertions are what is looked for, and the pinned stable
//! compiler is enough. The flags below are the ones that `cargo fuzz build --sanitizer none` gives.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use super::tally::Tally;
use crate::checkout::Checkout;
use crate::screen::Screen;
use crate::{cargo, process};

/// How long each target runs.
const SECONDS: u64 = 60;

/// Start, corpus replay and end of a target.
const SLACK: Duration = Duration::from_secs(60);

/// Without `--target` the flags would apply to build scripts too.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cllvm-args=-simplifycfg-branch-fold-threshold=0 \
    -Cdebug-assertions -Coverflow-checks";

pub(super) fn run(checkout: &Checkout, screen: &Screen) -> Result<Tally> {
    let targets = targets(checkout)?;
    build(checkout, screen)?;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut tally = Tally::default();
    for at_once in targets.chunks(cores) {
        for ran in side_by_side(checkout, screen, at_once) {
            tally.add(ran?);
        }
    }
    Ok(tally.with_verdict(true, ""))
}

fn side_by_side(checkout: &Checkout, screen: &Screen, targets: &[String]) -> Vec<Result<Tally>> {
    thread::scope(|scope| {
        let running: Vec<_> = targets
            .iter()
            .map(|target| scope.spawn(move || one(checkout, screen, target)))
            .collect();
        let died = |_| Err(anyhow!("the thread that watches a target died"));
        let ended = running.into_iter();
        ended
            .map(|running| running.join().unwrap_or_else(died))
            .collect()
    })
}

/// The names of the files in `fuzz/fuzz_targets`, which are the names of the binaries.
fn targets(checkout: &Checkout) -> Result<Vec<String>> {
    let folder = checkout.root().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs")
            && let Some(stem) = path.file_stem()
        {
            names.push(stem.to_string_lossy().into_owned());
        }
    }
    ensure!(!names.is_empty(), "no fuzz target in {}", folder.display());
    names.sort();
    Ok(names)
}

fn build(checkout: &Checkout, screen: &Screen) -> Result<()> {
    let mut command = checkout.cargo();
    command
        .args(["build", "--release", "--locked", "--bins", "--all-features"])
        .args(["--manifest-path", "fuzz/Cargo.toml", "--target", TRIPLE])
        .arg("--target-dir")
        .arg(checkout.fuzz_target())
        .env("RUSTFLAGS", FLAGS);
    let what = "build the fuzz targets";
    cargo::build(checkout, screen, what, "fuzz-build", &mut command)?;
    Ok(())
}

/// Runs a target: new inputs go to a scratch corpus, a crashing one to the log folder.
fn one(checkout: &Checkout, screen: &Screen, target: &str) -> Result<Tally> {
    let scratch = checkout.fuzz_target().join("corpus").join(target);
    std::fs::create_dir_all(&scratch)?;
    let binary = checkout
        .fuzz_target()
        .join(TRIPLE)
        .join("release")
        .join(target);
    let mut command = checkout.command(binary);
    command.args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]);
    command.arg(format!("-max_total_time={SECONDS}"));
    command.arg(format!(
        "-artifact_prefix={}/{target}-",
        checkout.logs().display()
    ));
    command.arg(&scratch).args(committed(checkout, target));

    let step = screen.step(target);
    let log = checkout.logs().join(format!("fuzz-{target}.log"));
    let ended = process::run(
        &mut command,
        &log,
        Duration::from_secs(SECONDS) + SLACK,
        &step,
    );
    step.end();
    let ended = ended?;
    let executions = stat(&ended.lines, "stat::number_of_executed_units:");
    if !ended.success {
        let why = format!("{target}, see {}:\n{}", ended.log.display(), ended.tail(30));
        return Ok(Tally::failure(why));
    }
    ensure!(
        executions > 0,
        "{target} executed nothing, see {}",
        ended.log.display()
    );
    Ok(Tally {
        passed: 1,
        notes: vec![format!(
            "{target}: {executions} inputs in {SECONDS} s, no crash"
        )],
        ..Tally::default()
    })
}

fn committed(checkout: &Checkout, target: &str) -> Option<PathBuf> {
    let folder: &Path = &checkout.root().join("fuzz/corpus-seed").join(target);
    folder.is_dir().then(|| folder.to_owned())
}

fn stat(lines: &[String], name: &str) -> u64 {
    let value = lines.iter().rev().find_map(|line| line.strip_prefix(name));
    value
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(0)
}
