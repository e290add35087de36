//! What the operator chooses for the engine, and its sizing.

use std::net::SocketAddr;

use crate::limits;

/// The engine's configuration. Start from [`Config::for_connections`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Shards: threads, each with its own rings and slot table. At least 1.
    pub shards: u16,
    /// Pin each shard to the core of its number, where that core exists.
    pub pin: bool,
    /// Where every shard listens (SO_REUSEPORT). Port 0 picks one port for all shards.
    pub listeners: Vec<SocketAddr>,
    /// The backlog of each listener.
    pub backlog: u32,
    /// Rings per shard. At least 1.
    pub rings_per_shard: u16,
    /// Slots in each ring's fixed file table; at most [`limits::ring_slots_max`].
    pub ring_slots: u32,
    /// Receive buffers of each ring: a power of two.
    pub recv_buffers: u16,
    /// Bytes of each receive buffer.
    pub recv_buffer_bytes: u32,
    /// Bytes that may be queued for sending on one connection.
    pub send_queue_bytes_max: usize,
    /// Connections under way to one shard whose parcels may wait there.
    pub parcels_max: usize,
    /// A turn of the loop longer than this is counted and reported, milliseconds.
    pub stall_ms: u64,
    /// How long a closing connection may take to send its last bytes and to be read empty, milliseconds.
    pub linger_ms: u64,
    /// How long a connect may take, milliseconds.
    pub connect_timeout_ms: u64,
    /// How long connections may last after [`crate::Stopper::stop`], milliseconds.
    pub stop_grace_ms: u64,
    /// Clients speak first: who connects is accepted with its first bytes, or when it has said nothing for
    /// about so many seconds (TCP_DEFER_ACCEPT, tcp(7)), and until then costs the kernel some 300 bytes.
    pub tcp_defer_accept_s: Option<u32>,
    /// Bytes that the kernel takes of a connection's queue before it has sent them, at most (TCP_NOTSENT_LOWAT, tcp(7)):
    /// what a peer does not read waits here, where it is counted, and not there, where a socket may have 4 MiB.
    pub tcp_notsent_lowat_bytes: Option<u32>,
    /// TCP keep-alive on accepted connections: idle seconds before the first probe.
    pub tcp_keepalive_s: Option<u32>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            shards: 1,
            pin: false,
            listeners: Vec::new(),
            backlog: limits::BACKLOG,
            rings_per_shard: 1,
            ring_slots: limits::ring_slots_max(),
            recv_buffers: limits::RECV_BUFFERS,
            recv_buffer_bytes: limits::RECV_BUFFER_BYTES,
            send_queue_bytes_max: limits::SEND_QUEUE_BYTES_MAX,
            parcels_max: limits::PARCELS_MAX,
            stall_ms: limits::STALL_MS,
            linger_ms: limits::LINGER_MS,
            connect_timeout_ms: limits::CONNECT_TIMEOUT_MS,
            stop_grace_ms: limits::STOP_GRACE_MS,
            tcp_defer_accept_s: None,
            tcp_notsent_lowat_bytes: None,
            tcp_keepalive_s: None,
        }
    }
}

impl Config {
    /// Room for `connections` over `shards` with a quarter to spare (SO_REUSEPORT spreads unevenly):
    /// the fewest rings that the file limit allows, all of one size.
    pub fn for_connections(connections: u64, shards: u16) -> Self {
        let shards = shards.max(1);
        let per_shard = connections
            .saturating_mul(5)
            .div_ceil(4)
            .div_ceil(u64::from(shards))
            .max(64);
        let ring_max = u64::from(limits::ring_slots_max());
        let rings = per_shard.div_ceil(ring_max).min(u64::from(u16::MAX));
        let slots = per_shard.div_ceil(rings).next_multiple_of(64).min(ring_max);
        Config {
            shards,
            rings_per_shard: rings as u16,
            ring_slots: slots as u32,
            ..Config::default()
        }
    }

    /// Slots of a ring that accepts leave free, and that moves from other shards do not count on.
    pub(crate) fn ring_reserve(&self) -> u32 {
        (self.ring_slots / 8).min(limits::RING_RESERVE_MAX)
    }

    /// Bytes of all shards that do not depend on connections: rings with their buffers, and spare buffers.
    pub fn memory_bytes(&self) -> u64 {
        let buffers = u64::from(self.recv_buffers) * u64::from(self.recv_buffer_bytes);
        let ring = buffers + limits::RING_QUEUES_BYTES;
        let spare = (limits::SPARE_BUFFERS_MAX * limits::SPARE_BUFFER_BYTES_MAX) as u64;
        u64::from(self.shards) * (u64::from(self.rings_per_shard) * ring + spare)
    }

    /// The connections for which there are slots.
    pub fn capacity(&self) -> u64 {
        u64::from(self.shards) * u64::from(self.rings_per_shard) * u64::from(self.ring_slots)
    }
}
