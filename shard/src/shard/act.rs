//! Carries out what the slot's table says: one event in, operations out.

use super::{Failure, Shard};
use crate::driver::{Interest, Op, Side, SlotRef};
use crate::slot::state::{Action, Event, step};
use crate::slot::{self, InFlight};
use crate::tag::{self, Kind};
use crate::{ConnId, Handler};

impl<H: Handler> Shard<H> {
    /// The slot's place, as the driver counts.
    pub(crate) fn slot_ref(&self, conn: ConnId) -> SlotRef {
        SlotRef {
            ring: (conn.index() / self.slots_per_ring) as u16,
            index: conn.index() % self.slots_per_ring,
        }
    }

    /// One step of a connection's slot. An id that is over changes nothing.
    pub(crate) fn apply(&mut self, conn: ConnId, event: Event) {
        // Not `find`: a slot that is about to be filled is free.
        let slot = self.slots.at(conn.index());
        let Some(slot) = slot.filter(|slot| slot.generation == conn.generation()) else {
            return;
        };
        let (next, action) = step(slot.state, event);
        slot.state = next;
        self.act(conn, action);
    }

    fn act(&mut self, conn: ConnId, action: Action) {
        let place = self.slot_ref(conn);
        match action {
            Action::Nothing => {}
            Action::Connect => self.start_connect(conn),
            Action::ArmPoll => self.arm_poll(conn),
            Action::Enqueue => self.stand_in_line(conn),
            Action::Recv => {
                self.submit(conn, Kind::Recv, InFlight::RECV, Op::Recv { slot: place });
            }
            Action::CancelPoll => self.cancel_poll(conn),
            Action::SendFd => self.send_fd(conn),
            Action::Flush => {
                let at = self.running_ns().saturating_add(self.bounds.linger_ns);
                self.set_wheel(conn, Some(at));
                self.mark_dirty(conn);
            }
            Action::ShutWrite => {
                if let Some(slot) = self.slots.at(conn.index()) {
                    slot.recvs = 0;
                }
                let side = Side::Write;
                let op = Op::Shutdown { slot: place, side };
                self.submit(conn, Kind::ShutWrite, InFlight::SHUT_WRITE, op);
                self.read_on(conn);
            }
            Action::ShutBoth => self.shut_both(conn),
            Action::CloseSlot => {
                let op = Op::Close { slot: place };
                self.ops.push((tag::of_conn(Kind::CloseSlot, conn), op));
            }
            Action::Release => self.release(conn),
        }
    }

    /// Queues an operation and notes it as in flight.
    fn submit(&mut self, conn: ConnId, kind: Kind, bit: u16, op: Op) {
        if let Some(slot) = self.slots.at(conn.index()) {
            slot.in_flight.add(bit);
        }
        self.ops.push((tag::of_conn(kind, conn), op));
    }

    fn in_flight(&mut self, conn: ConnId, bits: u16) -> bool {
        let slot = self.slots.at(conn.index());
        slot.is_some_and(|slot| slot.in_flight.has(bits))
    }

    fn arm_poll(&mut self, conn: ConnId) {
        if self.in_flight(conn, InFlight::POLL_READ) {
            return;
        }
        self.counters.polls += 1;
        let op = Op::Poll {
            slot: self.slot_ref(conn),
            interest: Interest::Read,
        };
        self.submit(conn, Kind::PollRead, InFlight::POLL_READ, op);
    }

    pub(crate) fn arm_write_poll(&mut self, conn: ConnId) {
        self.counters.polls += 1;
        let op = Op::Poll {
            slot: self.slot_ref(conn),
            interest: Interest::Write,
        };
        self.submit(conn, Kind::PollWrite, InFlight::POLL_WRITE, op);
    }

