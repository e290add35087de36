//! One run of `rookery flock` against a server, with the server's processor time during the traffic.
//!
//! The server is at rest before the traffic begins, so that the time of a sample that was taken up to
//! [`SAMPLE`] earlier is the time at its begin; at its end flock's line is the signal.

use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rookery_tuning::cpu::{self, CpuTime};
use serde::Deserialize;

use super::server;
use crate::checkout::Checkout;
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
        let (reader, writer) = std::io::pipe().context("make a pipe")?;
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
        command.args(&self.options).stdin(Stdio::null());
        let output = writer.try_clone().context("share a pipe")?;
        let child = command
            .stdout(output)
            .stderr(writer)
            .spawn()
            .context("start rookery flock")?;
        // The command holds the pipe's writing ends; without them the reader sees flock's end.
        drop(command);
        let file = File::create(&log).with_context(|| format!("write {}", log.display()))?;
        let watch = thread::spawn({
            let (step, server) = (step.clone(), self.server);
            move || watch(reader, file, server, &step)
        });
        let samples = self.sample(child);
        let ended = match watch.join() {
            Ok(ended) => ended?,
            Err(_) => bail!("reading flock's output failed"),
        };
        let samples = samples.with_context(|| ended.last.clone())?;
        let flock =
            report(&json).with_context(|| format!("{}, see {}", ended.last, log.display()))?;
        let cpu = ended.traffic.and_then(|traffic| traffic.used(&samples));
        ensure!(
            self.rate == 0 || cpu.is_some(),
            "flock told of no traffic, see {}",
            log.display()
        );
        Ok(Loaded { flock, cpu })
    }

    /// The server's processor time again and again until flock has ended.
    fn sample(&self, mut child: Child) -> Result<Vec<(Instant, CpuTime)>> {
        let began = Instant::now();
        let mut samples = Vec::new();
        loop {
            if let Ok(cpu) = cpu::of_tree(self.server) {
                samples.push((Instant::now(), cpu));
            }
            if child.try_wait()?.is_some() {
                return Ok(samples);
            }
            if began.elapsed() > self.limit {
                child.kill().context("kill flock")?;
                child.wait()?;
                bail!("flock was still running after {} s", self.limit.as_secs());
            }
            thread::sleep(SAMPLE);
        }
    }
}

/// The end of the traffic.
#[derive(Clone, Copy, Debug)]
struct Traffic {
    took: Duration,
    ended: Instant,
    cpu: CpuTime,
}

impl Traffic {
    /// From the last sample before it began to its end.
    fn used(self, samples: &[(Instant, CpuTime)]) -> Option<CpuTime> {
        // flock rounds to a tenth of a second.
        let began = self
            .ended
            .checked_sub(self.took + Duration::from_millis(50))?;
        let (_, before) = samples.iter().rev().find(|(at, _)| *at <= began)?;
        Some(self.cpu - *before)
    }
}

struct Watched {
    traffic: Option<Traffic>,
    last: String,
}

/// Copies flock's lines to the log and the screen, and looks at the server when its traffic ends.
fn watch(pipe: PipeReader, mut log: File, server: u32, step: &Step) -> Result<Watched> {
    let mut watched = Watched {
        traffic: None,
        last: "flock said nothing".to_owned(),
    };
    for line in BufReader::new(pipe).lines() {
        let line = line?;
        if let Some(took) = traffic_line(&line)
            && let Ok(cpu) = cpu::of_tree(server)
        {
            let ended = Instant::now();
            watched.traffic = Some(Traffic { took, ended, cpu });
        }
        writeln!(log, "{line}")?;
        step.says(&line);
        watched.last = line.trim().to_owned();
    }
    Ok(watched)
}

/// How long the traffic has lasted: "traffic 500/500 in 10.0 s (50/s) 500 arrived". The last such line
/// of a run is its end.
fn traffic_line(line: &str) -> Option<Duration> {
    let mut words = line.split_whitespace();
    let seconds = match (words.next()?, words.next()?, words.next()?, words.next()?) {
        ("traffic", _, "in", seconds) => seconds,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds.parse().ok()?).ok()
}

fn report(json: &Path) -> Result<Flock> {
    let text = std::fs::read(json).context("flock left no report")?;
    serde_json::from_slice(&text).context("flock's report is of another form")
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
            "      talk 6000/6000 in 3.0 s (2000/s) 6000 arrived",
            "   traffic 1/2 in x s",
            "   traffic 1/2 in -1 s",
            "   traffic",
        ] {
            assert_eq!(traffic_line(other), None, "{other}");
        }
    }

    #[test]
    fn what_was_used_before_the_traffic_is_left_out() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let cpu = |user_us| CpuTime {
            user_us,
            system_us: 10,
        };
        let samples = [(at(0), cpu(5)), (at(800), cpu(100)), (at(1_200), cpu(150))];
        let traffic = |took_ms| Traffic {
            took: Duration::from_millis(took_ms),
            ended: at(2_000),
            cpu: cpu(400),
        };
        let used = traffic(1_000).used(&samples).unwrap();
        assert_eq!((used.user_us, used.system_us), (300, 0));
        assert_eq!(traffic(2_000).used(&samples), None, "no sample is that old");
    }
}
