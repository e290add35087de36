//! The way from an accepted socket to a login: who is let in, and when what they say is looked at.
//!
//! Bytes of a connection that has not logged in are not looked at as they come: they wait in the lobby,
//! and at the end of a turn so many connections are served as the pace allows. What is established
//! is served as it comes, so a storm of handshakes lengthens its turns up to the pace's target and no
//! further. A login's time limit does not run while the connection waits for us, and what has come
//! when it is over is still looked at.

use std::time::Instant;

use rookery_shard::{Close, ConnId, Origin, Shard};
use rookery_wire::link::Link;
use rookery_wire::proto::CloseCode;
use rookery_wire::{link, tls};

use super::conn::{Conn, Phase, Place};
use super::proxied::Unannounced;
use super::settings::Transport;
use super::{Sessions, Work};
use crate::admission::{
    Class, LOBBY_SHORT, REFUSED_WAIT_NS, REFUSED_WAITING_MAX, Refusal, add_one,
};

/// Bytes that may wait for a connection's turn; above it is not read. A ClientHello with post-quantum
/// key shares is below 2 KiB.
const WAITING_BYTES_MAX: usize = 16 << 10;

/// Accepts that are armed while handshakes are at their bound: each arrival cuts a silent one off.
const ACCEPTS_AT_BOUND: u32 = 8;

/// How many of the oldest are looked at for one that is silent.
const SILENT_LOOKS_MAX: usize = 16;

/// Below a sixteenth of its slots a shard sends new connections to one with more room.
const SCARCE: u64 = 16;

/// What a connection has until its login is over; boxed, and gone then.
pub(super) struct Opening {
    /// Bytes that have not been looked at, or the beginning of a PROXY header.
    pub(super) waiting: Vec<u8>,
    /// Since when they wait, or since when the connection is in the lobby, on the clock of deadlines.
    waits_since_ns: Option<u64>,
    /// When the login is to be over, on the same clock.
    login_by_ns: u64,
    /// The time limit has passed: what waits is the last that is looked at.
    is_overdue: bool,
    /// Something of it was looked at before.
    is_begun: bool,
    /// To be told that nobody is let in.
    pub(super) is_refused: bool,
    /// It is not read until it has been served.
    is_held: bool,
    /// When it was accepted, by the monotonic clock.
    pub(super) accepted_ns: u64,
    /// It came through a proxy that has not said for whom.
    pub(super) unannounced: Option<Unannounced>,
}

impl Sessions {
    /// A new connection.
    pub(super) fn open(&mut self, shard: &mut Shard<Self>, conn: ConnId, origin: Origin) {
        self.opening += 1;
        self.window.take();
        let Origin::Accepted { listener, peer } = origin else {
            tracing::warn!("a server connects to nobody, yet a connection was made");
            return self.end(shard, conn, Close::Now);
        };
        let listener = self.listener(listener);
        if listener.is_behind_proxy && !self.is_proxy(peer.ip()) {
            tracing::debug!(conn = conn.as_u64(), %peer, "none of the proxies");
            add_one(&self.gate.counters().proxy_stranger);
            return self.end(shard, conn, Close::Now);
        }
        let now_s = shard.now().mono_ns / 1_000_000_000;
        let entered = match listener.is_behind_proxy {
            true => self.gate.enter_unannounced(),
            false => self.gate.enter(peer.ip(), now_s),
        };
        let (seat, is_refused) = match entered {
            Ok(seat) => (seat, false),
            Err(Refusal::Rate) => return self.end(shard, conn, Close::Now),
            Err(refusal) => {
                tracing::debug!(conn = conn.as_u64(), ?refusal, "refused");
                (Default::default(), true)
            }
        };
        let now_ns = shard.running_ns();
        if let Some(state) = shard.conn(conn) {
            state.seat = seat;
            state.hear(super::deadlines::seconds(now_ns));
        }
        self.make_room_for_handshake(shard, conn);
        let unannounced = listener.is_behind_proxy.then_some(Unannounced {
            proxy: peer.ip(),
            transport: listener.transport,
        });
        let link = match unannounced {
            // Nothing is spent on TLS before the header is there.
            Some(_) => Link::accept(None),
            None => match self.new_link(listener.transport) {
                Ok(link) => link,
                Err(error) => return self.no_handshake(shard, conn, &error),
            },
        };
        let login_by_ns = now_ns + u64::from(self.settings.login_timeout_ms) * 1_000_000;
        let opening = Opening {
            waiting: Vec::new(),
            waits_since_ns: None,
            login_by_ns,
            is_overdue: false,
            is_begun: false,
            is_refused,
            is_held: false,
            accepted_ns: shard.now().mono_ns,
            unannounced,
        };
        let mut work = Work::new(link);
        work.opening = Some(Box::new(opening));
        let work = self.work.insert(work);
        if let Some(state) = shard.conn(conn) {
            state.work = Place::at(work);
        }
        shard.set_deadline(conn, Some(login_by_ns));
        self.go_where_there_is_room(shard, conn);
    }

