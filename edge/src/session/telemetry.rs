//! What a shard's sessions count, read by the admin port's thread while they do; and where every frame
//! passes by, in and out, so that none is left out of a count or of a trace.

use std::sync::Arc;

use rookery_metrics::{Counter, Gauge, Histogram};
use rookery_shard::{ConnId, Shard};
use rookery_wire::link::Writer;
use rookery_wire::proto::{self, CloseCode, ErrorCode, Kind, Limits, Message, ServerFrame};
use rookery_wire::ws;

use super::Sessions;
use super::conn::{Conn, Phase};
use super::trace::Direction;

rookery_metrics::metrics! {
    /// Of one shard.
    pub struct Counters {
        /// Logins that succeeded.
        pub logins: Counter,
        /// Frames that were not sent because the client does not read; it is told by Lagged.
        pub skipped: Counter,
        /// Parts in which messages were sent to their members that were too much for one turn.
        pub fan_out_parts: Counter,
        /// Messages of which some members have not been sent theirs yet.
        pub fan_outs: Gauge,
        /// Clients that a drain has told to reconnect.
        pub told_to_reconnect: Counter,
        /// Clients that a drain or a stop has closed (1001): they had not gone, or there was no time for more.
        pub dismissed: Counter,
        /// Connections that a drain or a stop has ended without a word: they had no WebSocket to say it on.
        pub cut_off: Counter,
        /// Parts of handshakes that wait for a turn.
        pub lobby: Gauge,
        /// Connections that have not logged in.
        pub opening: Gauge,
        /// Bytes of memory that messages which are not whole take, with what else is under way.
        pub input_bytes: Gauge,
        /// Users with a connection.
        pub users: Gauge,
        /// In the lobby, each time that a part of a handshake waited for its turn.
        pub lobby_seconds: Histogram,
        /// From the accept to the end of the TLS handshake.
        pub tls_seconds: Histogram,
        /// From the accept to the open WebSocket.
        pub upgrade_seconds: Histogram,
        /// From the accept to the Welcome, or the move to the shard that owns the user.
        pub login_seconds: Histogram,
    }
}

/// Counters by something that has a name; what has none is the last.
#[derive(Debug)]
pub struct Named<const N: usize>([Counter; N]);

impl<const N: usize> Default for Named<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl<const N: usize> Named<N> {
    fn add(&self, at: usize) {
        if let Some(counter) = self.0.get(at) {
            counter.add(1);
        }
    }

    /// The values, in the order of the names.
    pub fn values(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(Counter::value)
    }
}

/// See the module. One for each shard, shared with the admin port.
#[derive(Debug, Default)]
pub struct Telemetry {
    /// What has no label.
    pub counters: Counters,
    /// Frames of clients, by their kind's byte.
    pub received: Named<256>,
    /// Frames to clients, by their kind's byte.
    pub sent: Named<256>,
    /// Error frames, in the order of [`ErrorCode::ALL`].
    pub errors: Named<{ ErrorCode::ALL.len() }>,
    /// Ended connections, in the order of [`CloseCode::ALL`]; then those with another code, and those that
    /// ended without any.
    pub closes: Named<{ CloseCode::ALL.len() + 2 }>,
}

impl Telemetry {
    /// One for each shard.
    pub fn of_shards(shards: u16) -> Arc<[Arc<Telemetry>]> {
        (0..shards).map(|_| Arc::default()).collect()
    }

    fn count_sent(&self, frame: &[u8]) {
        let Some(&kind) = frame.get(1) else { return };
        self.sent.add(usize::from(kind));
        if kind == Kind::Error as u8
            && let Ok(ServerFrame::Error(error)) = ServerFrame::parse(frame, &Limits::SERVER_FRAMES)
        {
            let code = error.code.to_native();
            let all = ErrorCode::ALL.iter();
            if let Some(at) = all.map(|code| code.code()).position(|known| known == code) {
                self.errors.add(at);
            }
        }
    }

    /// A connection has ended.
    pub(super) fn count_close(&self, code: Option<CloseCode>) {
        let all = CloseCode::ALL;
        self.closes.add(match code {
            Some(code) => all
                .iter()
                .position(|&known| known == code)
                .unwrap_or(all.len()),
            None => all.len() + 1,
        });
    }
}

impl Sessions {
    /// Writes a frame of the session's own.
    pub(super) fn say(&mut self, writer: &mut Writer<'_>, who: &Conn, message: &impl Message) {
        let frame = proto::encode(message);
        self.note_sent(who, &frame);
        writer.message(ws::Opcode::Binary, &frame);
    }

    /// A frame goes out to a client.
    pub(super) fn note_sent(&mut self, who: &Conn, frame: &[u8]) {
        self.telemetry.count_sent(frame);
        self.traces.note(who, Direction::Out, frame);
    }

    /// A frame of a client that could be read.
    pub(super) fn note_received(&mut self, who: &Conn, frame: &[u8]) {
        if let Some(&kind) = frame.get(1) {
            self.telemetry.received.add(usize::from(kind));
        }
        self.traces.note(who, Direction::In, frame);
    }

    /// What a connection that was on its way to a login said has been looked at: how far it has come since, and
    /// whether that ended its TLS handshake.
    pub(super) fn time_opening(
        &self,
        shard: &mut Shard<Self>,
        conn: ConnId,
        was: Phase,
        ends_handshake: bool,
        accepted_ns: u64,
    ) {
        let took_ns = shard.now().mono_ns.saturating_sub(accepted_ns);
        let Some(phase) = shard.conn(conn).map(|state| state.phase) else {
            return;
        };
        let counters = &self.telemetry.counters;
        if ends_handshake {
            counters.tls_seconds.record_ns(took_ns);
        }
        let is_open = |phase| matches!(phase, Phase::Login | Phase::Moving | Phase::Live);
        if was == Phase::Opening && is_open(phase) {
            counters.upgrade_seconds.record_ns(took_ns);
        }
        if was.is_opening() && matches!(phase, Phase::Moving | Phase::Live) {
            counters.login_seconds.record_ns(took_ns);
        }
    }

    /// Gauges, once a turn.
    pub(super) fn gauge(&self) {
        let counters = &self.telemetry.counters;
        counters.lobby.set(self.lobby.len() as u64);
        counters.opening.set(self.opening as u64);
        counters.input_bytes.set(self.work.held_bytes());
        counters.users.set(self.users.len() as u64);
        counters.fan_outs.set(self.fan_outs.len() as u64);
    }
}
