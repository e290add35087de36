//! Ids and stamps of what this node admits, and how far they are, for whoever makes that durable.
//!
//! A node must not give an id twice, also after a crash behind which the clock was set back. An embedded
//! log has every id that was given in it. Of a log that others consume this node sees a part, so the
//! greatest that it gave is stored from here; a crash loses the last of them, and a start goes past those.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::hlc::Hlc;
use crate::ids::{self, Snowflake};
use crate::store::Position;

/// The greatest that were given; zeros before the first.
#[derive(Debug, Default)]
pub(super) struct Given {
    id: AtomicU64,
    hlc: AtomicU64,
}

impl Given {
    /// As a store keeps it.
    pub(super) fn position(&self) -> Position {
        Position {
            next_offset: 0,
            last_id: self.id.load(Ordering::Relaxed),
            last_hlc: self.hlc.load(Ordering::Relaxed),
        }
    }
}

/// What a new message or conversation is known by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) id: u64,
    pub(super) hlc: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Stamps {
    ids: Snowflake,
    hlc: Hlc,
    given: Arc<Given>,
}

impl Stamps {
    /// Of a node; all greater than a stored position.
    pub(super) fn new(node_id: u16, stored: Position) -> Stamps {
        Stamps {
            ids: Snowflake::new(node_id, stored.last_id),
            hlc: Hlc::new(stored.last_hlc),
            given: Arc::default(),
        }
    }

    /// How far they are, from now on.
    pub(super) fn given(&self) -> Arc<Given> {
        Arc::clone(&self.given)
    }

    /// The next ones.
    pub(super) fn next(&mut self, now_ms: u64) -> Stamp {
        let stamp = Stamp {
            id: self.ids.next_id(now_ms),
            hlc: self.hlc.tick(now_ms),
        };
        self.given.id.store(stamp.id, Ordering::Relaxed);
        self.given.hlc.store(stamp.hlc, Ordering::Relaxed);
        stamp
    }
}

/// A stored position, and what may have been given since by a node that stored it every `interval`:
/// twice as much time, since a store takes time too. A node's first start has nothing to go past.
pub(super) fn past_a_crash(stored: Position, interval: Duration) -> Position {
    let lost_ms = u64::try_from(2 * interval.as_millis()).unwrap_or(u64::MAX);
    if stored.last_id == 0 {
        return stored;
    }
    Position {
        last_id: ids::later(stored.last_id, lost_ms),
        last_hlc: Hlc::later(stored.last_hlc, lost_ms),
        ..stored
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::EPOCH_MS;

    const INTERVAL: Duration = Duration::from_secs(2);

    #[test]
    fn after_a_crash_nothing_is_given_twice_although_the_clock_was_set_back() {
        let mut stamps = Stamps::new(7, Position::default());
        let began_ms = EPOCH_MS + 1_000_000;
        stamps.next(began_ms);
        let stored = stamps.given().position();
        let last = (1..4_000).map(|ms| stamps.next(began_ms + ms)).last();
        let last = last.unwrap_or(Stamp { id: 0, hlc: 0 });

        let mut again = Stamps::new(7, past_a_crash(stored, INTERVAL));
        let next = again.next(began_ms - 500_000);
        assert!(
            next.id > last.id && next.hlc > last.hlc,
            "{next:?} {last:?}"
        );
    }

    #[test]
    fn a_first_start_and_one_long_after_follow_the_clock() {
        let first = past_a_crash(Position::default(), INTERVAL);
        assert_eq!(first, Position::default());
        let mut stamps = Stamps::new(7, first);
        let stored = {
            stamps.next(EPOCH_MS + 5);
            stamps.given().position()
        };
        let mut later = Stamps::new(7, past_a_crash(stored, INTERVAL));
        assert_eq!(
            ids::unix_ms(later.next(EPOCH_MS + 9_000).id),
            EPOCH_MS + 9_000
        );
    }

    #[test]
    fn no_interval_overflows() {
        let far = Position {
            next_offset: 0,
            last_id: u64::MAX >> 1,
            last_hlc: u64::MAX,
        };
        let past = past_a_crash(far, Duration::from_secs(u64::MAX));
        assert!(past.last_id >= far.last_id && past.last_id < 1 << 63);
        assert_eq!(past.last_hlc, far.last_hlc);
    }
}
