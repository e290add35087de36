//! The sessions of one shard: what a connection does, from its first byte to its last.
//!
//! [`Sessions`] is the engine's handler. It composes: bytes go through a [`Link`] (TLS, HTTP,
//! WebSocket) and come out as messages (`input`), those of a connection that has not logged in (`door`) when it
//! is their turn (`lobby`), where a proxy is in front after it has said for whom it is (`proxied`);
//! messages are a login (`login`) or requests for the
//! router (`requests`), answers and fan-out (in parts: `fanout`) leave through `output`, and time passes in `deadlines`.
//! Each file is one of these steps, and none calls the one before it.
//!
//! Invariant: while a connection is at rest it owns a [`conn::Conn`] in the slot table, its TLS
//! session in `tls`, and nothing else.

mod asks;
mod closed;
mod conn;
mod deadlines;
mod door;
mod drain;
mod ending;
mod fanout;
mod heartbeat;
mod input;
mod jitter;
mod lobby;
mod login;
mod output;
mod owner;
mod presence;
mod pressure;
mod proxied;
mod questions;
mod ranking;
mod requests;
mod settings;
mod sweeps;
mod telemetry;
mod trace;
mod users;
mod work;

use std::collections::VecDeque;
use std::sync::Arc;

use rookery_router::{Event, RouterHandle};
use rookery_shard::{Arena, Cause, ConnId, Handler, Origin, Shard, TcpInfo};
use rookery_wire::tls;

use crate::admission::{Arrivals, Gate, Lobby, Pace, Window};
use crate::auth::{Revocation, Revoked, Verifier};
pub use asks::{Ask, Connection};
pub use closed::{CLOSED_MAX, Closed};
use conn::{Conn, Place};
use drain::Draining;
pub use drain::{Order, Times};
pub(crate) use fanout::FAN_OUT_BYTES_MAX;
use fanout::FanOuts;
pub use heartbeat::Heartbeat;
pub(crate) use heartbeat::{look_interval, tcp_keepalive_s};
pub use jitter::Jitter;
pub use owner::owner;
pub use presence::{Note, Presence};
pub use ranking::{By, RANKED_MAX};
use requests::caller;
pub use settings::{Limits, Listener, Mode, Settings, Transport};
use sweeps::Sweeps;
pub use telemetry::{Named, Telemetry};
pub use trace::Line;
use trace::Traces;
use users::Users;
use work::{Work, Works};

/// What other threads tell a shard's sessions.
pub enum Mail {
    /// From the router.
    Router(Event),
    /// The router was started anew: requests go to this one.
    RouterAnew(RouterHandle),
    /// New logins are checked with these keys.
    Keys(Arc<Verifier>),
    /// New connections use this certificate.
    Certificate(Arc<tls::ServerConfig>),
    /// From here on these count.
    Limits(Limits),
    /// From the admin port.
    Ask(Ask),
    /// Clients are to be told to reconnect; or, without an order, no longer.
    Drain(Option<Arc<Order>>),
}

impl Mail {
    /// Bytes of frames in it.
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Router(Event::Answer { frames, .. }) => frames.iter().map(Vec::len).sum(),
            Self::Router(Event::Fanout { frame, users, .. }) => frame.len() + 8 * users.len(),
            _ => 0,
        }
    }
}

/// What travels with a connection to its owner's shard.
pub struct Parcel {
    conn: Conn,
    /// Boxed: what lies in a queue is copied on, and the copies are wiped by nobody.
    tls: Option<Box<tls::Session>>,
    work: Option<Box<Work>>,
}

