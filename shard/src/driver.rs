//! The kernel as a type parameter.
//!
//! The loop submits [`Op`]s and reaps [`Completion`]s; it never sees a ring. The production driver
//! (`sys::uring`) runs them on io_uring, the simulator's on a virtual network and clock, and the loop
//! between them is the same code.

use std::net::SocketAddr;

/// A file-table slot of one of the shard's rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotRef {
    /// The ring, from 0, within the shard.
    pub ring: u16,
    /// The index in that ring's fixed file table.
    pub index: u32,
}

/// Opaque to the driver; the engine packs operation kind, slot and generation into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag(pub u64);

/// What a oneshot poll waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Readable, or hung up.
    Read,
    /// Writable, or hung up.
    Write,
}

/// What a shutdown ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// SHUT_WR: a FIN after what is queued; reading goes on.
    Write,
    /// SHUT_RDWR.
    Both,
}

/// One operation for the kernel. The text of each variant names its fields.
#[allow(missing_docs)]
#[derive(Debug)]
pub enum Op {
    /// Accepts one connection of a listener, straight into the ring's file table. Result: the slot
    /// index. [`Driver::take_peer`] tells where it comes from.
    Accept { ring: u16, listener: u16 },
    /// Ends the accept with that tag. The accept's own completion comes too.
    CancelAccept { ring: u16, accept: Tag },
    /// A new TCP socket straight into the ring's file table. Result: the slot index.
    Socket { ring: u16, ipv6: bool },
    /// Connects the socket in the slot.
    Connect { slot: SlotRef, addr: SocketAddr },
    /// One oneshot poll. Result: the poll events.
    Poll { slot: SlotRef, interest: Interest },
    /// Receive without waiting (MSG_DONTWAIT) into one of the ring's provided buffers. The
    /// completion carries the buffer.
    Recv { slot: SlotRef },
    /// Send `bytes[from..]` without waiting. The completion gives the bytes back, whatever the result.
    Send {
        slot: SlotRef,
        bytes: Vec<u8>,
        from: usize,
    },
    /// Ends the oneshot poll with that tag. The poll's own completion (fired, or -ECANCELED) comes too,
    /// before or after; this one's result is of no interest.
    CancelPoll { slot: SlotRef, poll: Tag },
    /// shutdown(2). `Side::Both` completes every poll armed on the socket; `Side::Write` does not.
    Shutdown { slot: SlotRef, side: Side },
    /// Frees the slot. Nothing may be in flight on it.
    Close { slot: SlotRef },
    /// What the kernel knows of the slot's connection (Linux 6.8). It is carried out when it is submitted, so
    /// that nothing of it is in flight on the slot. The completion carries the answer, if there is one.
    TcpInfo { slot: SlotRef },
    /// Installs the slot's file in a free slot of another shard's ring, which gets a completion with
    /// `arrival` as its tag and the slot index as its result. The own completion has the own tag.
    SendFd {
        slot: SlotRef,
        to_shard: u16,
        to_ring: u16,
        arrival: Tag,
    },
}

impl Op {
    /// The ring on which it runs.
    pub fn ring(&self) -> u16 {
        match self {
            Op::Accept { ring, .. } | Op::CancelAccept { ring, .. } | Op::Socket { ring, .. } => {
                *ring
            }
            Op::Connect { slot, .. }
            | Op::Poll { slot, .. }
            | Op::Recv { slot }
            | Op::Send { slot, .. }
            | Op::CancelPoll { slot, .. }
            | Op::Shutdown { slot, .. }
            | Op::Close { slot }
            | Op::TcpInfo { slot }
            | Op::SendFd { slot, .. } => slot.ring,
        }
    }
}

/// A provided buffer that holds received bytes, to be given back by [`Driver::recycle`].
#[derive(Debug, PartialEq, Eq)]
pub struct RecvBuffer {
    /// The ring that it belongs to.
    pub ring: u16,
    /// The buffer id in that ring.
    pub id: u16,
    /// Bytes in it.
    pub len: u32,
}

/// What the kernel knows of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpInfo {
    /// The other end.
    pub peer: SocketAddr,
    /// Smoothed round trip time, microseconds (RFC 6298; `tcpi_rtt`).
    pub rtt_us: u32,
    /// Segments that had to be sent again since the beginning (`tcpi_total_retrans`).
    pub retransmits: u32,
}

/// The end (or, with `more`, one result) of an operation.
#[derive(Debug)]
pub struct Completion {
    /// The tag given at submission.
    pub tag: Tag,
    /// The ring on which it completed.
    pub ring: u16,
    /// Not negative: the result. Negative: -errno.
    pub result: i32,
    /// A multishot operation goes on.
    pub more: bool,
    /// After this receive the socket had more to read.
    pub nonempty: bool,
    /// Bytes received.
    pub buffer: Option<RecvBuffer>,
    /// The bytes of a send, given back.
    pub sent: Option<Vec<u8>>,
    /// The answer to [`Op::TcpInfo`].
    pub tcp_info: Option<Box<TcpInfo>>,
}

/// The time at the start of a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Monotonic nanoseconds since an arbitrary start.
    pub mono_ns: u64,
    /// Wall clock, milliseconds since the Unix epoch. May jump.
    pub unix_ms: u64,
}

/// What the loop needs of a kernel.
pub trait Driver {
    /// The clocks.
    fn now(&mut self) -> Now;
    /// Rings of this shard.
    fn rings(&self) -> u16;
    /// Slots in each ring's file table.
    fn slots_per_ring(&self) -> u32;
    /// Queues an operation. Never fails and never blocks: what does not fit into a ring's submission
    /// queue is submitted when it is full.
    fn submit(&mut self, tag: Tag, op: Op);
    /// Submits what is queued and appends what has completed, waiting for at most `wait_ns` (0: not at
    /// all) for something to complete or for a wake from another thread. How long it waited, nanoseconds,
    /// `wait_ns` at most: what it took longer is no wait, but time in which the thread did not run.
    fn turn(&mut self, wait_ns: u64, completions: &mut Vec<Completion>) -> u64;
    /// Where the connection that this accept brought comes from. To be called once for each completed
    /// accept, whatever its result: the address is kept until then.
    fn take_peer(&mut self, ring: u16, accept: Tag) -> Option<SocketAddr>;
    /// The received bytes.
    fn bytes(&mut self, buffer: &RecvBuffer) -> &mut [u8];
    /// Gives a buffer back to its ring.
    fn recycle(&mut self, buffer: RecvBuffer);
}
