//! What a connection says before its login is over waits in the lobby, and at the end of a turn so many
//! connections are served as the pace allows. What is established is served as it comes, so a storm of
//! handshakes lengthens its turns up to the pace's target and no further. A login's time limit does not run
//! while the connection waits for us, and what has come when it is over is still looked at.

use std::time::Instant;

use rookery_shard::{Close, ConnId, Shard};
use rookery_wire::link;
use rookery_wire::proto::LOGIN_FRAME_BYTES_MAX;

use super::conn::{Conn, Phase};
use super::settings::Mode;
use super::{Sessions, Work};
use crate::admission::{Class, LOBBY_SHORT, REFUSED_WAIT_NS, REFUSED_WAITING_MAX, add_one};

/// Bytes that may wait for a connection's turn; above it is not read. A ClientHello with post-quantum
/// key shares is below 2 KiB.
const WAITING_BYTES_MAX: usize = 16 << 10;

/// Accepts that are armed while handshakes are at their bound: each arrival cuts a silent one off.
const ACCEPTS_AT_BOUND: u32 = 8;

impl Sessions {
    /// Bytes of a connection that has not logged in: they wait. False where they cannot.
    pub(super) fn wait_in_lobby(
        &mut self,
        shard: &mut Shard<Self>,
        conn: ConnId,
        state: &Conn,
        bytes: &[u8],
    ) -> bool {
        let now_ns = shard.running_ns();
        if state.phase == Phase::Silent && !bytes.is_empty() {
            self.admit(shard, conn);
        }
        let Some(opening) = self.opening_of(state) else {
            return false;
        };
        opening.waiting.extend_from_slice(bytes);
        let too_much = opening.waiting.len() > WAITING_BYTES_MAX;
        let holds = too_much && !std::mem::replace(&mut opening.is_held, too_much);
        let class = match (opening.is_refused, opening.is_begun) {
            (true, _) => Class::Refused,
            (false, true) => Class::Begun,
            (false, false) => Class::Fresh,
        };
        if opening.waits_since_ns.is_none() {
            opening.waits_since_ns = Some(now_ns);
            self.lobby.enter(conn, class, now_ns);
        }
        if holds {
            shard.pause(conn);
        }
        true
    }

    /// The end of a turn: serves who waits, for as long as the pace allows.
    pub(super) fn serve_lobby(&mut self, shard: &mut Shard<Self>) {
        let began_ns = shard.now().mono_ns;
        let share_ns = self.pace.begin_turn(began_ns);
        if !self.lobby.is_empty() {
            let began = Instant::now();
            self.cut_off_overdue(shard);
            while let Some((conn, _)) = self.lobby.take_next() {
                self.serve(shard, conn);
                if began.elapsed().as_nanos() >= u128::from(share_ns) {
                    break;
                }
            }
            if !self.lobby.is_empty() {
                self.pace.leave_work(began_ns);
                shard.turn_again();
            }
        }
        self.make_places(shard);
        let room = LOBBY_SHORT.saturating_sub(self.lobby.len()) as u32;
        let room = room.min(self.window.free(began_ns));
        if let Some(next_ns) = self.window.next_ns() {
            // Nothing else need ever happen.
            shard.turn_again_at(next_ns);
        }
        // Nobody is let in: who comes is told so, one after the other.
        let at_bound = self.opening >= self.limits.handshakes_max || self.draining.is_some();
        shard.set_accept_budget(if at_bound {
            room.min(ACCEPTS_AT_BOUND)
        } else {
            room
        });
    }

    /// Refused ones whose answer is not worth the wait.
    fn cut_off_overdue(&mut self, shard: &mut Shard<Self>) {
        let now_ns = shard.running_ns();
        while let Some(conn) = self
            .lobby
            .next_overdue(now_ns, REFUSED_WAIT_NS, REFUSED_WAITING_MAX)
        {
            if self.waits(shard, conn) {
                add_one(&self.gate.counters().cut_off_waiting);
                self.end(shard, conn, Close::Now);
            }
        }
    }

    /// Whether the connection is in the lobby.
    fn waits(&mut self, shard: &mut Shard<Self>, conn: ConnId) -> bool {
        let state = shard.conn(conn).map(|state| *state);
        state
            .and_then(|state| self.opening_of(&state))
            .is_some_and(|opening| opening.waits_since_ns.is_some())
    }

    /// Looks at what a connection has said.
    fn serve(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        let Some(&mut state) = shard.conn(conn) else {
            return;
        };
        let now_ns = shard.running_ns();
        if !state.phase.is_opening() {
            return;
        }
        let Some(opening) = self.opening_of(&state) else {
            return;
        };
        let Some(since_ns) = opening.waits_since_ns.take() else {
            return;
        };
        let mut bytes = std::mem::take(&mut opening.waiting);
        let (is_unannounced, transport) = (opening.is_unannounced, opening.listener.transport);
        let was_begun = std::mem::replace(&mut opening.is_begun, true);
        let was_held = std::mem::take(&mut opening.is_held);
        let waited_ns = now_ns.saturating_sub(since_ns);
        opening.login_by_ns += waited_ns;
        opening.its_turn_since_ns += waited_ns;
        let login_by_ns = opening.login_by_ns;
        let is_last = std::mem::take(&mut opening.is_overdue) && login_by_ns <= now_ns;
        self.telemetry.counters.lobby_seconds.record_ns(waited_ns);
        if waited_ns > 0 {
            add_one(&self.gate.counters().delayed);
            shard.set_deadline(conn, Some(login_by_ns));
        }
        if was_held {
            shard.resume(conn);
        }
        if is_unannounced {
            self.look_for_header(shard, conn, bytes);
        } else if was_begun || self.begin_link(shard, conn, transport) {
            self.look_at(shard, conn, &mut bytes);
        }
        if shard.queue_bytes(conn) > 0
            && let Some(opening) = self.opening_of(&state)
        {
            opening.is_answered = true;
            opening.its_turn_since_ns = now_ns;
        }
        if is_last {
            self.end_late_login(shard, conn);
        }
    }

    /// How upgrade requests of a connection are answered, and what it may send.
    pub(super) fn link_config(
        &self,
        shard: &Shard<Self>,
        work: &Work,
        conn: ConnId,
    ) -> link::Config {
        let mut config = self.settings.link;
        if let Some(opening) = &work.opening {
            if opening.is_refused {
                config.server.retry_after_s = Some(self.retry_after_s(shard, conn));
            }
            if self.settings.mode == Mode::Chat {
                config.frames.limits.message_bytes_max = LOGIN_FRAME_BYTES_MAX;
            }
        }
        config
    }

    /// When a refused client should come again: spread over the jitter that the others are told too.
    pub(super) fn retry_after_s(&self, shard: &Shard<Self>, conn: ConnId) -> u32 {
        let jitter = self.limits.jitter;
        jitter.retry_after_s(self.crowd(shard), conn.as_u64())
    }
}
