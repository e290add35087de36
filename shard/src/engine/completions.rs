//! What a completion means: one function per kind of operation.

use super::Engine;
use crate::driver::{Completion, Driver, RecvBuffer};
use crate::limits::LINGER_RECVS_MAX;
use crate::slot::state::Event;
use crate::slot::{self, InFlight, State};
use crate::tag::{self, Kind};
use crate::{Cause, ConnId, Handler, Origin};

/// What a poll says of a peer that has closed its side, or both, or reset the connection.
const HANG_UP: i32 = (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) as i32;

impl<D: Driver, H: Handler> Engine<D, H> {
    pub(super) fn handle_completion(&mut self, completion: Completion) {
        let conn = tag::conn(completion.tag);
        let result = completion.result;
        match tag::kind(completion.tag) {
            Some(Kind::Accept) => return self.handle_accept(&completion),
            Some(Kind::Socket) => return self.handle_socket(&completion),
            Some(Kind::Arrival) => return self.handle_arrival(&completion),
            Some(Kind::CancelAccept) => return,
            Some(Kind::CloseSlot) => return self.shard.apply(conn, Event::Freed),
            Some(Kind::Recv) => self.handle_recv(conn, completion),
            Some(Kind::Send) => self.handle_send(conn, result, completion.sent),
            Some(Kind::Connect) => self.handle_connect(conn, result),
            Some(Kind::PollRead) => self.handle_poll_read(conn, result),
            Some(Kind::PollWrite) => self.handle_poll_write(conn, result),
            Some(Kind::ShutWrite) => self.shard.landed(conn, InFlight::SHUT_WRITE),
            Some(Kind::ShutBoth) => self.shard.landed(conn, InFlight::SHUT_BOTH),
            Some(Kind::CancelPoll) => self.shard.landed(conn, InFlight::CANCEL),
            Some(Kind::SendFd) => self.handle_send_fd(conn, result),
            Some(Kind::TcpInfo) => {
                let info = completion.tcp_info.map(|info| *info);
                return self.handler.on_tcp_info(&mut self.shard, conn, info);
            }
            None => {
                tracing::error!(tag = completion.tag.0, "a completion of nobody's operation");
                return;
            }
        }
        self.settle(conn);
    }

    /// The step that waited until nothing is in flight any more.
    pub(super) fn settle(&mut self, conn: ConnId) {
        let Some(slot) = self.shard.slots.find(conn) else {
            return;
        };
        match slot.state {
            State::Closing if slot.in_flight.is_empty() => self.bury(conn),
            State::Departing => self.shard.mark_dirty(conn),
            _ => {}
        }
    }

    /// Gives the slot back and tells the handler.
    pub(super) fn bury(&mut self, conn: ConnId) {
        let shard = &mut self.shard;
        let Some(slot) = shard.slots.find(conn) else {
            return;
        };
        let told = slot.has(slot::TOLD);
        let cause = slot.cause();
        let state = std::mem::take(&mut slot.conn);
        shard.queued.change(conn, slot.queue_held_bytes(), 0);
        slot.out = None;
        shard.apply(conn, Event::Joined);
        if told {
            shard.live = shard.live.saturating_sub(1);
            match cause {
                Cause::PeerClosed => shard.counters.closed_peer += 1,
                Cause::Closed => shard.counters.closed_asked += 1,
                Cause::Errno(_) => shard.counters.closed_errno += 1,
                Cause::Stopping => shard.counters.closed_stopping += 1,
            }
            self.handler.on_closed(shard, conn, state, cause);
        } else if let Some(connecting) = shard.connecting.remove(&conn.index()) {
            let errno = match cause {
                Cause::Errno(errno) => errno,
                _ => libc::ECANCELED,
            };
            shard.counters.connect_failed += 1;
            self.handler
                .on_connect_failed(shard, connecting.token, errno);
        }
    }