/// See the module.
pub struct Sessions {
    settings: Arc<Settings>,
    limits: Limits,
    certificate: Arc<tls::ServerConfig>,
    verifier: Arc<Verifier>,
    /// Of the users whom this shard owns.
    revoked: Revoked,
    router: RouterHandle,
    tls: Arena<tls::Session>,
    work: Works,
    users: Users,
    /// Work that the last connection at rest gave up, for the next one that wakes.
    spare_work: Option<Box<Work>>,
    fan_outs: FanOuts,
    gate: Arc<Gate>,
    lobby: Lobby<ConnId>,
    pace: Pace,
    window: Window,
    /// Connections here that have not logged in.
    opening: usize,
    /// Of them those who have said nothing.
    silent: Arrivals<ConnId>,
    /// The others, who have a place in the window.
    holders: Arrivals<ConnId>,
    draining: Option<Box<Draining>>,
    /// Those who hold most are ended, until there is room.
    is_relieving: bool,
    sweeps: Sweeps,
    /// Told from the one before by this: what was asked of that one is not counted any more.
    router_number: u8,
    is_stopping: bool,
    /// Who was here when the server began to go: they come again all together, also the last of them.
    going: usize,
    telemetry: Arc<Telemetry>,
    traces: Traces,
    closed: closed::Ring,
    rankings: VecDeque<ranking::Ranking>,
    listings: VecDeque<questions::Listing>,
}

impl Sessions {
    /// The sessions of a shard that has none yet.
    pub fn new(
        telemetry: Arc<Telemetry>,
        settings: Arc<Settings>,
        limits: Limits,
        certificate: Arc<tls::ServerConfig>,
        verifier: Arc<Verifier>,
        router: RouterHandle,
        gate: Arc<Gate>,
    ) -> Self {
        Self {
            pace: Pace::new(limits.turn_target_ns),
            settings,
            limits,
            certificate,
            verifier,
            revoked: Revoked::default(),
            router,
            tls: Arena::default(),
            work: Works::default(),
            users: Users::default(),
            spare_work: None,
            fan_outs: FanOuts::default(),
            gate,
            lobby: Lobby::default(),
            window: Window::new(),
            opening: 0,
            silent: Arrivals::default(),
            holders: Arrivals::default(),
            draining: None,
            is_relieving: false,
            sweeps: Sweeps::default(),
            router_number: 0,
            is_stopping: false,
            going: 0,
            telemetry,
            traces: Traces::default(),
            closed: closed::Ring::default(),
            rankings: VecDeque::new(),
            listings: VecDeque::new(),
        }
    }

    /// What was revoked before this shard began, of the users whom it owns.
    pub fn revoke<'a>(&mut self, revocations: impl Iterator<Item = &'a Revocation>, now_ms: u64) {
        revocations.for_each(|revocation| self.revoked.add(revocation, now_ms));
    }

    /// Stores what a connection has beside its `Conn`, and says where.
    fn store(
        &mut self,
        conn: ConnId,
        state: &mut Conn,
        tls: Option<Box<tls::Session>>,
        work: Option<Box<Work>>,
    ) {
        state.tls = tls.map_or(Place::default(), |mut tls| {
            let session = std::mem::replace(&mut *tls, tls::Session::blank());
            Place::at(self.tls.insert(session))
        });
        let insert = |work| Place::at(self.work.insert(conn, work));
        state.work = work.map_or(Place::default(), insert);
    }

    /// A connection of a user has gone; fan-out forgets it, and after the last one the directory too.
    fn forget_device(&mut self, shard: &Shard<Self>, user_id: u64, conn: ConnId) {
        if self.users.remove(user_id, conn, shard) {
            self.tell(Note::Gone(user_id));
        }
    }

    /// How many come again together, were this server gone.
    fn crowd(&self, shard: &Shard<Self>) -> usize {
        shard.live().max(self.going)
    }

    /// Tells the directory, where there is one.
    fn tell(&self, note: Note) {
        if let Some(presence) = &self.settings.presence {
            presence.tell(note);
        }
    }

    /// Takes out what [`store`](Self::store) stored.
    fn unstore(
        &mut self,
        conn: ConnId,
        state: &mut Conn,
    ) -> (Option<Box<tls::Session>>, Option<Box<Work>>) {
        let tls = std::mem::take(&mut state.tls)
            .index()
            .and_then(|at| self.tls.remove_over(at, tls::Session::blank()))
            .map(Box::new);
        let work = std::mem::take(&mut state.work)
            .index()
            .and_then(|at| self.work.remove(conn, at));
        (tls, work)
    }
}

