//! The drain: messages flow until the server has told every client to reconnect, and all are in elsewhere.
//! Whoever starts the drain is outside: SIGTERM to the server, or its admin port.

use std::io::Write as _;
use std::time::{Duration, Instant};

use super::clients::Mail;
use super::phases::Run;
use super::progress::Progress;
use super::record::Drain;
use super::schedule::Schedule;
use super::traffic::LEAD_NS;

/// After the last client has come back: for acks and deliveries on their way.
const LAST: Duration = Duration::from_secs(1);

impl Run<'_> {
    /// Runs it, with everybody connected.
    pub(super) fn drain(&self, limit: Duration) -> Drain {
        let counts = &self.plan.counts;
        counts.reset_messages();
        let (all, rate) = (counts.established.value(), self.args.rate);
        if rate > 0 {
            self.open(self.args.talking_pairs(self.args.connections, rate));
            let start_ns = self.plan.clock.now_ns() + LEAD_NS;
            let (time_ns, shards) = (limit.as_nanos() as u64, self.shards.count());
            self.shards
                .tell(|shard| Mail::Traffic(Schedule::new(start_ns, rate, time_ns, shard, shards)));
        }
        let ready = "waiting for the server to be drained";
        let _ = writeln!(std::io::stderr(), "{ready}");
        let began = Instant::now();
        let mut progress = Progress::begin("drain", all);
        let mut done_at = None;
        self.shards.tick_until(limit, || {
            let (told, moved) = (counts.told.value(), counts.moved.value());
            progress.at(moved, &format!("{told} told, waiting for the server"));
            self.line.borrow_mut().look("drain", counts.live());
            let is_done = moved >= all && counts.moved.value() == counts.left.value();
            let since = is_done.then(|| *done_at.get_or_insert_with(Instant::now));
            since.is_some_and(|since| since.elapsed() >= LAST)
        });
        self.shards.tell(|_| Mail::Hush);
        progress.end(counts.moved.value(), "connected elsewhere");
        Drain {
            connections: all,
            seconds: began.elapsed().as_secs_f64(),
            told: counts.told.value(),
            told_per_second: counts.told_per_second(),
            left: counts.left.value(),
            moved: counts.moved.value(),
            tried_again: counts.tried_again.value(),
            sent: counts.sent.value(),
            acked: counts.acked.value(),
            delivered: counts.delivered.value(),
        }
    }
}
