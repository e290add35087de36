//! The server of a run: started with a fresh data directory, and stopped politely.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::form::Form;
use crate::checkout::Checkout;

/// File tables for two million connections are made at the start.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// Its drain, its store's last sync.
const STOP_LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);

/// A running server; killed where it is dropped, its data removed.
pub(super) struct Server {
    child: Child,
    folder: PathBuf,
    /// As it was started.
    pub(super) command: String,
    /// Its configuration file.
    pub(super) config: String,
    pub(super) port: u16,
    /// Its data directory, from the checkout's root.
    pub(super) data: PathBuf,
}

impl Server {
    /// Starts it and waits until it is ready.
    pub(super) fn start(checkout: &Checkout, form: &Form) -> Result<Self> {
        let port = match form.port {
            Some(port) => port,
            None => free_port()?,
        };
        // Several runs on one host do not meet.
        let folder = checkout.density().join(format!("run-{port}"));
        std::fs::remove_dir_all(&folder).ok();
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let config = form.server_config();
        let file = folder.join("rookery.toml");
        std::fs::write(&file, &config).with_context(|| format!("write {}", file.display()))?;
        let data = checkout.relative(&folder).join("data");

        let program = checkout.rookery();
        let mut command = checkout.command(checkout.relative(&program));
        command.arg("serve").arg("--data").arg(&data);
        command.arg("--config").arg(checkout.relative(&file));
        let cores = thread::available_parallelism().map_or(1, usize::from);
        command.args(["--shards", &cores.to_string()]);
        // All of loopback: one address has too few ports for the load generator.
        let all = format!("0.0.0.0:{port}");
        match form.plain {
            true => command.args(["--listen", "127.0.0.1:0", "--listen-plain", &all]),
            false => command.args(["--listen", &all]),
        };
        let log = File::create(folder.join("server.log")).context("the server's log")?;
        let told = told(&command);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {told}"))?;
        let mut server = Self {
            child,
            folder,
            command: told,
            config,
            port,
            data,
        };
        server.wait_ready()?;
        Ok(server)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_ready(&mut self) -> Result<()> {
        let stdout = self.child.stdout.take().context("the server's output")?;
        let ready = watch(stdout);
        if ready.recv_timeout(READY_LIMIT).is_err() {
            bail!("the server is not ready:\n{}", self.log_tail());
        }
        Ok(())
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.folder.join("server.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Asks it to stop, and waits.
    pub(super) fn stop(mut self) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // One that has ended already says so below.
            kill_process(pid, Signal::TERM).ok();
        }
        let began = Instant::now();
        while began.elapsed() < STOP_LIMIT {
            if let Some(status) = self.child.try_wait()? {
                let tail = self.log_tail();
                ensure!(status.success(), "the server ended with {status}:\n{tail}");
                return Ok(());
            }
            thread::sleep(POLL);
        }
        bail!("the server does not stop:\n{}", self.log_tail())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail where it has ended, which is as it should be.
        self.child.kill().ok();
        self.child.wait().ok();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// Reads what the server says to its end, so that it never waits for a reader; tells of "ready".
fn watch(stdout: ChildStdout) -> mpsc::Receiver<()> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if line.trim() == "ready" {
                // Nobody listens any more after a timeout.
                tell.send(()).ok();
            }
        }
    });
    told
}

/// A port that nobody listens on.
fn free_port() -> Result<u16> {
    let probe = std::net::TcpListener::bind("0.0.0.0:0").context("look for a free port")?;
    Ok(probe.local_addr()?.port())
}

/// A command as a person would type it at the checkout's root.
pub(super) fn told(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| Path::new(word).display().to_string())
        .collect::<Vec<_>>()
        .join(" ")
}
