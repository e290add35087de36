//! Connections that go to another shard, and those that come.
//!
//! The file goes from ring to ring (MSG_RING SEND_FD) and the handler's parcel through a bounded queue;
//! the target joins the two by source shard and token, in whichever order they come. Bytes that the
//! peer sends meanwhile stay in the kernel's socket buffer; the target's first poll finds them.

use super::Engine;
use crate::driver::{Completion, Driver};
use crate::fabric::Envelope;
use crate::limits::MOVE_TRIES_MAX;
use crate::outgoing::Outgoing;
use crate::slot::state::Event;
use crate::slot::{self, InFlight, State};
use crate::{Cause, Close, ConnId, Handler, tag};

impl<D: Driver, H: Handler> Engine<D, H> {
    /// The source's side: the target has the file, or has no room for it.
    pub(super) fn handle_send_fd(&mut self, conn: ConnId, result: i32) {
        let shard = &mut self.shard;
        shard.landed(conn, InFlight::SEND_FD);
        let moving = shard
            .slots
            .find(conn)
            .is_some_and(|slot| slot.state == State::Moving);
        let Some(order) = shard.moves.get_mut(&conn.index()).filter(|_| moving) else {
            return;
        };
        if result >= 0 {
            return self.depart(conn);
        }
        order.tries += 1;
        let (to_shard, tries) = (order.to_shard, order.tries);
        let another = shard.fabric.ring_with_room(to_shard, tries).is_some();
        if tries < MOVE_TRIES_MAX && another {
            shard.apply(conn, Event::MoveRetried);
        } else {
            shard.fail_move(conn, -result);
        }
    }

    fn depart(&mut self, conn: ConnId) {
        let shard = &mut self.shard;
        let (Some(order), Some(slot)) = (shard.moves.remove(&conn.index()), shard.slots.find(conn))
        else {
            return;
        };
        let state = std::mem::take(&mut slot.conn);
        shard.queued.change(conn, slot.queue_held_bytes(), 0);
        let out = slot.out.take();
        let unsent = out.map_or_else(Vec::new, |out| out.into_queue());
        shard.set_wheel(conn, None);
        shard.apply(conn, Event::Moved);
        shard.live = shard.live.saturating_sub(1);
        shard.counters.moves_out += 1;
        let envelope = Envelope {
            from: shard.id,
            token: order.token,
            unsent,
            parcel: self.handler.on_depart(shard, conn, state),
        };
        if let Err(envelope) = shard.fabric.deliver(order.to_shard, envelope) {
            shard.undelivered.push_back((order.to_shard, envelope));
        }
    }

    /// The move is off: the connection is here, open, and read again.
    pub(super) fn tell_move_failed(&mut self, conn: ConnId, errno: i32) {
        let Some(slot) = self.shard.slots.find(conn) else {
            return;
        };
        if !slot.state.is_open() {
            return;
        }
        if slot.has(slot::CLOSE_AFTER_MOVE) {
            return self.shard.close_for(conn, Close::Flush, Cause::Closed);
        }
        self.handler.on_move_failed(&mut self.shard, conn, errno);
    }

    /// The target's side: the file is here.
    pub(super) fn handle_arrival(&mut self, completion: &Completion) {
        if completion.result < 0 {
            tracing::error!(errno = -completion.result, "an arrival without a file");
            return;
        }
        let slot = completion.result as u32;
        let Some(conn) = self.shard.occupy(completion.ring, slot) else {
            return;
        };
        self.shard.apply(conn, Event::Arrived);
        let key = tag::arrival(completion.tag);
        match self.shard.parcels.remove(&key) {
            Some(envelope) => self.arrive(conn, envelope),
            None => {
                self.shard.arrivals.insert(key, conn);
            }
        }
    }

    /// The target's side: the parcel is here.
    pub(super) fn handle_parcel(&mut self, envelope: Envelope<H::Parcel>) {
        let key = (envelope.from, envelope.token);
        match self.shard.arrivals.remove(&key) {
            Some(conn) => self.arrive(conn, envelope),
            None => {
                self.shard.parcels.insert(key, envelope);
            }
        }
    }

    fn arrive(&mut self, conn: ConnId, envelope: Envelope<H::Parcel>) {
        let shard = &mut self.shard;
        let Some(slot) = shard.slots.find(conn) else {
            return;
        };
        slot.flags |= slot::TOLD;
        let before = slot.queue_held_bytes();
        for bytes in envelope.unsent {
            slot.out
                .get_or_insert_with(Box::<Outgoing>::default)
                .push(bytes, &mut shard.spare);
        }
        shard.queued.change(conn, before, slot.queue_held_bytes());
        shard.live += 1;
        shard.counters.moves_in += 1;
        shard.apply(conn, Event::Parcel);
        shard.mark_dirty(conn);
        self.handler.on_arrive(shard, conn, envelope.parcel);
        if shard.stopping {
            shard.close_for(conn, Close::Flush, Cause::Stopping);
        }
    }
}
