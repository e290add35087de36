//! The connections of a shard with the most of something, found in a walk over all of them: so many slots in
//! a turn, so that it works at two million.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rookery_shard::{ConnId, Shard, Sweep};
use tokio::sync::oneshot;

use super::Sessions;
use super::asks::Connection;
use super::sweeps::TURN_LOOKS;

/// Connections that are answered, at most.
pub const RANKED_MAX: usize = 1_000;

/// Walks that wait their turn; who asks for more gets no answer.
const RANKINGS_MAX: usize = 8;

/// What connections are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Bytes that the kernel has not taken.
    Queue,
    /// Seconds without a sign of life.
    Idle,
}

/// One walk.
pub(super) struct Ranking {
    by: By,
    most: usize,
    answer: oneshot::Sender<Vec<Connection>>,
    sweep: Sweep,
    /// The least of them on top.
    found: BinaryHeap<Reverse<(u64, ConnId)>>,
}

impl Sessions {
    /// Begins one, behind those that are under way.
    pub(super) fn begin_ranking(
        &mut self,
        shard: &mut Shard<Self>,
        by: By,
        most: usize,
        answer: oneshot::Sender<Vec<Connection>>,
    ) {
        self.rankings.retain(|ranking| !ranking.answer.is_closed());
        if self.rankings.len() < RANKINGS_MAX {
            self.rankings.push_back(Ranking {
                by,
                most: most.min(RANKED_MAX),
                answer,
                sweep: Sweep::new(),
                found: BinaryHeap::new(),
            });
            shard.turn_again();
        }
    }

    /// The end of a turn: a part of the first walk.
    pub(super) fn rank_on(&mut self, shard: &mut Shard<Self>) {
        let Some(mut ranking) = self.rankings.pop_front() else {
            return;
        };
        let now_s = super::deadlines::seconds(shard.running_ns());
        let mut looks = TURN_LOOKS;
        while let Some(conn) = shard.sweep(&mut ranking.sweep, &mut looks) {
            let Some(state) = shard.conn(conn) else {
                continue;
            };
            let much = match ranking.by {
                By::Idle => state.silent_s(now_s).into(),
                By::Queue => shard.queue_bytes(conn) as u64,
            };
            let is_more = ranking.found.peek().is_none_or(|least| much > least.0.0);
            if ranking.found.len() < ranking.most {
                ranking.found.push(Reverse((much, conn)));
            } else if is_more {
                ranking.found.pop();
                ranking.found.push(Reverse((much, conn)));
            }
        }
        if !ranking.sweep.is_over() {
            if !ranking.answer.is_closed() {
                self.rankings.push_front(ranking);
            }
            return shard.turn_again();
        }
        let found = ranking.found.into_sorted_vec();
        let connections = found.into_iter().filter_map(|Reverse((_, conn))| {
            let state = *shard.conn(conn)?;
            Some(Connection::of(shard, conn, &state))
        });
        let _ = ranking.answer.send(connections.collect());
        if !self.rankings.is_empty() {
            shard.turn_again();
        }
    }
}
