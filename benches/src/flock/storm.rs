//! The storm: all connections are cut off at once and come back as fast as they can, while a few others,
//! the witnesses, go on talking. Their latency is told apart for each part of it.
//!
//! Witnesses live on an engine of their own. On the threads that connect everybody again each of their
//! messages would wait for our own ends' handshakes, and what is to be measured is the server.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Args;
use super::clients::Mail;
use super::meter::Meters;
use super::phases::Run;
use super::plan::Plan;
use super::progress::Progress;
use super::record::{Latency, Slice, Storm, StormPhase};
use super::schedule::Schedule;
use super::shards::Shards;
use super::tally::Tally;
use super::timeline::TimeLine;
use super::traffic::{LEAD_NS, STRAGGLERS_MAX};

/// Between two slices.
const SLICE: Duration = Duration::from_secs(1);
/// Slices that are kept: of a longer storm the later ones are in the parts' figures only.
const SLICES_MAX: usize = 3_600;
/// Nobody needs longer; a server that lets nobody in is told by the figures.
const DISCONNECT_MAX: Duration = Duration::from_secs(600);
const RECONNECT_MAX: Duration = Duration::from_secs(3_600);

/// One storm while it runs.
struct Watch<'a, 'b> {
    run: &'a Run<'b>,
    witnesses: &'a Run<'a>,
    /// The schedule's first moment.
    start_ns: u64,
    began: Instant,
    storm: Storm,
}

impl Run<'_> {
    /// Runs it, with everybody connected.
    pub(super) fn storm(&self) -> anyhow::Result<Storm> {
        // The users behind the others'.
        let args = Args {
            connections: self.args.established,
            first_user: self.args.first_user + u64::from(self.args.connections),
            stages: Vec::new(),
            ..self.args.clone()
        };
        let plan = Arc::new(Plan::new(&args)?);
        let shards = Shards::start(&plan, 1, args.connections, Arc::clone(self.stop))?;
        let witnesses = Run {
            args: &args,
            plan: &plan,
            shards: &shards,
            stop: self.stop,
            server: self.server,
            line: RefCell::new(TimeLine::begin(None)),
            messages_since_rest: Cell::new(0),
        };
        let storm = self.storm_before(&witnesses);
        witnesses.part();
        self.note_messages(witnesses.messages_since_rest.get());
        shards.end()?;
        storm
    }

    fn storm_before(&self, witnesses: &Run<'_>) -> anyhow::Result<Storm> {
        let (args, counts) = (self.args, &self.plan.counts);
        witnesses.ramp("witnesses", args.established)?;
        let established = 2 * witnesses.open(args.established / 2);
        let start_ns = witnesses.plan.clock.now_ns() + LEAD_NS;
        let time = DISCONNECT_MAX + RECONNECT_MAX + 2 * args.storm_calm;
        let schedule = Schedule::new(start_ns, args.storm_rate, time.as_nanos() as u64, 0, 1);
        witnesses.shards.tell(|_| Mail::Traffic(schedule.clone()));
        let mut watch = Watch {
            run: self,
            witnesses,
            start_ns,
            began: Instant::now(),
            storm: Storm {
                established,
                rate_asked: args.storm_rate,
                window: args.storm_window,
                ..Storm::default()
            },
        };
        let talk = u64::from(args.storm_rate) * args.storm_calm.as_millis() as u64 / 1_000;
        watch.part("before", args.storm_calm, talk, || false)?;

        let shards = self.shards.count();
        let to_cut = counts.live();
        let (tell, told) = std::sync::mpsc::channel();
        self.shards.tell(|_| Mail::Cut { done: tell.clone() });
        drop(tell);
        let mut cut_by = 0;
        watch.part("disconnect", DISCONNECT_MAX, to_cut, || {
            cut_by += told.try_iter().count();
            cut_by == usize::from(shards)
        })?;

        let window = args.storm_window.div_ceil(u32::from(shards));
        self.shards.tell(|_| Mail::Again { window });
        let cut = counts.cut.value();
        watch.part("reconnect", RECONNECT_MAX, cut, || {
            counts.reconnected.value() >= cut
        })?;
        let talk = witnesses.plan.counts.delivered.value() + talk;
        watch.part("after", args.storm_calm, talk, || false)?;
        watch.end()
    }
}

