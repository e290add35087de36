//! Posts events to the shards, and waits where a mailbox is full: nothing is dropped while the
//! router runs. Shards never wait for the router, so this waiting ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::counters::Counters;
use crate::api::{Caller, Event, Outlet};

const PAUSE_MIN: Duration = Duration::from_micros(20);
const PAUSE_MAX: Duration = Duration::from_millis(2);
/// No grace is running.
const OPEN: u64 = u64::MAX;

/// The outlet, with patience.
pub(crate) struct Dispatch {
    outlet: Arc<dyn Outlet>,
    counters: Arc<Counters>,
    /// While the router closes: how much longer its threads may wait, in all, in us.
    grace_us: AtomicU64,
}

impl Dispatch {
    pub(crate) fn new(outlet: Arc<dyn Outlet>, counters: Arc<Counters>) -> Dispatch {
        Dispatch {
            outlet,
            counters,
            grace_us: AtomicU64::new(OPEN),
        }
    }

    /// From now on full mailboxes are waited for only so long.
    pub(crate) fn close_within(&self, grace: Duration) {
        let us = u64::try_from(grace.as_micros()).unwrap_or(OPEN - 1);
        self.grace_us.store(us.min(OPEN - 1), Ordering::Relaxed);
    }

    /// The shards.
    pub(crate) fn shards(&self) -> u16 {
        self.outlet.shards()
    }

    /// A user's shard.
    pub(crate) fn owner(&self, user_id: u64) -> u16 {
        self.outlet.owner(user_id)
    }

    /// Answers a caller.
    pub(crate) fn answer(&self, to: Caller, frames: Vec<Vec<u8>>) {
        self.post(to.shard, Event::answer(to, frames, false));
    }

    /// Answers a caller's read.
    pub(crate) fn answer_read(&self, to: Caller, frames: Vec<Vec<u8>>) {
        self.post(to.shard, Event::answer(to, frames, true));
    }

    /// Posts without waiting.
    pub(crate) fn try_post(&self, shard: u16, event: Event) -> Result<(), Event> {
        self.outlet.post(shard, event)
    }

    /// Posts, waiting while the mailbox is full.
    pub(crate) fn post(&self, shard: u16, event: Event) {
        let Err(mut event) = self.outlet.post(shard, event) else {
            return;
        };
        self.counters.outlet_waits.add(1);
        let mut pause = PAUSE_MIN;
        loop {
            if !self.may_wait(pause) {
                self.counters.dropped_at_close.add(1);
                return;
            }
            std::thread::park_timeout(pause);
            pause = (pause * 2).min(PAUSE_MAX);
            match self.outlet.post(shard, event) {
                Ok(()) => return,
                Err(back) => event = back,
            }
        }
    }

    fn may_wait(&self, pause: Duration) -> bool {
        let us = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
        let spend = |left| match left {
            OPEN => Some(OPEN),
            left => left.checked_sub(us),
        };
        self.grace_us
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend)
            .is_ok()
    }
}
