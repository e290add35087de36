//! The end of a shard: the handler is told, accepts end, connections get their grace, then the rest is
//! cut off. The shard ends when no slot is in use.

use super::Engine;
use crate::driver::Driver;
use crate::limits::{SLEEP_NS_MAX, STOP_FORCE_MS};
use crate::{Cause, Close, Config, Handler};

/// How far the stop has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop {
    grace_ns: u64,
    /// When the connections that are left are cut off; then, when the shard ends whatever is left.
    next_ns: Option<u64>,
    forced: bool,
}

impl Stop {
    pub(super) fn new(config: &Config) -> Self {
        Stop {
            grace_ns: config.stop_grace_ms.saturating_mul(1_000_000),
            next_ns: None,
            forced: false,
        }
    }

    pub(super) fn sleep_ns(&self, now_ns: u64) -> u64 {
        self.next_ns
            .map_or(SLEEP_NS_MAX, |at| at.saturating_sub(now_ns))
    }
}

impl<D: Driver, H: Handler> Engine<D, H> {
    /// Notices the order to stop, and the end of the grace.
    pub(super) fn begin_stop(&mut self) {
        let now_ns = self.shard.now.mono_ns;
        if !self.shard.stopping {
            if self.shard.fabric.stopping() {
                self.shard.stopping = true;
                self.stop.next_ns = Some(now_ns.saturating_add(self.stop.grace_ns));
                self.shard.call_off_connects();
                self.handler.on_stop(&mut self.shard);
            }
        } else if !self.stop.forced && self.stop.next_ns.is_some_and(|at| at <= now_ns) {
            self.stop.forced = true;
            self.stop.next_ns = Some(now_ns + STOP_FORCE_MS * 1_000_000);
            for conn in self.shard.slots.ids() {
                self.shard.close_for(conn, Close::Now, Cause::Stopping);
            }
        }
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
        let over = self.stop.forced && self.stop.next_ns.is_some_and(|at| at <= now_ns);
        if over {
            for conn in self.shard.slots.ids() {
                self.bury(conn);
            }
        }
        empty || over
    }
}