impl Handler for Sessions {
    type Conn = Conn;
    type Parcel = Parcel;
    type Mail = Mail;

    fn on_open(&mut self, shard: &mut Shard<Self>, conn: ConnId, origin: Origin) {
        self.open(shard, conn, origin);
    }

    fn on_connect_failed(&mut self, _: &mut Shard<Self>, _: u64, errno: i32) {
        tracing::warn!(errno, "a server connects to nobody, yet a connect failed");
    }

    fn on_bytes(&mut self, shard: &mut Shard<Self>, conn: ConnId, bytes: &mut [u8]) {
        self.read(shard, conn, bytes);
    }

    fn on_progress(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        self.progress(shard, conn);
    }

    fn on_drained(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        self.send_owed_ping(shard, conn);
        self.drained(shard, conn);
    }

    fn on_tcp_info(&mut self, _: &mut Shard<Self>, conn: ConnId, info: Option<TcpInfo>) {
        self.tcp_info(conn, info);
    }

    fn on_deadline(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        self.deadline(shard, conn);
    }

    fn on_mail(&mut self, shard: &mut Shard<Self>, mail: Mail) {
        match mail {
            Mail::Router(event) => self.router_event(shard, event),
            Mail::RouterAnew(router) => self.change_router(shard, router),
            Mail::Drain(order) => self.drain(shard, order),
            Mail::Keys(verifier) => self.verifier = verifier,
            Mail::Certificate(certificate) => self.certificate = certificate,
            Mail::Limits(limits) => {
                self.pace = Pace::new(limits.turn_target_ns);
                self.limits = limits;
            }
            Mail::Ask(ask) => self.asked(shard, ask),
        }
    }

    fn on_depart(&mut self, shard: &mut Shard<Self>, conn: ConnId, mut state: Conn) -> Parcel {
        self.leave_opening(state.phase);
        let (tls, mut work) = self.unstore(conn, &mut state);
        if let Some(tls) = &tls {
            tls.forget_keys();
        }
        Self::depart_early(shard, work.as_deref_mut());
        Parcel {
            conn: state,
            tls,
            work,
        }
    }

    fn on_arrive(&mut self, shard: &mut Shard<Self>, conn: ConnId, parcel: Parcel) {
        self.arrive(shard, conn, parcel);
    }

    fn on_move_failed(&mut self, shard: &mut Shard<Self>, conn: ConnId, errno: i32) {
        self.move_failed(shard, conn, errno);
    }

    fn on_closed(&mut self, shard: &mut Shard<Self>, conn: ConnId, mut state: Conn, cause: Cause) {
        if state.phase.is_live() {
            self.forget_device(shard, state.user_id, conn);
        }
        self.leave_opening(state.phase);
        self.gate.leave(state.seat);
        self.gate.disconnect();
        self.telemetry.count_close(state.close_code());
        self.closed.push(&state, cause, shard.now().unix_ms);
        // Its secrets are wiped where they lie.
        if let Some(at) = std::mem::take(&mut state.tls).index() {
            self.tls.discard(at);
        }
        let (_, work) = self.unstore(conn, &mut state);
        if let Some(work) = work {
            if work.under_way.has_reads() {
                self.router.gone(caller(shard, conn, &state));
            }
            self.count_cut_header(&work);
        }
        tracing::debug!(conn = conn.as_u64(), user = state.user_id, ?cause, "closed");
    }

    fn on_turn_end(&mut self, shard: &mut Shard<Self>) {
        self.fan_out_on(shard);
        self.serve_lobby(shard);
        self.drain_on(shard);
        self.sweep_on(shard);
        self.rank_on(shard);
        self.list_on(shard);
        self.relieve(shard);
        if let Some(at_ns) = tls::forget_unused_keys(shard.now().mono_ns) {
            shard.turn_again_at(at_ns);
        }
        self.gauge();
    }

    fn on_stop(&mut self, shard: &mut Shard<Self>) {
        self.stop(shard);
    }
}
