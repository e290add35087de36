//! Handshakes by quinn-proto, both roles: it is unpatched, and never has a 1-RTT key (see `session.rs`).
//!
//! It gets the packets with long headers and sends its own; retransmission, version negotiation and the limit of
//! amplification are its. When it says that it is connected, [`Established`] has what our engine goes on with, and a
//! server's part of it is dropped at once. A client's stays until the server has confirmed, since the client's
//! Finished may be lost. Invariant: no more than `handshakes_max` at once, each with at most
//! [`EARLY_MAX`] datagrams that came too early.

mod config;
mod retry;
mod secrets;
mod session;
mod shaking;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::{
    ClientConfig as QuinnClient, ConnectError, ConnectionHandle, ConnectionId,
    ConnectionIdGenerator, DatagramEvent, Endpoint, EndpointEvent, Event, Incoming, Transmit,
};
use rustls::client::danger::ServerCertVerifier;

use config::Config;
pub use config::{ConfigError, Limits, Server};

use crate::cid::{CID_BYTES, CidKey, Place};
use crate::connection::Awake;
use crate::packet::short_at;
use crate::parked::Parked;
use shaking::Shaking;

/// 1-RTT datagrams that are kept of a handshake until it is done.
pub const EARLY_MAX: usize = 4;

/// A handshake that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(usize);

/// A datagram to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Where to.
    pub to: SocketAddr,
    /// Its payload.
    pub bytes: Vec<u8>,
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct Established {
    /// For [`Handshakes::forget`], by a client.
    pub handle: Handle,
    /// As it was given.
    pub place: Place,
    /// What stays.
    pub parked: Parked,
    /// It has something to send at once.
    pub awake: Box<Awake>,
    /// The protocol that was agreed on.
    pub alpn: Option<Vec<u8>>,
    /// The name that a client asked for.
    pub server_name: Option<String>,
    /// 1-RTT datagrams that came before it was done, to be handled next.
    pub early: Vec<Vec<u8>>,
}

/// What became of a handshake.
#[derive(Debug)]
pub enum Done {
    /// It is done.
    Established(Box<Established>),
    /// It failed, or took too long: the place is free.
    Failed(Place),
}

/// Says the id of the next connection to quinn-proto, which asks at once.
#[derive(Clone, Debug, Default)]
struct NextCid(Arc<AtomicU64>);

impl ConnectionIdGenerator for NextCid {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&self.0.load(Ordering::Relaxed).to_be_bytes())
    }

    fn cid_len(&self) -> usize {
        CID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// All handshakes of a socket.
pub struct Handshakes {
    config: Config,
    endpoint: Endpoint,
    next_cid: NextCid,
    table: HashMap<usize, Shaking>,
    deadlines: BTreeSet<(Instant, usize)>,
    done: Vec<Done>,
    /// Retries so far: each gives out an id of its own.
    retries: u32,
    /// What the caller's time 0 is to quinn-proto.
    base: Instant,
}

impl std::fmt::Debug for Handshakes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshakes")
            .field("config", &self.config)
            .field("under_way", &self.table.len())
            .finish_non_exhaustive()
    }
}

impl Handshakes {
    /// For a server. `secret` is 32 random bytes that outlive a restart: the keys of connection ids, of stateless
    /// resets and of address validation come of it. `seed` is 32 others. `base` is the caller's time 0.
    ///
    /// # Errors
    /// The cryptographic library's.
    pub fn serve(
        server: Server,
        alpn: &[&[u8]],
        limits: &Limits,
        secret: &[u8; 32],
        seed: [u8; 32],
        base: Instant,
    ) -> Result<Self, ConfigError> {
        let next_cid = NextCid::default();
        let mut config = Config::new(limits, secret, seed, next_cid.clone())?;
        config.serve(server, alpn, secret)?;
        Ok(Self::new(config, next_cid, base))
    }

    /// For a client, with the judge of servers' certificates.
    ///
    /// # Errors
    /// The cryptographic library's.
    pub fn connect_only(
        verifier: Arc<dyn ServerCertVerifier>,
        alpn: &[&[u8]],
        limits: &Limits,
        secret: &[u8; 32],
        seed: [u8; 32],
        base: Instant,
    ) -> Result<Self, ConfigError> {
        let next_cid = NextCid::default();
        let mut config = Config::new(limits, secret, seed, next_cid.clone())?;
        config.connect(verifier, alpn)?;
        Ok(Self::new(config, next_cid, base))
    }

