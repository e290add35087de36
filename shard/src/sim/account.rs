//! What the engine promises to a handler, kept account of: how connections begin and end, what may
//! come in between, and that the id of one that is over moves nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::checks::{Check, Count};
use super::kernel::Kernel;
use super::net::SHARD;
use super::workload::Echo;
use crate::{Cause, Close, ConnId, SendError, Shard, Sweep};

/// What was asked for a connection that is live.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    /// To be closed: nothing but its end may come.
    close: bool,
    /// Paused; how much may still come.
    paused: Option<u8>,
    /// Asked to move, and not told of a failure; how much may still come.
    moves: Option<u8>,
}

/// Sums of all shards.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Mail that mailboxes took, by shard.
    pub(super) posted: Vec<u64>,
    /// Mail that was handled, by shard.
    pub(super) handled: Vec<u64>,
    /// Connections that left some shard.
    pub(super) departed: u64,
    /// Connections that arrived at some shard.
    pub(super) arrived: u64,
}

impl Tally {
    /// Nothing yet.
    pub(super) fn new(shards: u16) -> Tally {
        let zeros = vec![0; usize::from(shards)];
        Tally {
            posted: zeros.clone(),
            handled: zeros,
            ..Tally::default()
        }
    }
}

/// The account of one shard.
pub(super) struct Account {
    shard: u16,
    kernel: Rc<RefCell<Kernel>>,
    live: BTreeMap<ConnId, Asked>,
    past: BTreeMap<ConnId, &'static str>,
}

impl Account {
    pub(super) fn new(shard: u16, kernel: Rc<RefCell<Kernel>>) -> Account {
        Account {
            shard,
            kernel,
            live: BTreeMap::new(),
            past: BTreeMap::new(),
        }
    }

    pub(super) fn fail(&self, check: Check, detail: String) {
        self.kernel.borrow_mut().checks.fail(check, detail);
    }

    pub(super) fn count(&self, count: Count) {
        self.kernel.borrow_mut().checks.count(count);
    }

    pub(super) fn note(&self, what: u64, id: u64) {
        let checks = &mut self.kernel.borrow_mut().checks;
        checks.note(what << 16 | u64::from(self.shard), id);
    }

    /// The live connections, in the order of their ids.
    pub(super) fn live(&self) -> Vec<ConnId> {
        self.live.keys().copied().collect()
    }

    pub(super) fn begin(&mut self, conn: ConnId, how: &'static str) {
        self.note(1, conn.as_u64());
        let again = self.live.insert(conn, Asked::default()).is_some();
        if again || self.past.contains_key(&conn) {
            let past = self.past.get(&conn);
            self.fail(
                Check::Lifecycle,
                format!("{conn:?} {how} again, before: {past:?}"),
            );
        }
    }

    pub(super) fn end(&mut self, conn: ConnId, how: &'static str) {
        self.note(2, conn.as_u64());
        if self.live.remove(&conn).is_none() {
            let past = self.past.get(&conn);
            let detail = format!("{conn:?} {how} though not live, before: {past:?}");
            self.fail(Check::Lifecycle, detail);
        }
        self.past.insert(conn, how);
    }

    /// Something came for a connection: it must be live, and not asked to close.
    pub(super) fn expect(&self, conn: ConnId, what: &str) {
        self.note(3 + what.len() as u64, conn.as_u64());
        match self.live.get(&conn) {
            Some(asked) if !asked.close => {}
            Some(_) => self.fail(
                Check::Lifecycle,
                format!("{what} for {conn:?}, which closes"),
            ),
            None => {
                let past = self.past.get(&conn);
                self.fail(
                    Check::Lifecycle,
                    format!("{what} for {conn:?}, before: {past:?}"),
                );
            }
        }
    }

    /// Neither paused nor about to move.
    pub(super) fn is_read(&self, conn: ConnId) -> bool {
        let asked = self.live.get(&conn);
        asked.is_some_and(|asked| asked.paused.is_none() && asked.moves.is_none())
    }

    /// Bytes came: after a pause at most once (a receive that was under way).
    pub(super) fn expect_bytes(&mut self, conn: ConnId) {
        self.expect(conn, "bytes");
        if let Some(asked) = self.live.get_mut(&conn) {
            match &mut asked.moves {
                Some(0) => {
                    let detail = format!("{conn:?} reads on though it is to move");
                    self.fail(Check::Lifecycle, detail);
                }
                Some(left) => *left -= 1,
                None => {}
            }
        }
        let paused = self
            .live
            .get_mut(&conn)
            .and_then(|asked| asked.paused.as_mut());
        match paused {
            Some(0) => self.fail(
                Check::Lifecycle,
                format!("bytes for {conn:?}, which is paused"),
            ),
            Some(left) => *left -= 1,
            None => {}
        }
    }