    /// Of a server.
    pub(super) fn new_link(&self, transport: Transport) -> Result<Link, tls::Error> {
        let handshake = match transport {
            Transport::Plain => None,
            Transport::Tls => Some(tls::Handshake::server(&self.certificate)?),
        };
        Ok(Link::accept(handshake))
    }

    pub(super) fn no_handshake(
        &mut self,
        shard: &mut Shard<Self>,
        conn: ConnId,
        error: &tls::Error,
    ) {
        tracing::error!(%error, "no TLS handshake can begin");
        self.end(shard, conn, Close::Now);
    }

    /// Where handshakes are at their bound, the one that has been silent for longest goes.
    fn make_room_for_handshake(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        let opens = |shard: &mut Shard<Self>, conn| {
            shard
                .conn(conn)
                .is_some_and(|state| state.phase.is_opening())
        };
        while let Some(&oldest) = self.arrivals.front()
            && !opens(shard, oldest)
        {
            self.arrivals.pop_front();
        }
        if self.opening > self.settings.handshakes_max {
            for _ in 0..SILENT_LOOKS_MAX.min(self.arrivals.len()) {
                let Some(oldest) = self.arrivals.pop_front() else {
                    break;
                };
                if self.waits(shard, oldest) || shard.is_readable(oldest) {
                    self.arrivals.push_back(oldest);
                } else if opens(shard, oldest) {
                    add_one(&self.gate.counters().cut_off_silent);
                    self.end(shard, oldest, Close::Now);
                    break;
                }
            }
        }
        self.arrivals.push_back(conn);
    }

    /// SO_REUSEPORT spreads connections by chance: one shard's slots may be used up while another has
    /// room. Before the handshake a connection moves for nothing.
    fn go_where_there_is_room(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        let (free, all) = (shard.free_slots(), shard.slots());
        if free >= all / SCARCE {
            return;
        }
        let (roomiest, room) = shard.roomiest();
        if room > 2 * free.max(1) {
            add_one(&self.gate.counters().rebalanced);
            shard.move_to(conn, roomiest);
        }
    }

    /// A connection came from another shard before its login.
    pub(super) fn arrive_early(&mut self, shard: &mut Shard<Self>, conn: ConnId, state: &Conn) {
        self.opening += 1;
        self.window.take();
        self.make_room_for_handshake(shard, conn);
        let now_ns = shard.running_ns();
        if let Some(opening) = self.opening_of(state) {
            opening.login_by_ns = opening.login_by_ns.saturating_add(now_ns);
            shard.set_deadline(conn, Some(opening.login_by_ns));
        }
    }

    /// A connection leaves for another shard before its login. Clocks of deadlines differ: what is left of
    /// the time limit travels.
    pub(super) fn depart_early(shard: &Shard<Self>, work: Option<&mut Work>) {
        if let Some(opening) = work.and_then(|work| work.opening.as_deref_mut()) {
            opening.login_by_ns = opening.login_by_ns.saturating_sub(shard.running_ns());
        }
    }

    pub(super) fn opening_of(&mut self, state: &Conn) -> Option<&mut Opening> {
        let work = self.work.find_mut(state.work.index()?)?;
        work.opening.as_deref_mut()
    }

    /// Whether the connection is in the lobby.
    fn waits(&mut self, shard: &mut Shard<Self>, conn: ConnId) -> bool {
        let state = shard.conn(conn).map(|state| *state);
        state
            .and_then(|state| self.opening_of(&state))
            .is_some_and(|opening| opening.waits_since_ns.is_some())
    }

    /// Bytes of a connection that has not logged in: they wait. False where they cannot.
    pub(super) fn wait_in_lobby(
        &mut self,
        shard: &mut Shard<Self>,
        conn: ConnId,
        state: &Conn,
        bytes: &[u8],
    ) -> bool {
        let now_ns = shard.running_ns();
        let Some(opening) = self.opening_of(state) else {
            return false;
        };
        opening.waiting.extend_from_slice(bytes);
        let too_much = opening.waiting.len() > WAITING_BYTES_MAX;
        let holds = too_much && !std::mem::replace(&mut opening.is_held, too_much);
        let class = match (opening.is_refused, opening.is_begun) {
            (true, _) => Class::Refused,
            (false, true) => Class::Begun,
            (false, false) => Class::Fresh,
        };
        if opening.waits_since_ns.is_none() {
            opening.waits_since_ns = Some(now_ns);
            self.lobby.enter(conn, class, now_ns);
        }
        if holds {
            shard.pause(conn);
        }
        true
    }

