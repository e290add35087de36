//! The phases of a run, one after the other, on the calling thread.
//!
//! Warm-up, rest, ramp, rest, traffic, rest, goodbye, rest. Memory is compared between the rests, so that
//! what a server needs once (stores, buffers, an allocator's slack) is not counted to the connections.
//! What messages leave behind (a store holds the newest in memory) is there before and after the goodbye:
//! the difference of these two rests is the connections' alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::Args;
use super::clients::Mail;
use super::measure::{self, Sample};
use super::plan::Plan;
use super::progress::Progress;
use super::report::Report;
use super::schedule::Schedule;
use super::shards::Shards;
use super::tally::Tally;
use super::{host, server};

/// A ramp ends by itself (every connect has a timeout); this is for a server that makes each wait.
const RAMP_MAX: Duration = Duration::from_secs(3_600);
/// Opening the conversations: a durable write each.
const OPENING_MAX: Duration = Duration::from_secs(120);
/// After the last message was sent, the rest must arrive within this time.
const STRAGGLERS_MAX: Duration = Duration::from_secs(10);
/// Goodbyes.
const PARTING_MAX: Duration = Duration::from_secs(120);
/// The first message is due so much after the order to send: no shard is late at the start.
const LEAD_NS: u64 = 20_000_000;

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
    let run = Run {
        args,
        plan: &plan,
        shards: &shards,
        stop: &stop,
    };
    let report = run.all(args.server_pid.or_else(listening));
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

struct Run<'a> {
    args: &'a Args,
    plan: &'a Plan,
    shards: &'a Shards,
    stop: &'a AtomicBool,
}

/// What messages did.
#[derive(Default)]
struct Messages {
    pairs: u64,
    sent: u64,
    unsent: u64,
    acked: u64,
    delivered: u64,
    seconds: f64,
    tally: Option<Tally>,
}

