//! A server that goes: a client that is told to reconnect stops sending, chooses its moment, waits for its
//! acks, says goodbye, and connects to one of the servers that it was told, again and again until it is in.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{SocketAddr, ToSocketAddrs as _};

use rookery_shard::{ConnId, Shard};
use rookery_wire::proto::{self, CloseCode};

use super::Clients;
use super::conn::Phase;
use crate::flock::schedule::scatter;
use crate::flock::target::Target;

/// Between two looks whether the last acks have come.
const LOOK_NS: u64 = 20_000_000;
/// A server that does not answer a close.
const ANSWER_NS: u64 = 10_000_000_000;
/// A client that was refused waits from half of this to one and a half, at random.
const RETRY_NS: u64 = 1_000_000_000;
/// Names of servers that are remembered: the protocol has eight in a frame.
const SERVERS_MAX: usize = 64;

/// Who has to go, and where to.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    /// Messages that are not acked, by client; those that have some.
    unacked: HashMap<u32, u32>,
    /// Where a client connects once it has gone.
    to: HashMap<u32, SocketAddr>,
    /// Gone: not before this moment of the shard's clock, and who. The earliest on top.
    due: BinaryHeap<Reverse<(u64, u32)>>,
    servers: HashMap<Vec<u8>, Option<SocketAddr>>,
}

impl Leaving {
    pub(super) fn sent(&mut self, local: u32) {
        *self.unacked.entry(local).or_default() += 1;
    }

    pub(super) fn answered(&mut self, local: u32) {
        if let Some(left) = self.unacked.get_mut(&local) {
            *left -= 1;
            if *left == 0 {
                self.unacked.remove(&local);
            }
        }
    }

    /// Whether a client is on its way to another server, and where that is.
    pub(super) fn address(&self, local: u32) -> Option<SocketAddr> {
        self.to.get(&local).copied()
    }

    /// Who is to connect now.
    pub(super) fn next(&mut self, now_ns: u64) -> Option<u32> {
        let &Reverse((due_ns, local)) = self.due.peek()?;
        (due_ns <= now_ns).then(|| {
            self.due.pop();
            local
        })
    }

    /// It is in: whether it had been on its way.
    pub(super) fn arrived(&mut self, local: u32) -> bool {
        self.to.remove(&local).is_some()
    }
}

impl Clients {
    /// The server wants a client to reconnect.
    pub(super) fn told(
        &mut self,
        shard: &mut Shard<Self>,
        conn: ConnId,
        told: &proto::ArchivedReconnect,
    ) {
        let Some(state) = shard.conn(conn).filter(|state| state.phase == Phase::Live) else {
            return;
        };
        state.phase = Phase::Leaving;
        let local = state.local;
        let random = scatter(shard.now().mono_ns ^ u64::from(local) << 40);
        let (from, to) = (
            told.not_before_ms.to_native(),
            told.not_after_ms.to_native(),
        );
        let window_ms = u64::from(to.saturating_sub(from)) + 1;
        let in_ms = u64::from(from) + (random & 0xffff_ffff) * window_ms / (1 << 32);
        let nth = (random >> 32) * told.alternatives.len() as u64 / (1 << 32);
        let address = match told.alternatives.get(nth as usize) {
            Some(server) => self.server(&server.url),
            None => None,
        };
        let own = self.address_of(local);
        self.leaving.to.insert(local, address.unwrap_or(own));
        self.forget_pair(local);
        self.plan.counts.told_at(told.server_time_ms.to_native());
        shard.set_deadline(conn, Some(shard.running_ns() + in_ms * 1_000_000));
    }

    /// The address of a server, looked up once. None for a name that is none.
    fn server(&mut self, url: &[u8]) -> Option<SocketAddr> {
        if let Some(&known) = self.leaving.servers.get(url) {
            return known;
        }
        let target = std::str::from_utf8(url)
            .ok()
            .and_then(|it| Target::parse(it).ok());
        let found = target.filter(|target| target.tls == self.plan.target.tls);
        let address = found.and_then(|target| {
            let mut all = (target.host.as_str(), target.port).to_socket_addrs().ok()?;
            all.next()
        });
        if address.is_none() {
            self.plan
                .counts
                .note("drain: an alternative that is no server");
        }
        if self.leaving.servers.len() < SERVERS_MAX {
            self.leaving.servers.insert(url.to_vec(), address);
        }
        address
    }

    /// A client's moment has come.
    pub(super) fn leave(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        let now_ns = shard.running_ns();
        let Some(state) = shard.conn(conn) else {
            return;
        };
        if self.leaving.unacked.contains_key(&state.local) {
            return shard.set_deadline(conn, Some(now_ns + LOOK_NS));
        }
        state.phase = Phase::Going;
        let tls = state.tls;
        shard.set_deadline(conn, Some(now_ns + ANSWER_NS));
        self.say(shard, conn, tls, |to| to.close(CloseCode::NORMAL, ""));
    }

    /// A client that was told to reconnect has gone, by itself or not.
    pub(super) fn gone(&mut self, shard: &mut Shard<Self>, local: u32) {
        self.leaving.unacked.remove(&local);
        if let Some(entry) = self.roster.get_mut(local as usize) {
            *entry = None;
        }
        self.plan.counts.left.add_one();
        self.leaving.due.push(Reverse((shard.now().mono_ns, local)));
        self.connect_more(shard);
    }

    /// A client that is on its way to another server was refused: it waits. Whether it is on its way.
    pub(super) fn refused_elsewhere(&mut self, shard: &Shard<Self>, local: u32) -> bool {
        if self.leaving.address(local).is_none() {
            return false;
        }
        let now_ns = shard.now().mono_ns;
        let random = scatter(now_ns ^ u64::from(local) << 40) % RETRY_NS;
        let due_ns = now_ns + RETRY_NS / 2 + random;
        self.leaving.due.push(Reverse((due_ns, local)));
        self.plan.counts.tried_again.add_one();
        true
    }
}
