//! One run of `rookery flock` against a server, with the server's processor time during the traffic.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rookery_tuning::cpu::{self, CpuTime};
use serde::Deserialize;

use super::server;
use crate::checkout::Checkout;
use crate::flock::{self, Watch};
use crate::screen::Step;

/// How often the server's processor time is taken: each reads the host's list of processes.
const SAMPLE: Duration = Duration::from_millis(200);

/// What flock is to do.
pub(super) struct Load<'a> {
    /// flock runs at its root and is given paths from there: its command line becomes part of the report.
    pub(super) checkout: &'a Checkout,
    /// flock's core.
    pub(super) core: usize,
    /// The server's process.
    pub(super) server: u32,
    pub(super) url: String,
    pub(super) connections: u32,
    /// Messages per second; 0 for none.
    pub(super) rate: u32,
    pub(super) duration: Duration,
    /// What a foreign protocol needs.
    pub(super) options: Vec<&'a str>,
    /// Log and report are written beside each other: this path with `.log` and `.json`.
    pub(super) files: PathBuf,
    /// A hang, not a slow server, should meet it.
    pub(super) limit: Duration,
}

/// What flock reports, as far as it is needed here.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Flock {
    pub(super) command: Vec<String>,
    pub(super) established: u64,
    pub(super) failed: u64,
    pub(super) lost: u64,
    pub(super) sent: u64,
    pub(super) delivered: u64,
    pub(super) rate_done: f64,
    pub(super) rtt_p50_us: Option<u64>,
    pub(super) rtt_p99_us: Option<u64>,
    pub(super) rtt_p999_us: Option<u64>,
    pub(super) server_user_bytes_per_connection: Option<f64>,
    pub(super) kernel_parts: Vec<Part>,
}

/// A kernel cache's part of a connection.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Part {
    pub(super) cache: String,
    pub(super) objects: f64,
    pub(super) bytes: f64,
}

/// A run's outcome.
pub(super) struct Loaded {
    pub(super) flock: Flock,
    /// Of the server and its children, while messages flowed; none without messages.
    pub(super) cpu: Option<CpuTime>,
}

impl Load<'_> {
    /// Runs it to its end.
    pub(super) fn run(&self, step: &Step) -> Result<Loaded> {
        let (log, json) = (
            self.files.with_extension("log"),
            self.files.with_extension("json"),
        );
        std::fs::remove_file(&json).ok();
        let number = |value: u32| value.to_string();
        let mut command = server::pinned(self.core);
        command
            .current_dir(self.checkout.root())
            .arg(self.checkout.relative(&self.checkout.rookery()))
            .args(["flock", &self.url, "--echo", "--brief", "--tolerate"]);
        command.args([
            "--connections",
            &number(self.connections),
            "--rate",
            &number(self.rate),
        ]);
        command.args(["--duration", &format!("{}ms", self.duration.as_millis())]);
        command
            .args(["--server-pid", &number(self.server), "--json"])
            .arg(self.checkout.relative(&json));
        command.args(&self.options);
        let watch = Watch {
            log: &log,
            step,
            every: SAMPLE,
            limit: self.limit,
        };
        let seen = flock::run(&mut command, watch, || cpu::of_tree(self.server).ok())?;
        let flock = flock::report(&json)
            .with_context(|| format!("{}, see {}", seen.last(), log.display()))?;
        let cpu = seen.traffic().map(|(before, after)| *after - *before);
        ensure!(
            self.rate == 0 || cpu.is_some(),
            "flock told of no traffic, see {}",
            log.display()
        );
        Ok(Loaded { flock, cpu })
    }
}
