//! Messages: conversations are opened, a schedule is carried out, and what arrived is measured.

use std::time::Duration;

use anyhow::Context as _;

use super::clients::Mail;
use super::meter::Meters;
use super::phases::Run;
use super::progress::Progress;
use super::record::{Latency, Traffic};
use super::schedule::Schedule;
use super::tally::Tally;

/// Opening the conversations: a durable write each.
const OPENING_MAX: Duration = Duration::from_secs(120);
/// After the last message was sent, the rest must arrive within this time.
pub(super) const STRAGGLERS_MAX: Duration = Duration::from_secs(10);
/// The first message is due so much after the order to send: no shard is late at the start.
pub(super) const LEAD_NS: u64 = 20_000_000;

impl Run<'_> {
    /// Opens conversations and lets messages flow; without a rate only time passes.
    pub(super) fn messages(
        &self,
        name: &'static str,
        clients: u32,
        (rate, time): (u32, Duration),
    ) -> anyhow::Result<Traffic> {
        let counts = &self.plan.counts;
        counts.reset_messages();
        if rate == 0 || self.shards.is_over() {
            self.shards.wait_until(time, || false);
            return Ok(Traffic::default());
        }
        let pairs = self.open(self.args.talking_pairs(clients, rate));
        let messages = u64::from(rate) * time.as_millis() as u64 / 1_000;
        let mut progress = Progress::begin(name, messages);
        let meters = Meters::start(self.server);
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
        let (server_cpu, own_cpu) = meters.read();
        let tally = self.latencies(start_ns, Mail::Tell)?;
        let (sent, delivered) = (counts.sent.value(), counts.delivered.value());
        progress.end(sent, &format!("{delivered} arrived"));
        self.note_messages(sent);
        let seconds = (tally.last_ns - start_ns) as f64 / 1e9;
        Ok(Traffic {
            rate_asked: rate,
            rate_done: delivered as f64 / seconds.max(time.as_secs_f64()).max(0.001),
            seconds,
            talkers: 2 * pairs,
            sent,
            unsent: counts.unsent.value(),
            acked: counts.acked.value(),
            delivered,
            rtt: Latency::of(&tally.rtt),
            ack: Latency::of(&tally.ack),
            server_cpu,
            own_cpu,
        })
    }

    /// The next rest waits for the store too, once there were enough.
    pub(super) fn note_messages(&self, sent: u64) {
        let since = self.messages_since_rest.get();
        self.messages_since_rest.set(since + sent);
    }

    /// Opens the conversations of so many pairs. How many talk.
    pub(super) fn open(&self, pairs: u32) -> u64 {
        let counts = &self.plan.counts;
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
        if self.plan.is_echo() {
            return total;
        }
        progress.end(counts.opened.value(), "conversations");
        counts.opened.value()
    }

    /// All shards' histograms, asked for in this way.
    pub(super) fn latencies(
        &self,
        start_ns: u64,
        ask: impl Fn(std::sync::mpsc::Sender<Tally>) -> Mail,
    ) -> anyhow::Result<Tally> {
        let mut all = Tally::since(start_ns);
        let (tell, told) = std::sync::mpsc::channel();
        self.shards.tell(|_| ask(tell.clone()));
        drop(tell);
        for _ in 0..self.shards.count() {
            let one = told
                .recv_timeout(STRAGGLERS_MAX)
                .context("a shard does not answer")?;
            all.merge(&one);
        }
        Ok(all)
    }
}
