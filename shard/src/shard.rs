//! What a handler may touch of its shard. Every method only queues: the loop hands the operations to
//! the driver when the handlers are done. (The parts that only the loop uses are in the submodules.)

mod act;
mod deadline;
mod flush;
mod occupy;
pub(crate) mod ring;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::driver::{Now, Op, Tag};
use crate::fabric::{Envelope, Fabric, filling_order};
use crate::holders::Holders;
use crate::limits::ACCEPTS_MAX;
use crate::mailbox::Postboxes;
use crate::outgoing::{Outgoing, Spare};
use crate::slot::state::Event;
use crate::slot::table::Table;
use crate::slot::{self, State};
use crate::tag::{self, Kind};
use crate::wheel::Wheel;
use crate::{Cause, Close, Config, ConnId, Counters, Handler};
use ring::RingState;

/// Why [`Shard::send`] refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The connection is gone, or closing.
    #[error("the connection is closed")]
    Closed,
    /// `Config::send_queue_bytes_max` would be passed. Nothing was queued.
    #[error("the connection's send queue is full")]
    QueueFull,
}

/// A move that was asked for and is not over.
#[derive(Debug)]
pub(crate) struct Move {
    pub(crate) to_shard: u16,
    pub(crate) token: u32,
    pub(crate) tries: u8,
}

/// A connect that was asked for and is not over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connecting {
    pub(crate) addr: SocketAddr,
    pub(crate) ring: u16,
    pub(crate) token: u64,
}

/// What the loop has still to tell the handler.
#[derive(Debug)]
pub(crate) enum Failure {
    Connect { token: u64, errno: i32 },
    Move { conn: ConnId, errno: i32 },
}

/// The bounds of the configuration, in the units that the shard computes with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) send_queue_bytes_max: usize,
    pub(crate) linger_ns: u64,
    pub(crate) connect_timeout_ns: u64,
    pub(crate) ring_reserve: u32,
}

/// One shard, as its handler sees it.
pub struct Shard<H: Handler> {
    pub(crate) id: u16,
    pub(crate) now: Now,
    /// Until now, in which the thread did not run though it should have.
    stood_still_ns: u64,
    pub(crate) bounds: Bounds,
    pub(crate) counters: Counters,
    pub(crate) slots: Table<H::Conn>,
    pub(crate) slots_per_ring: u32,
    pub(crate) wheel: Wheel,
    pub(crate) rings: Vec<RingState>,
    /// What the driver is to be given at the end of the turn.
    pub(crate) ops: Vec<(Tag, Op)>,
    /// Peers that have hung up wait for the next turn.
    pub(crate) leavers_wait: bool,
    /// No more mails are taken before the next end of a turn.
    pub(crate) mails_held: bool,
    /// Connections with something to send, or to look at.
    pub(crate) dirty: VecDeque<ConnId>,
    /// Closing connections with nothing in flight.
    pub(crate) idle: Vec<ConnId>,
    pub(crate) spare: Spare,
    /// What is queued for sending.
    pub(crate) queued: Holders,
    pub(crate) live: usize,
    pub(crate) stopping: bool,
    /// The grace of the stop is to begin anew.
    pub(crate) grace_begins: bool,
    pub(crate) accept_budget: u32,
    /// When `on_turn_end` is due whatever comes, monotonic nanoseconds.
    pub(crate) again_at_ns: Option<u64>,
    pub(crate) failures: VecDeque<Failure>,
    /// Connects that wait for their turn; then sockets that are being made, by the engine's token;
    /// then connects under way, by slot index.
    pub(crate) wanted: VecDeque<Connecting>,
    pub(crate) sockets: HashMap<u32, Connecting>,
    pub(crate) connecting: HashMap<u32, Connecting>,
    pub(crate) next_socket: u32,
    /// Moves from here, by slot index.
    pub(crate) moves: HashMap<u32, Move>,
    next_move: u32,
    /// Files that came before their parcel, and parcels that came before their file.
    pub(crate) arrivals: HashMap<(u16, u32), ConnId>,
    pub(crate) parcels: HashMap<(u16, u32), Envelope<H::Parcel>>,
    /// Parcels for shards whose queue was full.
    pub(crate) undelivered: VecDeque<(u16, Envelope<H::Parcel>)>,
    postboxes: Postboxes<H::Mail>,
    pub(crate) fabric: Arc<Fabric<H::Parcel>>,
}

