//! Slots that the kernel fills, and what the loop notes about them.

use super::Shard;
use crate::slot::State;
use crate::slot::state::Event;
use crate::{Cause, ConnId, Handler};

impl<H: Handler> Shard<H> {
    /// The kernel put a file into a slot. `None` where the completion makes no sense.
    pub(crate) fn occupy(&mut self, ring: u16, index: u32) -> Option<ConnId> {
        if usize::from(ring) >= self.rings.len() || index >= self.slots_per_ring {
            tracing::error!(ring, index, "a slot outside of the table");
            return None;
        }
        let at = u32::from(ring) * self.slots_per_ring + index;
        // The kernel may use a slot again before the completion of its close has been seen: that it
        // does says that the close is over. The late completion bears an old generation.
        if let Some(before) = self.conn_at(at) {
            self.apply(before, Event::Freed);
        }
        let slot = self.slots.claim(at)?;
        if slot.state != State::Free {
            tracing::error!(ring, index, state = ?slot.state, "a slot filled twice");
            return None;
        }
        let conn = ConnId::new(slot.generation, at);
        self.rings[usize::from(ring)].used += 1;
        Some(conn)
    }

    /// The connection in a slot, if there is one.
    pub(crate) fn conn_at(&mut self, index: u32) -> Option<ConnId> {
        let slot = self.slots.at(index)?;
        (slot.state != State::Free).then(|| ConnId::new(slot.generation, index))
    }

    /// An operation is no longer in flight.
    pub(crate) fn landed(&mut self, conn: ConnId, bit: u16) {
        if let Some(slot) = self.slots.find(conn) {
            slot.in_flight.remove(bit);
        }
    }

    /// Ends a connection that cannot go on.
    pub(crate) fn fail(&mut self, conn: ConnId, cause: Cause) {
        if let Some(slot) = self.slots.find(conn) {
            slot.set_cause(cause);
            self.moves.remove(&conn.index());
            self.apply(conn, Event::Failed);
        }
    }

    /// Hands on the parcels whose shard had no room for them.
    pub(crate) fn deliver_parcels(&mut self) {
        for _ in 0..self.undelivered.len() {
            if let Some((shard, envelope)) = self.undelivered.pop_front()
                && let Err(envelope) = self.fabric.deliver(shard, envelope)
            {
                self.undelivered.push_back((shard, envelope));
            }
        }
    }

    /// Shows the counters and the room to the other threads.
    pub(crate) fn publish(&self) {
        self.fabric.publish(self.id, &self.counters);
        for (ring, state) in (0u16..).zip(&self.rings) {
            let free = if self.stopping { 0 } else { state.free() };
            self.fabric.publish_free(self.id, ring, free);
        }
    }

    /// Slots in use, sockets that are being made included.
    pub(crate) fn used(&self) -> u64 {
        self.rings.iter().map(|ring| u64::from(ring.used)).sum()
    }
}
