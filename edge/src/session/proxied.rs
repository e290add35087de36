//! Connections that come through a proxy: who may be one, and for whom it says that they are.
//!
//! On a listener behind proxies a peer that is none of them is closed at once, and of one that is, nothing
//! is looked at before its PROXY header has come. From its first byte on a connection is one of the host's and
//! of those that have not logged in, and has less than a header's bytes; no TLS, and no place among its client's. It is bound by the same time limit as a login, which the header is a
//! part of. Elsewhere a header is what any other garbage is.

use std::net::IpAddr;

use rookery_shard::{Close, ConnId, Shard};
use rookery_wire::proxy_protocol::{self, Error, Header, Source};

use super::conn::Conn;
use super::settings::Listener;
use super::{Sessions, Work};
use crate::admission::{Refusal, add_one};

impl Sessions {
    //= PROXY protocol section 2: The receiver MUST be configured to only receive the protocol described in this specification and MUST not try to guess whether the protocol header is present or not.
    /// What the engine's number stands for: whether a header is due is the listener's alone.
    pub(super) fn listener(&self, number: u16) -> Listener {
        let listeners = &self.settings.listeners;
        listeners
            .get(usize::from(number))
            .copied()
            .unwrap_or_default()
    }

    //= PROXY protocol section 2: The receiver SHOULD ensure proper access filtering so that only trusted proxies are allowed to use this protocol.
    /// Whether it is one of `listen.proxies`.
    pub(super) fn is_proxy(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        let mut proxies = self.settings.proxies.iter();
        proxies.any(|network| network.contains(&peer))
    }

    //= PROXY protocol section 2: The receiver MUST NOT start processing the connection before it receives a complete and valid PROXY protocol header.
    /// Looks for the header in everything that has come, and at what stands behind it.
    pub(super) fn look_for_header(
        &mut self,
        shard: &mut Shard<Self>,
        conn: ConnId,
        mut bytes: Vec<u8>,
    ) {
        let Some(&mut state) = shard.conn(conn) else {
            return;
        };
        match proxy_protocol::parse(&bytes) {
            Ok(None) => {
                if let Some(opening) = self.opening_of(&state) {
                    opening.waiting = bytes;
                }
            }
            Ok(Some(header)) => {
                if self.announce(shard, conn, header)
                    && let Some(behind) = bytes.get_mut(header.bytes..)
                    && !behind.is_empty()
                {
                    self.look_at(shard, conn, behind);
                }
            }
            Err(error) => {
                let proxy = self.opening_of(&state).map(|opening| opening.peer);
                tracing::debug!(conn = conn.as_u64(), ?proxy, %error, "closed");
                let counters = self.gate.counters();
                add_one(match error {
                    Error::Absent => &counters.proxy_header_absent,
                    Error::TooLong => &counters.proxy_header_too_long,
                    Error::Malformed(_) => &counters.proxy_header_malformed,
                });
                self.forget_header(&state);
                self.end(shard, conn, Close::Now);
            }
        }
    }

    /// The header has come: the connection is its client's from now on. False where it is closed instead.
    fn announce(&mut self, shard: &mut Shard<Self>, conn: ConnId, header: Header) -> bool {
        let Some(&mut state) = shard.conn(conn) else {
            return false;
        };
        let now_ns = shard.running_ns();
        let Some(opening) = self.opening_of(&state) else {
            return false;
        };
        opening.is_unannounced = false;
        // From here on it is the client's turn, which may be further away than the proxy.
        opening.its_turn_since_ns = now_ns;
        let (proxy, transport) = (opening.peer, opening.listener.transport);
        let client = match header.source {
            Source::Client(client) => Some(client),
            Source::Unknown => Some(proxy),
            Source::Proxy => None,
        };
        let now_s = shard.now().mono_ns / 1_000_000_000;
        let (seat, is_refused) = match self.gate.announce(state.seat, client, now_s) {
            Ok(seat) => (seat, false),
            Err(Refusal::Rate) => {
                self.end(shard, conn, Close::Now);
                return false;
            }
            Err(refusal) => {
                tracing::debug!(conn = conn.as_u64(), ?client, ?refusal, "refused");
                (Default::default(), true)
            }
        };
        if let Some(state) = shard.conn(conn) {
            state.seat = seat;
        }
        if let Some(opening) = self.opening_of(&state) {
            opening.is_refused |= is_refused;
        }
        self.begin_link(shard, conn, transport)
    }

    /// It has come, or was counted.
    fn forget_header(&mut self, state: &Conn) {
        if let Some(opening) = self.opening_of(state) {
            opening.is_unannounced = false;
        }
    }

    /// The time limit of a login has passed. Counts a header that has not come by then.
    pub(super) fn count_late_header(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        let state = shard.conn(conn).map(|state| *state);
        let Some(opening) = state.and_then(|state| self.opening_of(&state)) else {
            return;
        };
        if std::mem::take(&mut opening.is_unannounced) {
            let has_begun = !opening.waiting.is_empty();
            let counters = self.gate.counters();
            add_one(match has_begun {
                true => &counters.proxy_header_cut,
                false => &counters.proxy_header_absent,
            });
        }
    }

    /// A connection has ended. Counts a header that it began and did not end; a proxy that connects and
    /// goes without a word only looks whether we are there.
    pub(super) fn count_cut_header(&self, work: &Work) {
        if let Some(opening) = &work.opening
            && opening.is_unannounced
            && !opening.waiting.is_empty()
            && proxy_protocol::parse(&opening.waiting) == Ok(None)
        {
            add_one(&self.gate.counters().proxy_header_cut);
        }
    }
}
