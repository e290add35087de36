//! A `rookery serve` of either form, with data of its own: a fresh directory, or topics, keyspace and keys of
//! a name of its own on the running services.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::kafka::PARTITIONS;
use crate::checkout::Checkout;
use crate::screen::Step;
use crate::{process, services};

const READY_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Topics, keyspace and tables, each agreed upon by all who have it.
const MIGRATE_LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);

/// Connections of the largest run, and some.
const LIMITS: [(&str, &str); 1] = [("ROOKERY_LIMITS_CONNECTIONS_MAX", "60000")];

/// What it stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Form {
    /// Its own log and store.
    Embedded,
    /// Kafka, CQL, PostgreSQL and Redis.
    Distributed,
}

impl Form {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Distributed => "distributed",
        }
    }
}

/// A running one; killed where it is dropped, its directory removed.
pub(super) struct Server {
    child: Child,
    /// Its process until it has ended, for whoever interrupts the measurement.
    running: Arc<Mutex<Option<Pid>>>,
    folder: PathBuf,
    pub(super) form: Form,
    pub(super) port: u16,
    /// Its data directory, with the key that signs logins.
    pub(super) data: PathBuf,
    /// The first of its users. The same ones talk in every run, so that all but the first find their
    /// conversations open: opening hundreds at once is not what is measured.
    pub(super) first_user: u64,
    /// Its consumer group, where it is in one.
    pub(super) group: Option<String>,
}

impl Server {
    /// Migrates where there is something to migrate, starts it, and waits until it is ready.
    pub(super) fn start(checkout: &Checkout, form: Form, step: &Step) -> Result<Self> {
        let probe = std::net::TcpListener::bind("0.0.0.0:0").context("look for a free port")?;
        let port = probe.local_addr()?.port();
        drop(probe);
        let folder = checkout.target().join("performance").join(form.name());
        std::fs::remove_dir_all(&folder).ok();
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let data = folder.join("data");
        let name = format!("performance{}", std::process::id());

        let mut command = rookery(checkout, form, &name);
        command
            .arg("serve")
            .arg("--data")
            .arg(checkout.relative(&data));
        command.args(["--listen", &format!("0.0.0.0:{port}")]);
        let cores = thread::available_parallelism().map_or(1, usize::from);
        command.args(["--shards", &cores.to_string()]);
        if form == Form::Distributed {
            let config = cluster_config(checkout);
            ensure!(config.is_file(), "{} is missing", config.display());
            command.arg("--config").arg(&config);
            let mut migrate = rookery(checkout, form, &name);
            migrate.arg("migrate").arg("--config").arg(&config);
            let log = checkout.logs().join("performance/migrate.log");
            let ended = process::run(&mut migrate, &log, MIGRATE_LIMIT, step)?;
            ensure!(ended.success, "rookery migrate failed:\n{}", ended.tail(20));
        }
        let log = File::create(folder.join("server.log")).context("the server's log")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("start rookery serve")?;
        let running = Arc::new(Mutex::new(Some(Pid::from_child(&child))));
        services::when_interrupted({
            let running = Arc::clone(&running);
            move || end(&running)
        });
        let mut server = Self {
            child,
            running,
            folder,
            form,
            port,
            data,
            first_user: first_user()?,
            group: (form == Form::Distributed).then(|| format!("{name}.appliers")),
        };
        server.wait_ready()?;
        Ok(server)
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_ready(&mut self) -> Result<()> {
        let stdout = self.child.stdout.take().context("the server's output")?;
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            // To its end, so that the server never waits for a reader.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if line.trim() == "ready" {
                    // Nobody listens any more after a timeout.
                    tell.send(()).ok();
                }
            }
        });
        let ready = told.recv_timeout(READY_LIMIT);
        ensure!(ready.is_ok(), "the server is not ready:\n{}", self.tail());
        Ok(())
    }

    /// The end of its log.
    pub(super) fn tail(&self) -> String {
        let log = std::fs::read_to_string(self.folder.join("server.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Asks it to stop, and waits.
    pub(super) fn stop(mut self) -> Result<()> {
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            // One that has ended already says so below.
            kill_process(pid, Signal::TERM).ok();
        }
        let began = Instant::now();
        while began.elapsed() < STOP_LIMIT {
            if let Some(status) = self.child.try_wait()? {
                self.running
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take();
                let tail = self.tail();
                ensure!(status.success(), "the server ended with {status}:\n{tail}");
                return Ok(());
            }
            thread::sleep(POLL);
        }
        anyhow::bail!("the server does not stop:\n{}", self.tail())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&self.running);
        // It fails where it has been waited for, which is as it should be.
        self.child.wait().ok();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// Users of nobody before.
fn first_user() -> Result<u64> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok((now.as_millis() as u64) << 20)
}

/// Kills it, unless it has ended.
fn end(running: &Mutex<Option<Pid>>) {
    let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pid) = running.take() {
        // One that is ending at this moment is no error.
        kill_process(pid, Signal::KILL).ok();
    }
}

/// The configuration that `cargo xtask services up` writes.
fn cluster_config(checkout: &Checkout) -> PathBuf {
    checkout.target().join("services/cluster.toml")
}

/// The program, with names of its own for everything that outlives it.
fn rookery(checkout: &Checkout, form: Form, name: &str) -> Command {
    let program = checkout.rookery();
    let mut command = checkout.command(checkout.relative(&program));
    command.envs(LIMITS);
    if form == Form::Distributed {
        command
            .env("ROOKERY_KAFKA_TOPIC_PREFIX", name)
            .env("ROOKERY_KAFKA_PARTITIONS", PARTITIONS.to_string())
            .env("ROOKERY_CQL_KEYSPACE", name)
            .env("ROOKERY_REDIS_KEY_PREFIX", format!("{name}:"));
    }
    command
}
