//! What all connections of the shard hold together is bounded: what is queued for them, and what came of their
//! messages so far (`limits.buffer_bytes_max`, an equal share for each shard).
//!
//! Up to half of it each connection has what its own bounds allow. Above that the bound of each send queue shrinks
//! as what is left does, for all alike (dynamic thresholds, Choudhury and Hahne 1998): many who do not read
//! get little each, and who reads has its queue empty most of the time and does not notice. Where seven eighths
//! are used all the same, those who hold most go: who has taken nothing, or said nothing, for longest.
//!
//! Who goes for what is queued is not told: what it would have to read before the close frame is what has to go. It
//! counts as a slow reader (4002). Who goes for what it has sent by halves is told to try again later (1013).

use rookery_shard::{Close, ConnId, Shard};
use rookery_wire::link::Link;
use rookery_wire::proto::CloseCode;

use super::Sessions;
use super::input::Held;
use super::sweeps::TURN_ACTS;
use crate::admission::add_one;

/// Whether so many bytes `more` may be queued for a connection, where `used` of `all` bytes are used: as far as its
/// bound has room, and where nothing is queued for it one message, as long as there is any room.
fn has_room(queued: usize, more: usize, bound: usize, used: u64, all: u64) -> bool {
    let fits = queued + more <= shrunk(bound, used, all);
    fits || queued == 0 && more <= bound && used + more as u64 <= all
}

/// What a bound on a send queue shrinks to where `used` of `all` bytes are used.
fn shrunk(bound: usize, used: u64, all: u64) -> usize {
    if used <= all / 2 {
        return bound;
    }
    let left = u128::from(all.saturating_sub(used));
    let shrunk = bound as u128 * 2 * left / u128::from(all.max(1));
    usize::try_from(shrunk).unwrap_or(bound)
}

impl Sessions {
    fn held_bytes(&self, shard: &Shard<Self>) -> u64 {
        shard.queued_bytes() + self.work.held_bytes()
    }

    /// Whether a delivery of so many bytes may be queued for a connection; else it is skipped.
    pub(super) fn has_queue_room(&self, shard: &Shard<Self>, conn: ConnId, more: usize) -> bool {
        let bound = self.settings.queue_bytes_max;
        let (used, all) = (self.held_bytes(shard), self.settings.buffer_bytes_max);
        has_room(shard.queue_bytes(conn), more, bound, used, all)
    }

    /// Bytes queued for a connection above which nothing more is read from it, now: a quarter of its bound, so that
    /// the answers to what was read already still fit.
    pub(super) fn queue_bytes_pause(&self, shard: &Shard<Self>) -> usize {
        let bound = self.settings.queue_bytes_max;
        let (used, all) = (self.held_bytes(shard), self.settings.buffer_bytes_max);
        shrunk(bound, used, all) / 4
    }

    /// The end of a turn: where too much is held, some of those who hold most go, until it is three quarters.
    pub(super) fn relieve(&mut self, shard: &mut Shard<Self>) {
        let all = self.settings.buffer_bytes_max;
        if self.held_bytes(shard) > all / 8 * 7 {
            self.is_relieving = true;
        }
        if !self.is_relieving {
            return;
        }
        for _ in 0..TURN_ACTS {
            if self.held_bytes(shard) <= all / 4 * 3 {
                break;
            }
            let went = match shard.queued_bytes() >= self.work.held_bytes() {
                true => self.shed_queue(shard),
                false => self.shed_input(shard),
            };
            if !went {
                break;
            }
        }
        self.is_relieving = self.held_bytes(shard) > all / 4 * 3;
        if self.is_relieving {
            shard.turn_again();
        }
    }

    /// Ends one of those for whom most is queued, and who do not take it; whether there was one. What was queued in
    /// this turn is on its way, or known not to be, in the next one.
    fn shed_queue(&mut self, shard: &mut Shard<Self>) -> bool {
        let Some(conn) = shard.longest_stuck_queue() else {
            return false;
        };
        add_one(&self.gate.counters().shed_queue);
        self.end_with(shard, conn, Close::Now, Some(CloseCode::SLOW_READER));
        // Also one whose last words were under way.
        shard.close(conn, Close::Now);
        true
    }

    /// Ends one of those of whom most has come that is not whole; whether there was one.
    fn shed_input(&mut self, shard: &mut Shard<Self>) -> bool {
        let now_s = super::deadlines::seconds(shard.running_ns());
        let silent_s = |conn: ConnId| {
            let (found, state) = shard.conn_in(conn.index())?;
            (found == conn).then(|| state.silent_s(now_s))
        };
        let Some(conn) = self.work.largest(silent_s) else {
            return false;
        };
        add_one(&self.gate.counters().shed_input);
        let place = shard.conn(conn).and_then(|state| state.work.index());
        if let Some(mut work) = place.and_then(|at| self.work.lend(at)) {
            // Nothing more is read of it.
            work.link = Link::open();
            self.put_back(shard, conn, Held { tls: None, work });
        }
        self.close(shard, conn, CloseCode::TRY_AGAIN_LATER);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_shrinks_with_what_is_left() {
        let of = |used| shrunk(1_000, used, 10_000);
        assert_eq!((of(0), of(5_000)), (1_000, 1_000));
        assert_eq!((of(7_500), of(8_750), of(9_999)), (500, 250, 0));
        assert_eq!((of(10_000), of(u64::MAX)), (0, 0));
        assert_eq!(
            shrunk(usize::MAX, u64::MAX / 2 + 2, u64::MAX),
            usize::MAX - 3
        );
        assert_eq!(shrunk(1_000, 1, 0), 0, "nothing may be held at all");
    }

    #[test]
    fn who_has_nothing_queued_may_have_a_message_while_there_is_room() {
        let of = |queued, more, used| has_room(queued, more, 1_000, used, 10_000);
        assert!(of(0, 1_000, 0) && of(1, 999, 5_000) && !of(1, 1_000, 0));
        assert!(!of(1, 999, 7_500) && of(1, 499, 7_500));
        assert!(of(0, 1_000, 9_000) && !of(0, 1_000, 9_001));
        assert!(!of(0, 1_001, 0), "longer than any queue");
    }
}
