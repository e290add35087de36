//! The end of a shard: the handler is told, accepts end, connections get their grace from the last that
//! was told on ([`crate::Shard::begin_stop_grace`]), then the rest is cut off, so many in a turn. The
//! shard ends when no slot is in use.

use super::Engine;
use crate::driver::Driver;
use crate::limits::{SLEEP_NS_MAX, STOP_FORCE_MS};
use crate::{Cause, Close, Config, Handler, Sweep};

/// How far the stop has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop {
    grace_ns: u64,
    /// When the connections that are left are cut off; then, when the shard ends whatever is left.
    next_ns: Option<u64>,
    forced: Option<Sweep>,
    /// Of those whom the kernel has not let go of in its time.
    burial: Sweep,
}

/// Slots that are looked at in a turn for somebody to cut off, or to bury. To cut one costs some 16 us.
const TURN_CUTS_MAX: u32 = 64;

impl Stop {
    pub(super) fn new(config: &Config) -> Self {
        Stop {
            grace_ns: config.stop_grace_ms.saturating_mul(1_000_000),
            next_ns: None,
            forced: None,
            burial: Sweep::new(),
        }
    }

    pub(super) fn sleep_ns(&self, now_ns: u64) -> u64 {
        if self.forced.is_some_and(|sweep| !sweep.is_over()) {
            return 0;
        }
        self.next_ns
            .map_or(SLEEP_NS_MAX, |at| at.saturating_sub(now_ns))
    }
}

impl<D: Driver, H: Handler> Engine<D, H> {
    /// Notices the order to stop, and the end of the grace.
    pub(super) fn begin_stop(&mut self) {
        let now_ns = self.shard.now.mono_ns;
        if !self.shard.stopping && self.shard.fabric.stopping() {
            self.shard.stopping = true;
            self.shard.grace_begins = true;
            self.shard.call_off_connects();
            self.handler.on_stop(&mut self.shard);
        }
        if std::mem::take(&mut self.shard.grace_begins) && self.stop.forced.is_none() {
            self.stop.next_ns = Some(now_ns.saturating_add(self.stop.grace_ns));
        } else if self.shard.stopping && self.stop.next_ns.is_some_and(|at| at <= now_ns) {
            self.stop.forced.get_or_insert_default();
        }
        self.cut_off();
    }

    /// The grace is over: some of those that are left are cut off, and the kernel has its time from the
    /// last of them on.
    fn cut_off(&mut self) {
        let Some(mut sweep) = self.stop.forced.filter(|sweep| !sweep.is_over()) else {
            return;
        };
        let mut looks = TURN_CUTS_MAX;
        while let Some(conn) = self.shard.sweep(&mut sweep, &mut looks) {
            if self
                .shard
                .slots
                .peek(conn)
                .is_some_and(|slot| slot.state.is_open() || !slot.sent_all())
            {
                self.shard.counters.stop_cut_off += 1;
            }
            self.shard.close_for(conn, Close::Now, Cause::Stopping);
        }
        self.stop.forced = Some(sweep);
        self.stop.next_ns = Some(self.shard.now.mono_ns + STOP_FORCE_MS * 1_000_000);
    }

    /// Whether the shard has ended. At the very end nobody stays untold.
    pub(super) fn stop_ended(&mut self) -> bool {
        if !self.shard.stopping {
            return false;
        }
        let empty = self.shard.used() == 0
            && self.shard.undelivered.is_empty()
            && self.shard.failures.is_empty()
            && !self.accepts.is_armed();
        let now_ns = self.shard.now.mono_ns;
        let is_forced = self.stop.forced.is_some_and(|sweep| sweep.is_over());
        let over = is_forced && self.stop.next_ns.is_some_and(|at| at <= now_ns);
        if over {
            let mut looks = TURN_CUTS_MAX;
            while let Some(conn) = self.shard.sweep(&mut self.stop.burial, &mut looks) {
                self.bury(conn);
            }
        }
        empty || over && self.stop.burial.is_over()
    }
}