impl<H: Handler> Shard<H> {
    pub(crate) fn new(
        id: u16,
        now: Now,
        config: &Config,
        rings: u16,
        slots_per_ring: u32,
        postboxes: Postboxes<H::Mail>,
        fabric: Arc<Fabric<H::Parcel>>,
    ) -> Self {
        let ring = || RingState::new(slots_per_ring, config.recv_buffers);
        Shard {
            id,
            now,
            stood_still_ns: 0,
            bounds: Bounds {
                send_queue_bytes_max: config.send_queue_bytes_max,
                linger_ns: config.linger_ms.saturating_mul(1_000_000),
                connect_timeout_ns: config.connect_timeout_ms.saturating_mul(1_000_000),
                ring_reserve: config.ring_reserve(),
            },
            counters: Counters::default(),
            slots: Table::new(slots_per_ring * u32::from(rings)),
            slots_per_ring,
            wheel: Wheel::new(now.mono_ns),
            rings: (0..rings).map(|_| ring()).collect(),
            leavers_wait: false,
            mails_held: false,
            ops: Vec::new(),
            dirty: VecDeque::new(),
            idle: Vec::new(),
            spare: Spare::default(),
            queued: Holders::default(),
            live: 0,
            stopping: false,
            grace_begins: false,
            accept_budget: ACCEPTS_MAX,
            again_at_ns: None,
            failures: VecDeque::new(),
            wanted: VecDeque::new(),
            sockets: HashMap::new(),
            connecting: HashMap::new(),
            next_socket: 0,
            moves: HashMap::new(),
            next_move: 0,
            arrivals: HashMap::new(),
            parcels: HashMap::new(),
            undelivered: VecDeque::new(),
            postboxes,
            fabric,
        }
    }

    /// This shard's number, from 0.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// The number of shards.
    pub fn shards(&self) -> u16 {
        self.fabric.shards()
    }

    /// The time, read once per turn.
    pub fn now(&self) -> Now {
        self.now
    }

    /// The state of a connection; `None` once it is gone (closed, departed, or the id is of no use).
    pub fn conn(&mut self, conn: ConnId) -> Option<&mut H::Conn> {
        self.slots
            .find(conn)
            .filter(|slot| slot.has(slot::TOLD) && slot.state.is_live())
            .map(|slot| &mut slot.conn)
    }

    /// The connection in a slot, by the slot's number ([`ConnId::index`]), and its state; `None` where the slot
    /// is free. For those who keep numbers of slots, of connections that they know to be there.
    pub fn conn_in(&self, slot: u32) -> Option<(ConnId, &H::Conn)> {
        self.slots.peek_at(slot)
    }

    /// Queues bytes for sending. An error queues none of them. Empty `bytes` are dropped. What is sent
    /// while the connection moves to another shard is sent from there.
    pub fn send(&mut self, conn: ConnId, bytes: Vec<u8>) -> Result<(), SendError> {
        let slot = self.slots.find(conn).filter(|slot| slot.state.is_open());
        let Some(slot) = slot else {
            return Err(SendError::Closed);
        };
        let queued = slot.out.as_ref().map_or(0, |out| out.bytes());
        if queued + bytes.len() > self.bounds.send_queue_bytes_max {
            self.counters.send_refused += 1;
            return Err(SendError::QueueFull);
        }
        if bytes.is_empty() {
            self.spare.put(bytes);
            return Ok(());
        }
        let before = slot.queue_held_bytes();
        slot.out
            .get_or_insert_with(Box::<Outgoing>::default)
            .push(bytes, &mut self.spare);
        self.queued.change(conn, before, slot.queue_held_bytes());
        self.mark_dirty(conn);
        Ok(())
    }

    /// Bytes of the connection that the kernel has not taken yet.
    pub fn queue_bytes(&self, conn: ConnId) -> usize {
        let out = self.slots.peek(conn).and_then(|slot| slot.out.as_ref());
        out.map_or(0, |out| out.bytes())
    }

