//! The groups that drive the built server through its sockets: pytest in our own environment. The
//! harness in `tests/` writes what it counted to a file that is read here.

use anyhow::{Context, Result};

use super::group::Group;
use super::tally::Tally;
use crate::checkout::Checkout;
use crate::screen::Screen;
use crate::{cargo, process};

pub(super) fn run(
    checkout: &Checkout,
    screen: &Screen,
    group: Group,
    files: &[&str],
) -> Result<Tally> {
    run_with(checkout, screen, group, files, &[])
}

/// The same, with more in the environment.
pub(super) fn run_with(
    checkout: &Checkout,
    screen: &Screen,
    group: Group,
    files: &[&str],
    environment: &[(&str, &str)],
) -> Result<Tally> {
    cargo::build_server(checkout, screen)?;
    let counted = checkout.logs().join(format!("{}.json", group.name()));
    std::fs::remove_file(&counted).ok();

    let step = screen.step("pytest");
    let mut command = checkout.command(checkout.python());
    command
        .args([
            "-m",
            "pytest",
            "--rootdir=tests",
            "-c",
            "tests/pytest.ini",
            "-p",
            "no:cacheprovider",
        ])
        .args(
            files
                .iter()
                .map(|file| checkout.root().join("tests").join(file)),
        )
        .env("ROOKERY_BIN", checkout.rookery())
        .env("ROOKERY_TALLY", &counted)
        .env("ROOKERY_NODE_MODULES", checkout.node_modules())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .envs(environment.iter().copied());
    let log = checkout.logs().join(format!("{}.log", group.name()));
    let ended = process::run(&mut command, &log, group.limit(), &step);
    step.end();
    let ended = ended?;

    let tally =
        read(&counted).with_context(|| format!("pytest counted nothing:\n{}", ended.tail(40)))?;
    let mut tally = tally.with_verdict(ended.success, &ended.tail(60));
    if tally.failed > 0 {
        tally
            .notes
            .push(format!("full output in {}", ended.log.display()));
    }
    Ok(tally)
}

fn read(counted: &std::path::Path) -> Result<Tally> {
    let json = std::fs::read(counted).with_context(|| format!("read {}", counted.display()))?;
    serde_json::from_slice(&json).with_context(|| format!("parse {}", counted.display()))
}
