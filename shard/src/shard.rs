//! What a handler may touch of its shard. Every method only queues: the loop hands the operations to
//! the driver when the handlers are done.

use std::net::SocketAddr;

use crate::driver::Now;
use crate::{Close, ConnId, Counters, Handler};

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

/// One shard, as its handler sees it.
pub struct Shard<H: Handler> {
    id: u16,
    shards: u16,
    now: Now,
    counters: Counters,
    slots: Vec<H::Conn>,
}

impl<H: Handler> Shard<H> {
    /// This shard's number, from 0.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// The number of shards.
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// The time, read once per turn.
    pub fn now(&self) -> Now {
        self.now
    }

    /// The state of a connection; `None` once it is gone (closed, departed, or the id is of no use).
    pub fn conn(&mut self, _conn: ConnId) -> Option<&mut H::Conn> {
        self.slots.first_mut()
    }

    /// Queues bytes for sending. An error queues none of them. Empty `bytes` are dropped.
    pub fn send(&mut self, _conn: ConnId, _bytes: Vec<u8>) -> Result<(), SendError> {
        Err(SendError::Closed)
    }

    /// Bytes of the connection that the kernel has not taken yet.
    pub fn queue_bytes(&self, _conn: ConnId) -> usize {
        0
    }

    /// An empty buffer, perhaps with capacity left from an earlier send.
    pub fn spare_buffer(&mut self) -> Vec<u8> {
        Vec::new()
    }

    /// Stops reading: `on_bytes` is not called until [`Shard::resume`]. A peer that closes meanwhile
    /// is noticed after the resume, or by a failing send.
    pub fn pause(&mut self, _conn: ConnId) {}

    /// Reads again.
    pub fn resume(&mut self, _conn: ConnId) {}

    /// Ends the connection. No `on_bytes`, `on_deadline` or `on_drained` comes for it any more;
    /// `on_closed` comes when the kernel is done with it.
    pub fn close(&mut self, _conn: ConnId, _how: Close) {}

    /// Sets the connection's one deadline (monotonic nanoseconds), or removes it. It fires up to one
    /// tick (17 ms) late, never early.
    pub fn set_deadline(&mut self, _conn: ConnId, _at_mono_ns: Option<u64>) {}

    /// Moves the connection to another shard when what is queued on it has been sent. Its bytes stay
    /// in the kernel meanwhile. Then `on_depart` here and `on_arrive` there, or `on_move_failed` here.
    pub fn move_to(&mut self, _conn: ConnId, _shard: u16) {}

    /// Posts to a shard's mailbox (its own too). Gives the mail back when it is full.
    pub fn post(&mut self, _shard: u16, mail: H::Mail) -> Result<(), H::Mail> {
        Err(mail)
    }

    /// Connects to `addr`: `on_open` with [`crate::Origin::Connected`], or `on_connect_failed`.
    pub fn connect(&mut self, _addr: SocketAddr, _token: u64) {}

    /// Connections of the handler here: opened or arrived, and neither closed nor departed.
    pub fn live(&self) -> usize {
        0
    }

    /// The shard's counters until now.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}