    /// The end of a turn: serves who waits, for as long as the pace allows.
    pub(super) fn serve_lobby(&mut self, shard: &mut Shard<Self>) {
        let began_ns = shard.now().mono_ns;
        let share_ns = self.pace.begin_turn(began_ns);
        if !self.lobby.is_empty() {
            let began = Instant::now();
            self.cut_off_overdue(shard);
            while let Some((conn, _)) = self.lobby.take_next() {
                self.serve(shard, conn);
                if began.elapsed().as_nanos() >= u128::from(share_ns) {
                    break;
                }
            }
            if !self.lobby.is_empty() {
                self.pace.leave_work(began_ns);
                shard.turn_again();
            }
        }
        let room = LOBBY_SHORT.saturating_sub(self.lobby.len()) as u32;
        let room = room.min(self.window.free(began_ns));
        if let Some(next_ns) = self.window.next_ns() {
            // Nothing else need ever happen.
            shard.turn_again_at(next_ns);
        }
        // Nobody is let in: who comes is told so, one after the other.
        let at_bound = self.opening >= self.settings.handshakes_max || self.draining.is_some();
        shard.set_accept_budget(if at_bound {
            room.min(ACCEPTS_AT_BOUND)
        } else {
            room
        });
    }

    /// Refused ones whose answer is not worth the wait.
    fn cut_off_overdue(&mut self, shard: &mut Shard<Self>) {
        let now_ns = shard.running_ns();
        while let Some(conn) = self
            .lobby
            .next_overdue(now_ns, REFUSED_WAIT_NS, REFUSED_WAITING_MAX)
        {
            if self.waits(shard, conn) {
                add_one(&self.gate.counters().cut_off_waiting);
                self.end(shard, conn, Close::Now);
            }
        }
    }

    /// Looks at what a connection has said.
    fn serve(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        let Some(&mut state) = shard.conn(conn) else {
            return;
        };
        let now_ns = shard.running_ns();
        if !state.phase.is_opening() {
            return;
        }
        let Some(opening) = self.opening_of(&state) else {
            return;
        };
        let Some(since_ns) = opening.waits_since_ns.take() else {
            return;
        };
        let mut bytes = std::mem::take(&mut opening.waiting);
        let unannounced = opening.unannounced;
        opening.is_begun = true;
        let was_held = std::mem::take(&mut opening.is_held);
        let waited_ns = now_ns.saturating_sub(since_ns);
        opening.login_by_ns += waited_ns;
        let login_by_ns = opening.login_by_ns;
        let is_last = std::mem::take(&mut opening.is_overdue) && login_by_ns <= now_ns;
        self.telemetry.counters.lobby_seconds.record_ns(waited_ns);
        if waited_ns > 0 {
            add_one(&self.gate.counters().delayed);
            shard.set_deadline(conn, Some(login_by_ns));
        }
        if was_held {
            shard.resume(conn);
        }
        match unannounced {
            None => self.look_at(shard, conn, &mut bytes),
            Some(unannounced) => self.look_for_header(shard, conn, unannounced, bytes),
        }
        if is_last {
            self.end_late_login(shard, conn);
        }
    }

    /// How upgrade requests of a connection are answered.
    pub(super) fn link_config(
        &self,
        shard: &Shard<Self>,
        work: &Work,
        conn: ConnId,
    ) -> link::Config {
        let mut config = self.settings.link;
        if work
            .opening
            .as_ref()
            .is_some_and(|opening| opening.is_refused)
        {
            config.server.retry_after_s = Some(self.retry_after_s(shard, conn));
        }
        config
    }

    /// When a refused client should come again: spread over the jitter that the others are told too.
    pub(super) fn retry_after_s(&self, shard: &Shard<Self>, conn: ConnId) -> u32 {
        let jitter = self.settings.jitter;
        jitter.retry_after_s(self.crowd(shard), conn.as_u64())
    }

    /// The time limit of a login has passed. What waits in the lobby came in time, and is looked at first.
    pub(super) fn login_is_overdue(&mut self, shard: &mut Shard<Self>, conn: ConnId, state: &Conn) {
        match self.opening_of(state) {
            Some(opening) if opening.waits_since_ns.is_some() => opening.is_overdue = true,
            _ => self.end_late_login(shard, conn),
        }
    }

    /// Ends a connection that has still not logged in.
    fn end_late_login(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        self.count_late_header(shard, conn);
        match shard.conn(conn).map(|state| state.phase) {
            Some(Phase::Opening) => self.end(shard, conn, Close::Now),
            Some(Phase::Login) => self.close(shard, conn, CloseCode::LOGIN_LATE),
            Some(Phase::Moving | Phase::Live | Phase::Leaving | Phase::Ended) | None => {}
        }
    }

    /// A connection whose phase was this one is no longer on its way to a login.
    pub(super) fn leave_opening(&mut self, was: Phase) {
        if was.is_opening() {
            self.opening = self.opening.saturating_sub(1);
            self.window.give_back();
        }
    }
}
