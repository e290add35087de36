//! A `rookery serve` beside a chore: in a folder of its own, which goes with it, waited for until it is ready,
//! and stopped politely. It does not outlive its value.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// File tables for two million connections are made at the start.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// Its drain, its store's last sync.
const STOP_LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);

/// See the module.
pub(crate) struct Serving {
    child: Child,
    /// Its process until it has been waited for.
    running: Arc<Mutex<Option<Pid>>>,
    folder: PathBuf,
}

impl Serving {
    /// Starts it, with its log in `folder`.
    pub(crate) fn start(command: &mut Command, folder: PathBuf) -> Result<Self> {
        let log = File::create(folder.join("server.log")).context("the server's log")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("start rookery serve")?;
        let running = Arc::new(Mutex::new(Some(Pid::from_child(&child))));
        Ok(Self {
            child,
            running,
            folder,
        })
    }

    /// Waits until it is ready.
    pub(crate) fn ready(mut self) -> Result<Self> {
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
        Ok(self)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, unless it has ended; for whoever is interrupted meanwhile.
    pub(crate) fn killer(&self) -> impl FnOnce() + Send + 'static {
        let running = Arc::clone(&self.running);
        move || kill(&running)
    }

    /// The end of its log.
    pub(crate) fn tail(&self) -> String {
        let log = std::fs::read_to_string(self.folder.join("server.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Asks it to stop at once, and waits: whoever is connected is ours.
    pub(crate) fn stop(mut self) -> Result<()> {
        // One that has ended already says so below.
        kill_process(Pid::from_child(&self.child), Signal::INT).ok();
        let began = Instant::now();
        while began.elapsed() < STOP_LIMIT {
            if let Some(status) = self.child.try_wait()? {
                taken(&self.running);
                let tail = self.tail();
                ensure!(status.success(), "the server ended with {status}:\n{tail}");
                return Ok(());
            }
            thread::sleep(POLL);
        }
        bail!("the server does not stop:\n{}", self.tail())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        kill(&self.running);
        // It fails where it has been waited for, which is as it should be.
        self.child.wait().ok();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

fn taken(running: &Mutex<Option<Pid>>) -> Option<Pid> {
    let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
    running.take()
}

fn kill(running: &Mutex<Option<Pid>>) {
    if let Some(pid) = taken(running) {
        // One that is ending at this moment is no error.
        kill_process(pid, Signal::KILL).ok();
    }
}

/// The folder, empty.
pub(crate) fn fresh(folder: &Path) -> Result<()> {
    std::fs::remove_dir_all(folder).ok();
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> Result<u16> {
    let probe = std::net::TcpListener::bind("0.0.0.0:0").context("look for a free port")?;
    Ok(probe.local_addr()?.port())
}
