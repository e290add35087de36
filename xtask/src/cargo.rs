//! What several chores ask of Cargo.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::checkout::Checkout;
use crate::process::{self, Ended};
use crate::screen::Screen;

/// The test targets that need real services, as a glob over their names. Their manifests say `test = false`:
/// Cargo takes them only where they are named, not with `--workspace` and not with `--all-targets`.
pub(crate) const SERVICES: &str = "services_*";

/// A cold build of everything; a hang, not a slow machine, should meet it.
const LIMIT: Duration = Duration::from_secs(25 * 60);

/// Builds the server in the release profile.
pub(crate) fn build_server(checkout: &Checkout, screen: &Screen) -> Result<()> {
    let mut command = checkout.cargo();
    command.args(["build", "--release", "--locked", "--bin", "rookery"]);
    build(checkout, screen, "cargo build", "build", &mut command)?;
    Ok(())
}

/// What Cargo says of the packages that are built for Linux on x86-64, JSON.
pub(crate) fn metadata(checkout: &Checkout) -> Result<Vec<u8>> {
    let output = checkout
        .cargo()
        .args(["metadata", "--format-version=1", "--locked"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .output()
        .context("run cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

/// Runs a build under the name `what`, with its output in the log `LOG.log`; that it fails is an error.
pub(crate) fn build(
    checkout: &Checkout,
    screen: &Screen,
    what: &str,
    log: &str,
    command: &mut Command,
) -> Result<Ended> {
    let step = screen.step(what);
    let log = checkout.logs().join(log).with_extension("log");
    let ended = process::run(command, &log, LIMIT, &step);
    step.end();
    let ended = ended?;
    ensure!(ended.success, "{what} failed:\n{}", ended.tail(40));
    Ok(ended)
}
