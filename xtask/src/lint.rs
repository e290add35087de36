//! `cargo xtask lint`: what must be clean before a change is looked at.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cargo::SERVICES;
use crate::checkout::Checkout;
use crate::screen::{Screen, duration};
use crate::{process, tidy};

/// A cold clippy checks every dependency once.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// Runs all checks, also after one has failed; true where all were clean.
pub(crate) fn run(checkout: &Checkout, screen: &Screen) -> Result<bool> {
    screen.heading("lint");
    let formatted = check(checkout, screen, "fmt", &["fmt", "--all", "--check"])?;
    let clean = clippy(checkout, screen, "clippy", &["--all-targets"])?;
    let services = clippy(checkout, screen, "clippy-services", &["--test", SERVICES])?;
    let tidy = tidy::run(checkout, screen)?;
    Ok(formatted && clean && services && tidy)
}

/// The release profile, so that build scripts and procedural macros are built once for all.
fn clippy(checkout: &Checkout, screen: &Screen, name: &str, targets: &[&str]) -> Result<bool> {
    let every = ["clippy", "--release", "--workspace", "--locked"];
    let arguments = [&every, targets, &["--", "-D", "warnings"]].concat();
    check(checkout, screen, name, &arguments)
}

fn check(checkout: &Checkout, screen: &Screen, name: &str, arguments: &[&str]) -> Result<bool> {
    let start = Instant::now();
    let step = screen.step(name);
    let log = checkout.logs().join(format!("{name}.log"));
    let ended = process::run(checkout.cargo().args(arguments), &log, LIMIT, &step)?;
    step.end();
    if ended.success {
        screen.line(&format!("{name}: clean, {}", duration(start.elapsed())));
    } else {
        println!("{}", ended.tail(80));
        screen.line(&format!(
            "{name}: not clean (cargo {})",
            arguments.join(" ")
        ));
    }
    Ok(ended.success)
}
