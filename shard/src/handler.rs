//! What a shard does with its connections: the one trait that the layers above the engine implement.
//!
//! The engine calls down into nobody: it hands bytes and events to a [`Handler`], and the handler
//! answers by calling methods of [`Shard`], which only queue work. Nothing here blocks.

use std::net::SocketAddr;

use crate::driver::TcpInfo;
use crate::{ConnId, Shard};

/// Where an open connection came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Accepted on the listener with this index in `Config::listeners`.
    Accepted {
        /// Index into the configured listeners.
        listener: u16,
        /// The client's address, as the kernel has it (IPv4 on an IPv6 listener is mapped).
        peer: SocketAddr,
    },
    /// Connected by [`Shard::connect`]; the token is the caller's.
    Connected {
        /// The value given to [`Shard::connect`].
        token: u64,
    },
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The peer closed or half-closed its side.
    PeerClosed,
    /// The handler asked for it.
    Closed,
    /// The kernel reported this errno on a receive, a send or a poll.
    Errno(i32),
    /// The shard is stopping.
    Stopping,
}

/// How [`Shard::close`] ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// What is queued is sent first, then the connection is shut down.
    Flush,
    /// What is queued is dropped.
    Now,
}

/// The owner of a shard's connections.
///
/// All methods run on the shard's own thread, one at a time, never while completions are reaped.
/// `Conn` stands inline in the slot table, once per connection: keep it small and plain, so that a
/// connection at rest is relocatable data.
pub trait Handler: Sized {
    /// What a connection is at rest.
    type Conn: Default;
    /// What travels with a connection that moves to another shard.
    type Parcel: Send + 'static;
    /// A message to this shard from another shard or a foreign thread.
    type Mail: Send + 'static;

    /// A connection is open. Its `Conn` is the default value.
    fn on_open(&mut self, shard: &mut Shard<Self>, conn: ConnId, origin: Origin);

    /// A connection asked for with [`Shard::connect`] failed with this errno.
    fn on_connect_failed(&mut self, shard: &mut Shard<Self>, token: u64, errno: i32);

    /// Bytes came. The engine keeps none of them after this call.
    fn on_bytes(&mut self, shard: &mut Shard<Self>, conn: ConnId, bytes: &mut [u8]);

    /// The kernel took more of the send queue after its own buffer had been full. TCP makes room there by
    /// what the peer acknowledges (RFC 9293, 3.8.6), so the peer lives, though it may say nothing. Bytes that
    /// the buffer had room for show nothing, and are not told.
    fn on_progress(&mut self, _shard: &mut Shard<Self>, _conn: ConnId) {}

    /// The send queue, once not empty, is empty again.
    fn on_drained(&mut self, shard: &mut Shard<Self>, conn: ConnId);

    /// The answer to [`Shard::ask_tcp_info`]. None: the connection is gone, no descriptor was free, or the
    /// kernel is older than Linux 6.8.
    fn on_tcp_info(&mut self, _: &mut Shard<Self>, _conn: ConnId, _info: Option<TcpInfo>) {}

    /// The connection's deadline (see [`Shard::set_deadline`]) has passed, and what had come before was handed
    /// over. Fires once.
    fn on_deadline(&mut self, shard: &mut Shard<Self>, conn: ConnId);

    /// A message came.
    fn on_mail(&mut self, shard: &mut Shard<Self>, mail: Self::Mail);

    /// The connection leaves for another shard: this shard is done with `state`.
    fn on_depart(
        &mut self,
        shard: &mut Shard<Self>,
        conn: ConnId,
        state: Self::Conn,
    ) -> Self::Parcel;

    /// A connection arrived from another shard. Its `Conn` is the default value.
    fn on_arrive(&mut self, shard: &mut Shard<Self>, conn: ConnId, parcel: Self::Parcel);

    /// [`Shard::move_to`] failed (the target has no free slot): the connection is still here and open.
    fn on_move_failed(&mut self, shard: &mut Shard<Self>, conn: ConnId, errno: i32);

    /// The connection is gone; the id is not used again. Called once for every connection that was
    /// opened or arrived and did not depart.
    fn on_closed(&mut self, shard: &mut Shard<Self>, conn: ConnId, state: Self::Conn, cause: Cause);

    /// The end of a turn in which something happened, or which [`Shard::turn_again`] asked for: the
    /// place to flush batched work.
    fn on_turn_end(&mut self, shard: &mut Shard<Self>);

    /// The shard was asked to stop. Close connections (politely) here; the shard ends when none is
    /// left or the stop's deadline passes.
    fn on_stop(&mut self, shard: &mut Shard<Self>);
}
