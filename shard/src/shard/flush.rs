//! The end of a turn: what the handlers queued becomes operations.

use std::collections::{HashMap, VecDeque};

use super::ring::RingState;
use super::{Connecting, Failure, Shard};
use crate::driver::Op;
use crate::limits::{OPS_KEPT_MAX, TURN_CONNECTS_MAX, TURN_LEAVERS_MAX, TURN_SENDS_MAX};
use crate::slot::state::Event;
use crate::slot::{self, InFlight, State};
use crate::tag::{self, Kind};
use crate::{ConnId, Handler};

impl<H: Handler> Shard<H> {
    /// Has the connection looked at when the handlers are done.
    pub(crate) fn mark_dirty(&mut self, conn: ConnId) {
        if let Some(slot) = self.slots.find(conn)
            && !slot.has(slot::DIRTY)
        {
            slot.flags |= slot::DIRTY;
            self.dirty.push_back(conn);
        }
    }

    /// Looks at the dirty connections, oldest first; those above the turn's bound, and those that
    /// become dirty meanwhile, wait for the next turn.
    pub(crate) fn flush_dirty(&mut self) {
        for _ in 0..self.dirty.len().min(TURN_SENDS_MAX) {
            if let Some(conn) = self.dirty.pop_front()
                && let Some(slot) = self.slots.find(conn)
            {
                slot.flags &= !slot::DIRTY;
                self.flush(conn);
            }
        }
        if self.dirty.is_empty() && self.dirty.capacity() > OPS_KEPT_MAX {
            self.dirty = VecDeque::new();
        }
    }

    /// Sends what is queued; then, where nothing is left, takes the step that waited for it.
    fn flush(&mut self, conn: ConnId) {
        let place = self.slot_ref(conn);
        let Some(slot) = self.slots.find(conn) else {
            return;
        };
        let sends =
            slot.state == State::Flushing || slot.state.is_open() && slot.state != State::Moving;
        if sends
            && !slot.in_flight.has(InFlight::SEND | InFlight::POLL_WRITE)
            && let Some(out) = slot.out.as_mut()
        {
            match out.take() {
                Some((bytes, from)) => {
                    slot.in_flight.add(InFlight::SEND);
                    self.counters.send_ops += 1;
                    let op = Op::Send {
                        slot: place,
                        bytes,
                        from,
                    };
                    self.ops.push((tag::of_conn(Kind::Send, conn), op));
                    return;
                }
                None => {
                    let before = slot.queue_held_bytes();
                    slot.out = None;
                    self.queued.change(conn, before, 0);
                }
            }
        }
        if !slot.sent_all() {
            return;
        }
        match slot.state {
            State::Departing if slot.in_flight.is_empty() => self.apply(conn, Event::Quiet),
            State::Flushing if slot.has(slot::EOF) => self.apply(conn, Event::DrainedEof),
            State::Flushing => self.apply(conn, Event::Drained),
            _ => {}
        }
    }

    /// Starts some of the connects that were asked for.
    pub(crate) fn start_connects(&mut self) {
        for _ in 0..self.wanted.len().min(TURN_CONNECTS_MAX) {
            if let Some(connecting) = self.wanted.pop_front() {
                self.next_socket = self.next_socket.wrapping_add(1);
                let (ring, ipv6) = (connecting.ring, connecting.addr.is_ipv6());
                self.sockets.insert(self.next_socket, connecting);
                let tag = tag::of_socket(self.next_socket);
                self.ops.push((tag, Op::Socket { ring, ipv6 }));
            }
        }
        if self.wanted.is_empty() && self.sockets.is_empty() && self.connecting.is_empty() {
            self.forget_connects();
        }
    }

    /// Those that were not started are not to be.
    pub(crate) fn call_off_connects(&mut self) {
        for Connecting { ring, token, .. } in self.wanted.drain(..) {
            let ring = &mut self.rings[usize::from(ring)];
            ring.used = ring.used.saturating_sub(1);
            let errno = libc::ECANCELED;
            self.failures.push_back(Failure::Connect { token, errno });
        }
    }

    /// What a ramp has blown up goes back.
    fn forget_connects(&mut self) {
        if self.wanted.capacity() > OPS_KEPT_MAX {
            self.wanted = VecDeque::new();
        }
        if self.connecting.capacity().max(self.sockets.capacity()) > OPS_KEPT_MAX / 8 {
            self.connecting = HashMap::new();
            self.sockets = HashMap::new();
        }
    }

    /// Receives for those who stand in line, as far as there are buffers. Of the peers that have hung up
    /// some are read in each turn; while others wait, they get half of the buffers at most.
    pub(crate) fn grant_buffers(&mut self) {
        let rings = self.rings.len();
        let mut leavers_left = TURN_LEAVERS_MAX;
        self.leavers_wait = false;
        for nth in 0..rings {
            // Each turn another ring's come first.
            let ring = (self.counters.turns as usize).wrapping_add(nth) % rings;
            let state = &self.rings[ring];
            let buffers = usize::from(state.buffers);
            let (waiting, leavers) = (state.line.len(), state.leavers.len());
            let share = if waiting == 0 { buffers } else { buffers / 2 };
            let leavers = leavers.min(leavers_left).min(share);
            leavers_left -= leavers;
            self.grant_each(ring, leavers, |it| &mut it.leavers);
            self.grant_each(ring, waiting, |it| &mut it.line);
            self.leavers_wait |= !self.rings[ring].leavers.is_empty();
        }
    }

    /// Grants the first `most` of a line a buffer, while there are any.
    fn grant_each(
        &mut self,
        ring: usize,
        most: usize,
        line: impl Fn(&mut RingState) -> &mut VecDeque<ConnId>,
    ) {
        for _ in 0..most {
            let state = &mut self.rings[ring];
            if state.buffers == 0 {
                break;
            }
            let Some(conn) = line(state).pop_front() else {
                break;
            };
            if !self.grant(ring, conn) {
                line(&mut self.rings[ring]).push_back(conn);
            }
        }
        let line = line(&mut self.rings[ring]);
        if line.is_empty() && line.capacity() > OPS_KEPT_MAX {
            *line = VecDeque::new();
        }
    }

    /// False where it has to stand in line again: a pause and a resume while a receive was under way,
    /// whose end comes first.
    fn grant(&mut self, ring: usize, conn: ConnId) -> bool {
        let Some(slot) = self.slots.find(conn) else {
            return true;
        };
        if slot.in_flight.has(InFlight::RECV) {
            return false;
        }
        slot.flags &= !slot::IN_LINE;
        self.apply(conn, Event::Granted);
        let receives = self
            .slots
            .find(conn)
            .is_some_and(|slot| slot.in_flight.has(InFlight::RECV));
        if receives {
            self.rings[ring].buffers -= 1;
        }
        true
    }
}
