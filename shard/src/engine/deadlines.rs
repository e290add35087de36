//! When a deadline is told: not before what the connection had sent until then was handed over.
//!
//! Whoever is late may be this thread, and what a peer sent in time then waits in its socket, or in a line
//! for a buffer. So a deadline that has passed first leads to a receive; it is told when nothing more was
//! there, or after [`OVERDUE_RECVS_MAX`] receives. How long the thread did not run at all is left out by the
//! clock of deadlines ([`crate::Shard::running_ns`]). A connection that is not read (paused, or about to
//! move) is told at once.

use super::Engine;
use crate::driver::Driver;
use crate::limits::OVERDUE_RECVS_MAX;
use crate::slot::state::Event;
use crate::slot::{self, State};
use crate::{Cause, ConnId, Handler};

impl<D: Driver, H: Handler> Engine<D, H> {
    /// Fires one deadline; false where none is due.
    pub(super) fn handle_deadline(&mut self) -> bool {
        let shard = &mut self.shard;
        let now = shard.running_ns();
        let Some(index) = shard.wheel.poll_expired(&mut shard.slots, now) else {
            return false;
        };
        let Some(conn) = shard.conn_at(index) else {
            return true;
        };
        let slot = shard.slots.find(conn);
        match slot.map(|slot| (slot.state, slot.has(slot::CLOSE_AFTER_MOVE))) {
            Some((State::Connecting, _)) => {
                shard.fail(conn, Cause::Errno(libc::ETIMEDOUT));
            }
            // The bound of a graceful close: the cause was set when it began.
            Some((State::Flushing | State::Lingering, _)) => shard.apply(conn, Event::Failed),
            // For the handler, which cannot act on it now: it comes up again when the move is over.
            Some((State::Moving, _)) => shard.set_wheel(conn, Some(now)),
            // The handler has closed it; its move has failed, and the close is about to be made up for.
            Some((_, true)) => {}
            // It may have begun before what came last: the deadline comes up again behind it.
            Some((State::Receiving, false)) => shard.set_wheel(conn, Some(now)),
            Some((State::Parked | State::Ready, false)) => {
                if let Some(slot) = shard.slots.find(conn) {
                    slot.flags |= slot::OVERDUE;
                    slot.recvs = 0;
                }
                shard.apply(conn, Event::Overdue);
            }
            Some((state, false)) if state.is_open() => self.tell_deadline(conn),
            _ => {}
        }
        true
    }

    /// A receive is over: a deadline that waited for it is told, unless there is more to read.
    pub(super) fn tell_overdue(&mut self, conn: ConnId) {
        let Some(slot) = self.shard.slots.find(conn) else {
            return;
        };
        let reads_on = slot.state == State::Ready && slot.recvs < OVERDUE_RECVS_MAX;
        if slot.has(slot::OVERDUE) && !reads_on {
            slot.flags &= !slot::OVERDUE;
            self.tell_deadline(conn);
        }
    }

    fn tell_deadline(&mut self, conn: ConnId) {
        self.shard.counters.deadlines += 1;
        self.handler.on_deadline(&mut self.shard, conn);
    }
}