    fn handle_socket(&mut self, completion: &Completion) {
        let Some(connecting) = self.shard.sockets.remove(&tag::socket(completion.tag)) else {
            return;
        };
        // `connect` has counted the slot already; from here on the slot itself does.
        let ring = &mut self.shard.rings[usize::from(connecting.ring)];
        ring.used = ring.used.saturating_sub(1);
        if completion.result < 0 {
            let errno = -completion.result;
            if errno == libc::ENFILE {
                self.shard.counters.enfile += 1;
            }
            self.shard.counters.connect_failed += 1;
            self.handler
                .on_connect_failed(&mut self.shard, connecting.token, errno);
            return;
        }
        let slot = completion.result as u32;
        if let Some(conn) = self.shard.occupy(completion.ring, slot) {
            self.shard.connecting.insert(conn.index(), connecting);
            self.shard.apply(conn, Event::SocketMade);
            if self.shard.stopping {
                self.shard.fail(conn, Cause::Errno(libc::ECANCELED));
            }
        }
    }

    fn handle_connect(&mut self, conn: ConnId, result: i32) {
        self.shard.landed(conn, InFlight::CONNECT);
        let Some(slot) = self.shard.slots.find(conn) else {
            return;
        };
        if slot.state != State::Connecting {
            return;
        }
        if result < 0 {
            self.shard.fail(conn, Cause::Errno(-result));
            return;
        }
        self.shard.set_wheel(conn, None);
        self.shard.apply(conn, Event::Connected);
        if let Some(connecting) = self.shard.connecting.remove(&conn.index()) {
            self.shard.counters.connected += 1;
            let token = connecting.token;
            self.open(conn, Origin::Connected { token });
        }
    }

    /// Tells the handler of a new connection.
    pub(super) fn open(&mut self, conn: ConnId, origin: Origin) {
        if let Some(slot) = self.shard.slots.find(conn) {
            slot.flags |= slot::TOLD;
            self.shard.live += 1;
            self.handler.on_open(&mut self.shard, conn, origin);
        }
    }

    fn handle_poll_read(&mut self, conn: ConnId, result: i32) {
        self.shard.landed(conn, InFlight::POLL_READ);
        if let Some(slot) = self.shard.slots.find(conn) {
            slot.flags &= !slot::HUNG_UP;
            if result > 0 && result & HANG_UP != 0 {
                slot.flags |= slot::HUNG_UP;
            }
        }
        if result < 0 && result != -libc::ECANCELED {
            self.shard.fail(conn, Cause::Errno(-result));
        } else {
            // A poll that was cancelled by a move that was then called off leads to a receive that
            // finds nothing, and is armed again.
            self.shard.apply(conn, Event::Readable);
        }
    }

    fn handle_poll_write(&mut self, conn: ConnId, result: i32) {
        self.shard.landed(conn, InFlight::POLL_WRITE);
        if let Some(slot) = self.shard.slots.find(conn)
            && let Some(out) = slot.out.as_mut()
            && result > 0
            && result & i32::from(libc::POLLOUT) != 0
        {
            out.handle_room();
        }
        self.shard.mark_dirty(conn);
    }

    fn handle_recv(&mut self, conn: ConnId, completion: Completion) {
        self.shard.landed(conn, InFlight::RECV);
        let event = match completion.buffer {
            Some(buffer) => {
                let more = completion.nonempty || buffer.len == self.recv_buffer_bytes;
                self.deliver(conn, &buffer, completion.result);
                self.driver.recycle(buffer);
                match (completion.result, more) {
                    (1.., true) => Event::DataMore,
                    (1.., false) => Event::Data,
                    (result, _) => recv_event(result),
                }
            }
            None => recv_event(completion.result),
        };
        let ring = usize::from(completion.ring);
        if let Some(ring) = self.shard.rings.get_mut(ring) {
            ring.buffers += 1;
        }
        self.after_recv(conn, event, completion.result);
    }

