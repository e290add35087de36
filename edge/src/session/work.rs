//! What connections have under way, one box for each that is not at rest; and how much memory what came of their
//! messages so far takes, in sum.
//!
//! Invariant: the sum is that of all works that are not lent. Those of connections that have not logged in are left
//! out of it: they have a bound of their own (`admission::memory`).

use rookery_shard::{Arena, ConnId, Holders};
use rookery_wire::link::Link;

use super::door::Opening;
use super::requests::UnderWay;
use crate::auth::Proof;

/// What a connection has under way; boxed, and gone at rest.
pub(crate) struct Work {
    pub(super) link: Link,
    /// Frames that were not sent because the client does not read.
    pub(super) skipped: u64,
    /// Nothing is read until the queue is empty.
    pub(super) paused: bool,
    /// What the router has not answered yet.
    pub(super) under_way: UnderWay,
    /// Nothing more is looked at until some of it is answered; the link keeps what came.
    pub(super) waits: bool,
    /// It is closed once the router has answered; nothing of it is read any more.
    pub(super) finishes: bool,
    /// Until the login is over.
    pub(super) opening: Option<Box<Opening>>,
    /// On the way to the owner's shard.
    pub(super) proof: Option<Box<Proof>>,
    /// Bytes that it is counted with.
    counted: usize,
}

impl Work {
    pub(super) fn new(link: Link) -> Box<Self> {
        Box::new(Self {
            link,
            skipped: 0,
            paused: false,
            under_way: UnderWay::default(),
            waits: false,
            finishes: false,
            opening: None,
            proof: None,
            counted: 0,
        })
    }

    /// Whether the client was skipped and has not been told yet: nothing may overtake the telling.
    pub(super) fn lags(&self) -> bool {
        self.skipped > 0
    }

    pub(super) fn is_at_rest(&self) -> bool {
        self.link.is_at_rest()
            && self.skipped == 0
            && !self.paused
            && self.under_way.is_none()
            && !self.waits
            && !self.finishes
            && self.opening.is_none()
            && self.proof.is_none()
    }

    fn held_bytes(&self) -> usize {
        match self.opening {
            Some(_) => 0,
            None => size_of::<Self>() + self.link.held_bytes(),
        }
    }
}

/// The works of a shard's connections.
#[derive(Default)]
pub(super) struct Works {
    all: Arena<Box<Work>>,
    held: Holders,
}

impl Works {
    /// Puts a connection's work in; where it lies.
    pub(super) fn insert(&mut self, conn: ConnId, mut work: Box<Work>) -> u32 {
        work.counted = 0;
        self.count(conn, &mut work);
        self.all.insert(work)
    }

    /// Takes a connection's work out for good.
    pub(super) fn remove(&mut self, conn: ConnId, at: u32) -> Option<Box<Work>> {
        let work = self.all.remove(at)?;
        self.held.change(conn, work.counted, 0);
        Some(work)
    }

    /// Ends a [`lend`](Self::lend) of work that is at rest: its place is free.
    pub(super) fn forget(&mut self, conn: ConnId, at: u32, work: &Work) {
        self.held.change(conn, work.counted, 0);
        self.all.remove(at);
    }

    /// Takes a connection's work out until it is given back or forgotten.
    pub(super) fn lend(&mut self, at: u32) -> Option<Box<Work>> {
        self.all.lend(at)
    }

    /// Ends a [`lend`](Self::lend).
    pub(super) fn give_back(&mut self, conn: ConnId, at: u32, mut work: Box<Work>) {
        self.count(conn, &mut work);
        self.all.give_back(at, work);
    }

    fn count(&mut self, conn: ConnId, work: &mut Work) {
        let now = work.held_bytes();
        self.held.change(conn, work.counted, now);
        work.counted = now;
    }

    pub(super) fn find(&self, at: u32) -> Option<&Work> {
        self.all.find(at).map(Box::as_ref)
    }

    /// What becomes of its size is counted when it is lent next.
    pub(super) fn find_mut(&mut self, at: u32) -> Option<&mut Work> {
        self.all.find_mut(at).map(Box::as_mut)
    }

    /// What messages that are not whole yet take, with what else is under way.
    pub(super) fn held_bytes(&self) -> u64 {
        self.held.bytes()
    }

    /// One of those who hold most, as [`Holders::largest`] has it.
    pub(super) fn largest<R: Ord>(&mut self, rank: impl Fn(ConnId) -> Option<R>) -> Option<ConnId> {
        self.held.largest(rank)
    }
}
