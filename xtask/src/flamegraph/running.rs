//! A program that runs beside others, with its output in a file that is looked at meanwhile. It does not
//! outlive its value.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// How often its output is looked at.
const POLL: Duration = Duration::from_millis(20);

/// See the module.
pub(super) struct Running {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts it, with both output streams in `log`.
    pub(super) fn start(name: &'static str, command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        Ok(Self {
            name,
            child,
            log: log.to_owned(),
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until a line of its output begins so (spaces aside).
    pub(super) fn says(&mut self, start: &str, limit: Duration) -> Result<()> {
        let began = Instant::now();
        loop {
            let output = self.output();
            if output
                .lines()
                .any(|line| line.trim_start().starts_with(start))
            {
                return Ok(());
            }
            let ended = self.child.try_wait()?.is_some();
            if ended || began.elapsed() > limit {
                let how = if ended { "ended" } else { "runs" };
                bail!("{} {how} and did not say `{start}`:\n{output}", self.name);
            }
            thread::sleep(POLL);
        }
    }

    /// Asks it to stop (SIGINT) and waits until it has.
    pub(super) fn stop(&mut self, limit: Duration) -> Result<()> {
        let sent = Command::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status()
            .context("kill")?;
        ensure!(
            sent.success(),
            "{} has ended by itself:\n{}",
            self.name,
            self.output()
        );
        self.end(limit).map(drop)
    }

    /// Waits for its end.
    pub(super) fn end(&mut self, limit: Duration) -> Result<ExitStatus> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(began.elapsed() <= limit, "{} does not end", self.name);
            thread::sleep(POLL);
        }
    }

    /// What it has said.
    pub(super) fn output(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Where it has ended, there is nothing to kill.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}
