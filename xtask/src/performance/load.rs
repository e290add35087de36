//! One run of `rookery flock`, with the processor time of the server and of each service while messages
//! flowed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rookery_tuning::cpu::{self, CpuTime};
use serde::{Deserialize, Serialize};

use super::server::Server;
use crate::checkout::Checkout;
use crate::flock::{self, Watch};
use crate::screen::Step;

/// How often processor times are taken: an average over a run's seconds needs no more.
const SAMPLE: Duration = Duration::from_millis(250);
/// Connecting, stragglers, the goodbye.
const AROUND: Duration = Duration::from_secs(180);

/// What flock is to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) connections: u32,
    /// Messages per second.
    pub(super) rate: u32,
    pub(super) duration: Duration,
    pub(super) payload_bytes: u32,
}

/// What flock reports, as far as it is needed here.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Flock {
    pub(super) command: Vec<String>,
    pub(super) connections: u32,
    pub(super) established: u64,
    pub(super) lost: u64,
    pub(super) rate_asked: u32,
    pub(super) rate_done: f64,
    pub(super) sent: u64,
    pub(super) unsent: u64,
    pub(super) acked: u64,
    pub(super) delivered: u64,
    pub(super) ack_p50_us: Option<u64>,
    pub(super) ack_p99_us: Option<u64>,
    pub(super) rtt_p50_us: Option<u64>,
    pub(super) rtt_p99_us: Option<u64>,
}

/// Processor time of a process while messages flowed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Used {
    pub(super) process: String,
    pub(super) us: u64,
}

/// A run's outcome.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Loaded {
    pub(super) flock: Flock,
    /// The server first.
    pub(super) used: Vec<Used>,
    /// When flock had ended: what is stored is asked from then on.
    #[serde(skip)]
    pub(super) ended: Instant,
}

impl Loaded {
    /// Microseconds of the server's processor time for each message, everything that it did meanwhile
    /// included.
    pub(super) fn server_us(&self) -> Option<f64> {
        self.per_message(self.used.first()?.us)
    }

    /// The same of those services whose names begin so.
    pub(super) fn service_us(&self, name: &str) -> Option<f64> {
        let named = self.used.iter().skip(1);
        let named: Vec<u64> = named
            .filter(|used| used.process.starts_with(name))
            .map(|used| used.us)
            .collect();
        (!named.is_empty()).then(|| self.per_message(named.iter().sum()))?
    }

    /// The same of all services together, where they run on this host.
    pub(super) fn services_us(&self) -> Option<f64> {
        let services = self.used.get(1..).filter(|services| !services.is_empty())?;
        self.per_message(services.iter().map(|used| used.us).sum())
    }

    fn per_message(&self, us: u64) -> Option<f64> {
        let messages = Some(self.flock.delivered).filter(|&messages| messages > 0)?;
        Some(us as f64 / messages as f64)
    }
}

/// A process whose time is taken.
pub(super) struct Watched {
    pub(super) name: String,
    pub(super) pid: u32,
}

/// Runs flock to its end.
pub(super) fn run(
    checkout: &Checkout,
    server: &Server,
    services: &[Watched],
    load: Load,
    step: &Step,
) -> Result<Loaded> {
    let logs = checkout.logs().join("performance");
    std::fs::create_dir_all(&logs).with_context(|| format!("make {}", logs.display()))?;
    let (log, json) = (logs.join("flock.log"), logs.join("flock.json"));
    std::fs::remove_file(&json).ok();
    let program = checkout.rookery();
    let mut command = checkout.command(checkout.relative(&program));
    command
        .arg("flock")
        .arg(format!("wss://127.0.0.1:{}", server.port))
        .args(["--connections", &load.connections.to_string()])
        .args(["--rate", &load.rate.to_string()])
        .args(["--duration", &format!("{}ms", load.duration.as_millis())])
        .args(["--payload-bytes", &load.payload_bytes.to_string()])
        .args(["--first-user", &server.first_user.to_string()])
        .args(["--server-pid", &server.pid().to_string()])
        // Servers are warmed by runs of their own.
        .args(["--warm-up", "0", "--brief", "--tolerate", "--data"])
        .arg(checkout.relative(&server.data))
        .arg("--json")
        .arg(checkout.relative(&json));
    let pids: Vec<u32> = std::iter::once(server.pid())
        .chain(services.iter().map(|service| service.pid))
        .collect();
    let watch = Watch {
        log: &log,
        step,
        every: SAMPLE,
        limit: load.duration + AROUND,
    };
    let times = || Some(pids.iter().map(|&pid| time(pid)).collect::<Vec<_>>());
    let seen = flock::run(&mut command, watch, times)?;
    let flock = flock::report(&json)
        .with_context(|| format!("{}, see {}\n{}", seen.last(), log.display(), server.tail()))?;
    let names =
        std::iter::once("rookery").chain(services.iter().map(|service| service.name.as_str()));
    let used = seen.traffic().into_iter().flat_map(|(before, after)| {
        let each = before.iter().zip(after);
        each.map(|(before, after)| (*after - *before).total_us())
    });
    let used = names.zip(used).map(|(name, us)| Used {
        process: name.to_owned(),
        us,
    });
    Ok(Loaded {
        flock,
        used: used.collect(),
        ended: seen.ended,
    })
}

/// One that is gone uses nothing more.
fn time(pid: u32) -> CpuTime {
    cpu::of_tree(pid).unwrap_or_default()
}
