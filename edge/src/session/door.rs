//! How connections come in before their login.
//!
//! Whoever connects says nothing that anybody waits for: it has a slot and a few hundred bytes of ours, and is
//! the first to go where either is short. With its first byte it takes a place, among the host's connections
//! (a [`Seat`](crate::admission::Seat)) and in the window of logins under way, and its bytes wait in the lobby
//! (`lobby`). Where the window is full, who keeps us waiting loses its place to those in the backlog: at once
//! who began something and did not end it, later who was answered.

use std::net::IpAddr;

use rookery_shard::{Close, ConnId, Origin, Shard};
use rookery_wire::link::Link;
use rookery_wire::proto::CloseCode;
use rookery_wire::tls;

use super::conn::{Conn, Phase, Place};
use super::settings::{Listener, Transport};
use super::{Sessions, Work};
use crate::admission::add_one;

/// Connections that are looked at for one that may go, in a turn.
const LOOKS_MAX: usize = 16;

/// Accepts for which slots are kept free, while there is one to whom nobody would miss.
const ACCEPTS_KEPT: u64 = 8;

/// Below a sixteenth of its slots a shard sends new connections to one with more room.
const SCARCE: u64 = 16;

/// So long after its first byte a client may take to say what can be answered, where others wait for its place.
/// It is one flight (a ClientHello, a request's head, a PROXY header), of which a part may get lost.
const UNANSWERED_NS: u64 = 250_000_000;

/// So long it may take for its next flight after our answer, where others wait for its place.
const ANSWERED_NS: u64 = 3_000_000_000;

/// What a connection has until its login is over; boxed, and gone then.
pub(super) struct Opening {
    /// From where it comes.
    pub(super) peer: IpAddr,
    /// Where it came in.
    pub(super) listener: Listener,
    /// Bytes that have not been looked at, or the beginning of a PROXY header.
    pub(super) waiting: Vec<u8>,
    /// Since when they wait, or since when the connection is in the lobby, on the clock of deadlines.
    pub(super) waits_since_ns: Option<u64>,
    /// When the login is to be over, on the same clock.
    pub(super) login_by_ns: u64,
    /// Since when it is its turn to say something that can be answered, on the same clock.
    pub(super) its_turn_since_ns: u64,
    /// Something was answered.
    pub(super) is_answered: bool,
    /// The time limit has passed: what waits is the last that is looked at.
    pub(super) is_overdue: bool,
    /// Something of it was looked at before.
    pub(super) is_begun: bool,
    /// To be told that nobody is let in.
    pub(super) is_refused: bool,
    /// It is not read until it has been served.
    pub(super) is_held: bool,
    /// When it was accepted, by the monotonic clock.
    pub(super) accepted_ns: u64,
    /// It came through a proxy that has not said for whom.
    pub(super) is_unannounced: bool,
}

impl Opening {
    /// Whether it is its turn, and it takes longer than it may where others wait for its place.
    fn keeps_waiting(&self, now_ns: u64) -> bool {
        let patience_ns = match self.is_answered {
            true => ANSWERED_NS,
            false => UNANSWERED_NS,
        };
        let waits_for_us = self.waits_since_ns.is_some();
        !waits_for_us && now_ns.saturating_sub(self.its_turn_since_ns) > patience_ns
    }
}

impl Sessions {
    /// A new connection. It has said nothing.
    pub(super) fn open(&mut self, shard: &mut Shard<Self>, conn: ConnId, origin: Origin) {
        self.gate.connect();
        self.opening += 1;
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
        if !listener.is_behind_proxy && self.gate.count_handshake(peer.ip(), now_s).is_err() {
            return self.end(shard, conn, Close::Now);
        }
        let now_ns = shard.running_ns();
        let login_by_ns = now_ns + u64::from(self.limits.login_timeout_ms) * 1_000_000;
        // Nothing is spent on TLS before there is something to look at.
        let mut work = Work::new(Link::accept(None));
        work.opening = Some(Box::new(Opening {
            peer: peer.ip(),
            listener,
            waiting: Vec::new(),
            waits_since_ns: None,
            login_by_ns,
            its_turn_since_ns: now_ns,
            is_answered: false,
            is_overdue: false,
            is_begun: false,
            is_refused: false,
            is_held: false,
            accepted_ns: shard.now().mono_ns,
            is_unannounced: listener.is_behind_proxy,
        }));
        let work = self.work.insert(conn, work);
        if let Some(state) = shard.conn(conn) {
            state.work = Place::at(work);
            state.hear(super::deadlines::seconds(now_ns));
        }
        shard.set_deadline(conn, Some(login_by_ns));
        self.make_room(shard);
        self.silent.join(conn, |other| is_silent(shard, other));
        self.go_where_there_is_room(shard, conn);
    }

    /// The first byte of a connection: it takes a place, or is to be refused.
    pub(super) fn admit(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        let Some(&mut state) = shard.conn(conn) else {
            return;
        };
        let now_ns = shard.running_ns();
        let Some(opening) = self.opening_of(&state) else {
            return;
        };
        opening.its_turn_since_ns = now_ns;
        let (peer, is_behind_proxy) = (opening.peer, opening.listener.is_behind_proxy);
        let entered = match is_behind_proxy {
            true => self.gate.enter_unannounced(),
            false => self.gate.enter(peer),
        };
        let seat = entered.unwrap_or_else(|refusal| {
            tracing::debug!(conn = conn.as_u64(), ?refusal, "refused");
            Default::default()
        });
        if entered.is_err()
            && let Some(opening) = self.opening_of(&state)
        {
            opening.is_refused = true;
        }
        if let Some(state) = shard.conn(conn) {
            state.phase = Phase::Opening;
            state.seat = seat;
        }
        self.window.take();
        self.holders.join(conn, |other| is_holder(shard, other));
    }

