//! The peers' programs: our own binaries, Debian packages, npm and PyPI packages pinned in
//! `benches/peers/servers`. What cannot be installed is told in the table.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cargo;
use crate::checkout::Checkout;
use crate::screen::Screen;
use crate::tools::{apt, debian, runs, same, stamp, step};

/// What a peer needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// `nginx` of Debian.
    Nginx,
    /// `haproxy` of Debian.
    HaProxy,
    /// `nats-server` of Debian.
    Nats,
    /// `ejabberd` of Debian, with Erlang.
    Ejabberd,
    /// The packages of `benches/peers/servers/package-lock.json`.
    Npm,
    /// The packages of `benches/peers/servers/requirements.txt`.
    Python,
}

/// Builds the server, the load generator and the peers of `benches/peers`.
pub(super) fn build(checkout: &Checkout, screen: &Screen) -> Result<()> {
    cargo::build_server(checkout, screen)?;
    let mut command = checkout.cargo();
    command
        .args(["build", "--release", "--locked"])
        .args(["--manifest-path", "benches/peers/Cargo.toml"])
        .arg("--target-dir")
        .arg(checkout.target());
    let what = "cargo build (peers)";
    cargo::build(checkout, screen, what, "compare/build-peers", &mut command)?;
    Ok(())
}

/// Installs a tool unless it is there.
pub(super) fn ensure(checkout: &Checkout, screen: &Screen, tool: Tool) -> Result<()> {
    if is_there(checkout, tool) {
        return Ok(());
    }
    match tool {
        Tool::Nginx => debian(checkout, screen, &["nginx"]),
        Tool::HaProxy => debian(checkout, screen, &["haproxy"]),
        Tool::Nats => debian(checkout, screen, &["nats-server"]),
        Tool::Ejabberd => debian(checkout, screen, &["ejabberd"]),
        Tool::Npm => npm(checkout, screen),
        Tool::Python => pypi(checkout, screen),
    }
    .with_context(|| format!("{tool:?} cannot be installed"))?;
    ensure!(
        is_there(checkout, tool),
        "{tool:?} was installed and does not run"
    );
    Ok(())
}

fn is_there(checkout: &Checkout, tool: Tool) -> bool {
    match tool {
        Tool::Nginx => runs("nginx", "-v"),
        Tool::HaProxy => runs("haproxy", "-v"),
        Tool::Nats => runs("nats-server", "--version"),
        Tool::Ejabberd => ejabberd_libraries().is_some(),
        Tool::Npm => {
            let stamp = folder(checkout).join("node/installed.json");
            same(&servers(checkout).join("package-lock.json"), &stamp)
        }
        Tool::Python => {
            let stamp = folder(checkout).join("venv/installed.txt");
            same(&servers(checkout).join("requirements.txt"), &stamp)
        }
    }
}

fn npm(checkout: &Checkout, screen: &Screen) -> Result<()> {
    if !runs("npm", "--version") {
        apt(checkout, screen, &["nodejs", "npm"])?;
    }
    let folder = folder(checkout).join("node");
    fs::create_dir_all(&folder)?;
    for file in ["package.json", "package-lock.json"] {
        fs::copy(servers(checkout).join(file), folder.join(file))?;
    }
    let arguments = [
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
    ];
    let mut command = Command::new("npm");
    step(
        checkout,
        screen,
        "npm",
        command.current_dir(&folder).args(arguments),
    )?;
    stamp(
        &servers(checkout).join("package-lock.json"),
        &folder.join("installed.json"),
    )
}

fn pypi(checkout: &Checkout, screen: &Screen) -> Result<()> {
    if !runs("python3", "-mvenv --help") {
        apt(checkout, screen, &["python3", "python3-venv"])?;
    }
    let folder = folder(checkout).join("venv");
    let mut venv = checkout.command("python3");
    step(
        checkout,
        screen,
        "venv",
        venv.args(["-m", "venv", "--clear"]).arg(&folder),
    )?;
    let mut pip = checkout.command(python(checkout));
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-r",
    ]);
    step(
        checkout,
        screen,
        "pip",
        pip.arg(servers(checkout).join("requirements.txt")),
    )?;
    stamp(
        &servers(checkout).join("requirements.txt"),
        &folder.join("installed.txt"),
    )
}

fn servers(checkout: &Checkout) -> PathBuf {
    checkout.root().join("benches/peers/servers")
}

fn folder(checkout: &Checkout) -> PathBuf {
    checkout.tools().join("peers")
}

/// The Python of the peers.
pub(super) fn python(checkout: &Checkout) -> PathBuf {
    folder(checkout).join("venv/bin/python")
}

/// Where npm's packages are.
pub(super) fn node_modules(checkout: &Checkout) -> PathBuf {
    folder(checkout).join("node/node_modules")
}

/// Bun's binary.
pub(super) fn bun(checkout: &Checkout) -> PathBuf {
    node_modules(checkout).join("@oven/bun-linux-x64/bin/bun")
}

/// The folder of Erlang libraries that ejabberd is in, of the host's architecture.
pub(super) fn ejabberd_libraries() -> Option<PathBuf> {
    fs::read_dir("/usr/lib")
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .find(|libraries| ejabberd(libraries).is_some())
}

/// ejabberd's version, where these libraries hold it.
pub(super) fn ejabberd(libraries: &Path) -> Option<String> {
    let name = |entry: fs::DirEntry| entry.file_name().into_string().ok();
    let names = fs::read_dir(libraries).ok()?.flatten().filter_map(name);
    names
        .filter_map(|name| Some(name.strip_prefix("ejabberd-")?.to_owned()))
        .max()
}
