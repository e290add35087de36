//! The storm: all clients are cut off without a word, and connect again under their own numbers; who is
//! refused tries again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::mpsc::Sender;

use rookery_shard::{Close, Shard};

use super::Clients;
use super::conn::Phase;
use crate::flock::schedule::scatter;

/// Cuts under way at one time on a shard: more would wait in the engine's own queues.
const CUTS_MAX: u32 = 4_096;
/// Cuts begun in one tick: a turn of the shard is bounded.
const TICK_CUTS_MAX: u32 = 256;
/// Numbers looked at in one tick in search of somebody to cut.
const TICK_LOOKS_MAX: u32 = 16_384;
/// A client that was refused waits from half of this to one and a half, at random: a server that asks for
/// more says so itself and is met by the later attempts.
const RETRY_NS: u64 = 1_000_000_000;

/// Who is being cut off.
#[derive(Debug, Default)]
pub(super) struct Cutting {
    /// The next client, by local number; none while nobody is cut off.
    next: Option<u32>,
    under_way: u32,
    done: Option<Sender<()>>,
}

/// Who connects again.
#[derive(Debug, Default)]
pub(super) struct Again {
    /// The next client to look at, by local number; none where nobody is to come back.
    next: Option<u32>,
    /// Refused: not before this moment of the shard's clock, and who. The earliest on top.
    refused: BinaryHeap<Reverse<(u64, u32)>>,
}

impl Clients {
    /// Cuts off every client.
    pub(super) fn begin_cutting(&mut self, shard: &mut Shard<Self>, done: Sender<()>) {
        self.cutting = Cutting {
            next: Some(0),
            under_way: 0,
            done: Some(done),
        };
        self.cut_more(shard);
    }

    /// Fills the window.
    pub(super) fn cut_more(&mut self, shard: &mut Shard<Self>) {
        let (mut cuts, mut looks) = (0, 0);
        while let Some(next) = self.cutting.next
            && self.cutting.under_way < CUTS_MAX
            && cuts < TICK_CUTS_MAX
            && looks < TICK_LOOKS_MAX
        {
            looks += 1;
            let more = (next as usize) < self.roster.len();
            self.cutting.next = more.then_some(next + 1);
            let Some((conn, _)) = self.live(shard, next) else {
                continue;
            };
            if let Some(state) = shard.conn(conn) {
                state.phase = Phase::Cut;
            }
            cuts += 1;
            self.cutting.under_way += 1;
            shard.close(conn, Close::Now);
        }
        if self.cutting.next.is_none()
            && self.cutting.under_way == 0
            && let Some(done) = self.cutting.done.take()
        {
            // The phases may have given up.
            let _ = done.send(());
        }
    }

    /// A client that was cut off is gone.
    pub(super) fn was_cut(&mut self, local: u32) {
        self.cutting.under_way = self.cutting.under_way.saturating_sub(1);
        if let Some(entry) = self.roster.get_mut(local as usize) {
            *entry = None;
        }
        self.plan.counts.cut.add_one();
    }

    /// From now on those that were cut off connect again, so many at a time.
    pub(super) fn begin_again(&mut self, shard: &mut Shard<Self>, window: u32) {
        self.ramp.set_window(window);
        self.again = Some(Again {
            next: Some(0),
            refused: BinaryHeap::new(),
        });
        self.connect_more(shard);
    }

    /// The next client to connect again, where one may.
    pub(super) fn next_again(&mut self, now_ns: u64) -> Option<u32> {
        let again = self.again.as_mut()?;
        if let Some(&Reverse((due_ns, local))) = again.refused.peek()
            && due_ns <= now_ns
        {
            again.refused.pop();
            return Some(local);
        }
        while let Some(next) = again.next {
            let entry = self.roster.get(next as usize);
            again.next = entry.is_some().then_some(next + 1);
            if entry.is_some_and(Option::is_none) {
                return Some(next);
            }
        }
        None
    }

    /// A client that connects again was refused: it waits. Whether that is so.
    pub(super) fn refused_again(&mut self, shard: &Shard<Self>, local: u32) -> bool {
        let Some(again) = &mut self.again else {
            return false;
        };
        let now_ns = shard.now().mono_ns;
        let random = scatter(now_ns ^ u64::from(local) << 40) % RETRY_NS;
        again
            .refused
            .push(Reverse((now_ns + RETRY_NS / 2 + random, local)));
        self.plan.counts.tried_again.add_one();
        true
    }
}
