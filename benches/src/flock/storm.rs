//! The storm: all connections but a few are cut off at once and come back as fast as they can, while the
//! few go on talking. Their latency is told apart for each part of it.

use std::time::{Duration, Instant};

use super::clients::Mail;
use super::meter::Meters;
use super::phases::Run;
use super::progress::Progress;
use super::record::{Latency, Slice, Storm, StormPhase};
use super::schedule::Schedule;
use super::tally::Tally;
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
    /// The schedule's first moment.
    start_ns: u64,
    began: Instant,
    storm: Storm,
}

impl Run<'_> {
    /// Runs it, with everybody connected.
    pub(super) fn storm(&self) -> anyhow::Result<Storm> {
        let (args, counts) = (self.args, &self.plan.counts);
        counts.reset_messages();
        let lost_before = counts.lost.value();
        let wanted = counts.live();
        let established = 2 * self.open(args.established / 2);
        let start_ns = self.plan.clock.now_ns() + LEAD_NS;
        let time = DISCONNECT_MAX + RECONNECT_MAX + 2 * args.storm_calm;
        let (rate, time_ns, shards) =
            (args.storm_rate, time.as_nanos() as u64, self.shards.count());
        self.shards
            .tell(|shard| Mail::Traffic(Schedule::new(start_ns, rate, time_ns, shard, shards)));
        let mut watch = Watch {
            run: self,
            start_ns,
            began: Instant::now(),
            storm: Storm {
                established,
                rate_asked: rate,
                window: args.storm_window,
                ..Storm::default()
            },
        };
        let talk = u64::from(rate) * args.storm_calm.as_millis() as u64 / 1_000;
        watch.part("before", args.storm_calm, talk, || false)?;

        let to_cut = wanted.saturating_sub(established);
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
        let talk = counts.delivered.value() + talk;
        watch.part("after", args.storm_calm, talk, || false)?;
        let mut storm = watch.end()?;
        storm.lost = counts.lost.value() - lost_before;
        Ok(storm)
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
        let counts = &self.run.plan.counts;
        let steps = || match name {
            "disconnect" => counts.cut.value(),
            "reconnect" => counts.reconnected.value(),
            _ => counts.delivered.value(),
        };
        let meters = Meters::start(self.run.server);
        let began = Instant::now();
        let mut progress = Progress::begin(name, total);
        let mut all = Tally::since(self.start_ns);
        let mut over = false;
        while !over && began.elapsed() < limit && !self.run.shards.is_over() {
            let (slice_began, before) = (Instant::now(), counts.reconnected.value());
            let left = limit.saturating_sub(began.elapsed()).min(SLICE);
            over = self.run.shards.tick_until(left, || {
                progress.at(steps(), "");
                done()
            });
            let tally = self.run.latencies(self.start_ns, Mail::TellSoFar)?;
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
        let counts = &self.run.plan.counts;
        self.run.shards.tell(|_| Mail::Hush);
        // Once all have answered, none of them sends any more.
        self.run.latencies(self.start_ns, Mail::TellSoFar)?;
        let all_there = || counts.delivered.value() >= counts.sent.value();
        self.run.shards.tick_until(STRAGGLERS_MAX, all_there);
        self.run.latencies(self.start_ns, Mail::Tell)?;
        self.run.note_messages(counts.sent.value());
        Ok(Storm {
            cut: counts.cut.value(),
            reconnected: counts.reconnected.value(),
            tried_again: counts.tried_again.value(),
            sent: counts.sent.value(),
            unsent: counts.unsent.value(),
            delivered: counts.delivered.value(),
            ..self.storm
        })
    }
}
