//! Questions to the kernel about connections, so many in a turn, for an operator who looks: what it knows of
//! a connection (its peer's address, its round trip time) is kept nowhere else.

use std::collections::HashMap;

use rookery_shard::{ConnId, Shard, TcpInfo};
use tokio::sync::oneshot;

use super::Sessions;
use super::asks::Connection;

/// Questions of a turn, at most: 2 us each.
const TURN_QUESTIONS: usize = 100;

/// The least time between two such turns: an operator who asks about everybody takes a fifth of a core.
const PAUSE_NS: u64 = 1_000_000;

/// A batch of questions.
#[derive(Debug, Default)]
pub(super) struct Questions {
    not_before_ns: u64,
    awaited: Vec<ConnId>,
}

impl Questions {
    /// Asks about connections, in their order, until enough was asked for this turn. Nothing is asked while
    /// answers are awaited.
    pub(super) fn ask(
        &mut self,
        shard: &mut Shard<Sessions>,
        mut next: impl FnMut(&mut Shard<Sessions>) -> Option<ConnId>,
    ) {
        let now_ns = shard.now().mono_ns;
        if now_ns >= self.not_before_ns && self.awaited.is_empty() {
            self.not_before_ns = now_ns + PAUSE_NS;
            while self.awaited.len() < TURN_QUESTIONS
                && let Some(conn) = next(shard)
            {
                if shard.ask_tcp_info(conn) {
                    self.awaited.push(conn);
                }
            }
        }
        shard.turn_again_at(self.not_before_ns);
    }

    /// Whether an answer was awaited; from now on not any more.
    pub(super) fn take(&mut self, conn: ConnId) -> bool {
        let at = self.awaited.iter().position(|awaited| *awaited == conn);
        at.map(|at| self.awaited.swap_remove(at)).is_some()
    }

    /// Whether everything that was asked is answered.
    pub(super) fn is_answered(&self) -> bool {
        self.awaited.is_empty()
    }
}

/// Connections that an operator is told of, once the kernel was asked about each.
pub(super) struct Listing {
    conns: Vec<ConnId>,
    asked: usize,
    questions: Questions,
    told: HashMap<ConnId, TcpInfo>,
    answer: oneshot::Sender<Vec<Connection>>,
}

impl Sessions {
    /// Tells of connections, in their order.
    pub(super) fn list(
        &mut self,
        shard: &mut Shard<Self>,
        conns: Vec<ConnId>,
        answer: oneshot::Sender<Vec<Connection>>,
    ) {
        self.listings.push_back(Listing {
            conns,
            asked: 0,
            questions: Questions::default(),
            told: HashMap::new(),
            answer,
        });
        shard.turn_again();
    }

    /// The end of a turn: a part of the first listing.
    pub(super) fn list_on(&mut self, shard: &mut Shard<Self>) {
        let Some(mut listing) = self.listings.pop_front() else {
            return;
        };
        if listing.asked < listing.conns.len() {
            let (conns, asked) = (&listing.conns, &mut listing.asked);
            listing.questions.ask(shard, |_| {
                let conn = conns.get(*asked).copied();
                *asked += 1;
                conn
            });
        }
        let is_over = listing.asked >= listing.conns.len() && listing.questions.is_answered();
        if !is_over && !listing.answer.is_closed() {
            return self.listings.push_front(listing);
        }
        let connections = listing.conns.iter().filter_map(|&conn| {
            let state = *shard.conn(conn)?;
            Some(Connection::of(shard, conn, &state, listing.told.get(&conn)))
        });
        // Who asked may have gone.
        let _ = listing.answer.send(connections.collect());
        if !self.listings.is_empty() {
            shard.turn_again();
        }
    }

    /// What the kernel knows of a connection that was asked about.
    pub(super) fn tcp_info(&mut self, conn: ConnId, info: Option<TcpInfo>) {
        if let Some(listing) = self.listings.front_mut()
            && listing.questions.take(conn)
        {
            return listing.told.extend(info.map(|info| (conn, info)));
        }
        if let Some(ranking) = self.rankings.front_mut() {
            ranking.told(conn, info);
        }
    }
}