    fn new(config: Config, next_cid: NextCid, base: Instant) -> Self {
        let endpoint = Endpoint::new(
            Arc::clone(&config.endpoint),
            config.server.clone(),
            false,
            None,
        );
        Self {
            config,
            endpoint,
            next_cid,
            table: HashMap::new(),
            deadlines: BTreeSet::new(),
            done: Vec::new(),
            retries: 0,
            base,
        }
    }

    /// The key of connection ids.
    pub fn cid_key(&self) -> Arc<CidKey> {
        Arc::clone(&self.config.key)
    }

    /// Handshakes under way.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether none is under way.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Begins a handshake as a client, for a connection that will be at `place`.
    ///
    /// # Errors
    /// A name or an address that cannot be, or no place among the handshakes.
    pub fn connect(
        &mut self,
        now: u64,
        to: SocketAddr,
        server_name: &str,
        place: Place,
        out: &mut Vec<Datagram>,
    ) -> Result<Handle, ConnectError> {
        let Some(tls) = self.config.client.clone().filter(|_| self.has_room()) else {
            return Err(ConnectError::EndpointStopping);
        };
        let mut config = QuinnClient::new(tls);
        config.transport_config(Arc::clone(&self.config.transport));
        self.set_next_cid(&place);
        let at = self.instant(now);
        let (handle, quinn) = self.endpoint.connect(at, config, to, server_name)?;
        self.insert(handle, quinn, place);
        self.drive(now, handle, out);
        Ok(Handle(handle.0))
    }

    fn has_room(&self) -> bool {
        self.table.len() < self.config.handshakes_max
    }

    fn set_next_cid(&self, place: &Place) {
        let cid = u64::from_be_bytes(self.config.key.cid(place, 0));
        self.next_cid.0.store(cid, Ordering::Relaxed);
    }

    fn instant(&self, now: u64) -> Instant {
        self.base + Duration::from_micros(now)
    }

    fn insert(&mut self, handle: ConnectionHandle, quinn: quinn_proto::Connection, place: Place) {
        let shaking = Shaking {
            quinn,
            place,
            early: Vec::new(),
            deadline: None,
            is_done: false,
        };
        self.table.insert(handle.0, shaking);
    }

    /// Takes a datagram that begins with a long header, or is of a connection that is shaking hands. `place` is
    /// asked where a new connection would live, and says nothing where there is no room. Where the connection is
    /// established already, a short packet behind the long ones is for it: the caller looks for it
    /// ([`short_at`]).
    pub fn handle_datagram(
        &mut self,
        now: u64,
        from: SocketAddr,
        datagram: &[u8],
        place: impl FnOnce() -> Option<Place>,
        out: &mut Vec<Datagram>,
    ) {
        let (long, short) = datagram.split_at(short_at(datagram));
        // A short packet is shown for its id only: quinn-proto says whose it is and does not get it.
        let shown = if long.is_empty() { short } else { long };
        let at = self.instant(now);
        let mut answer = Vec::new();
        let event = self
            .endpoint
            .handle(at, from, None, None, BytesMut::from(shown), &mut answer);
        match event {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                let Some(shaking) = self.table.get_mut(&handle.0) else {
                    return;
                };
                shaking.hold(short);
                if !long.is_empty() {
                    shaking.quinn.handle_event(event);
                    self.drive(now, handle, out);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                if self.table.len() >= self.config.retry_above
                    && !incoming.remote_address_validated()
                    && incoming.may_retry()
                {
                    self.retry(incoming, out);
                } else {
                    self.accept(now, incoming, place, out);
                }
            }
            Some(DatagramEvent::Response(transmit)) if !long.is_empty() => {
                push(Some(transmit), answer, out);
            }
            _ => {}
        }
    }

    /// Asks the client to come back with a token.
    fn retry(&mut self, incoming: Incoming, out: &mut Vec<Datagram>) {
        self.retries = self.retries.wrapping_add(1);
        // An id that no connection has, so that the next Initial is not taken for one's.
        self.set_next_cid(&Place {
            shard: self.config.shard,
            shards: self.config.shards,
            slot: u32::MAX,
            generation: self.retries,
        });
        let mut answer = Vec::new();
        match self.endpoint.retry(incoming, &mut answer) {
            Ok(transmit) => push(Some(transmit), answer, out),
            Err(error) => self.endpoint.ignore(error.into_incoming()),
        }
    }

