//! `cargo xtask package`: the Debian package, in `target/package`. What it is made of stands in `packaging/` and in
//! `edge/Cargo.toml`; what only the built server can say (its manual, its completions) and the licences of what
//! is linked into it are collected here first.

mod licences;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::cargo;
use crate::checkout::Checkout;
use crate::process;
use crate::screen::{Screen, duration};
use crate::tools::{self, Tool};

/// One linking of everything takes several minutes with the profile `dist`; compressing takes one.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// Where the package keeps its data; the default is a folder of the working directory.
const DATA: &str = "data = \"/var/lib/rookery\"";

/// What to build.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The profile: `dist` for whoever installs it, `release` for a try.
    #[arg(long, default_value = "dist")]
    profile: String,
    /// Take the server that is built already.
    #[arg(long)]
    no_build: bool,
    /// The package's version, for an upgrade of what is not released.
    #[arg(long, value_name = "VERSION")]
    deb_version: Option<String>,
}

/// Makes it; the last line says where it is.
pub(crate) fn run(checkout: &Checkout, screen: &Screen, options: &Options) -> Result<bool> {
    screen.heading("package");
    let start = Instant::now();
    tools::ensure(checkout, screen, Tool::CargoDeb)?;
    if !options.no_build {
        let mut command = checkout.cargo();
        command.args(["build", "--locked", "--bin", "rookery", "--profile"]);
        command.arg(&options.profile);
        cargo::build(checkout, screen, "cargo build", "build", &mut command)?;
    }
    let folder = checkout.package();
    let parts = folder.join("parts");
    std::fs::create_dir_all(&parts).with_context(|| format!("make {}", parts.display()))?;
    collect(checkout, &binary(checkout, &options.profile), &parts)?;
    remove_packages(&folder)?;

    let step = screen.step("cargo deb");
    let mut command = checkout.command(tools::cargo_deb(checkout));
    // Its own name is the first argument, as Cargo gives it.
    command
        .args([
            "deb",
            "--no-build",
            "--locked",
            "--fast",
            "--strip",
            "--package",
            "rookery-edge",
        ])
        .args(["--profile", &options.profile])
        .arg("--output")
        .arg(&folder);
    if let Some(version) = &options.deb_version {
        command.args(["--deb-version", version]);
    }
    let ended = process::run(
        &mut command,
        &checkout.logs().join("package.log"),
        LIMIT,
        &step,
    );
    step.end();
    let ended = ended?;
    ensure!(ended.success, "cargo deb failed:\n{}", ended.tail(30));
    for made in packages(&folder)? {
        let bytes = std::fs::metadata(&made)?.len();
        screen.line(&format!(
            "{}, {:.1} MB, {}",
            checkout.relative(&made).display(),
            bytes as f64 / 1e6,
            duration(start.elapsed())
        ));
    }
    Ok(true)
}

/// Where Cargo puts what a profile builds.
fn binary(checkout: &Checkout, profile: &str) -> PathBuf {
    checkout.target().join(profile).join("rookery")
}

/// What the package has and the repository has not.
fn collect(checkout: &Checkout, binary: &Path, parts: &Path) -> Result<()> {
    let made = [
        ("rookery.1", &["man"][..]),
        ("rookery.bash", &["completions", "bash"]),
        ("_rookery", &["completions", "zsh"]),
        ("rookery.fish", &["completions", "fish"]),
    ];
    for (name, arguments) in made {
        let output = checkout
            .command(binary)
            .args(arguments)
            .output()
            .with_context(|| format!("run {}", binary.display()))?;
        ensure!(
            output.status.success(),
            "rookery {} failed",
            arguments.join(" ")
        );
        write(parts, name, &output.stdout)?;
    }
    let defaults = std::fs::read_to_string(checkout.root().join("docs/rookery.toml"))
        .context("read docs/rookery.toml")?;
    write(parts, "rookery.toml", configuration(&defaults)?.as_bytes())?;
    let licences = licences::of_server(checkout)?;
    write(parts, "third-party-licences", licences.as_bytes())
}

/// The configuration of an installed server: all keys at their defaults, but where the data is.
fn configuration(defaults: &str) -> Result<String> {
    let data = defaults
        .lines()
        .find(|line| line.starts_with("data = "))
        .context("docs/rookery.toml does not say where the data is")?;
    Ok(defaults.replacen(data, DATA, 1))
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = folder.join(name);
    std::fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))
}

/// Those of earlier runs would be taken for this one's.
fn remove_packages(folder: &Path) -> Result<()> {
    packages(folder)?
        .iter()
        .try_for_each(|old| std::fs::remove_file(old).context("remove an old package"))
}

fn packages(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_data_directory_differs_from_the_defaults() {
        let defaults = "# The data.\ndata = \"rookery-data\"\n[listen]\ntls = []\n";
        assert_eq!(
            configuration(defaults).unwrap(),
            "# The data.\ndata = \"/var/lib/rookery\"\n[listen]\ntls = []\n"
        );
        assert!(configuration("[listen]\n").is_err());
    }
}
