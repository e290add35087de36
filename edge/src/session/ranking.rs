//! The connections of a shard with the most of something, found in a walk over all of them: so many slots in
//! a turn, so that it works at two million.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rookery_shard::{ConnId, Shard, Sweep, TcpInfo};
use tokio::sync::oneshot;

use super::Sessions;
use super::asks::Connection;
use super::questions::Questions;
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
    /// The round trip time that the kernel measures. It is asked about everybody: a million in ten seconds.
    RoundTrip,
}

/// One walk.
pub(super) struct Ranking {
    by: By,
    most: usize,
    answer: oneshot::Sender<Vec<Connection>>,
    sweep: Sweep,
    questions: Questions,
    /// The least of them on top.
    found: BinaryHeap<Reverse<(u64, ConnId)>>,
}

impl Ranking {
    /// A part of the walk.
    fn go_on(&mut self, shard: &mut Shard<Sessions>) {
        let mut looks = TURN_LOOKS;
        let now_s = super::deadlines::seconds(shard.running_ns());
        if self.by == By::RoundTrip {
            let sweep = &mut self.sweep;
            return self
                .questions
                .ask(shard, |shard| shard.sweep(sweep, &mut looks));
        }
        while let Some(conn) = shard.sweep(&mut self.sweep, &mut looks) {
            let much = match self.by {
                By::Queue => shard.queue_bytes(conn) as u64,
                By::Idle | By::RoundTrip => shard
                    .conn(conn)
                    .map_or(0, |state| state.silent_s(now_s).into()),
            };
            self.note(conn, much);
        }
        shard.turn_again();
    }

    /// What the kernel knows of a connection.
    pub(super) fn told(&mut self, conn: ConnId, info: Option<TcpInfo>) {
        if self.questions.take(conn) {
            self.note(conn, info.map_or(0, |info| info.rtt_us.into()));
        }
    }

    fn note(&mut self, conn: ConnId, much: u64) {
        if self.found.len() < self.most {
            self.found.push(Reverse((much, conn)));
        } else if let Some(mut least) = self.found.peek_mut()
            && much > least.0.0
        {
            *least = Reverse((much, conn));
        }
    }

    fn is_over(&self) -> bool {
        self.sweep.is_over() && self.questions.is_answered()
    }
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
                questions: Questions::default(),
                found: BinaryHeap::new(),
            });
            shard.turn_again();
        }
    }

    /// The end of a turn: a part of the first walk.
    pub(super) fn rank_on(&mut self, shard: &mut Shard<Self>) {
        let Some(ranking) = self.rankings.front_mut() else {
            return;
        };
        if !ranking.sweep.is_over() && !ranking.answer.is_closed() {
            ranking.go_on(shard);
        }
        if !ranking.is_over() && !ranking.answer.is_closed() {
            return;
        }
        if let Some(ranking) = self.rankings.pop_front() {
            let found = ranking.found.into_sorted_vec().into_iter();
            let conns = found.map(|Reverse((_, conn))| conn).collect();
            self.list(shard, conns, ranking.answer);
        }
    }
}
