//! What the admin port's thread asks of a shard's sessions, and what it has them do. Each ask is bounded:
//! it looks at one user's connections, or at so many entries of a list.

use std::net::SocketAddr;

use rookery_shard::{ConnId, Shard, TcpInfo};
use rookery_wire::proto::CloseCode;
use serde::Serialize;
use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;

use super::Sessions;
use super::closed::Closed;
use super::conn::{Conn, Phase};
use super::ranking::By;
use super::trace::Line;
use crate::auth::Revocation;

/// See the module. An answer that nobody waits for any more is dropped.
pub enum Ask {
    /// The connections that ended last, newest first.
    Closed {
        /// So many at most.
        most: usize,
        /// The answer.
        answer: oneshot::Sender<Vec<Closed>>,
    },
    /// The connections with the most of something, the most first.
    Rank {
        /// Of what.
        by: By,
        /// So many, up to [`RANKED_MAX`](super::RANKED_MAX).
        most: usize,
        /// The answer.
        answer: oneshot::Sender<Vec<Connection>>,
    },
    /// The connections of a user whom this shard owns.
    User {
        /// Who.
        user_id: u64,
        /// The answer.
        answer: oneshot::Sender<Vec<Connection>>,
    },
    /// End the connections of a user whom this shard owns, or that of one of its devices.
    Kick {
        /// Who.
        user_id: u64,
        /// Which; all of them where it is none.
        device_id: Option<u32>,
        /// How many there were.
        answer: oneshot::Sender<usize>,
    },
    /// Refuse logins of a user whom this shard owns, and have who is in prove itself again.
    Revoke {
        /// Whose, and which.
        revocation: Box<Revocation>,
        /// How many connections were closed.
        answer: oneshot::Sender<usize>,
    },
    /// Tell of each frame of a user whom this shard owns, until nobody receives it any more.
    Trace {
        /// Who.
        user_id: u64,
        /// Where to.
        lines: Sender<Line>,
    },
}

/// A connection, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Connection {
    /// The user; 0 before its login.
    pub user_id: u64,
    /// Its device; 0 before its login.
    pub device_id: u32,
    /// Where it is.
    pub shard: u16,
    /// How far it has come.
    pub phase: &'static str,
    /// Bytes that the kernel has not taken from us.
    pub queue_bytes: usize,
    /// Seconds without a sign of life.
    pub idle_s: u32,
    /// When its token expires, Unix seconds; 0 before its login.
    pub expires_s: u32,
    /// The other end: the client, or the proxy in front of it. None where the kernel does not say (Linux 6.8).
    pub peer: Option<SocketAddr>,
    /// Its round trip time, smoothed, microseconds.
    pub rtt_us: Option<u32>,
    /// Segments that had to be sent again.
    pub retransmits: Option<u32>,
}

impl Connection {
    pub(super) fn of(
        shard: &Shard<Sessions>,
        conn: ConnId,
        state: &Conn,
        info: Option<&TcpInfo>,
    ) -> Self {
        let now_s = super::deadlines::seconds(shard.running_ns());
        Self {
            user_id: state.user_id,
            device_id: state.device_id,
            shard: shard.id(),
            phase: match state.phase {
                Phase::Silent => "silent",
                Phase::Opening => "handshake",
                Phase::Login => "login",
                Phase::Moving => "moving",
                Phase::Live => "live",
                Phase::Leaving => "leaving",
                Phase::Ended => "closing",
            },
            queue_bytes: shard.queue_bytes(conn),
            idle_s: state.silent_s(now_s),
            expires_s: if state.phase == Phase::Ended {
                0
            } else {
                state.expires_s
            },
            peer: info.map(|info| info.peer),
            rtt_us: info.map(|info| info.rtt_us),
            retransmits: info.map(|info| info.retransmits),
        }
    }
}

impl Sessions {
    /// Answers the admin port.
    pub(super) fn asked(&mut self, shard: &mut Shard<Self>, ask: Ask) {
        match ask {
            Ask::Closed { most, answer } => {
                let _ = answer.send(self.closed.newest(most).collect());
            }
            Ask::Rank { by, most, answer } => self.begin_ranking(shard, by, most, answer),
            Ask::User { user_id, answer } => {
                let conns = self.users.connections(user_id, shard).to_vec();
                self.list(shard, conns, answer);
            }
            Ask::Kick {
                user_id,
                device_id,
                answer,
            } => {
                let _ = answer.send(self.kick(shard, user_id, device_id, CloseCode::KICKED));
            }
            Ask::Revoke { revocation, answer } => {
                self.revoked.add(&revocation, shard.now().unix_ms);
                let (user_id, device_id) = (revocation.user_id, revocation.device_id);
                let _ = answer.send(self.kick(shard, user_id, device_id, CloseCode::LOGIN_AGAIN));
            }
            Ask::Trace { user_id, lines } => self.traces.begin(user_id, lines),
        }
    }

    fn kick(
        &mut self,
        shard: &mut Shard<Self>,
        user_id: u64,
        device_id: Option<u32>,
        code: CloseCode,
    ) -> usize {
        let mut kicked = 0;
        for conn in self.users.connections(user_id, shard).to_vec() {
            let device = shard.conn(conn).map(|state| state.device_id);
            if device_id.is_none() || device == device_id {
                self.close(shard, conn, code);
                kicked += 1;
            }
        }
        kicked
    }
}