    /// A lingering connection reads until the peer's end: the poll is armed, unless a read is under
    /// way in another form.
    fn read_on(&mut self, conn: ConnId) {
        let slot = self.slots.at(conn.index());
        let reads = |slot: &mut slot::Slot<_>| {
            slot.has(slot::IN_LINE) || slot.in_flight.has(InFlight::RECV)
        };
        if !slot.is_some_and(reads) {
            self.arm_poll(conn);
        }
    }

    fn cancel_poll(&mut self, conn: ConnId) {
        if self.in_flight(conn, InFlight::POLL_READ) {
            let op = Op::CancelPoll {
                slot: self.slot_ref(conn),
                poll: tag::of_conn(Kind::PollRead, conn),
            };
            self.submit(conn, Kind::CancelPoll, InFlight::CANCEL, op);
        }
    }

    fn stand_in_line(&mut self, conn: ConnId) {
        let ring = usize::from(self.slot_ref(conn).ring);
        if let Some(slot) = self.slots.at(conn.index())
            && !slot.has(slot::IN_LINE)
        {
            slot.flags |= slot::IN_LINE;
            let ring = &mut self.rings[ring];
            if slot.has(slot::HUNG_UP) {
                ring.leavers.push_back(conn);
            } else {
                ring.line.push_back(conn);
            }
        }
    }

    /// Ends everything that is in flight. Where nothing is, closing the slot is enough (the kernel
    /// runs a shutdown on a worker thread: it is worth avoiding).
    fn shut_both(&mut self, conn: ConnId) {
        self.set_wheel(conn, None);
        let Some(slot) = self.slots.at(conn.index()) else {
            return;
        };
        let before = slot.queue_held_bytes();
        if let Some(out) = slot.out.as_mut() {
            out.discard(&mut self.spare);
            if !slot.in_flight.has(InFlight::SEND) {
                slot.out = None;
            }
        }
        self.queued.change(conn, before, slot.queue_held_bytes());
        if slot.in_flight.is_empty() {
            self.idle.push(conn);
            return;
        }
        let op = Op::Shutdown {
            slot: self.slot_ref(conn),
            side: Side::Both,
        };
        self.submit(conn, Kind::ShutBoth, InFlight::SHUT_BOTH, op);
    }

    fn start_connect(&mut self, conn: ConnId) {
        let Some(connecting) = self.connecting.get(&conn.index()) else {
            return;
        };
        let op = Op::Connect {
            slot: self.slot_ref(conn),
            addr: connecting.addr,
        };
        let at = self
            .running_ns()
            .saturating_add(self.bounds.connect_timeout_ns);
        self.set_wheel(conn, Some(at));
        self.submit(conn, Kind::Connect, InFlight::CONNECT, op);
    }

    fn send_fd(&mut self, conn: ConnId) {
        let ring = self.moves.get(&conn.index()).and_then(|order| {
            let ring = self.fabric.ring_with_room(order.to_shard, order.tries)?;
            Some((order.to_shard, ring, order.token))
        });
        let Some((to_shard, to_ring, token)) = ring else {
            self.fail_move(conn, libc::ENFILE);
            return;
        };
        let op = Op::SendFd {
            slot: self.slot_ref(conn),
            to_shard,
            to_ring,
            arrival: tag::of_arrival(self.id, token),
        };
        self.submit(conn, Kind::SendFd, InFlight::SEND_FD, op);
    }

    /// The connection stays; the handler is told later in the turn, or in the next.
    pub(crate) fn fail_move(&mut self, conn: ConnId, errno: i32) {
        self.moves.remove(&conn.index());
        self.counters.moves_failed += 1;
        self.apply(conn, Event::MoveFailed);
        self.mark_dirty(conn);
        self.failures.push_back(Failure::Move { conn, errno });
    }

    fn release(&mut self, conn: ConnId) {
        self.set_wheel(conn, None);
        let ring = usize::from(self.slot_ref(conn).ring);
        self.slots.release(conn.index());
        self.rings[ring].used = self.rings[ring].used.saturating_sub(1);
    }
}