    pub(super) fn pause(&mut self, shard: &mut Shard<Echo>, conn: ConnId) {
        self.count(Count::Paused);
        shard.pause(conn);
        if let Some(asked) = self.live.get_mut(&conn) {
            asked.paused.get_or_insert(1);
        }
    }

    pub(super) fn resume(&mut self, shard: &mut Shard<Echo>, conn: ConnId) {
        shard.resume(conn);
        if let Some(asked) = self.live.get_mut(&conn) {
            asked.paused = None;
        }
    }

    /// Asks for a move: a departure must follow, or a failure, or the end.
    pub(super) fn move_to(&mut self, shard: &mut Shard<Echo>, conn: ConnId, to: u16) {
        shard.move_to(conn, to);
        if let Some(asked) = self.live.get_mut(&conn)
            && to != self.shard
        {
            asked.moves.get_or_insert(1);
        }
    }

    /// A move has failed. That has ended the pause, as one that succeeds does.
    pub(super) fn move_failed(&mut self, conn: ConnId) {
        if let Some(asked) = self.live.get_mut(&conn) {
            asked.moves = None;
            asked.paused = None;
        }
    }

    /// Asks for a close. False where the connection is on its way to another shard, and is to be
    /// closed there.
    pub(super) fn close(&mut self, shard: &mut Shard<Echo>, conn: ConnId, how: Close) -> bool {
        self.count(Count::ClosedByHandler);
        shard.close(conn, how);
        if let Some(asked) = self.live.get_mut(&conn) {
            asked.close = true;
        }
        shard.send(conn, Vec::new()) == Err(SendError::Closed)
    }

    /// A connection is gone: nothing is left of it, and the cause is true.
    pub(super) fn closed(&mut self, conn: ConnId, peer: Option<u32>, cause: Cause) {
        let asked = self.live.get(&conn).copied().unwrap_or_default();
        self.end(conn, "closed");
        let kernel = self.kernel.borrow();
        let mut links = kernel.links.iter().filter(|link| Some(link.peer) == peer);
        // After a second call of the same client it is not known which of the two this was.
        let link = links.next().filter(|_| links.next().is_none());
        let holds = match (cause, link) {
            (Cause::Closed, _) => asked.close,
            (Cause::Stopping, _) => kernel.stopping,
            (Cause::PeerClosed, Some(link)) => link.pipes[SHARD].fin || link.ends[SHARD].dead,
            (Cause::Errno(_), Some(link)) => link.ends[SHARD].dead,
            (Cause::PeerClosed | Cause::Errno(_), None) => true,
        };
        drop(kernel);
        if !holds {
            self.fail(
                Check::Lifecycle,
                format!("{conn:?} closed for {cause:?}, {asked:?}"),
            );
        }
    }

    /// Calls everything with the id of a connection that is over, by chance.
    pub(super) fn pester(&self, shard: &mut Shard<Echo>) {
        let past = {
            let rng = &mut self.kernel.borrow_mut().rng;
            if self.past.is_empty() || !rng.one_in(8) {
                return;
            }
            let nth = rng.index(self.past.len());
            self.past.keys().nth(nth).copied()
        };
        let Some(conn) = past else { return };
        self.count(Count::StaleId);
        shard.pause(conn);
        shard.set_deadline(conn, Some(0));
        shard.move_to(conn, 0);
        shard.move_to(conn, 1);
        let refused = shard.send(conn, vec![0]) == Err(SendError::Closed);
        shard.close(conn, Close::Now);
        if !refused || shard.conn(conn).is_some() || shard.queue_bytes(conn) > 0 {
            self.fail(
                Check::Lifecycle,
                format!("{conn:?} is over and still there"),
            );
        }
    }

    /// The shard's own count is the same, and its sum is what queues hold.
    pub(super) fn compare(&self, shard: &Shard<Echo>) {
        let (theirs, ours) = (shard.live(), self.live.len());
        if theirs != ours {
            let detail = format!("shard {}: {theirs} live, not {ours}", self.shard);
            self.fail(Check::Lifecycle, detail);
        }
        let (mut sweep, mut looks, mut held) = (Sweep::new(), u32::MAX, 0);
        while let Some(conn) = shard.sweep(&mut sweep, &mut looks) {
            held += shard.queue_held_bytes(conn) as u64;
        }
        if held != shard.queued_bytes() {
            let sum = shard.queued_bytes();
            let detail = format!("shard {}: queues hold {held}, not {sum}", self.shard);
            self.fail(Check::SumWrong, detail);
        }
    }

    /// The shard has ended: everything that began must have ended.
    pub(super) fn check_ended(&self) {
        if !self.live.is_empty() {
            let detail = format!("shard {} ended with {:?}", self.shard, self.live);
            self.fail(Check::Lifecycle, detail);
        }
    }
}
