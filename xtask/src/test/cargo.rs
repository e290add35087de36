//! The group `rust`, and the tests of our own that need services: `cargo test` in the release profile,
//! counted by the runner's own result lines.

use std::process::Command;

use anyhow::Result;

use super::group::Group;
use super::tally::Tally;
use crate::cargo::SERVICES;
use crate::checkout::Checkout;
use crate::process;
use crate::screen::Screen;

/// What both groups are built with, so that the second finds all but its own targets built.
const TEST: [&str; 5] = [
    "test",
    "--release",
    "--workspace",
    "--locked",
    "--no-fail-fast",
];

/// Lines of a failed test's output that are told again.
const SAID_MAX: usize = 40;

/// Everything but the targets that need services, whose manifests say `test = false`. Examples are not built:
/// there is no test in them, and clippy has checked them.
pub(super) fn run(checkout: &Checkout, screen: &Screen) -> Result<Tally> {
    let mut command = checkout.cargo();
    command.args(TEST).args(["--lib", "--bins", "--tests"]);
    let mut tally = counted(checkout, screen, Group::Rust, "cargo", &mut command)?;
    // Cargo runs what stands in documentation by itself only.
    let mut command = checkout.cargo();
    command.args(TEST).arg("--doc");
    tally.add(counted(checkout, screen, Group::Rust, "doc", &mut command)?);
    Ok(tally.with_verdict(true, ""))
}

/// The targets that need services, and no others.
pub(super) fn run_with_services(
    checkout: &Checkout,
    screen: &Screen,
    environment: &[(&str, &str)],
) -> Result<Tally> {
    let mut command = checkout.cargo();
    command
        .args(TEST)
        .args(["--test", SERVICES])
        .envs(environment.iter().copied());
    let tally = counted(checkout, screen, Group::Cluster, "cargo", &mut command)?;
    Ok(tally.with_verdict(true, ""))
}

/// What the command's tests came to, with its output in the log `GROUP-LOG.log`.
fn counted(
    checkout: &Checkout,
    screen: &Screen,
    group: Group,
    log: &str,
    command: &mut Command,
) -> Result<Tally> {
    let step = screen.step("cargo test");
    let log = format!("{}-{log}.log", group.name());
    let ended = process::run(command, &checkout.logs().join(log), group.limit(), &step);
    step.end();
    let ended = ended?;
    let mut tally = count(&ended.lines);
    if !ended.success {
        tally = tally.with_verdict(false, &ended.tail(60));
        let log = ended.log.display();
        tally.notes.push(format!("full output in {log}"));
    }
    Ok(tally)
}

/// Sums the lines "test result: ok. 12 passed; 0 failed; 0 ignored; …" and keeps what those that failed said. An
/// ignored test has failed: nothing was shown.
fn count(lines: &[String]) -> Tally {
    let mut tally = Tally::default();
    for (at, line) in lines.iter().enumerate() {
        if let Some(result) = line.strip_prefix("test result: ") {
            tally.passed += number_before(result, " passed");
            tally.failed += number_before(result, " failed") + number_before(result, " ignored");
        } else if line.starts_with("---- ") && line.ends_with(" stdout ----") {
            tally.failures.push(said(&lines[at..]));
        }
    }
    tally
}

/// The first block of what failed tests said: its heading and its last lines, where the panic is.
fn said(lines: &[String]) -> String {
    let end = |line: &String| line.starts_with("---- ") || line == "failures:";
    let length = 1 + lines[1..].iter().take_while(|line| !end(line)).count();
    let last = length.saturating_sub(SAID_MAX).max(1);
    let mut block = vec![lines[0].as_str()];
    block.extend(lines[last..length].iter().map(String::as_str));
    block.join("\n").trim_end().to_owned()
}

fn number_before(text: &str, word: &str) -> u64 {
    let before = text.find(word).map_or("", |at| &text[..at]);
    let digits = before
        .rfind(|c: char| !c.is_ascii_digit())
        .map_or(before, |at| &before[at + 1..]);
    digits.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_every_binary_and_takes_an_ignored_test_as_failed() {
        let lines = [
            "test a ... ok",
            "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.00s",
            "test b::c ... FAILED",
            "",
            "failures:",
            "",
            "---- b::c stdout ----",
            "thread 'b::c' panicked at src/b.rs:7:9:",
            "",
            "failures:",
            "    b::c",
            "test result: FAILED. 5 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out",
        ];
        let tally = count(&lines.map(str::to_owned));
        assert_eq!((tally.passed, tally.failed), (17, 3));
        let said = "---- b::c stdout ----\nthread 'b::c' panicked at src/b.rs:7:9:";
        assert_eq!(tally.failures, [said]);
    }
}
