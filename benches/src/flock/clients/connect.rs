//! The ramp: clients come a window at a time, and each end of one that did not work out is told.

use std::net::SocketAddr;

use rookery_shard::{Cause, Close, ConnId, Shard};
use rookery_wire::link::Link;
use rookery_wire::tls;
use rookery_wire::ws::upgrade::ClientRequest;

use super::conn::{Conn, Phase, Place};
use super::{Clients, input};
use crate::flock::schedule::scatter;

/// From a TCP connection to a login: a busy server is slow, and does not hang.
const READY_TIMEOUT_NS: u64 = 60_000_000_000;

/// How far the ramp has come, in clients of this shard.
#[derive(Debug)]
pub(super) struct Ramp {
    /// Under way at one time.
    window: u32,
    /// Asked for.
    wanted: u32,
    /// Begun.
    begun: u32,
    /// Begun, and neither ready nor failed.
    under_way: u32,
}

impl Ramp {
    /// Nobody is there, and so many come at one time.
    pub(super) fn with_window(window: u32) -> Self {
        Self {
            window,
            wanted: 0,
            begun: 0,
            under_way: 0,
        }
    }

    pub(super) fn set_window(&mut self, window: u32) {
        self.window = window;
    }
}

impl Clients {
    pub(super) fn connect_until(&mut self, shard: &mut Shard<Self>, clients: u32) {
        self.ramp.wanted = self.share.of(clients);
        self.connect_more(shard);
    }

    /// Fills the window.
    pub(super) fn connect_more(&mut self, shard: &mut Shard<Self>) {
        while self.ramp.under_way < self.ramp.window
            && let Some(local) = self.next_client(shard.now().mono_ns)
        {
            self.ramp.under_way += 1;
            let address = self.leaving.address(local);
            let address = address.unwrap_or_else(|| self.address_of(local));
            shard.connect(address, u64::from(local));
        }
    }

    /// Where a client connects that nobody has sent elsewhere.
    pub(super) fn address_of(&self, local: u32) -> SocketAddr {
        let addresses = &self.plan.addresses;
        addresses[self.share.global(local) as usize % addresses.len()]
    }

    /// Who is to connect: those that never did, then those that were sent elsewhere, then those of the storm.
    fn next_client(&mut self, now_ns: u64) -> Option<u32> {
        if self.ramp.begun < self.ramp.wanted {
            self.roster.push(None);
            self.ramp.begun += 1;
            return Some(self.ramp.begun - 1);
        }
        self.leaving
            .next(now_ns)
            .or_else(|| self.next_again(now_ns))
    }

    /// TCP stands: the first bytes of TLS, or of the upgrade.
    pub(super) fn begin(&mut self, shard: &mut Shard<Self>, conn: ConnId, local: u32) {
        if let Some(state) = shard.conn(conn) {
            state.local = local;
        }
        let mut out = shard.spare_buffer();
        let plan = &self.plan;
        let handshake = match &plan.tls {
            Some(config) => tls::Handshake::client(config, &plan.target.host, &mut out).map(Some),
            None => Ok(None),
        };
        let handshake = match handshake {
            Ok(handshake) => handshake,
            Err(error) => return self.end(shard, conn, &format!("TLS: {error}")),
        };
        let number = u64::from(self.share.global(local));
        let request = ClientRequest {
            host: &plan.target.authority,
            path: &plan.target.path,
            key: upgrade_key(plan.clock.now_ns() ^ number << 40),
            subprotocol: plan.subprotocol.as_deref(),
        };
        let link = Link::connect(handshake, &request, &mut out);
        let link = Place::at(self.links.insert(Box::new(link)));
        let now_ns = shard.running_ns();
        if let Some(state) = shard.conn(conn) {
            state.link = link;
        }
        shard.set_deadline(conn, Some(now_ns + READY_TIMEOUT_NS));
        if shard.send(conn, out).is_err() {
            self.end(shard, conn, "the first bytes could not be sent");
        }
    }

    /// A client is ready.
    pub(super) fn established(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        let Some(state) = shard.conn(conn) else {
            return;
        };
        state.phase = Phase::Live;
        let local = state.local as usize;
        shard.set_deadline(conn, None);
        if let Some(entry) = self.roster.get_mut(local) {
            *entry = Some(conn);
        }
        let was_sent = self.leaving.arrived(local as u32);
        let counts = &self.plan.counts;
        match self.again {
            _ if was_sent => counts.moved.add_one(),
            Some(_) => counts.reconnected.add_one(),
            None => counts.established.add_one(),
        }
        self.ramp.under_way = self.ramp.under_way.saturating_sub(1);
        self.connect_more(shard);
    }

    /// Ends a client for a reason that is counted.
    pub(super) fn end(&mut self, shard: &mut Shard<Self>, conn: ConnId, reason: &str) {
        let Some(state) = shard.conn(conn) else {
            return;
        };
        let was = *state;
        state.phase = Phase::Ended;
        shard.close(conn, Close::Flush);
        self.count_end(shard, &was, reason);
    }

    /// The engine says that a connection is gone.
    pub(super) fn count_closed(&mut self, shard: &mut Shard<Self>, was: &Conn, cause: Cause) {
        let reason = input::explain(was.phase, cause, self.plan.is_echo());
        self.count_end(shard, was, &reason);
    }

    fn count_end(&mut self, shard: &mut Shard<Self>, was: &Conn, reason: &str) {
        match was.phase {
            Phase::Opening | Phase::Login => self.count_failed(shard, was.local, reason),
            Phase::Live => {
                self.plan.counts.lost.add_one();
                self.plan.counts.note(&format!("lost: {reason}"));
            }
            Phase::Leaving => {
                self.plan
                    .counts
                    .note(&format!("drain: before it left: {reason}"));
                self.gone(shard, was.local);
            }
            Phase::Going => self.gone(shard, was.local),
            Phase::Parting => self.parted(),
            Phase::Cut => self.was_cut(was.local),
            Phase::Ended => {}
        }
    }

    /// A client that never became ready.
    pub(super) fn count_failed(&mut self, shard: &mut Shard<Self>, local: u32, reason: &str) {
        self.plan.counts.note(reason);
        if !self.refused_elsewhere(shard, local) && !self.refused_again(shard, local) {
            self.plan.counts.failed.add_one();
        }
        self.ramp.under_way = self.ramp.under_way.saturating_sub(1);
        self.connect_more(shard);
    }
}

/// 16 bytes that differ for each connection; nobody gains from guessing them here.
fn upgrade_key(seed: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&scatter(seed).to_le_bytes());
    key[8..].copy_from_slice(&scatter(!seed).to_le_bytes());
    key
}

/// Why a TCP connection was not made, and who can do what about it.
pub(super) fn explain(errno: i32) -> String {
    let kernel = std::io::Error::from_raw_os_error(errno);
    let advice = match errno {
        libc::ECONNREFUSED => "nobody listens there, or its backlog is full",
        libc::EADDRNOTAVAIL => {
            "no ephemeral port is left to that address: widen net.ipv4.ip_local_port_range as \
             sysctl/90-rookery-density.conf does, or spread over more addresses (--spread)"
        }
        libc::ENFILE => {
            "no file is left: raise ulimit -n and fs.file-max (sysctl/90-rookery-density.conf)"
        }
        libc::ETIMEDOUT | libc::ECANCELED => {
            "the server did not accept in time: a longer backlog (net.core.somaxconn, \
             net.ipv4.tcp_max_syn_backlog in sysctl/90-rookery-density.conf) or --connect-window"
        }
        _ => return format!("connect: {kernel}"),
    };
    format!("connect: {kernel}: {advice}")
}