impl Watch<'_, '_> {
    /// Lets one part pass, until it is done or its time is over.
    fn part(
        &mut self,
        name: &'static str,
        limit: Duration,
        total: u64,
        mut done: impl FnMut() -> bool,
    ) -> anyhow::Result<()> {
        let (counts, witnesses) = (&self.run.plan.counts, self.witnesses);
        let steps = || match name {
            "disconnect" => counts.cut.value(),
            "reconnect" => counts.reconnected.value(),
            _ => witnesses.plan.counts.delivered.value(),
        };
        let meters = Meters::start(self.run.server);
        let began = Instant::now();
        let mut progress = Progress::begin(name, total);
        let mut all = Tally::since(self.start_ns);
        let mut over = false;
        while !over && began.elapsed() < limit && !self.run.shards.is_over() {
            let (slice_began, before) = (Instant::now(), counts.reconnected.value());
            let left = limit.saturating_sub(began.elapsed()).min(SLICE);
            over = witnesses.shards.tick_until(left, || {
                self.run.shards.tick();
                progress.at(steps(), "");
                done()
            });
            let tally = witnesses.latencies(self.start_ns, Mail::TellSoFar)?;
            all.merge(&tally);
            let reconnects = counts.reconnected.value() - before;
            self.slice(name, slice_began.elapsed(), reconnects, &tally);
        }
        let (server_cpu, own_cpu) = meters.read();
        progress.end(steps(), "");
        self.storm.phases.push(StormPhase {
            name: name.to_owned(),
            seconds: began.elapsed().as_secs_f64(),
            rtt: Latency::of(&all.rtt),
            ack: Latency::of(&all.ack),
            server_cpu,
            own_cpu,
        });
        Ok(())
    }

    fn slice(&mut self, phase: &str, took: Duration, reconnects: u64, tally: &Tally) {
        let live = self.run.plan.counts.live();
        self.run.line.borrow_mut().look(phase, live);
        if self.storm.slices.len() >= SLICES_MAX {
            return;
        }
        let at = |part| (!tally.rtt.is_empty()).then(|| tally.rtt.value_at_quantile(part));
        self.storm.slices.push(Slice {
            at_s: self.began.elapsed().as_secs_f64(),
            seconds: took.as_secs_f64(),
            phase: phase.to_owned(),
            live,
            reconnects,
            messages: tally.rtt.len(),
            p50_us: at(0.5),
            p99_us: at(0.99),
            max_us: at(1.0),
        });
    }

    /// The talk ends; what is under way may arrive.
    fn end(self) -> anyhow::Result<Storm> {
        let (counts, witnesses) = (&self.run.plan.counts, self.witnesses);
        let told = &witnesses.plan.counts;
        witnesses.shards.tell(|_| Mail::Hush);
        // Once all have answered, none of them sends any more.
        witnesses.latencies(self.start_ns, Mail::TellSoFar)?;
        let all_there = || told.delivered.value() >= told.sent.value();
        witnesses.shards.tick_until(STRAGGLERS_MAX, all_there);
        witnesses.latencies(self.start_ns, Mail::Tell)?;
        witnesses.note_messages(told.sent.value());
        Ok(Storm {
            cut: counts.cut.value(),
            reconnected: counts.reconnected.value(),
            tried_again: counts.tried_again.value(),
            sent: told.sent.value(),
            unsent: told.unsent.value(),
            delivered: told.delivered.value(),
            lost: told.lost.value(),
            ..self.storm
        })
    }
}
