//! A PostgreSQL cluster of our own from the host's programs: its files, its command, and whether it answers.
//!
//! PostgreSQL refuses to run as root. For root it runs in a user namespace in which root has another name:
//! so the data may be in any folder that root can reach, and stays root's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::address::{PASSWORD, USER};
use super::place::Place;
use super::service::Service;
use crate::process;
use crate::screen::Step;

/// Where Debian puts the programs of each version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// The oldest that the schema is tested with.
const OLDEST: u32 = 15;

/// `initdb` writes some forty megabytes.
const INITDB_MAX: Duration = Duration::from_secs(120);

/// The programs of the oldest version that will do: the one that the schema is tested with.
pub(super) fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir(VERSIONS).ok()?.flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let number: u32 = entry.file_name().to_str()?.parse().ok()?;
            let programs = entry.path().join("bin");
            let will_do = number >= OLDEST && programs.join("initdb").is_file();
            will_do.then_some((number, programs))
        })
        .collect();
    found.sort();
    found.into_iter().next().map(|(_, programs)| programs)
}

/// Writes the configuration and, the first time, makes the cluster.
pub(super) fn prepare(place: &Place, step: &Step) -> Result<()> {
    let port = Service::Postgres.port().to_string();
    let values = [
        ("port", &*port),
        (
            "certificate",
            &place.certificates.certificate.to_string_lossy(),
        ),
        ("authority", &place.certificates.authority.to_string_lossy()),
        ("key", &place.certificates.key.to_string_lossy()),
    ];
    place.write("postgresql.conf", &values)?;
    let data = place.folder.join("data");
    if data.exists() {
        return Ok(());
    }
    // Made under another name, so that a cluster is whole where it is there.
    let made = place.folder.join("data.new");
    fs::remove_dir_all(&made).ok();
    let password = place.folder.join("password");
    fs::write(&password, PASSWORD)?;
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600))?;
    let mut initdb = program(place, "initdb")?;
    initdb
        .args(["--username", USER, "--auth", "scram-sha-256", "--no-sync"])
        .args(["--encoding", "UTF8", "--locale", "C.UTF-8", "--pwfile"])
        .arg(&password)
        .arg("--pgdata")
        .arg(&made);
    let log = place.folder.join("initdb.log");
    let ended = process::run(&mut initdb, &log, INITDB_MAX, step)?;
    fs::remove_file(password)?;
    ensure!(ended.success, "initdb:\n{}", ended.tail(15));
    fs::rename(&made, &data).with_context(|| format!("name {}", data.display()))
}

/// The server in the foreground.
pub(super) fn command(place: &Place) -> Result<Command> {
    let mut postgres = program(place, "postgres")?;
    postgres
        .arg("-D")
        .arg(place.folder.join("data"))
        .arg("-c")
        .arg(format!(
            "config_file={}",
            place.folder.join("postgresql.conf").display()
        ));
    Ok(postgres)
}

/// Whether our user can use its database. The first time there is none: it is made.
pub(super) fn answers() -> Result<()> {
    if ask(USER, "select 1").is_ok() {
        return Ok(());
    }
    ask("postgres", &format!("create database {USER}"))?;
    ask(USER, "select 1")
}

fn ask(database: &str, statement: &str) -> Result<()> {
    let output = Command::new(programs().context("no PostgreSQL")?.join("psql"))
        .args(["--no-psqlrc", "--quiet", "--host", "127.0.0.1"])
        .args(["--port", &Service::Postgres.port().to_string()])
        .args(["--username", USER, "--dbname", database])
        .args(["--command", statement])
        .env("PGPASSWORD", PASSWORD)
        .env("PGCONNECT_TIMEOUT", "2")
        .stdin(Stdio::null())
        .output()
        .context("psql")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", said.trim());
    Ok(())
}

/// A program of PostgreSQL that does not want to be root.
fn program(place: &Place, name: &str) -> Result<Command> {
    let path = programs().context("no PostgreSQL")?.join(name);
    let mut command = if rustix::process::geteuid().is_root() {
        renamed(&path)?
    } else {
        Command::new(&path)
    };
    command.current_dir(&place.folder);
    Ok(command)
}

/// The program in a user namespace where root is called `postgres`.
fn renamed(path: &Path) -> Result<Command> {
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-user=postgres", "--map-group=postgres"]);
        command
    };
    let tried = unshare()
        .arg("true")
        .stdin(Stdio::null())
        .output()
        .context("unshare")?;
    ensure!(
        tried.status.success(),
        "PostgreSQL does not run as root, and this host lets root make no user namespace ({}): run the \
         services as another user, or name a server that runs already with --postgres",
        String::from_utf8_lossy(&tried.stderr).trim()
    );
    let mut command = unshare();
    command.arg("--").arg(path);
    Ok(command)
}