impl Run<'_> {
    fn all(&self, server: Option<u32>) -> anyhow::Result<Report> {
        let args = self.args;
        let warm = args.warm_up_connections();
        if warm > 0 {
            self.ramp("warm-up", warm)?;
            self.messages("talk", warm, args.warm_up_traffic())?;
        }
        let before = self.rest(server);
        let ramp = self.ramp("connect", args.connections)?;
        let came = self.established() - before.connections;
        let at_rest = self.rest(server);
        let messages = self.messages("traffic", args.connections, (args.rate, args.duration))?;
        let after = if args.rate > 0 {
            self.rest(server)
        } else {
            Sample::take(server, self.established())
        };
        // What is lost from here on is lost to our own goodbye.
        let mut report = self.report(server, &messages);
        self.part();
        let gone = self.rest(server);
        report.connect_seconds = ramp.as_secs_f64();
        report.connects_per_second = came as f64 / ramp.as_secs_f64().max(0.001);
        remember(&mut report, [&before, &at_rest, &after, &gone]);
        Ok(report)
    }

    fn established(&self) -> u64 {
        self.plan.counts.established.value()
    }

    /// Connects until so many are ready or have failed. How long it took.
    fn ramp(&self, name: &'static str, clients: u32) -> anyhow::Result<Duration> {
        let counts = &self.plan.counts;
        let total = u64::from(clients);
        let mut progress = Progress::begin(name, total);
        self.shards.tell(|_| Mail::Connect { clients });
        let failed = |failed: u64| match failed {
            0 => String::new(),
            failed => format!("{failed} failed"),
        };
        self.shards.wait_until(RAMP_MAX, || {
            let (ready, not) = (counts.established.value(), counts.failed.value());
            progress.at(ready, &failed(not));
            // Nobody got in: the rest would not either.
            ready + not >= total || (ready == 0 && not > 0)
        });
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
        Ok(took)
    }

    fn rest(&self, server: Option<u32>) -> Sample {
        let counts = &self.plan.counts;
        let gone = counts.lost.value() + counts.parted.value();
        let hasty = self.args.connections < measure::CONNECTIONS_MIN;
        Sample::at_rest(
            server,
            self.established().saturating_sub(gone),
            hasty,
            self.stop,
        )
    }

    /// Opens conversations and lets messages flow; without a rate only time passes.
    fn messages(
        &self,
        name: &'static str,
        clients: u32,
        (rate, time): (u32, Duration),
    ) -> anyhow::Result<Messages> {
        let counts = &self.plan.counts;
        counts.reset_messages();
        if rate == 0 || self.shards.is_over() {
            self.shards.wait_until(time, || false);
            return Ok(Messages::default());
        }
        let pairs = self.open(clients);
        let messages = u64::from(rate) * time.as_millis() as u64 / 1_000;
        let mut progress = Progress::begin(name, messages);
        let start_ns = self.plan.clock.now_ns() + LEAD_NS;
        let time_ns = time.as_nanos() as u64;
        let shards = self.shards.count();
        self.shards
            .tell(|shard| Mail::Traffic(Schedule::new(start_ns, rate, time_ns, shard, shards)));
        self.shards.tick_until(time + STRAGGLERS_MAX, || {
            let (sent, arrived) = (counts.sent.value(), counts.delivered.value());
            progress.at(sent, &format!("{arrived} arrived"));
            let all_sent = sent + counts.unsent.value() >= messages;
            let all_acked = self.plan.is_echo() || counts.acked.value() >= sent;
            all_sent && arrived >= sent && all_acked
        });
        let tally = self.latencies(start_ns)?;
        let (sent, delivered) = (counts.sent.value(), counts.delivered.value());
        progress.end(sent, &format!("{delivered} arrived"));
        Ok(Messages {
            pairs: if self.plan.is_echo() {
                pairs
            } else {
                counts.opened.value()
            },
            sent,
            unsent: counts.unsent.value(),
            acked: counts.acked.value(),
            delivered,
            seconds: (tally.last_ns - start_ns) as f64 / 1e9,
            tally: Some(tally),
        })
    }

    /// Opens the conversations of the talking pairs. How many were wanted.
    fn open(&self, clients: u32) -> u64 {
        let counts = &self.plan.counts;
        let pairs = self.args.talking_pairs(clients);
        let (shards, total) = (u32::from(self.shards.count()), u64::from(pairs));
        let share = |shard: u16| pairs / shards + u32::from(pairs % shards > u32::from(shard));
        let mut progress = Progress::begin("prepare", total);
        self.shards.carry_out(
            |shard, done| Mail::Open {
                pairs: share(shard),
                done,
            },
            OPENING_MAX,
            || progress.at(counts.opened.value(), "conversations"),
        );
        if !self.plan.is_echo() {
            progress.end(counts.opened.value(), "conversations");
        }
        total
    }

    /// All shards' histograms.
    fn latencies(&self, start_ns: u64) -> anyhow::Result<Tally> {
        let mut all = Tally::since(start_ns);
        let (tell, told) = std::sync::mpsc::channel();
        self.shards.tell(|_| Mail::Tell(tell.clone()));
        drop(tell);
        for _ in 0..self.shards.count() {
            let one = told
                .recv_timeout(STRAGGLERS_MAX)
                .context("a shard does not answer")?;
            all.merge(&one);
        }
        Ok(all)
    }

    /// Every client says goodbye. What takes too long is cut off by the end of the engine.
    fn part(&self) {
        // A run that was interrupted says goodbye all the same; a second signal ends the process.
        let interrupted = self.stop.swap(false, Relaxed);
        let counts = &self.plan.counts;
        let live = self.established() - counts.lost.value();
        let mut progress = Progress::begin("goodbye", live);
        self.shards.carry_out(
            |_, done| Mail::Part { done },
            PARTING_MAX,
            || progress.at(counts.parted.value(), ""),
        );
        progress.end(counts.parted.value(), "");
        self.stop.store(interrupted, Relaxed);
    }

    fn report(&self, server: Option<u32>, messages: &Messages) -> Report {
        let (args, counts) = (self.args, &self.plan.counts);
        let histogram = |of: fn(&Tally) -> &hdrhistogram::Histogram<u64>| {
            messages
                .tally
                .as_ref()
                .map(of)
                .filter(|histogram| !histogram.is_empty())
        };
        let (rtt, ack) = (histogram(|tally| &tally.rtt), histogram(|tally| &tally.ack));
        Report {
            version: env!("CARGO_PKG_VERSION"),
            command: std::env::args().collect(),
            url: args.url.clone(),
            mode: if args.echo { "echo" } else { "chat" },
            rtt_is: if args.echo {
                "due to echoed"
            } else {
                "due to delivered at the other client, durable; ack: due to acknowledged"
            },
            kernel: host::kernel(),
            cores: host::cores(),
            sysctls: host::sysctls(),
            interrupted: self.stop.load(Relaxed),
            connections: args.connections,
            established: counts.established.value(),
            failed: counts.failed.value(),
            lost: counts.lost.value(),
            errors: counts.failures(),
            talkers: 2 * messages.pairs,
            payload_bytes: args.payload_bytes,
            rate_asked: args.rate,
            rate_done: messages.delivered as f64
                / messages.seconds.max(args.duration.as_secs_f64()).max(0.001),
            traffic_seconds: messages.seconds,
            sent: messages.sent,
            unsent: messages.unsent,
            acked: messages.acked,
            delivered: messages.delivered,
            rtt_p50_us: rtt.map(|rtt| rtt.value_at_quantile(0.5)),
            rtt_p99_us: rtt.map(|rtt| rtt.value_at_quantile(0.99)),
            rtt_p999_us: rtt.map(|rtt| rtt.value_at_quantile(0.999)),
            rtt_max_us: rtt.map(|rtt| rtt.max()),
            ack_p50_us: ack.map(|ack| ack.value_at_quantile(0.5)),
            ack_p99_us: ack.map(|ack| ack.value_at_quantile(0.99)),
            ack_max_us: ack.map(|ack| ack.max()),
            server_pid: server,
            ..Report::default()
        }
    }
}

/// What the rests say about memory.
fn remember(report: &mut Report, [before, at_rest, after, gone]: [&Sample; 4]) {
    let sum = |parts: &[measure::Part]| parts.iter().map(|part| part.bytes).sum();
    report.warm_up_connections = before.connections;
    report.server_rss_before_bytes = before.server_rss;
    report.server_rss_at_rest_bytes = at_rest.server_rss;
    report.server_rss_after_traffic_bytes = after.server_rss;
    report.server_rss_after_goodbye_bytes = gone.server_rss;
    report.user_bytes_per_connection_given_back = measure::user_bytes(gone, after);
    report.server_user_bytes_per_connection = measure::user_bytes(before, at_rest);
    report.user_bytes_per_connection_after_traffic = measure::user_bytes(before, after);
    report.client_user_bytes_per_connection = measure::own_bytes(before, at_rest);
    report.kernel_parts = measure::kernel_parts(before, at_rest).unwrap_or_default();
    report.kernel_bytes_per_pair = measure::kernel_parts(before, at_rest).as_deref().map(sum);
    report.kernel_bytes_per_pair_after_traffic =
        measure::kernel_parts(before, after).as_deref().map(sum);
    report.kernel_slab_pages_bytes_per_pair = measure::slab_bytes(before, at_rest);
    report.host_free_bytes_per_pair = measure::host_bytes(before, at_rest);
}
