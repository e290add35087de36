//! What the passing of time does: a late login, a silent client, an expired token.
//!
//! Each connection has one deadline on the shard's wheel. Any bytes count as life, and so does what the
//! client takes of a queue that had to wait for it; they only stamp the connection. The deadline looks at
//! the stamp when it fires, so that traffic never touches the wheel. It fires after what had come was read,
//! and both are on the engine's clock of deadlines ([`Shard::running_ns`]): a server that stood still
//! charges nobody for it. A token expires by the wall clock.

use rookery_shard::{Close, ConnId, Shard};
use rookery_wire::proto::CloseCode;
use rookery_wire::ws;

use super::conn::{Conn, Phase};
use super::{Note, Sessions};
use rookery_wire::link::Writer;

/// Seconds of the clock of deadlines: what a connection at rest remembers of time.
pub(super) fn seconds(running_ns: u64) -> u32 {
    (running_ns / 1_000_000_000) as u32
}

fn has_expired(shard: &Shard<Sessions>, state: &Conn) -> bool {
    state.expires_s != 0 && shard.now().unix_ms >= u64::from(state.expires_s) * 1_000
}

impl Sessions {
    /// Whether it is only waited for what the router has of it.
    fn finishes(&self, state: &Conn) -> bool {
        let work = state.work.index().and_then(|at| self.work.find(at));
        work.is_some_and(|work| work.finishes)
    }

    /// The first deadline of a live connection lies somewhere in the second half of the heartbeat
    /// interval, by a hash of the connection: those that logged in together do not stay in step.
    pub(super) fn begin_heartbeats(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        let heartbeat = self.settings.heartbeat.stretched(shard.live());
        let half_ms = u64::from(heartbeat.interval_ms / 2).max(1);
        let spread = conn.as_u64().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let in_ms = half_ms + spread % half_ms;
        let at_ns = shard.running_ns() + in_ms * 1_000_000;
        self.arm(shard, conn, at_ns);
    }

    /// Sets the deadline, or an earlier one where the token expires before.
    pub(super) fn arm(&mut self, shard: &mut Shard<Self>, conn: ConnId, at_ns: u64) {
        let (now_ns, unix_ms) = (shard.running_ns(), shard.now().unix_ms);
        let Some(state) = shard.conn(conn) else {
            return;
        };
        let mut at_ns = at_ns;
        if state.expires_s != 0 {
            let left_ms = (u64::from(state.expires_s) * 1_000).saturating_sub(unix_ms);
            at_ns = at_ns.min(now_ns + left_ms * 1_000_000);
        }
        shard.set_deadline(conn, Some(at_ns));
    }

    /// The deadline has passed.
    pub(super) fn deadline(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        let Some(&mut state) = shard.conn(conn) else {
            return;
        };
        match state.phase {
            Phase::Silent | Phase::Opening | Phase::Login => {
                self.login_is_overdue(shard, conn, &state)
            }
            Phase::Live => self.check_life(shard, conn, &state),
            Phase::Leaving => self.overstayed(shard, conn, &state),
            Phase::Moving => self.close(shard, conn, CloseCode::LOGIN_LATE),
            Phase::Ended => {}
        }
    }

    /// A client that was told to reconnect is still here.
    fn overstayed(&mut self, shard: &mut Shard<Self>, conn: ConnId, state: &Conn) {
        if has_expired(shard, state) {
            return self.close(shard, conn, CloseCode::TOKEN_EXPIRED);
        }
        self.dismiss(shard, conn);
    }

    fn check_life(&mut self, shard: &mut Shard<Self>, conn: ConnId, state: &Conn) {
        if has_expired(shard, state) {
            return self.close(shard, conn, CloseCode::TOKEN_EXPIRED);
        }
        if self.finishes(state) {
            return self.dismiss(shard, conn);
        }
        let now_ns = shard.running_ns();
        let silent_ms = u64::from(state.silent_s(seconds(now_ns))) * 1_000;
        let heartbeat = self.settings.heartbeat.stretched(shard.live());
        let heartbeat_ms = u64::from(heartbeat.interval_ms);
        let idle_ms = u64::from(heartbeat.idle_timeout_ms);
        // Both times shrink when many others go: one that was not asked yet has done nothing wrong.
        if silent_ms >= idle_ms && state.was_asked() {
            return self.close(shard, conn, CloseCode::HEARTBEAT_MISSED);
        }
        self.tell(Note::Here(state.user_id));
        let next_ms = if silent_ms + 1_000 >= heartbeat_ms {
            self.ping(shard, conn, state);
            let answer_ms = idle_ms.saturating_sub(heartbeat_ms);
            idle_ms.saturating_sub(silent_ms).max(answer_ms)
        } else {
            heartbeat_ms - silent_ms
        };
        self.arm(shard, conn, now_ns + next_ms * 1_000_000);
    }

    /// Its socket was full and has taken more: it reads, slowly, and cannot answer a ping that it has not
    /// come to yet.
    pub(super) fn progress(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        let now_s = seconds(shard.running_ns());
        if let Some(state) = shard.conn(conn) {
            state.hear(now_s);
        }
    }

    /// A client that says nothing is asked; one with something queued when it has taken that.
    fn ping(&mut self, shard: &mut Shard<Self>, conn: ConnId, state: &Conn) {
        let waits = shard.queue_bytes(conn) > 0;
        if let Some(state) = shard.conn(conn) {
            state.ask();
            if waits {
                state.owe_ping();
            }
        }
        if !waits {
            self.send_ping(shard, conn, state);
        }
    }

    /// The queue is empty: a ping that waited for it goes out.
    pub(super) fn send_owed_ping(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        let Some(state) = shard.conn(conn) else {
            return;
        };
        if state.take_owed_ping() && state.phase.is_live() {
            let state = *state;
            self.send_ping(shard, conn, &state);
        }
    }

    fn send_ping(&mut self, shard: &mut Shard<Self>, conn: ConnId, state: &Conn) {
        let mut out = shard.spare_buffer();
        let tls = state.tls.index().and_then(|at| self.tls.find_mut(at));
        Writer::new(tls, None, &mut out).message(ws::Opcode::Ping, b"");
        if shard.send(conn, out).is_err() {
            self.end(shard, conn, Close::Now);
        }
    }
}
