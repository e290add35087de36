//! The loop of one shard, generic over the kernel.
//!
//! A turn: submit and reap (sleeping where there is nothing to do), then run: completions, parcels,
//! mails, deadlines, each bounded; then turn what the handlers queued into operations. No handler runs
//! while completions are being reaped. A turn longer than `stall_ms` is counted and reported.

mod accepts;
mod completions;
mod deadlines;
mod moves;
mod stop;

use std::sync::Arc;

use crate::driver::{Completion, Driver};
use crate::limits::{
    OPS_KEPT_MAX, SLEEP_NS_MAX, STALL_REPORT_MS, TURN_DEADLINES_MAX, TURN_MAILS_MAX,
    TURN_PARCELS_MAX,
};
use crate::shard::Failure;
use crate::{Config, Fabric, Handler, Inbox, Shard};
use accepts::Accepts;
use stop::Stop;

/// Whether a shard goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It goes on.
    Running,
    /// It was stopped and has ended: drop it.
    Stopped,
}

/// What a turn did, for the report of a stall.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    completions: usize,
    parcels: usize,
    mails: usize,
    deadlines: usize,
    failures: usize,
}

impl Work {
    fn is_none(&self) -> bool {
        self.completions + self.parcels + self.mails + self.deadlines + self.failures == 0
    }
}

/// One shard: a kernel, a handler, and the loop between them.
pub struct Engine<D: Driver, H: Handler> {
    driver: D,
    handler: H,
    shard: Shard<H>,
    inbox: Inbox<H::Mail>,
    accepts: Accepts,
    stop: Stop,
    recv_buffer_bytes: u32,
    stall_ns: u64,
    reported_ns: u64,
    /// Reused from turn to turn.
    completions: Vec<Completion>,
}

impl<D: Driver, H: Handler> Engine<D, H> {
    /// The shard that owns `inbox`. `fabric` is shared by all shards; the driver must have
    /// `config.rings_per_shard` rings of `config.ring_slots` slots and `config.recv_buffers` buffers.
    pub fn new(
        mut driver: D,
        handler: H,
        config: &Config,
        inbox: Inbox<H::Mail>,
        fabric: Arc<Fabric<H::Parcel>>,
    ) -> Self {
        let shard = Shard::new(
            inbox.shard(),
            driver.now(),
            config,
            driver.rings(),
            driver.slots_per_ring(),
            inbox.postboxes().clone(),
            fabric,
        );
        Engine {
            driver,
            handler,
            shard,
            inbox,
            accepts: Accepts::new(config),
            stop: Stop::new(config),
            recv_buffer_bytes: config.recv_buffer_bytes,
            stall_ns: config.stall_ms.saturating_mul(1_000_000),
            reported_ns: 0,
            completions: Vec::new(),
        }
    }

    /// One bounded turn: submit, wait if there is nothing to do, reap, run the handlers.
    pub fn turn(&mut self) -> Progress {
        let waited_ns = self.reap();
        let missed_ns = self.shard.begin_turn(self.driver.now(), waited_ns);
        if missed_ns > 0 && self.may_report() {
            tracing::warn!(
                shard = self.shard.id,
                missed_ms = missed_ns / 1_000_000,
                "the shard's thread did not run: deadlines are put off by as much"
            );
        }
        let now_ns = self.shard.now.mono_ns;
        let again = self.shard.again_at_ns.take_if(|at| *at <= now_ns).is_some();
        let work = self.run();
        if again || !work.is_none() {
            self.handler.on_turn_end(&mut self.shard);
        }
        self.shard.deliver_parcels();
        self.shard.flush_dirty();
        self.settle_idle();
        self.accepts.tend(&mut self.shard);
        self.shard.start_connects();
        self.shard.grant_buffers();
        self.submit();
        let ended = self.stop_ended();
        self.account(work);
        if ended {
            Progress::Stopped
        } else {
            Progress::Running
        }
    }

    /// Hands the turn's operations to the driver.
    fn submit(&mut self) {
        for (tag, op) in self.shard.ops.drain(..) {
            self.driver.submit(tag, op);
        }
        if self.shard.ops.capacity() > OPS_KEPT_MAX {
            self.shard.ops = Vec::new();
        }
    }

    /// Closes the slots of closing connections with nothing in flight.
    fn settle_idle(&mut self) {
        let mut idle = std::mem::take(&mut self.shard.idle);
        for conn in idle.drain(..) {
            self.settle(conn);
        }
        if idle.capacity() <= OPS_KEPT_MAX && self.shard.idle.is_empty() {
            self.shard.idle = idle;
        }
    }

    /// Submits, sleeps where there is nothing to do, and copies out what has completed. How long it slept,
    /// nanoseconds.
    fn reap(&mut self) -> u64 {
        let mut wait_ns = self.may_sleep_ns();
        let waker = Arc::clone(self.inbox.waker());
        if wait_ns > 0 {
            waker.fall_asleep();
            if self.is_called() {
                wait_ns = 0;
            }
        }
        let waited_ns = self.driver.turn(wait_ns, &mut self.completions);
        waker.awake();
        waited_ns
    }