    /// What stands behind the first bytes, now that they are looked at. False where there can be nothing.
    pub(super) fn begin_link(
        &mut self,
        shard: &mut Shard<Self>,
        conn: ConnId,
        transport: Transport,
    ) -> bool {
        let made = match transport {
            Transport::Plain => Ok(None),
            Transport::Tls => tls::Handshake::server(&self.certificate).map(Some),
        };
        let handshake = match made {
            Ok(handshake) => handshake,
            Err(error) => {
                tracing::error!(%error, "no TLS handshake can begin");
                self.end(shard, conn, Close::Now);
                return false;
            }
        };
        let place = shard.conn(conn).and_then(|state| state.work.index());
        if let Some(work) = place.and_then(|at| self.work.find_mut(at)) {
            work.link = Link::accept(handshake);
        }
        true
    }

    /// Where there are as many on their way to a login as may be, or few slots left, one goes: of those who
    /// have said nothing the oldest, else one with a place who says nothing now.
    fn make_room(&mut self, shard: &mut Shard<Self>) {
        let is_full = self.opening > self.limits.handshakes_max;
        if is_full || shard.accept_slots() < ACCEPTS_KEPT {
            let went = self.cut_off_silent(shard);
            if is_full && !went {
                self.cut_off_holder(shard, |opening, _| opening.waits_since_ns.is_none());
            }
        }
    }

    /// Where there is no place in the window, those who keep us waiting lose theirs.
    pub(super) fn make_places(&mut self, shard: &mut Shard<Self>) {
        while self.window.free(shard.now().mono_ns) == 0
            && self.cut_off_holder(shard, Opening::keeps_waiting)
        {}
    }

    /// Ends the oldest who has said nothing; whether there was one.
    fn cut_off_silent(&mut self, shard: &mut Shard<Self>) -> bool {
        for _ in 0..LOOKS_MAX.min(self.silent.len()) {
            let Some(oldest) = self.silent.take_first(|other| is_silent(shard, other)) else {
                break;
            };
            if !shard.is_readable(oldest) {
                add_one(&self.gate.counters().cut_off_silent);
                self.end(shard, oldest, Close::Now);
                return true;
            }
            self.silent.join(oldest, |_| true);
        }
        false
    }

    /// Ends one of the first who have a place for whom that holds, and nothing of whom waits to be read;
    /// whether there was one.
    fn cut_off_holder(
        &mut self,
        shard: &mut Shard<Self>,
        may_go: impl Fn(&Opening, u64) -> bool,
    ) -> bool {
        let now_ns = shard.running_ns();
        for _ in 0..LOOKS_MAX.min(self.holders.len()) {
            let Some(conn) = self.holders.take_first(|other| is_holder(shard, other)) else {
                break;
            };
            let state = shard.conn(conn).map(|state| *state).unwrap_or_default();
            let opening = self.opening_of(&state);
            let goes = opening.is_some_and(|opening| may_go(opening, now_ns));
            if goes && !shard.is_readable(conn) {
                add_one(&self.gate.counters().cut_off_silent);
                self.end(shard, conn, Close::Now);
                return true;
            }
            self.holders.join(conn, |_| true);
        }
        false
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
        self.make_room(shard);
        match state.phase {
            Phase::Silent => self.silent.join(conn, |other| is_silent(shard, other)),
            _ => {
                self.window.take();
                self.holders.join(conn, |other| is_holder(shard, other));
            }
        }
        let now_ns = shard.running_ns();
        if let Some(opening) = self.opening_of(state) {
            opening.login_by_ns = opening.login_by_ns.saturating_add(now_ns);
            opening.its_turn_since_ns = now_ns;
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

    /// The time limit of a login has passed. What waits in the lobby came in time, and is looked at first.
    pub(super) fn login_is_overdue(&mut self, shard: &mut Shard<Self>, conn: ConnId, state: &Conn) {
        match self.opening_of(state) {
            Some(opening) if opening.waits_since_ns.is_some() => opening.is_overdue = true,
            _ => self.end_late_login(shard, conn),
        }
    }

    /// Ends a connection that has still not logged in.
    pub(super) fn end_late_login(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        self.count_late_header(shard, conn);
        match shard.conn(conn).map(|state| state.phase) {
            Some(Phase::Silent | Phase::Opening) => self.end(shard, conn, Close::Now),
            Some(Phase::Login) => self.close(shard, conn, CloseCode::LOGIN_LATE),
            Some(Phase::Moving | Phase::Live | Phase::Leaving | Phase::Ended) | None => {}
        }
    }

    /// A connection whose phase was this one is no longer on its way to a login.
    pub(super) fn leave_opening(&mut self, was: Phase) {
        if was.is_opening() {
            self.opening = self.opening.saturating_sub(1);
            if was != Phase::Silent {
                self.window.give_back();
            }
        }
    }
}

/// Whether it has said nothing so far.
fn is_silent(shard: &mut Shard<Sessions>, conn: ConnId) -> bool {
    let state = shard.conn(conn);
    state.is_some_and(|state| state.phase == Phase::Silent)
}

/// Whether it has said something, and is not through.
fn is_holder(shard: &mut Shard<Sessions>, conn: ConnId) -> bool {
    let state = shard.conn(conn);
    state.is_some_and(|state| state.phase.is_opening() && state.phase != Phase::Silent)
}
