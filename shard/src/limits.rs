//! Every maximum of the engine, with its reason.
//!
//! Memory of a shard that is there before the first connection: per ring 32 receive buffers of 8 KiB
//! (touched only as far as they are used), a submission queue of 16 KiB and a completion queue of
//! 64 KiB (the kernel's); per shard the wheel's 16 KiB.

use crate::sys;

/// The kernel refuses a table above 2^20 slots, but a cancel walks a hash chain of the ring's polls
/// (9 us with 20,000 polls, 250 us with 400,000): several middle-sized rings are better than one.
pub const RING_SLOTS_MAX: u32 = 32_768;

/// One ring may have as many slots as the process may have files (RLIMIT_NOFILE), up to
/// [`RING_SLOTS_MAX`].
pub fn ring_slots_max() -> u32 {
    sys::rlimit::nofile().min(u64::from(RING_SLOTS_MAX)) as u32
}

/// Raises the soft limit of open files to the hard one, which an unprivileged process may: what a shell or a
/// service manager leaves is often 1,024, for programs that still use select(2). To be called before a
/// [`crate::Config`] is made.
///
/// # Errors
/// The kernel's. The limit is then what it was.
pub fn raise_open_files() -> std::io::Result<()> {
    sys::rlimit::raise_nofile()
}

/// Descriptors that this process has beside rings, listeners and connections: logs, stores, bells.
pub const OTHER_FILES: u64 = 64;

/// Receives in flight on a ring at one time. Each completes within the submission that started it, so
/// this bounds a batch, not the connections. 32 amortise the system call well.
pub const RECV_BUFFERS: u16 = 32;

/// Half a TLS record of the largest size; chat frames are far smaller. 256 KiB a ring in all.
pub const RECV_BUFFER_BYTES: u32 = 8_192;

/// Connections whose sends are submitted in one turn: a fan-out to a hundred thousand does not hold up
/// everybody else.
pub const TURN_SENDS_MAX: usize = 1_024;

/// Connects started in one turn: over loopback each runs the whole handshake, some 50 us.
pub const TURN_CONNECTS_MAX: usize = 64;

/// Entries of the loop's work lists that are kept between turns; what a storm added goes back.
pub const OPS_KEPT_MAX: usize = 4_096;

/// Receive buffers of a ring, at the kernel's limit for a provided buffer ring.
pub const RECV_BUFFERS_MAX: u16 = 32_768;

/// Entries of a ring's submission queue: a full one is handed to the kernel and filled again.
pub const SQ_ENTRIES: u32 = 256;

/// Entries of a ring's completion queue. It is emptied after each system call, which adds at most
/// [`SQ_ENTRIES`] and what of the polls and accepts became due; the kernel sizes the ring's poll hash by it (128 chains).
pub const CQ_ENTRIES: u32 = 4_096;

/// What the two queues of a ring take: 64 bytes an entry of the one, 16 of the other.
pub const RING_QUEUES_BYTES: u64 = SQ_ENTRIES as u64 * 64 + CQ_ENTRIES as u64 * 16;

/// Completions taken in one turn. The rest stay in the rings: a turn is bounded.
pub const TURN_COMPLETIONS_MAX: usize = 1_024;

/// Connections of peers that have hung up that are read in one turn, on all rings together. To close one costs some 16 us: when a hundred thousand go at once, the others are served between
/// them, within a millisecond.
pub const TURN_LEAVERS_MAX: usize = 64;

/// Mails handled in one turn.
pub const TURN_MAILS_MAX: usize = 512;

/// Parcels of arriving connections handled in one turn.
pub const TURN_PARCELS_MAX: usize = 256;

/// Deadlines fired in one turn. Each may close its connection, or ping it: when a hundred thousand have not
/// gone that were told to, the others are served between them.
pub const TURN_DEADLINES_MAX: usize = 64;

/// Bytes queued for sending on one connection before the handler is refused: a burst of history pages
/// fits, a client that never reads does not eat the shard.
pub const SEND_QUEUE_BYTES_MAX: usize = 1 << 20;

/// Who holds less is in the sum of what connections hold, and is not looked for where memory is short.
pub const HOLDER_BYTES_MIN: usize = 16 << 10;

/// Classes of holders by size: the last begins at 512 MiB.
pub const HOLDER_CLASSES: usize = 16;

/// Small queued sends of one connection are joined into one SEND up to this size: one TLS record.
pub const COALESCE_BYTES_MAX: usize = 16_384;

/// Spare buffers kept by a shard.
pub const SPARE_BUFFERS_MAX: usize = 64;

/// A larger buffer is not kept: 64 x 16 KiB bound the pool at 1 MiB.
pub const SPARE_BUFFER_BYTES_MAX: usize = 16_384;

/// Parcels that wait in one shard's queue; further ones wait at their source.
pub const PARCELS_MAX: usize = 1_024;

/// A turn should take well under a millisecond; ten are felt as latency by every connection.
pub const STALL_MS: u64 = 10;

/// At most one stall report per shard in this time.
pub const STALL_REPORT_MS: u64 = 1_000;

/// Last bytes reach any live client within this time.
pub const LINGER_MS: u64 = 3_000;

/// Receives thrown away after the last bytes were sent, 32 MiB in all: what a client had sent before it
/// could know. One that goes on sending is cut off.
pub const LINGER_RECVS_MAX: u16 = 4_096;

/// Receives between a deadline and the moment when it is told: what came in time is read first, and a
/// client that never stops sending gains no more than this.
pub const OVERDUE_RECVS_MAX: u16 = 16;

/// A turn takes well under a millisecond, and a bad one some tens. What it takes above this is time in
/// which the thread did not run, and no peer's fault.
pub const STANDSTILL_NS: u64 = 100_000_000;

/// Three SYN retries.
pub const CONNECT_TIMEOUT_MS: u64 = 10_000;

/// Connections that remain are cut off this long after a stop.
pub const STOP_GRACE_MS: u64 = 10_000;

/// After the grace, at most this long for the kernel to give the slots back.
pub const STOP_FORCE_MS: u64 = 2_000;

/// What the kernel clamps to net.core.somaxconn anyway.
pub const BACKLOG: u32 = 65_535;

/// Accepts that are armed on a listener at one time, on all rings of a shard: what one turn takes from
/// a backlog. At some 15 us each, a shard in a storm spends a millisecond on them.
pub const ACCEPTS_MAX: u32 = 64;

/// Slots of a ring that are left free for connections already on their way to it: what other shards
/// know of its room is a turn old.
pub const RING_RESERVE_MAX: u32 = 64;

/// Rings that are tried for one move.
pub const MOVE_TRIES_MAX: u8 = 4;

/// The longest sleep of a shard with nothing to do: counters and stops are seen at least this often.
pub const SLEEP_NS_MAX: u64 = 1_000_000_000;

/// Log2 of the wheel's tick in nanoseconds: 16.8 ms, coarse on purpose.
pub const TICK_SHIFT: u32 = 24;

const _: () = assert!(RECV_BUFFERS.is_power_of_two());
const _: () = assert!(RECV_BUFFERS as usize * RECV_BUFFER_BYTES as usize <= 256 << 10);
const _: () = assert!(SPARE_BUFFERS_MAX * SPARE_BUFFER_BYTES_MAX <= 1 << 20);
const _: () = assert!(CQ_ENTRIES > SQ_ENTRIES && CQ_ENTRIES.is_power_of_two());
