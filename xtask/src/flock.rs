//! A run of `rookery flock`, watched: what it says goes to a log and the screen, and something (processor
//! time) is looked at again and again, and when its messages have ended.
//!
//! The server is at rest before the traffic begins, so that what was seen up to an interval earlier is what
//! there was at its begin; at its end flock's line is the signal.

use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;

use crate::screen::Step;

/// flock rounds to a tenth of a second.
const ROUNDED: Duration = Duration::from_millis(50);

/// How a run is watched.
#[derive(Clone, Copy)]
pub(crate) struct Watch<'a> {
    /// Where flock's output is written.
    pub(crate) log: &'a Path,
    pub(crate) step: &'a Step,
    /// How often it is looked.
    pub(crate) every: Duration,
    /// When flock is killed. A hang, not a slow server, should meet it.
    pub(crate) limit: Duration,
}

/// What was seen of a run that has ended.
pub(crate) struct Seen<S> {
    samples: Vec<(Instant, S)>,
    heard: Heard<S>,
    /// When flock had ended.
    pub(crate) ended: Instant,
}

struct Heard<S> {
    traffic: Option<Traffic<S>>,
    last: String,
}

/// The end of the messages.
struct Traffic<S> {
    took: Duration,
    ended: Instant,
    sample: S,
}

impl<S> Seen<S> {
    /// Where messages flowed: what was seen last before they did, and at their end.
    pub(crate) fn traffic(&self) -> Option<(&S, &S)> {
        let traffic = self.heard.traffic.as_ref()?;
        let began = traffic.ended.checked_sub(traffic.took + ROUNDED)?;
        let (_, before) = self.samples.iter().rev().find(|(at, _)| *at <= began)?;
        Some((before, &traffic.sample))
    }

    /// The last line that flock said.
    pub(crate) fn last(&self) -> &str {
        &self.heard.last
    }
}

/// Runs flock to its end, looking by `look`, which may have nothing to see. That it failed is not an error:
/// its report, or the lack of one, says so.
pub(crate) fn run<S: Send>(
    command: &mut Command,
    watch: Watch<'_>,
    look: impl Fn() -> Option<S> + Sync,
) -> Result<Seen<S>> {
    let (reader, writer) = std::io::pipe().context("make a pipe")?;
    let log = watch.log.display();
    let file = File::create(watch.log).with_context(|| format!("write {log}"))?;
    let child = command
        .stdin(Stdio::null())
        .stdout(writer.try_clone().context("share a pipe")?)
        .stderr(writer)
        .spawn()
        .context("start rookery flock")?;
    // The command holds the pipe's writing ends; without them the reader sees flock's end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    thread::scope(|scope| {
        let hearing = scope.spawn(|| hear(reader, file, watch.step, &look));
        let seen = until_end(child, watch, &look);
        let Ok(heard) = hearing.join() else {
            bail!("reading flock's output failed");
        };
        let heard = heard?;
        let (samples, ended) = seen.with_context(|| heard.last.clone())?;
        Ok(Seen {
            samples,
            heard,
            ended,
        })
    })
}

/// flock's report, of which `T` is what is needed.
pub(crate) fn report<T: DeserializeOwned>(json: &Path) -> Result<T> {
    let text = std::fs::read(json).context("flock left no report")?;
    serde_json::from_slice(&text).context("flock's report is of another form")
}

/// Looks again and again until flock has ended.
fn until_end<S>(
    mut child: Child,
    watch: Watch<'_>,
    look: impl Fn() -> Option<S>,
) -> Result<(Vec<(Instant, S)>, Instant)> {
    let began = Instant::now();
    let mut samples = Vec::new();
    loop {
        samples.extend(look().map(|sample| (Instant::now(), sample)));
        if child.try_wait()?.is_some() {
            return Ok((samples, Instant::now()));
        }
        if began.elapsed() > watch.limit {
            child.kill().context("kill flock")?;
            child.wait()?;
            bail!("flock was still running after {} s", watch.limit.as_secs());
        }
        thread::sleep(watch.every);
    }
}

/// Copies flock's lines to the log and the screen, and looks when its traffic ends.
fn hear<S>(
    pipe: PipeReader,
    mut log: File,
    step: &Step,
    look: impl Fn() -> Option<S>,
) -> Result<Heard<S>> {
    let mut heard = Heard {
        traffic: None,
        last: "flock said nothing".to_owned(),
    };
    for line in BufReader::new(pipe).lines() {
        let line = line?;
        if let Some(took) = traffic_line(&line)
            && let Some(sample) = look()
        {
            let ended = Instant::now();
            heard.traffic = Some(Traffic {
                took,
                ended,
                sample,
            });
        }
        writeln!(log, "{line}")?;
        step.says(&line);
        heard.last = line.trim().to_owned();
    }
    Ok(heard)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::Screen;

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
    fn what_was_seen_before_the_traffic_is_left_out() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let seen = |took_ms| Seen {
            samples: vec![(at(0), 5), (at(800), 100), (at(1_200), 150)],
            heard: Heard {
                traffic: Some(Traffic {
                    took: Duration::from_millis(took_ms),
                    ended: at(2_000),
                    sample: 400,
                }),
                last: String::new(),
            },
            ended: at(3_000),
        };
        assert_eq!(seen(1_000).traffic(), Some((&100, &400)));
        assert_eq!(seen(2_000).traffic(), None, "no sample is that old");
    }

    fn watched(script: &str, limit: Duration) -> Result<Seen<()>> {
        let log = std::env::temp_dir().join(format!(
            "xtask-flock-{}-{}",
            std::process::id(),
            limit.as_secs()
        ));
        let step = Screen::new().step("test");
        let watch = Watch {
            log: &log,
            step: &step,
            every: Duration::from_millis(1),
            limit,
        };
        let seen = run(Command::new("sh").args(["-c", script]), watch, || Some(()));
        step.end();
        std::fs::remove_file(log).ok();
        seen
    }

    #[test]
    fn both_streams_are_heard_to_their_end() {
        let script = "sleep 0.1; echo '  traffic 1/1 in 0.0 s (1/s)'; echo done >&2";
        let seen = watched(script, Duration::from_secs(60)).unwrap();
        assert!(seen.traffic().is_some());
        assert_eq!(seen.last(), "done");
        let error = watched("echo so far; exec sleep 600", Duration::ZERO);
        assert!(format!("{:#}", error.err().unwrap()).contains("still running"));
    }
}
