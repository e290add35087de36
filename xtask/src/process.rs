//! Running a program to its end: its output goes to a log file, its last line to the screen, and
//! nothing runs for longer than its limit.

use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::screen::Step;

/// How often a running program is looked at.
const POLL: Duration = Duration::from_millis(50);

/// A program that ended by itself.
pub(crate) struct Ended {
    /// Whether it exited with 0.
    pub(crate) success: bool,
    /// Its output, both streams in order.
    pub(crate) lines: Vec<String>,
    /// Where the output was written.
    pub(crate) log: PathBuf,
}

impl Ended {
    /// The last lines, for an error message.
    pub(crate) fn tail(&self, lines: usize) -> String {
        self.lines[self.lines.len().saturating_sub(lines)..].join("\n")
    }
}

/// Runs `command` with no standard input and both output streams in `log`. A program that is still
/// running after `limit` is killed, and that is an error.
pub(crate) fn run(
    command: &mut Command,
    log: &Path,
    limit: Duration,
    step: &Step,
) -> Result<Ended> {
    if let Some(folder) = log.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    let file = File::create(log).with_context(|| format!("write {}", log.display()))?;
    let (reader, writer) = std::io::pipe().context("make a pipe")?;
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command
        .stdin(Stdio::null())
        .stdout(writer.try_clone().context("share a pipe")?)
        .stderr(writer)
        .spawn()
        .with_context(|| format!("start {name}"))?;
    // The command holds the pipe's writing ends; without them the reader sees the program's end.
    command.stdout(Stdio::null()).stderr(Stdio::null());

    let copier = thread::spawn({
        let step = step.clone();
        move || copy(reader, file, &step)
    });
    let success =
        wait(child, limit).with_context(|| format!("{name}, output in {}", log.display()))?;
    let lines = match copier.join() {
        Ok(lines) => lines?,
        Err(_) => bail!("reading the output of {name} failed"),
    };
    Ok(Ended {
        success,
        lines,
        log: log.to_owned(),
    })
}

/// Waits for the program's end; true where it exited with 0.
fn wait(mut child: Child, limit: Duration) -> Result<bool> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if start.elapsed() > limit {
            child.kill().context("kill it")?;
            child.wait()?;
            bail!("still running after {} s, killed", limit.as_secs());
        }
        thread::sleep(POLL);
    }
}

/// Copies lines to the log and the screen until the last writer of the pipe is gone.
fn copy(pipe: PipeReader, mut log: File, step: &Step) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    while pipe.read_until(b'\n', &mut line)? > 0 {
        log.write_all(&line)?;
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        step.says(&text);
        lines.push(text);
        line.clear();
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::Screen;

    fn run_shell(script: &str, limit: Duration) -> Result<Ended> {
        let log = std::env::temp_dir().join(format!("xtask-process-{}", std::process::id()));
        let step = Screen::new().step("test");
        let ended = run(
            Command::new("sh").args(["-c", script]),
            &log.join("log"),
            limit,
            &step,
        );
        step.end();
        std::fs::remove_dir_all(log).ok();
        ended
    }

    #[test]
    fn gives_both_streams_and_the_verdict() {
        let ended = run_shell("echo one; echo two >&2; exit 3", Duration::from_secs(60)).unwrap();
        assert!(!ended.success);
        assert_eq!(ended.lines, ["one", "two"]);
        assert_eq!(ended.tail(1), "two");
    }

    #[test]
    fn ends_what_runs_too_long() {
        let error = run_shell("exec sleep 600", Duration::ZERO).err().unwrap();
        assert!(format!("{error:#}").contains("still running"), "{error:#}");
    }
}
