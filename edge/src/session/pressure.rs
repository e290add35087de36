//! What all connections of the shard hold together is bounded: what is queued for them, and what came of their
//! messages so far (`limits.buffer_bytes_max`, an equal share for each shard).
//!
//! Up to half of it each connection has what its own bounds allow. Above that the bound of each send queue shrinks
//! as what is left does, for all alike (dynamic thresholds, Choudhury and Hahne 1998): many who do not read
//! get little each, and who reads has its queue empty most of the time and does not notice. Where seven eighths
//! are used all the same, those who hold most go, first who takes nothing and has said nothing for long.
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

/// So many of the largest holders are compared before one goes.
const LOOKS: usize = 8;

/// A connection with nothing queued may always have one message.
pub(super) fn has_room(queued: usize, more: usize, bound: usize) -> bool {
    queued == 0 || queued + more <= bound
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

    /// Bytes queued for a connection above which it is skipped in fan-out, now.
    pub(super) fn queue_bytes_max(&self, shard: &Shard<Self>) -> usize {
        let settings = &self.settings;
        let used = self.held_bytes(shard);
        shrunk(settings.queue_bytes_max, used, settings.buffer_bytes_max)
    }

    /// Bytes queued for a connection above which nothing more is read from it, now: a quarter, so that the answers
    /// to what was read already still fit.
    pub(super) fn queue_bytes_pause(&self, shard: &Shard<Self>) -> usize {
        self.queue_bytes_max(shard) / 4
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

    /// Ends one of those for whom most is queued; whether there was one.
    fn shed_queue(&mut self, shard: &mut Shard<Self>) -> bool {
        let found = std::iter::repeat_with(|| shard.longest_queue()).take(LOOKS);
        let found: Vec<ConnId> = found.flatten().collect();
        let Some(conn) = self.least_missed(shard, &found) else {
            return false;
        };
        add_one(&self.gate.counters().shed_queue);
        self.end_with(shard, conn, Close::Now, Some(CloseCode::SLOW_READER));
        true
    }

    /// Ends one of those of whom most has come that is not whole; whether there was one.
    fn shed_input(&mut self, shard: &mut Shard<Self>) -> bool {
        let found = std::iter::repeat_with(|| self.work.largest()).take(LOOKS);
        let found: Vec<ConnId> = found.flatten().collect();
        let Some(conn) = self.least_missed(shard, &found) else {
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

    /// Of these the one whose socket takes nothing, and that has given no sign of life for longest.
    fn least_missed(&self, shard: &mut Shard<Self>, among: &[ConnId]) -> Option<ConnId> {
        let now_s = super::deadlines::seconds(shard.running_ns());
        among.iter().copied().max_by_key(|&conn| {
            let silent_s = shard.conn(conn).map_or(0, |state| state.silent_s(now_s));
            (shard.is_blocked(conn), silent_s)
        })
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
        assert_eq!(shrunk(usize::MAX, u64::MAX / 2 + 2, u64::MAX), usize::MAX - 3);
        assert_eq!(shrunk(1_000, 1, 0), 0, "nothing may be held at all");
    }

    #[test]
    fn who_has_nothing_queued_may_have_a_message() {
        assert!(has_room(0, 65_536, 0));
        assert!(!has_room(1, 65_536, 0) && !has_room(1, 65_536, 65_536));
        assert!(has_room(1, 65_535, 65_536));
    }
}
