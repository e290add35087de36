//! The phases of a run, one after the other, on the calling thread.
//!
//! Warm-up, rest, ramp, rest, traffic, rest, goodbye, rest. Memory is compared between the rests, so that
//! what a server needs once (stores, buffers, an allocator's slack) is not counted to the connections.
//! What messages leave behind (a store holds the newest in memory) is there before and after the goodbye:
//! the difference of these two rests is the connections' alone. The ramp may stop to measure (`stages`),
//! and before the goodbye there may be a storm (`storm`) or a drain (`drain`).

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::Args;
use super::account::{self, Rests};
use super::clients::Mail;
use super::measure::{self, Sample};
use super::meter::Meters;
use super::plan::Plan;
use super::progress::Progress;
use super::record::Ramp;
use super::report::Report;
use super::server;
use super::shards::Shards;
use super::timeline::TimeLine;

/// A ramp ends by itself (every connect has a timeout); this is for a server that makes each wait.
const RAMP_MAX: Duration = Duration::from_secs(3_600);
/// Goodbyes: this, and a second more for each so many clients.
const PARTING_MAX: Duration = Duration::from_secs(120);
const PARTING_PER_SECOND_MIN: u32 = 2_000;
/// Messages after which the server's store gives write buffers back once traffic pauses: 2 MiB of them.
const STORE_RESTS_AFTER: u64 = 2_500;
/// Until it has: two of its intervals of 2 s, and the allocator's decay of 10 s.
const STORE_REST: Duration = Duration::from_secs(15);
/// An allocator gives back what is free for 10 s.
const DECAY: Duration = Duration::from_secs(12);

/// Runs all phases.
pub(super) fn run(args: &Args) -> anyhow::Result<Report> {
    let plan = Arc::new(Plan::new(args)?);
    let stop = Arc::new(AtomicBool::new(false));
    heed_signals(&stop)?;
    let shards = Shards::start(&plan, args.shards, args.connections, Arc::clone(&stop))?;
    let here = super::target::Target::is_loopback(&plan.addresses);
    let listening = || {
        here.then(|| server::listening_on(plan.target.port))
            .flatten()
    };
    let server = args.server_pid.or_else(listening);
    let run = Run {
        args,
        plan: &plan,
        shards: &shards,
        stop: &stop,
        server,
        line: RefCell::new(TimeLine::begin(server)),
        messages_since_rest: Cell::new(0),
    };
    let report = run.all();
    shards.end()?;
    report
}

/// The first SIGINT or SIGTERM ends a phase early, the second the process.
fn heed_signals(stop: &Arc<AtomicBool>) -> anyhow::Result<()> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_default(signal, Arc::clone(stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(stop)))
            .context("cannot listen for signals")?;
    }
    Ok(())
}

/// What every phase needs.
pub(super) struct Run<'a> {
    pub(super) args: &'a Args,
    pub(super) plan: &'a Plan,
    pub(super) shards: &'a Shards,
    pub(super) stop: &'a Arc<AtomicBool>,
    /// The server's process, where it is on this host.
    pub(super) server: Option<u32>,
    pub(super) line: RefCell<TimeLine>,
    /// Sent since the last rest that waited for a store to rest too.
    pub(super) messages_since_rest: Cell<u64>,
}

