//! One run of `rookery flock`, with the processor time of the server and of each service while messages
//! flowed.

use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, Write};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rookery_tuning::cpu::{self, CpuTime};
use serde::{Deserialize, Serialize};

use super::server::Server;
use crate::checkout::Checkout;
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

type Sample = (Instant, Vec<CpuTime>);

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
    let (reader, writer) = std::io::pipe().context("make a pipe")?;
    let program = checkout.rookery();
    let mut command = checkout.command(checkout.relative(&program));
    command
        .arg("flock")
        .arg(format!("wss://127.0.0.1:{}", server.port))
        .args(["--connections", &load.connections.to_string()])
        .args(["--rate", &load.rate.to_string()])
        .args(["--duration", &format!("{}ms", load.duration.as_millis())])
        .args(["--payload-bytes", &load.payload_bytes.to_string()])
        .args(["--first-user", &first_user()?.to_string()])
        .args(["--server-pid", &server.pid().to_string()])
        // Nothing to warm up for: a run's first seconds are a run's first seconds for every form.
        .args(["--warm-up", "0", "--brief", "--tolerate", "--data"])
        .arg(checkout.relative(&server.data))
        .arg("--json")
        .arg(checkout.relative(&json))
        .stdin(Stdio::null());
    let output = writer.try_clone().context("share a pipe")?;
    let mut child = command
        .stdout(output)
        .stderr(writer)
        .spawn()
        .context("start rookery flock")?;
    // The command holds the pipe's writing ends; without them the reader sees flock's end.
    drop(command);
    let file = File::create(&log).with_context(|| format!("write {}", log.display()))?;
    let reader = thread::spawn({
        let step = step.clone();
        move || watch(reader, file, &step)
    });
    let pids: Vec<u32> = std::iter::once(server.pid())
        .chain(services.iter().map(|service| service.pid))
        .collect();
    let limit = load.duration + AROUND;
    let (began, mut samples): (Instant, Vec<Sample>) = (Instant::now(), Vec::new());
    while child.try_wait()?.is_none() {
        samples.push((Instant::now(), pids.iter().map(|&pid| time(pid)).collect()));
        if began.elapsed() > limit {
            child.kill().context("kill flock")?;
            child.wait()?;
            bail!("flock was still running after {} s", limit.as_secs());
        }
        thread::sleep(SAMPLE);
    }
    let ended = Instant::now();
    let traffic = match reader.join() {
        Ok(traffic) => traffic?,
        Err(_) => bail!("reading flock's output failed"),
    };
    let told = || {
        format!(
            "flock left no report, see {}\n{}",
            log.display(),
            server.tail()
        )
    };
    let text = std::fs::read(&json).with_context(told)?;
    let flock = serde_json::from_slice(&text).context("flock's report is of another form")?;
    let names =
        std::iter::once("rookery").chain(services.iter().map(|service| service.name.as_str()));
    let used = traffic
        .and_then(|traffic| used(&samples, traffic))
        .unwrap_or_default();
    let used = names.zip(used).map(|(name, us)| Used {
        process: name.to_owned(),
        us,
    });
    Ok(Loaded {
        flock,
        used: used.collect(),
        ended,
    })
}

/// One that is gone uses nothing more.
fn time(pid: u32) -> CpuTime {
    cpu::of_tree(pid).unwrap_or_default()
}

/// Users of nobody before: their conversations are new to every service.
fn first_user() -> Result<u64> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok((now.as_millis() as u64) << 20)
}

/// From when to when messages flowed.
type Traffic = (Instant, Instant);

/// Copies flock's lines to the log and the screen; its line about the traffic says how long that was.
fn watch(pipe: PipeReader, mut log: File, step: &Step) -> Result<Option<Traffic>> {
    let mut traffic = None;
    for line in BufReader::new(pipe).lines() {
        let line = line?;
        if let Some(took) = traffic_line(&line) {
            let now = Instant::now();
            traffic = now.checked_sub(took).map(|began| (began, now));
        }
        writeln!(log, "{line}")?;
        step.says(&line);
    }
    Ok(traffic)
}

/// How long the traffic has lasted: "traffic 500/500 in 10.0 s (50/s) 500 arrived". The last such line of a
/// run is its end.
fn traffic_line(line: &str) -> Option<Duration> {
    let mut words = line.split_whitespace();
    let seconds = match (words.next()?, words.next()?, words.next()?, words.next()?) {
        ("traffic", _, "in", seconds) => seconds,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds.parse().ok()?).ok()
}

/// Microseconds by process, from the last sample before the traffic to the first after it.
fn used(samples: &[Sample], (began, ended): Traffic) -> Option<Vec<u64>> {
    let (_, before) = samples.iter().rev().find(|(at, _)| *at <= began)?;
    let after = samples.iter().find(|(at, _)| *at >= ended);
    let (_, after) = after.or(samples.last())?;
    let each = before.iter().zip(after);
    Some(
        each.map(|(before, after)| (*after - *before).total_us())
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_traffic_is_heard() {
        let line = "   traffic 50000/50000 in 10.1 s (4950/s) 50000 arrived";
        assert_eq!(traffic_line(line), Some(Duration::from_millis(10_100)));
        for other in [
            "",
            "      talk 6000/6000 in 3.0 s (2000/s)",
            "traffic 1/2 in x s",
        ] {
            assert_eq!(traffic_line(other), None, "{other}");
        }
    }

    #[test]
    fn what_was_used_before_and_after_is_left_out() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let cpu = |user_us| CpuTime {
            user_us,
            system_us: 0,
        };
        let samples: Vec<Sample> = [(0, 5), (800, 100), (2_100, 400), (3_000, 900)]
            .map(|(ms, us)| (at(ms), vec![cpu(us), cpu(2 * us)]))
            .to_vec();
        assert_eq!(used(&samples, (at(1_000), at(2_000))), Some(vec![300, 600]));
        assert_eq!(
            used(&samples, (at(1_000), at(9_000))),
            Some(vec![800, 1_600])
        );
        assert_eq!(used(&samples[1..], (at(0), at(100))), None);
    }
}
