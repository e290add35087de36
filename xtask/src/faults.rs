//! `cargo xtask faults`: the long form of the fault suite (`tests/faults`) on real services, and its report,
//! docs/faults.md. The short form is a group of `cargo xtask test`.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use clap::Args;
use serde::Deserialize;

use crate::checkout::Checkout;
use crate::process::{self, Ended};
use crate::screen::{Screen, duration};
use crate::services::{self, Given};
use crate::tools::{self, Tool};
use crate::{cargo, host, page};

/// Outages of minutes, many rounds: a hang, not a slow machine, should meet it.
const LIMIT: Duration = Duration::from_secs(3 * 3_600);
const PAGE: &str = "docs/faults.md";

/// What is run.
#[derive(Args)]
pub(crate) struct Options {
    /// Only the tests whose names have this in them (pytest's -k); docs/faults.md is left alone
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Short outages and few rounds, as in `cargo xtask test`; docs/faults.md is left alone
    #[arg(long)]
    quick: bool,
}

/// A row of the report, as `tests/harness/outcome.py` writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    fault: String,
    done: String,
    sent: u64,
    acked: u64,
    refused: u64,
    retried: u64,
    live: u64,
    by_sync: u64,
    lost: u64,
    silence_s: f64,
    level_s: f64,
    seen: String,
}

/// Runs them; true where every one passed.
pub(crate) fn run(checkout: &Checkout, screen: &Screen, options: &Options) -> Result<bool> {
    let began = Instant::now();
    screen.heading("faults");
    cargo::build_server(checkout, screen)?;
    tools::ensure(checkout, screen, Tool::Python)?;
    let up = services::up(checkout, screen, &Given::from_environment())?;
    let rows = checkout.logs().join("faults-rows.jsonl");
    std::fs::remove_file(&rows).ok();
    let ended = pytest(
        checkout,
        screen,
        options,
        &up.addresses.environment(),
        &rows,
    );
    up.stop(checkout)?;
    let ended = ended?;
    let rows = read(&rows)?;
    let section = section(checkout, &rows, &ended, began.elapsed());
    println!("\n{section}");
    if options.only.is_none() && !options.quick {
        page::rewrite(&checkout.root().join(PAGE), "faults", &section)?;
        screen.line(&format!("written into {PAGE}"));
    }
    if !ended.success {
        println!("{}\nfull output in {}", ended.tail(40), ended.log.display());
    }
    Ok(ended.success)
}

fn pytest(
    checkout: &Checkout,
    screen: &Screen,
    options: &Options,
    environment: &[(&str, &str)],
    rows: &Path,
) -> Result<Ended> {
    let mut command = checkout.command(checkout.python());
    command.args(["-m", "pytest", "--rootdir=tests", "-c", "tests/pytest.ini"]);
    command.args(["-p", "no:cacheprovider", "tests/faults"]);
    if !options.quick {
        command.arg("--long");
    }
    if let Some(name) = &options.only {
        command.args(["-k", name]);
    }
    command
        .envs(environment.iter().copied())
        .env("ROOKERY_BIN", checkout.rookery())
        .env("ROOKERY_FAULTS_ROWS", rows)
        .env(
            "ROOKERY_XTASK",
            std::env::current_exe().context("where this program is")?,
        )
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let step = screen.step("pytest");
    let ended = process::run(
        &mut command,
        &checkout.logs().join("faults.log"),
        LIMIT,
        &step,
    );
    step.end();
    ended
}

fn read(rows: &Path) -> Result<Vec<Row>> {
    // Not there where no test came to its end.
    let text = std::fs::read_to_string(rows).unwrap_or_default();
    let row = |line: &str| serde_json::from_str(line).with_context(|| format!("a row: {line}"));
    text.lines().map(row).collect()
}

/// Everything between the markers.
fn section(checkout: &Checkout, rows: &[Row], ended: &Ended, took: Duration) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{}. Commit {}, Linux {}, {} cores ({}). `{}`, {}.\n",
        humantime::format_rfc3339_seconds(SystemTime::now()),
        host::commit(checkout),
        host::kernel(),
        std::thread::available_parallelism().map_or(1, usize::from),
        host::processor(),
        host::command().join(" "),
        duration(took)
    );
    let verdict = ended.lines.last().map_or("", |line| line.trim());
    let _ = writeln!(text, "pytest: {verdict}\n");
    text.push_str(&table(rows));
    for failure in ended
        .lines
        .iter()
        .filter(|line| line.starts_with("FAILED") || line.starts_with("ERROR"))
    {
        let _ = writeln!(text, "- {failure}");
    }
    text
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| fault | what was done | sent | acked | refused | sent again | live | by Sync | connections lost \
         | longest without an ack | level after | seen |\n| --- | --- |",
    );
    text.push_str(&" ---: |".repeat(9));
    text.push_str(" --- |\n");
    for row in rows {
        let Row {
            fault,
            done,
            sent,
            acked,
            refused,
            retried,
            live,
            by_sync,
            lost,
            silence_s,
            level_s,
            seen,
        } = row;
        let _ = writeln!(
            text,
            "| {fault} | {done} | {sent} | {acked} | {refused} | {retried} | {live} | {by_sync} | {lost} \
             | {silence_s:.1} s | {level_s:.1} s | {seen} |"
        );
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_becomes_a_line_of_the_table() {
        let line = r#"{"fault": "a", "done": "b", "sent": 3, "acked": 3, "refused": 1, "retried": 2,
            "live": 12, "by_sync": 0, "lost": 0, "silence_s": 1.25, "level_s": 0.5, "seen": "c"}"#;
        let row: Row = serde_json::from_str(line).unwrap();
        let table = table(&[row]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(
            lines[2],
            "| a | b | 3 | 3 | 1 | 2 | 12 | 0 | 0 | 1.2 s | 0.5 s | c |"
        );
        let columns = |line: &str| line.matches('|').count();
        assert_eq!(columns(lines[0]), columns(lines[1]));
        assert_eq!(columns(lines[0]), columns(lines[2]));
    }
}