    /// Hands bytes to the handler, or drops those that come after the close.
    fn deliver(&mut self, conn: ConnId, buffer: &RecvBuffer, result: i32) {
        let shard = &mut self.shard;
        if result <= 0 {
            return;
        }
        let Some(slot) = shard.slots.find(conn) else {
            return;
        };
        slot.recvs = slot.recvs.saturating_add(1);
        if slot.state.is_open() {
            shard.counters.recv_ops += 1;
            shard.counters.recv_bytes += u64::from(buffer.len);
            let bytes = self.driver.bytes(buffer);
            self.handler.on_bytes(shard, conn, bytes);
        }
    }

    fn after_recv(&mut self, conn: ConnId, event: Event, result: i32) {
        let shard = &mut self.shard;
        let Some(slot) = shard.slots.find(conn) else {
            return;
        };
        match event {
            Event::Eof => {
                slot.flags |= slot::EOF;
                slot.set_cause(Cause::PeerClosed);
                shard.moves.remove(&conn.index());
                shard.apply(conn, Event::Eof);
            }
            Event::Failed => shard.fail(conn, Cause::Errno(-result)),
            // A client that goes on sending after our last bytes is cut off.
            _ if slot.state == State::Lingering && slot.recvs > LINGER_RECVS_MAX => {
                shard.apply(conn, Event::Failed);
            }
            Event::NoBuffer => {
                shard.counters.enobufs += u64::from(result == -libc::ENOBUFS);
                shard.apply(conn, event);
            }
            event => shard.apply(conn, event),
        }
        self.tell_overdue(conn);
    }

    fn handle_send(&mut self, conn: ConnId, result: i32, sent: Option<Vec<u8>>) {
        let shard = &mut self.shard;
        shard.landed(conn, InFlight::SEND);
        let bytes = sent.unwrap_or_default();
        let Some(slot) = shard.slots.find(conn) else {
            return shard.spare.put(bytes);
        };
        let before = slot.queue_held_bytes();
        let blocked = result == 0 || result == -libc::EAGAIN || result == -libc::EINTR;
        let Some(out) = slot.out.as_mut() else {
            return shard.spare.put(bytes);
        };
        let failed = result < 0 && !blocked;
        if failed || slot.state == State::Closing {
            let is_closing = slot.state == State::Closing;
            slot.out = None;
            shard.queued.change(conn, before, 0);
            shard.spare.put(bytes);
            if !is_closing {
                shard.fail(conn, Cause::Errno(-result));
            }
            return;
        }
        let taken = result.max(0) as usize;
        shard.counters.send_bytes += taken as u64;
        let progress = out.went_on(taken);
        let done = out.handle_sent(bytes, taken, &mut shard.spare);
        let is_short = out.is_partial() || blocked;
        if is_short {
            out.block(taken, shard.now.mono_ns);
        } else {
            out.unblock();
        }
        if done && !is_short {
            slot.out = None;
        }
        shard.queued.change(conn, before, slot.queue_held_bytes());
        if is_short {
            shard.counters.send_short += 1;
            shard.arm_write_poll(conn);
        } else {
            shard.mark_dirty(conn);
        }
        // Each asks anew: the handler may close it.
        if progress && self.is_open(conn) {
            self.handler.on_progress(&mut self.shard, conn);
        }
        if done && self.is_open(conn) {
            self.handler.on_drained(&mut self.shard, conn);
        }
    }

    fn is_open(&mut self, conn: ConnId) -> bool {
        let slot = self.shard.slots.find(conn);
        slot.is_some_and(|slot| slot.state.is_open())
    }
}

/// A receive that brought nothing.
fn recv_event(result: i32) -> Event {
    match -result {
        0 => Event::Eof,
        libc::EAGAIN => Event::WouldBlock,
        libc::ENOBUFS | libc::EINTR => Event::NoBuffer,
        _ => Event::Failed,
    }
}