    fn accept(
        &mut self,
        now: u64,
        incoming: Incoming,
        place: impl FnOnce() -> Option<Place>,
        out: &mut Vec<Datagram>,
    ) {
        let Some(place) = self.has_room().then(place).flatten() else {
            self.endpoint.ignore(incoming);
            return;
        };
        self.set_next_cid(&place);
        let mut answer = Vec::new();
        let at = self.instant(now);
        match self.endpoint.accept(incoming, at, &mut answer, None) {
            Ok((handle, quinn)) => {
                self.insert(handle, quinn, place);
                self.drive(now, handle, out);
            }
            Err(error) => {
                self.done.push(Done::Failed(place));
                push(error.response, answer, out);
            }
        }
    }

    /// When [`Handshakes::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<u64> {
        let (at, _) = self.deadlines.first()?;
        // Rounded up: a timer that is asked too early would not fire.
        let nanos = at.saturating_duration_since(self.base).as_nanos();
        u64::try_from(nanos.div_ceil(1_000)).ok()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: u64, out: &mut Vec<Datagram>) {
        let at = self.instant(now);
        while let Some((deadline, handle)) = self.deadlines.first().copied()
            && deadline <= at
        {
            self.deadlines.remove(&(deadline, handle));
            if let Some(shaking) = self.table.get_mut(&handle) {
                shaking.deadline = None;
                shaking.quinn.handle_timeout(at);
                self.drive(now, ConnectionHandle(handle), out);
            }
        }
    }

    /// Handshakes that have ended, in order, each once.
    pub fn poll_done(&mut self) -> Option<Done> {
        (!self.done.is_empty()).then(|| self.done.remove(0))
    }

    /// Drops what is left of a client's handshake: its connection is confirmed, or closed.
    pub fn forget(&mut self, handle: Handle) {
        self.remove(ConnectionHandle(handle.0));
    }

    fn remove(&mut self, handle: ConnectionHandle) -> Option<Shaking> {
        let shaking = self.table.remove(&handle.0)?;
        if let Some(deadline) = shaking.deadline {
            self.deadlines.remove(&(deadline, handle.0));
        }
        self.endpoint.handle_event(handle, EndpointEvent::drained());
        Some(shaking)
    }

    /// Takes from quinn-proto what it has to say.
    fn drive(&mut self, now: u64, handle: ConnectionHandle, out: &mut Vec<Datagram>) {
        let at = self.instant(now);
        let Some(shaking) = self.table.get_mut(&handle.0) else {
            return;
        };
        // What it asks of the endpoint is about connection ids, which are ours.
        while shaking.quinn.poll_endpoint_events().is_some() {}
        let (mut is_connected, mut is_lost) = (false, false);
        while let Some(event) = shaking.quinn.poll() {
            is_connected |= matches!(event, Event::Connected);
            is_lost |= matches!(event, Event::ConnectionLost { .. });
        }
        let mut bytes = Vec::new();
        while let Some(transmit) = shaking.quinn.poll_transmit(at, 1, &mut bytes) {
            push(Some(transmit), std::mem::take(&mut bytes), out);
        }
        let deadline = shaking.quinn.poll_timeout();
        if deadline != shaking.deadline {
            if let Some(former) = shaking.deadline {
                self.deadlines.remove(&(former, handle.0));
            }
            self.deadlines.extend(deadline.map(|at| (at, handle.0)));
            shaking.deadline = deadline;
        }
        if is_connected && !is_lost {
            self.establish(now, handle);
        } else if is_lost && let Some(shaking) = self.remove(handle) {
            self.done
                .extend((!shaking.is_done).then_some(Done::Failed(shaking.place)));
        }
    }

    fn establish(&mut self, now: u64, handle: ConnectionHandle) {
        let Some(shaking) = self.table.get_mut(&handle.0) else {
            return;
        };
        let established = shaking.established(now, handle, &self.config);
        let is_client = shaking.quinn.side().is_client();
        shaking.is_done = true;
        let place = shaking.place;
        if established.is_none() || !is_client {
            self.remove(handle);
        }
        self.done
            .push(established.map_or(Done::Failed(place), |established| {
                Done::Established(Box::new(established))
            }));
    }
}

fn push(transmit: Option<Transmit>, mut bytes: Vec<u8>, out: &mut Vec<Datagram>) {
    if let Some(transmit) = transmit {
        bytes.truncate(transmit.size);
        out.push(Datagram {
            to: transmit.destination,
            bytes,
        });
    }
}
