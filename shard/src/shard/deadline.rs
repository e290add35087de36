//! Deadlines, and the clock that they are on.

use super::Shard;
use crate::driver::Now;
use crate::limits::STANDSTILL_NS;
use crate::slot;
use crate::{ConnId, Handler};

impl<H: Handler> Shard<H> {
    /// The clock of deadlines: monotonic nanoseconds without those in which this thread did not run though
    /// it should have (the process was stopped, its control group frozen, its host paused). Whatever a peer
    /// is given time for is measured by it. It never stands: a turn counts up to [`STANDSTILL_NS`].
    /// Another shard's is another clock.
    pub fn running_ns(&self) -> u64 {
        self.now.mono_ns.saturating_sub(self.stood_still_ns)
    }

    /// A turn begins at that time, after a wait of so long. How long the thread should have run and did not,
    /// nanoseconds.
    pub(crate) fn begin_turn(&mut self, now: Now, waited_ns: u64) -> u64 {
        let since_ns = now.mono_ns.saturating_sub(self.now.mono_ns);
        let missed_ns = since_ns.saturating_sub(waited_ns.saturating_add(STANDSTILL_NS));
        self.stood_still_ns += missed_ns;
        self.counters.stood_still_ns += missed_ns;
        self.now = now;
        missed_ns
    }

    /// Sets the connection's one deadline (on the clock of [`Shard::running_ns`]), or removes it. It fires
    /// up to two ticks (34 ms) late, never early, and not before what the connection had sent until then
    /// was handed over, as far as it is read.
    pub fn set_deadline(&mut self, conn: ConnId, at_running_ns: Option<u64>) {
        let open = self
            .slots
            .find(conn)
            .is_some_and(|slot| slot.state.is_open());
        if open {
            self.set_wheel(conn, at_running_ns);
        }
    }

    pub(crate) fn set_wheel(&mut self, conn: ConnId, at_running_ns: Option<u64>) {
        if let Some(slot) = self.slots.at(conn.index()) {
            slot.flags &= !slot::OVERDUE;
        }
        match at_running_ns {
            Some(at) => self.wheel.set(&mut self.slots, conn.index(), at),
            None => self.wheel.clear(&mut self.slots, conn.index()),
        }
    }

    /// Reading ends: a deadline that waits for it comes up again, and is told without.
    pub(super) fn stop_waiting_for_bytes(&mut self, conn: ConnId) {
        if self
            .slots
            .find(conn)
            .is_some_and(|slot| slot.has(slot::OVERDUE))
        {
            self.set_wheel(conn, Some(self.running_ns()));
        }
    }
}
