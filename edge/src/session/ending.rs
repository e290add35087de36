//! How connections end: one at our word, all of them at a stop.

use rookery_shard::{Close, ConnId, Shard, Sweep};
use rookery_wire::link::Writer;
use rookery_wire::proto::{CloseCode, ErrorCode};

use super::Sessions;
use super::conn::Phase;
use super::input::say_and_end;

impl Sessions {
    /// Ends a connection of which nobody holds anything, and that was told nothing. Fan-out forgets it at
    /// once.
    pub(super) fn end(&mut self, shard: &mut Shard<Self>, conn: ConnId, how: Close) {
        self.end_with(shard, conn, how, None);
    }

    /// The same for one that was told a close code.
    pub(super) fn end_with(
        &mut self,
        shard: &mut Shard<Self>,
        conn: ConnId,
        how: Close,
        code: Option<CloseCode>,
    ) {
        let Some(state) = shard.conn(conn) else {
            return;
        };
        let was = state.end(code);
        self.leave_opening(was);
        if was.is_live() {
            let user_id = state.user_id;
            self.forget_device(shard, user_id, conn);
        }
        shard.close(conn, how);
    }

    /// Tells a connection why, where there is a WebSocket to tell it on, and ends it.
    pub(super) fn close(&mut self, shard: &mut Shard<Self>, conn: ConnId, code: CloseCode) {
        let Some(&mut state) = shard.conn(conn) else {
            return;
        };
        match state.phase {
            Phase::Ended => return,
            Phase::Silent | Phase::Opening => return self.end(shard, conn, Close::Now),
            Phase::Login | Phase::Moving | Phase::Live | Phase::Leaving => {}
        }
        let mut held = self.hold(&state);
        let mut out = shard.spare_buffer();
        let mut writer = Writer::new(held.tls.as_mut(), None, &mut out);
        if code == CloseCode::LOGIN_LATE {
            let late = ErrorCode::LoginLate.message(0, 0, "no Login came in time");
            self.say(&mut writer, &state, &late);
        }
        let reason = code.reason(self.limits.jitter.ms(self.crowd(shard)));
        let next = say_and_end(&mut writer, code, &reason);
        drop(writer);
        tracing::debug!(
            conn = conn.as_u64(),
            user = state.user_id,
            code = code.name(),
            "closing"
        );
        self.settle(shard, conn, held, out, next);
    }

    /// The owner's shard has no room: the client comes again later.
    pub(super) fn move_failed(&mut self, shard: &mut Shard<Self>, conn: ConnId, errno: i32) {
        // Before its login a connection was to go where there is more room: it stays.
        if shard
            .conn(conn)
            .is_some_and(|state| state.phase.is_opening())
        {
            return;
        }
        tracing::warn!(conn = conn.as_u64(), errno, "the owner's shard has no room");
        self.close(shard, conn, CloseCode::TRY_AGAIN_LATER);
    }

    /// The server stops: whoever is left is told to come again, so many in a turn.
    pub(super) fn stop(&mut self, shard: &mut Shard<Self>) {
        self.draining = None;
        self.sweeps.stop = Some(Sweep::new());
        self.is_stopping = true;
        self.going = self.crowd(shard);
        shard.turn_again();
    }
}
