//! The load generator of a run: `rookery flock`, its report, and what an interrupt does.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::form::Form;
use super::server::{Server, told};
use crate::checkout::Checkout;
use crate::process;
use crate::screen::Step;

const POLL: Duration = Duration::from_millis(100);

/// Where the load generator's progress goes.
pub(crate) enum Output<'a> {
    /// To this terminal.
    Terminal,
    /// To a log, with the last line on a step's line; and how long it may take.
    Log(&'a Step, Duration),
}

/// Signals do not end this program while a run is on: the host is to be put back first.
pub(super) struct Interrupts {
    interrupt: Arc<AtomicBool>,
    terminate: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
}

impl Interrupts {
    /// From now on, until this is dropped.
    pub(super) fn heed() -> Result<Self> {
        let flag = || Arc::new(AtomicBool::new(false));
        let (interrupt, terminate, over) = (flag(), flag(), flag());
        for (signal, flag) in [(SIGINT, &interrupt), (SIGTERM, &terminate)] {
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&over))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(flag)))
                .context("listen for signals")?;
        }
        Ok(Self {
            interrupt,
            terminate,
            over,
        })
    }

    /// What was held back takes its effect: the end of this program.
    pub(super) fn give_in(&self) {
        for (signal, flag) in [(SIGINT, &self.interrupt), (SIGTERM, &self.terminate)] {
            if flag.load(Relaxed) {
                // Does not return, but for a signal that has no default, which these two have.
                signal_hook::low_level::emulate_default_handler(signal).ok();
            }
        }
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
    }
}

/// What came of it.
pub(super) struct Load {
    pub(super) command: String,
    pub(super) json: Vec<u8>,
}

/// Runs it to its end.
pub(super) fn run(
    checkout: &Checkout,
    form: &Form,
    server: &Server,
    output: &Output<'_>,
    interrupts: &Interrupts,
) -> Result<Load> {
    let json = server.data.with_file_name("flock.json");
    let scheme = if form.plain { "ws" } else { "wss" };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let program = checkout.rookery();
    let mut command = checkout.command(checkout.relative(&program));
    command
        .arg("flock")
        .arg(format!("{scheme}://127.0.0.1:{}", server.port))
        .args(form.flock_options())
        .args(["--shards", &cores.to_string()])
        .args(["--server-pid", &server.pid().to_string()])
        .arg("--data")
        .arg(&server.data)
        .arg("--json")
        .arg(&json)
        // The gates judge, by the report.
        .arg("--tolerate");
    let told = told(&command);
    let tail = match output {
        Output::Terminal => on_terminal(&mut command, interrupts)?,
        Output::Log(step, limit) => {
            let log = checkout.logs().join("density-flock.log");
            let ended = process::run(&mut command, &log, *limit, step)?;
            (!ended.success).then(|| ended.tail(30))
        }
    };
    if let Some(tail) = tail {
        bail!("the load generator failed: {tail}");
    }
    let path = checkout.root().join(&json);
    let json = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(Load {
        command: told,
        json,
    })
}

/// None where it succeeded.
fn on_terminal(command: &mut Command, interrupts: &Interrupts) -> Result<Option<String>> {
    let mut child = command
        .stdin(Stdio::null())
        .spawn()
        .context("start the load generator")?;
    let mut passed_on = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((!status.success()).then(|| status.to_string()));
        }
        // A terminal sends SIGINT to the load generator too.
        if interrupts.terminate.load(Relaxed) && !passed_on {
            passed_on = true;
            terminate(&child);
        }
        thread::sleep(POLL);
    }
}

/// It ends its phases, says goodbye and reports.
fn terminate(child: &Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // Fails where it has just ended.
        kill_process(pid, Signal::TERM).ok();
    }
}