    /// Bytes of memory that the connection's queue takes, what is with the kernel included.
    pub fn queue_held_bytes(&self, conn: ConnId) -> usize {
        let slot = self.slots.peek(conn);
        slot.map_or(0, |slot| slot.queue_held_bytes())
    }

    /// What is queued on all connections together takes so many bytes of memory.
    pub fn queued_bytes(&self) -> u64 {
        self.queued.bytes()
    }

    /// One of the connections whose queue takes most, of those whose socket is full: the one that has taken nothing
    /// for longest ([`Holders::largest`]).
    pub fn longest_stuck_queue(&mut self) -> Option<ConnId> {
        let (slots, now_ns) = (&self.slots, self.now.mono_ns);
        self.queued.largest(|conn| {
            let out = slots.peek(conn)?.out.as_ref()?;
            Some(now_ns.saturating_sub(out.blocked_since_ns()?))
        })
    }

    /// An empty buffer, perhaps with capacity left from an earlier send.
    pub fn spare_buffer(&mut self) -> Vec<u8> {
        self.spare.take()
    }

    /// Stops reading: after at most one more `on_bytes` (a receive that was already under way), none
    /// comes until [`Shard::resume`]. A peer that closes meanwhile is noticed after the resume, or by
    /// a failing send. A connection that moves arrives unpaused, and one whose move failed is unpaused
    /// too (before any more of its bytes, `on_move_failed` says so).
    pub fn pause(&mut self, conn: ConnId) {
        self.apply(conn, Event::Pause);
        self.stop_waiting_for_bytes(conn);
    }

    /// Reads again.
    pub fn resume(&mut self, conn: ConnId) {
        self.apply(conn, Event::Resume);
    }

    /// Ends the connection. No `on_bytes`, `on_deadline` or `on_drained` comes for it any more;
    /// `on_closed` comes when the kernel is done with it. One that is on its way to another shard
    /// departs all the same (its parcel may say that it is to be closed there).
    pub fn close(&mut self, conn: ConnId, how: Close) {
        self.close_for(conn, how, Cause::Closed);
    }

    pub(crate) fn close_for(&mut self, conn: ConnId, how: Close, cause: Cause) {
        let Some(slot) = self.slots.find(conn) else {
            return;
        };
        slot.set_cause(cause);
        if slot.state == State::Moving {
            slot.flags |= slot::CLOSE_AFTER_MOVE;
            return;
        }
        self.moves.remove(&conn.index());
        self.apply(
            conn,
            match how {
                Close::Flush => Event::CloseFlush,
                Close::Now => Event::CloseNow,
            },
        );
    }

    /// Whether bytes of the connection, or their end, are known to wait in its socket.
    pub fn is_readable(&self, conn: ConnId) -> bool {
        let slot = self.slots.peek(conn);
        slot.is_some_and(|slot| matches!(slot.state, State::Ready | State::Receiving))
    }

    /// Asks the kernel about an open connection: [`Handler::on_tcp_info`] comes at the beginning of the next
    /// turn, whatever becomes of it. False where it is not open, and nothing comes. Costs three system calls'
    /// work, some 2 us, and a descriptor meanwhile: so many in a turn.
    pub fn ask_tcp_info(&mut self, conn: ConnId) -> bool {
        let slot = self.slots.peek(conn);
        let is_open = slot.is_some_and(|slot| slot.state.is_open());
        if is_open {
            let slot = self.slot_ref(conn);
            self.ops
                .push((tag::of_conn(Kind::TcpInfo, conn), Op::TcpInfo { slot }));
        }
        is_open
    }

    /// Moves the connection to another shard when what is queued on it has been sent. Its bytes stay
    /// in the kernel meanwhile. Then `on_depart` here and `on_arrive` there, or `on_move_failed` here.
    /// A move to this shard, or to none, is ignored.
    pub fn move_to(&mut self, conn: ConnId, shard: u16) {
        if shard == self.id || shard >= self.shards() {
            return;
        }
        let slot = self.slots.find(conn);
        if !slot.is_some_and(|slot| slot.state.is_open() && slot.state != State::Moving) {
            return;
        }
        self.next_move = self.next_move.wrapping_add(1);
        let order = Move {
            to_shard: shard,
            token: self.next_move,
            tries: 0,
        };
        self.moves.insert(conn.index(), order);
        self.apply(conn, Event::MoveAsked);
        self.stop_waiting_for_bytes(conn);
        self.mark_dirty(conn);
    }