impl Run<'_> {
    fn all(&self) -> anyhow::Result<Report> {
        let args = self.args;
        let warm = args.warm_up_connections();
        if warm > 0 {
            self.ramp("warm-up", warm)?;
            for (rate, time, pause) in args.warm_up_traffic() {
                self.messages("talk", warm, (rate, time))?;
                self.shards.wait_until(pause, || false);
            }
        }
        let before = self.rest();
        let stages = self.stages(&before)?;
        let traffic = self.messages("traffic", args.connections, (args.rate, args.duration))?;
        let after = match (args.rate > 0 && !args.brief, args.join_rests) {
            (true, true) => None,
            (true, false) => Some(self.rest()),
            (false, _) => Some(Sample::take(self.server, self.plan.counts.live())),
        };
        let storm = match args.storm && !self.shards.is_over() {
            true => Some(self.storm()?),
            false => None,
        };
        let drain = args.drain.filter(|_| !self.shards.is_over());
        let drain = drain.map(|limit| self.drain(limit));
        let last = match (&storm, &after) {
            (None, Some(after)) => after.clone(),
            _ => self.rest(),
        };
        let after = after.unwrap_or_else(|| last.clone());
        // What is lost from here on is lost to our own goodbye.
        let mut report = account::report(self, &traffic);
        self.part();
        let gone = if args.brief {
            after.clone()
        } else {
            self.rest_for(DECAY)
        };
        account::remember(
            &mut report,
            &stages,
            &Rests {
                before: &before,
                after: &after,
                last: &last,
                gone: &gone,
            },
        );
        report.stages = stages.told;
        report.traffic = traffic;
        report.storm = storm;
        report.drain = drain;
        report.time_line = self.line.borrow().points();
        Ok(report)
    }

    /// Connects until so many are ready or have failed.
    pub(super) fn ramp(&self, name: &'static str, clients: u32) -> anyhow::Result<Ramp> {
        let counts = &self.plan.counts;
        let total = u64::from(clients);
        let (from, meters) = (counts.live(), Meters::start(self.server));
        let mut progress = Progress::begin(name, total);
        self.shards.tell(|_| Mail::Connect { clients });
        let failed = |failed: u64| match failed {
            0 => String::new(),
            failed => format!("{failed} failed"),
        };
        self.line.borrow_mut().note(name, from);
        self.shards.wait_until(RAMP_MAX, || {
            let (ready, not) = (counts.established.value(), counts.failed.value());
            progress.at(ready, &failed(not));
            self.line.borrow_mut().look(name, counts.live());
            // Nobody got in: the rest would not either.
            ready + not >= total || (ready == 0 && not > 0)
        });
        let (server_cpu, own_cpu) = meters.read();
        self.line.borrow_mut().note(name, counts.live());
        if self.shards.is_over() {
            self.shards.tell(|_| Mail::Connect { clients: 0 });
        }
        let took = progress.end(counts.established.value(), &failed(counts.failed.value()));
        if counts.established.value() == 0 {
            let reasons: Vec<String> = counts.failures().into_keys().collect();
            bail!(
                "no connection to {} could be made: {}",
                self.args.url,
                reasons.join("; ")
            );
        }
        Ok(Ramp {
            from,
            to: counts.live(),
            seconds: took.as_secs_f64(),
            server_cpu,
            own_cpu,
        })
    }

    /// Waits until nothing changes, and looks.
    pub(super) fn rest(&self) -> Sample {
        // Fewer messages are too few for a store to rest after them.
        let least = match self.messages_since_rest.get() > STORE_RESTS_AFTER {
            true => STORE_REST,
            false => Duration::ZERO,
        };
        if !least.is_zero() {
            self.messages_since_rest.set(0);
        }
        self.rest_for(least)
    }

    /// The same, for at least so long.
    fn rest_for(&self, least: Duration) -> Sample {
        if self.args.no_rest {
            return Sample::take(self.server, self.plan.counts.live());
        }
        let hasty = self.args.connections < measure::CONNECTIONS_MIN;
        let mib = |rss: u64| format!("the server has {:.1} MiB", rss as f64 / f64::from(1 << 20));
        let live = self.plan.counts.live();
        let mut progress = Progress::begin("rest", 0);
        let sample = Sample::at_rest(self.server, live, hasty, least, self.stop, |rss| {
            progress.at(0, &mib(rss));
        });
        progress.end(0, &sample.server_rss.map(mib).unwrap_or_default());
        sample
    }

    /// Every client says goodbye. What takes too long is cut off by the end of the engine.
    pub(super) fn part(&self) {
        // A run that was interrupted says goodbye all the same; a second signal ends the process.
        let interrupted = self.stop.swap(false, Relaxed);
        let counts = &self.plan.counts;
        let live = counts.live();
        let more = Duration::from_secs(live / u64::from(PARTING_PER_SECOND_MIN));
        let mut progress = Progress::begin("goodbye", live);
        self.line.borrow_mut().note("goodbye", live);
        self.shards.carry_out(
            |_, done| Mail::Part { done },
            PARTING_MAX + more,
            || {
                progress.at(counts.parted.value(), "");
                self.line.borrow_mut().look("goodbye", counts.live());
            },
        );
        progress.end(counts.parted.value(), "");
        self.line.borrow_mut().note("goodbye", counts.live());
        self.stop.store(interrupted, Relaxed);
    }
}
