//! The clients of one shard, real to the last byte: TCP, TLS, upgrade, login, messages, close.
//!
//! [`Clients`] is the engine's handler; the thread that runs the phases tells it by [`Mail`] what is to
//! be done, and ticks. It has no timers of its own. `connect` ramps up, `input` takes bytes, `chat`
//! reads protocol frames, `talk` opens conversations and sends what is due, `storm` cuts off and comes
//! back, `leave` goes to another server, `part` says goodbye.
//!
//! Invariant: at rest a client owns its [`conn::Conn`] in the slot table, its TLS session in `tls` and
//! its entry in the roster, and nothing else.

mod chat;
mod conn;
mod connect;
mod input;
mod leave;
mod nats;
mod part;
mod storm;
mod talk;

use std::sync::Arc;
use std::sync::mpsc::Sender;

use rookery_shard::{Arena, Cause, Close, ConnId, Handler, Origin, Shard, Sweep};
use rookery_wire::link::{Link, Masks};
use rookery_wire::tls;

use super::plan::Plan;
use super::schedule::Schedule;
use super::share::Share;
use super::tally::Tally;
use conn::{Conn, Phase};
use connect::Ramp;
use leave::Leaving;
use part::Parting;
use storm::{Again, Cutting};
use talk::Opening;

/// What the phases ask of a shard.
pub(super) enum Mail {
    /// The run's clients below this number are to be connected; nothing more is begun where it is lower
    /// than before.
    Connect {
        /// Over all shards.
        clients: u32,
    },
    /// So many pairs of this shard, spread evenly over its clients, open their conversations.
    Open {
        /// Of this shard.
        pairs: u32,
        /// Told when none is left to open.
        done: Sender<()>,
    },
    /// These messages are to be sent, each when it is due.
    Traffic(Schedule),
    /// Time has passed: send what is due.
    Tick,
    /// Send nothing more; what is under way may arrive.
    Hush,
    /// Tell the latencies since the last time, and go on.
    TellSoFar(Sender<Tally>),
    /// Send nothing more, and tell the latencies.
    Tell(Sender<Tally>),
    /// Cut off every client that does not talk.
    Cut {
        /// Told when all are gone.
        done: Sender<()>,
    },
    /// Those that were cut off connect again.
    Again {
        /// Of this shard, under way at one time.
        window: u32,
    },
    /// Every client says goodbye.
    Part {
        /// Told when all have gone.
        done: Sender<()>,
    },
}

/// See the module.
pub(super) struct Clients {
    plan: Arc<Plan>,
    share: Share,
    masks: Masks,
    tls: Arena<tls::Session>,
    links: Arena<Box<Link>>,
    /// The connection of each client, by local number.
    roster: Vec<Option<ConnId>>,
    ramp: Ramp,
    opening: Opening,
    schedule: Option<Schedule>,
    tally: Option<Tally>,
    cutting: Cutting,
    /// None before the storm.
    again: Option<Again>,
    leaving: Leaving,
    parting: Parting,
}

impl Clients {
    /// The clients of a shard that has none yet.
    pub(super) fn new(plan: Arc<Plan>, share: Share) -> Self {
        let seed = plan.clock.now_ns() ^ u64::from(share.shard) << 56;
        Self {
            ramp: Ramp::with_window(plan.window),
            plan,
            share,
            masks: Masks::new(seed),
            tls: Arena::default(),
            links: Arena::default(),
            roster: Vec::new(),
            opening: Opening::default(),
            schedule: None,
            tally: None,
            cutting: Cutting::default(),
            again: None,
            leaving: Leaving::default(),
            parting: Parting::default(),
        }
    }

    /// A client's connection, where it is live.
    fn live(&self, shard: &mut Shard<Self>, local: u32) -> Option<(ConnId, Conn)> {
        let conn = (*self.roster.get(local as usize)?)?;
        let state = *shard.conn(conn)?;
        (state.phase == Phase::Live).then_some((conn, state))
    }

    fn tick(&mut self, shard: &mut Shard<Self>) {
        self.open_more(shard);
        self.send_due(shard);
        self.cut_more(shard);
        self.connect_more(shard);
        self.part_more(shard);
    }
}

impl Handler for Clients {
    type Conn = Conn;
    /// No client ever moves to another shard.
    type Parcel = ();
    type Mail = Mail;

    fn on_open(&mut self, shard: &mut Shard<Self>, conn: ConnId, origin: Origin) {
        match origin {
            Origin::Connected { token } => self.begin(shard, conn, token as u32),
            Origin::Accepted { .. } => shard.close(conn, Close::Now),
        }
    }

    fn on_connect_failed(&mut self, shard: &mut Shard<Self>, token: u64, errno: i32) {
        self.count_failed(shard, token as u32, &connect::explain(errno));
    }

    fn on_bytes(&mut self, shard: &mut Shard<Self>, conn: ConnId, bytes: &mut [u8]) {
        self.read(shard, conn, bytes);
    }

    fn on_drained(&mut self, _: &mut Shard<Self>, _: ConnId) {}

    fn on_deadline(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        match shard.conn(conn).map(|state| state.phase) {
            Some(Phase::Leaving) => self.leave(shard, conn),
            Some(Phase::Going) => self.end(shard, conn, "the server answers no close"),
            _ => self.end(shard, conn, "no login within the time allowed"),
        }
    }

    fn on_mail(&mut self, shard: &mut Shard<Self>, mail: Mail) {
        match mail {
            Mail::Connect { clients } => self.connect_until(shard, clients),
            Mail::Open { pairs, done } => self.open_pairs(shard, pairs, done),
            Mail::Traffic(schedule) => self.begin_traffic(schedule),
            Mail::Tick => self.tick(shard),
            Mail::Hush => self.hush(),
            Mail::TellSoFar(to) => self.tell_so_far(&to),
            Mail::Tell(to) => self.tell(&to),
            Mail::Cut { done } => self.begin_cutting(shard, done),
            Mail::Again { window } => self.begin_again(shard, window),
            Mail::Part { done } => self.begin_parting(shard, done),
        }
    }

    fn on_depart(&mut self, _: &mut Shard<Self>, _: ConnId, _: Conn) {}

    fn on_arrive(&mut self, shard: &mut Shard<Self>, conn: ConnId, (): ()) {
        shard.close(conn, Close::Now);
    }

    fn on_move_failed(&mut self, _: &mut Shard<Self>, _: ConnId, _: i32) {}

    fn on_closed(&mut self, shard: &mut Shard<Self>, _: ConnId, state: Conn, cause: Cause) {
        if let Some(at) = state.tls.index() {
            self.tls.remove(at);
        }
        if let Some(at) = state.link.index() {
            self.links.remove(at);
        }
        self.count_closed(shard, &state, cause);
    }

    fn on_turn_end(&mut self, shard: &mut Shard<Self>) {
        if let Some(at_ns) = tls::forget_unused_keys(shard.now().mono_ns) {
            shard.turn_again_at(at_ns);
        }
    }

    fn on_stop(&mut self, shard: &mut Shard<Self>) {
        let (mut sweep, mut looks) = (Sweep::new(), u32::MAX);
        while let Some(conn) = shard.sweep(&mut sweep, &mut looks) {
            if let Some(state) = shard.conn(conn) {
                state.phase = Phase::Ended;
            }
            shard.close(conn, Close::Now);
        }
    }
}
