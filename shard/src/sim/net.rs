//! TCP as the simulated kernel has it: two byte streams with bounded buffers, a delay, FIN and RST.
//!
//! Pure data: time, chance and events are the kernel's. The bytes of a stream are never reordered,
//! dropped from the middle or made up; a reset cuts them off, and that is all that can happen to them.

use std::collections::VecDeque;

use crate::limits::OVERDUE_RECVS_MAX;

/// The end that a shard holds.
pub(super) const SHARD: usize = 0;
/// The end that a simulated peer holds.
pub(super) const PEER: usize = 1;

/// What is under way to one end.
#[derive(Debug)]
pub(super) enum Packet {
    /// Bytes of the stream.
    Bytes(Vec<u8>),
    /// The end of the stream.
    Fin,
}

/// The stream towards one end.
#[derive(Debug)]
pub(super) struct Pipe {
    /// Bytes that fit into it, under way and arrived together.
    pub(super) capacity: usize,
    /// What the receiver may read.
    pub(super) arrived: VecDeque<u8>,
    /// When it arrived, and how many bytes each time.
    arrivals: VecDeque<(u64, usize)>,
    /// What is under way, with its times of arrival, which do not fall.
    flight: VecDeque<(u64, Packet)>,
    flight_bytes: usize,
    /// The end of the stream has arrived.
    pub(super) fin: bool,
}

impl Pipe {
    fn new(capacity: usize) -> Pipe {
        Pipe {
            capacity,
            arrived: VecDeque::new(),
            arrivals: VecDeque::new(),
            flight: VecDeque::new(),
            flight_bytes: 0,
            fin: false,
        }
    }

    /// Bytes that a send could take now.
    pub(super) fn space(&self) -> usize {
        self.capacity
            .saturating_sub(self.arrived.len() + self.flight_bytes)
    }

    /// Linux calls a socket writable when a third of its buffer is free (sk_stream_is_writeable).
    pub(super) fn writable(&self) -> bool {
        self.space() * 3 >= self.capacity
    }

    /// Puts a packet on its way and says when it arrives: not before those in front of it.
    pub(super) fn push(&mut self, at: u64, packet: Packet) -> u64 {
        if let Packet::Bytes(bytes) = &packet {
            self.flight_bytes += bytes.len();
        }
        let at = self.flight.back().map_or(at, |last| last.0.max(at));
        self.flight.push_back((at, packet));
        at
    }

    /// The next packet that has arrived by `now`.
    pub(super) fn pop(&mut self, now: u64) -> Option<Packet> {
        if self.flight.front()?.0 > now {
            return None;
        }
        let (_, packet) = self.flight.pop_front()?;
        if let Packet::Bytes(bytes) = &packet {
            self.flight_bytes -= bytes.len();
        }
        Some(packet)
    }

    /// Everything under way is lost.
    pub(super) fn cut(&mut self) {
        self.flight.clear();
        self.flight_bytes = 0;
    }

    /// Bytes arrive.
    pub(super) fn arrive(&mut self, now: u64, bytes: Vec<u8>) {
        self.arrivals.push_back((now, bytes.len()));
        self.arrived.extend(bytes);
    }

    /// Since when the oldest byte waits that nobody has read.
    pub(super) fn unread_since(&self) -> Option<u64> {
        self.arrivals.front().map(|(at, _)| *at)
    }

    /// Takes up to `max` arrived bytes.
    pub(super) fn read(&mut self, max: usize) -> Vec<u8> {
        let n = max.min(self.arrived.len());
        let mut left = n;
        while let Some((_, bytes)) = self.arrivals.front_mut() {
            if *bytes > left {
                *bytes -= left;
                break;
            }
            left -= *bytes;
            self.arrivals.pop_front();
        }
        self.arrived.drain(..n).collect()
    }
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// A socket that was not connected.
    Fresh,
    /// Waiting for the answer of the other side.
    Connecting,
    /// Both ends talk.
    Open,
}

/// One side's view.
#[derive(Debug, Default)]
pub(super) struct End {
    /// It sent its FIN.
    pub(super) write_shut: bool,
    /// It reads no more (SHUT_RD).
    pub(super) read_shut: bool,
    /// Its last descriptor is closed.
    pub(super) closed: bool,
    /// The connection was reset or timed out under it.
    pub(super) dead: bool,
    /// The error that the next call gets (SO_ERROR).
    pub(super) error: Option<i32>,
}

/// A connection between a shard and a peer.
#[derive(Debug)]
pub(super) struct Link {
    /// The peer at the other end.
    pub(super) peer: u32,
    /// How far it is.
    pub(super) stage: Stage,
    /// `pipes[end]` is the stream towards `end`.
    pub(super) pipes: [Pipe; 2],
    /// The two views.
    pub(super) ends: [End; 2],
    /// File-table slots and armed polls that hold the shard's file.
    pub(super) refs: u32,
    /// Shards with a poll armed on it: a bit each.
    pub(super) watchers: u64,
    /// Something was done to it after which the peer need not get everything.
    pub(super) excused: bool,
    /// When a shard last read from it, the latest last; at most [`OVERDUE_RECVS_MAX`].
    reads: VecDeque<u64>,
    /// When a shard was last told that nothing waits, though something did.
    pub(super) denied_ns: u64,
}

impl Link {
    /// A link whose buffers have those sizes (towards the shard, towards the peer).
    pub(super) fn new(peer: u32, stage: Stage, capacities: [usize; 2]) -> Link {
        Link {
            peer,
            stage,
            pipes: capacities.map(Pipe::new),
            ends: Default::default(),
            refs: 0,
            watchers: 0,
            excused: false,
            reads: VecDeque::new(),
            denied_ns: 0,
        }
    }

    /// A shard reads.
    pub(super) fn note_read(&mut self, now: u64) {
        if self.reads.len() == usize::from(OVERDUE_RECVS_MAX) {
            self.reads.pop_front();
        }
        self.reads.push_back(now);
    }

    /// Bytes that reached the shard's end before that time wait there unread, and not for want of reads
    /// since then.
    pub(super) fn neglects(&self, before_ns: u64) -> bool {
        let waits = self.pipes[SHARD].unread_since();
        let full = self.reads.len() == usize::from(OVERDUE_RECVS_MAX);
        let was_read = full && self.reads.front().is_some_and(|first| *first >= before_ns);
        waits.is_some_and(|since| since < before_ns) && !was_read && self.denied_ns < before_ns
    }

    /// The poll events of an end, as `tcp_poll` gives them.
    pub(super) fn events(&self, end: usize) -> i32 {
        let (mine, pipe) = (&self.ends[end], &self.pipes[end]);
        if self.stage == Stage::Connecting {
            return 0;
        }
        if self.stage == Stage::Fresh {
            return i32::from(libc::POLLOUT | libc::POLLHUP);
        }
        let read_over = pipe.fin || mine.read_shut || mine.dead;
        let mut events = 0;
        if read_over {
            events |= libc::POLLIN | libc::POLLRDHUP;
        }
        if !pipe.arrived.is_empty() {
            events |= libc::POLLIN;
        }
        if mine.dead || (mine.write_shut && read_over) {
            events |= libc::POLLHUP;
        }
        if mine.dead || mine.write_shut || self.pipes[1 - end].writable() {
            events |= libc::POLLOUT;
        }
        if mine.error.is_some() {
            events |= libc::POLLERR;
        }
        i32::from(events)
    }
}
