//! The way out that nobody asked for at this moment: answers of the router and fan-out.
//!
//! A client that does not read is skipped in fan-out, not waited for: what does not fit into its queue
//! is counted, and once the queue is empty it is told (Lagged) and fetches by Sync what it missed. An
//! answer is never skipped, since its client would wait for ever; where even the rest of the queue has
//! no room for it, the connection ends (4002) and the client asks again on the next one.

use rookery_router::DeviceKey;
use rookery_shard::{ConnId, Shard};
use rookery_wire::link::Writer;
use rookery_wire::proto::{self, CloseCode};
use rookery_wire::ws;

use super::Sessions;
use super::conn::Conn;

/// What TLS and the frame header add to a message, generously: one record of 22 bytes for each 16 KiB
/// and 10 bytes of header.
fn bytes_on_the_wire(payload: usize) -> usize {
    payload + 10 + 22 * (1 + payload / rookery_wire::tls::FRAGMENT_MAX)
}

impl Sessions {
    /// Sends answers to a live connection.
    pub(super) fn answer(&mut self, shard: &mut Shard<Self>, conn: ConnId, frames: &[Vec<u8>]) {
        let Some(&mut state) = shard.conn(conn) else {
            return;
        };
        if !state.phase.is_live() {
            return;
        }
        let wanted: usize = frames
            .iter()
            .map(|frame| bytes_on_the_wire(frame.len()))
            .sum();
        self.spend(shard, wanted);
        if shard.queue_bytes(conn) + wanted > self.settings.answer_bytes_max() {
            return self.close(shard, conn, CloseCode::SLOW_READER);
        }
        for frame in frames {
            self.note_sent(&state, frame);
        }
        // As one run of bytes: the acks of a batch share their records.
        let header =
            |frame: &Vec<u8>| ws::encode_header(ws::Opcode::Binary, true, frame.len(), None);
        let headers: Vec<_> = frames.iter().map(header).collect();
        let both = headers.iter().zip(frames);
        let parts: Vec<&[u8]> = both
            .flat_map(|(header, frame)| [header.as_bytes(), &frame[..]])
            .collect();
        self.write(shard, conn, &state, |writer| writer.raw(&parts));
    }

    /// One frame for every live device of a user, but for one that has an answer of its own. How many it was sent.
    pub(super) fn deliver(
        &mut self,
        shard: &mut Shard<Self>,
        frame: &[u8],
        user_id: u64,
        but: Option<DeviceKey>,
    ) -> usize {
        let mut sent = 0;
        // From the last to the first: one that turns out to be gone leaves the list under way.
        for device in (0..self.users.connections(user_id, shard).len()).rev() {
            let Some(&conn) = self.users.connections(user_id, shard).get(device) else {
                continue;
            };
            let left_out = but.is_some_and(|but| {
                let device = shard.conn(conn).map(|state| state.device_id);
                (but.user_id, Some(but.device_id)) == (user_id, device)
            });
            if left_out {
                continue;
            }
            if let Some(state) = self.room(shard, conn, bytes_on_the_wire(frame.len())) {
                self.note_sent(&state, frame);
                self.write(shard, conn, &state, |writer| {
                    writer.message(ws::Opcode::Binary, frame);
                });
                sent += 1;
            }
        }
        sent
    }

    /// The connection, where it is live and has room for so many bytes; else it is counted as
    /// skipped.
    fn room(&mut self, shard: &mut Shard<Self>, conn: ConnId, bytes: usize) -> Option<Conn> {
        let state = *shard.conn(conn)?;
        if !state.phase.is_live() {
            return None;
        }
        let fits = self.has_queue_room(shard, conn, bytes);
        let lags = state
            .work
            .index()
            .is_some_and(|at| self.work.find(at).is_some_and(|work| work.lags()));
        if fits && !lags {
            return Some(state);
        }
        let mut held = self.hold(&state);
        held.work.skipped += 1;
        self.telemetry.counters.skipped.add(1);
        self.put_back(shard, conn, held);
        None
    }

    fn write(
        &mut self,
        shard: &mut Shard<Self>,
        conn: ConnId,
        state: &Conn,
        message: impl FnOnce(&mut Writer<'_>),
    ) {
        let mut out = shard.spare_buffer();
        let tls = state.tls.index().and_then(|at| self.tls.find_mut(at));
        message(&mut Writer::new(tls, None, &mut out));
        if let Err(error) = shard.send(conn, out) {
            tracing::debug!(conn = conn.as_u64(), %error, "what was sealed cannot be sent");
            self.end(shard, conn, rookery_shard::Close::Now);
        }
    }

    /// The send queue is empty: a paused client is read again, one that was skipped is told.
    pub(super) fn drained(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        let Some(&mut state) = shard.conn(conn) else {
            return;
        };
        let Some(at) = state.work.index() else { return };
        let Some(mut work) = self.work.lend(at) else {
            return;
        };
        let skipped = std::mem::take(&mut work.skipped);
        let paused = std::mem::take(&mut work.paused);
        let waits = work.waits;
        let finishes = work.finishes;
        self.put_back(shard, conn, super::input::Held { tls: None, work });
        if waits {
            self.look_on(shard, conn);
        } else if paused && !finishes {
            shard.resume(conn);
        }
        if skipped > 0 {
            let lagged = proto::encode(&proto::Lagged { skipped });
            self.answer(shard, conn, &[lagged]);
        }
    }
}