    /// Posts to a shard's mailbox (its own too). Gives the mail back when it is full.
    pub fn post(&mut self, shard: u16, mail: H::Mail) -> Result<(), H::Mail> {
        self.postboxes
            .post(shard, mail)
            .inspect_err(|_| self.counters.mailbox_full += 1)
    }

    /// Connects to `addr`: `on_open` with [`crate::Origin::Connected`], or `on_connect_failed` (ENFILE
    /// where this shard has no free slot, ECANCELED where it is stopping), never before this returns.
    pub fn connect(&mut self, addr: SocketAddr, token: u64) {
        let enough = self.bounds.ring_reserve + 1;
        let ring = (0u16..)
            .zip(&self.rings)
            .filter(|(_, state)| state.free() > 0)
            .min_by_key(|(ring, state)| filling_order(state.free(), enough, *ring))
            .map(|(ring, _)| ring);
        let (Some(ring), false) = (ring, self.stopping) else {
            let errno = if self.stopping {
                libc::ECANCELED
            } else {
                libc::ENFILE
            };
            self.failures.push_back(Failure::Connect { token, errno });
            return;
        };
        self.rings[usize::from(ring)].used += 1;
        self.wanted.push_back(Connecting { addr, ring, token });
    }

    /// How many accepts may be armed on each listener, from the end of this turn on; at most
    /// [`ACCEPTS_MAX`], which it also is at the start. Who comes above it waits in the listener's
    /// backlog. Accepts that are armed already stay, unless it is 0 for some milliseconds.
    pub fn set_accept_budget(&mut self, accepts: u32) {
        self.accept_budget = accepts.min(ACCEPTS_MAX);
    }

    /// Work is left over: the next turn begins at once, and ends with `on_turn_end` whatever comes.
    pub fn turn_again(&mut self) {
        self.again_at_ns = Some(0);
    }

    /// Takes no more mails before the next [`Handler::on_turn_end`]: what has come led to enough work. They wait in
    /// the mailbox, and those who post them once it is full. Called at the end of a turn it holds for the whole next
    /// one, which is to be asked for ([`Shard::turn_again`]).
    pub fn hold_mails(&mut self) {
        self.mails_held = true;
    }

    /// As [`Shard::turn_again`], but not before that time (monotonic nanoseconds). The earliest of those
    /// that were asked for since the last such turn counts.
    pub fn turn_again_at(&mut self, at_mono_ns: u64) {
        let at = self.again_at_ns.map_or(at_mono_ns, |at| at.min(at_mono_ns));
        self.again_at_ns = Some(at);
    }

    /// Slots of all rings.
    pub fn slots(&self) -> u64 {
        u64::from(self.slots_per_ring) * self.rings.len() as u64
    }

    /// Slots that are free.
    pub fn free_slots(&self) -> u64 {
        self.rings.iter().map(|ring| u64::from(ring.free())).sum()
    }

    /// Slots that are free for accepts: all but those that each ring keeps for what moves here.
    pub fn accept_slots(&self) -> u64 {
        let reserve = self.bounds.ring_reserve;
        let free = |ring: &RingState| u64::from(ring.free().saturating_sub(reserve));
        self.rings.iter().map(free).sum()
    }

    /// The shard with the most free slots and how many those are, as each published at the end of its
    /// last turn.
    pub fn roomiest(&self) -> (u16, u64) {
        (0..self.shards())
            .map(|shard| (shard, self.fabric.free_slots_of(shard)))
            .max_by_key(|(_, free)| *free)
            .unwrap_or((self.id, 0))
    }

    /// Connections of the handler here: opened or arrived, and neither closed nor departed.
    pub fn live(&self) -> usize {
        self.live
    }

    /// Somebody was told of a stop only now: its grace ([`Config::stop_grace_ms`]) counts from here. To be
    /// called while the handler still tells connections, which may take longer than the grace is.
    pub fn begin_stop_grace(&mut self) {
        self.grace_begins = true;
    }

    /// The shard's counters until now.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}
