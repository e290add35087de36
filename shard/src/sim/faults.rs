//! What may go wrong in one simulation, and how often: drawn from the seed.
//!
//! Each fault is absent in some seeds and frequent in others, since a run in which everything fails at
//! once seldom gets far. After `calm_ns` nothing fails any more; from then on the run must settle.

use super::rng::{Rate, Rng};

/// The shape of a simulation and the rates of its faults.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Engines.
    pub(super) shards: u16,
    /// Listeners of each.
    pub(super) listeners: u16,
    /// Rings of each.
    pub(super) rings: u16,
    /// Slots in each ring's file table.
    pub(super) slots: u32,
    /// Provided buffers of each ring.
    pub(super) buffers: u16,
    /// Bytes in each.
    pub(super) buffer_bytes: usize,
    /// Clients.
    pub(super) peers: u32,
    /// Most connections that a listener keeps waiting.
    pub(super) backlog: usize,
    /// Most messages that a shard's mailbox keeps waiting.
    pub(super) mailbox: usize,
    /// Bytes that a connection's send queue may hold.
    pub(super) send_queue_bytes: usize,
    /// Parcels that may wait at a shard.
    pub(super) parcels: usize,
    /// How long a closing connection may take.
    pub(super) linger_ms: u64,
    /// How long connections may last after the stop.
    pub(super) stop_grace_ms: u64,
    /// Longest delay of a packet.
    pub(super) latency_ns: u64,
    /// From here on nothing fails.
    pub(super) calm_ns: u64,
    /// When the shards are asked to stop while clients are busy; else they stop when all is done.
    pub(super) stop_ns: Option<u64>,
    /// The rates.
    pub(super) rates: Rates,
}

/// How often each fault strikes, at each chance that it has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rates {
    /// A receive gets fewer bytes than there are.
    pub(super) short_read: Rate,
    /// A send takes fewer bytes than there is room for.
    pub(super) short_write: Rate,
    /// A receive or send says EAGAIN though it could go on.
    pub(super) would_block: Rate,
    /// A poll completes though nothing happened.
    pub(super) spurious_poll: Rate,
    /// The loop wakes though nothing happened.
    pub(super) spurious_wake: Rate,
    /// A receive finds no buffer.
    pub(super) no_buffers: Rate,
    /// The host's file table is full for an accept or a socket.
    pub(super) no_files: Rate,
    /// A file cannot be installed in the other ring.
    pub(super) send_fd_full: Rate,
    /// A multishot accept ends for no reason.
    pub(super) accept_ends: Rate,
    /// An operation is done later than those queued after it.
    pub(super) late_op: Rate,
    /// A ready poll is reported later than others.
    pub(super) late_poll: Rate,
    /// A connect fails.
    pub(super) connect_fails: Rate,
    /// A connection dies while a packet is under way.
    pub(super) reset: Rate,
    /// A thread does not run for a while.
    pub(super) stall: Rate,
    /// No thread of the process runs for a while; clients and network do.
    pub(super) standstill: Rate,
    /// The clocks jump.
    pub(super) clock_jump: Rate,
}

impl Plan {
    /// The plan of a seed.
    pub(super) fn draw(rng: &mut Rng) -> Plan {
        let calm_ns = rng.between(50, 1_500) * 1_000_000;
        Plan {
            shards: rng.between(1, 4) as u16,
            listeners: rng.between(1, 2) as u16,
            rings: rng.between(1, 3) as u16,
            slots: rng.between(3, 16) as u32,
            buffers: rng.between(1, 8) as u16,
            buffer_bytes: 1 << rng.between(4, 10),
            peers: rng.between(4, 24) as u32,
            backlog: rng.between(1, 8) as usize,
            mailbox: 1 << rng.between(0, 6),
            send_queue_bytes: 1 << rng.between(9, 14),
            parcels: rng.between(1, 8) as usize,
            // Mostly so long that a jump of the clock cuts no connection off.
            linger_ms: if rng.one_in(4) {
                rng.between(1, 500)
            } else {
                600_000
            },
            stop_grace_ms: rng.between(1, 10_000),
            latency_ns: 1 << rng.between(10, 24),
            calm_ns,
            stop_ns: rng.one_in(4).then(|| rng.between(1, calm_ns)),
            rates: Rates::draw(rng),
        }
    }
}

impl Rates {
    fn draw(rng: &mut Rng) -> Rates {
        Rates {
            short_read: rate(rng, 2, 40),
            short_write: rate(rng, 2, 40),
            would_block: rate(rng, 3, 60),
            spurious_poll: rate(rng, 20, 400),
            spurious_wake: rate(rng, 3, 60),
            no_buffers: rate(rng, 3, 60),
            no_files: rate(rng, 3, 40),
            send_fd_full: rate(rng, 2, 10),
            accept_ends: rate(rng, 2, 20),
            late_op: rate(rng, 2, 40),
            late_poll: rate(rng, 2, 20),
            connect_fails: rate(rng, 2, 10),
            reset: rate(rng, 40, 1_000),
            stall: rate(rng, 100, 2_000),
            standstill: rate(rng, 30, 500),
            clock_jump: rate(rng, 50, 1_000),
        }
    }
}

/// Nothing in a third of the seeds, else once in `often` to `seldom`.
fn rate(rng: &mut Rng, often: u64, seldom: u64) -> Rate {
    if rng.one_in(3) {
        return Rate::NEVER;
    }
    Rate::one_in(rng.between(often, seldom) as u32)
}