    /// Something waits that came from another thread.
    fn is_called(&self) -> bool {
        !self.inbox.is_empty()
            || self.shard.fabric.has_parcels(self.shard.id)
            || self.shard.fabric.stopping() != self.shard.stopping
    }

    /// How long the shard may sleep.
    fn may_sleep_ns(&self) -> u64 {
        let shard = &self.shard;
        // The first turn arms the accepts.
        if shard.counters.turns == 0
            || shard.again_at_ns == Some(0)
            || self.is_called()
            || !shard.dirty.is_empty()
            || !shard.failures.is_empty()
            || !shard.idle.is_empty()
            || !shard.wanted.is_empty()
            || shard.leavers_wait
        {
            return 0;
        }
        let now = shard.now.mono_ns;
        let deadline = shard.wheel.sleep_ns(shard.running_ns());
        let retry = if shard.undelivered.is_empty() {
            SLEEP_NS_MAX
        } else {
            1_000_000
        };
        let again = shard
            .again_at_ns
            .map_or(SLEEP_NS_MAX, |at| at.saturating_sub(now));
        deadline
            .unwrap_or(SLEEP_NS_MAX)
            .min(again)
            .min(retry)
            .min(self.accepts.sleep_ns(now))
            .min(self.stop.sleep_ns(now))
            .min(SLEEP_NS_MAX)
    }

    /// Runs the handlers over what has come.
    fn run(&mut self) -> Work {
        let mut work = Work::default();
        self.begin_stop();
        let mut completions = std::mem::take(&mut self.completions);
        work.completions = completions.len();
        for completion in completions.drain(..) {
            self.handle_completion(completion);
        }
        self.completions = completions;
        while work.parcels < TURN_PARCELS_MAX
            && let Some(envelope) = self.shard.fabric.take_parcel(self.shard.id)
        {
            work.parcels += 1;
            self.handle_parcel(envelope);
        }
        while work.mails < TURN_MAILS_MAX
            && !self.shard.mails_held
            && let Some(mail) = self.inbox.take()
        {
            work.mails += 1;
            self.shard.counters.mails += 1;
            self.handler.on_mail(&mut self.shard, mail);
        }
        self.shard.mails_held = false;
        while work.deadlines < TURN_DEADLINES_MAX && self.handle_deadline() {
            work.deadlines += 1;
        }
        for _ in 0..self.shard.failures.len() {
            if let Some(failure) = self.shard.failures.pop_front() {
                work.failures += 1;
                self.handle_failure(failure);
            }
        }
        work
    }

    fn handle_failure(&mut self, failure: Failure) {
        match failure {
            Failure::Connect { token, errno } => {
                self.shard.counters.connect_failed += 1;
                self.handler
                    .on_connect_failed(&mut self.shard, token, errno);
            }
            Failure::Move { conn, errno } => self.tell_move_failed(conn, errno),
        }
    }

    /// Counts the turn, reports it if it was too long, and publishes the counters.
    fn account(&mut self, work: Work) {
        let shard = &mut self.shard;
        let took_ns = self.driver.now().mono_ns.saturating_sub(shard.now.mono_ns);
        shard.counters.turns += 1;
        shard.counters.live = shard.live as u64;
        shard.counters.queued_bytes = shard.queued.bytes();
        shard.counters.longest_turn_ns = shard.counters.longest_turn_ns.max(took_ns);
        shard.fabric.record_turn(shard.id, took_ns);
        if took_ns > self.stall_ns {
            shard.counters.stalls += 1;
            if self.may_report() {
                tracing::warn!(
                    shard = self.shard.id,
                    took_us = took_ns / 1_000,
                    completions = work.completions,
                    parcels = work.parcels,
                    mails = work.mails,
                    deadlines = work.deadlines,
                    stalls = self.shard.counters.stalls,
                    "a turn of the shard took too long"
                );
            }
        }
        self.shard.publish();
    }

    /// Whether there is to be a line about lost time: one in a while.
    fn may_report(&mut self) -> bool {
        let now_ns = self.shard.now.mono_ns.max(1);
        let since_ns = now_ns.saturating_sub(self.reported_ns);
        let may = self.reported_ns == 0 || since_ns > STALL_REPORT_MS * 1_000_000;
        if may {
            self.reported_ns = now_ns;
        }
        may
    }

    /// The handler, for inspection between turns.
    pub fn handler(&self) -> &H {
        &self.handler
    }

    /// The driver, between turns.
    pub fn driver_mut(&mut self) -> &mut D {
        &mut self.driver
    }

    /// The shard's number.
    pub fn id(&self) -> u16 {
        self.inbox.shard()
    }

    /// What it shares with the other shards.
    pub fn fabric(&self) -> &Arc<Fabric<H::Parcel>> {
        &self.shard.fabric
    }
}
