//! The production driver: the rings of one shard.
//!
//! The shard's thread makes it and is the only one to enter its rings (SINGLE_ISSUER). It sleeps in the
//! first ring. The others ring the shard's bell, the same that mailboxes ring, and the first ring hears it;
//! it is silent while the shard is awake. Other shards know the rings by their descriptors only
//! ([`RingFds`]), as targets of moved connections.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering, fence};

use super::clock;
use super::ring::Ring;
use crate::Config;
use crate::driver::{Completion, Driver, Now, Op, RecvBuffer, Tag};
use crate::limits::TURN_COMPLETIONS_MAX;
use crate::mailbox::Waker;

/// The ring in which the shard sleeps.
const FIRST: u16 = 0;

/// The descriptors of every shard's rings; -1 where a ring is not there (yet, or any more).
#[derive(Debug)]
pub struct RingFds(Vec<Vec<AtomicI32>>);

impl RingFds {
    /// For so many shards and rings.
    pub fn new(config: &Config) -> Arc<Self> {
        let rings = || {
            (0..config.rings_per_shard)
                .map(|_| AtomicI32::new(-1))
                .collect()
        };
        Arc::new(RingFds((0..config.shards).map(|_| rings()).collect()))
    }

    fn cell(&self, shard: u16, ring: u16) -> Option<&AtomicI32> {
        self.0.get(usize::from(shard))?.get(usize::from(ring))
    }

    /// The descriptor; -1 (which the kernel answers with EBADF) where there is none.
    pub(super) fn of(&self, shard: u16, ring: u16) -> RawFd {
        let cell = self.cell(shard, ring);
        cell.map_or(-1, |fd| fd.load(Ordering::Acquire))
    }

    fn set(&self, shard: u16, ring: u16, fd: RawFd) {
        if let Some(cell) = self.cell(shard, ring) {
            cell.store(fd, Ordering::Release);
        }
    }
}

/// The rings of one shard.
pub struct Uring {
    rings: Vec<Ring>,
    shard: u16,
    slots_per_ring: u32,
    /// The ring with which the next turn begins, so that none is always last.
    first: usize,
    waker: Arc<Waker>,
    fds: Arc<RingFds>,
    listeners: Vec<TcpListener>,
}

impl Uring {
    /// Makes the rings on the thread that will use them.
    pub fn new(
        shard: u16,
        config: &Config,
        waker: Arc<Waker>,
        listeners: Vec<TcpListener>,
        fds: Arc<RingFds>,
    ) -> io::Result<Self> {
        let make = |number| {
            let (buffers, bytes) = (config.recv_buffers, config.recv_buffer_bytes);
            let mut ring = Ring::new(number, config.ring_slots, buffers, bytes)?;
            if number != FIRST {
                ring.ring_at_completions(waker.bell().as_raw_fd())?;
            }
            Ok(ring)
        };
        let rings = (0..config.rings_per_shard)
            .map(make)
            .collect::<io::Result<Vec<_>>>()?;
        for (number, ring) in (0u16..).zip(&rings) {
            fds.set(shard, number, ring.fd());
        }
        Ok(Uring {
            rings,
            shard,
            slots_per_ring: config.ring_slots,
            first: 0,
            waker,
            fds,
            listeners,
        })
    }

    fn turn_rings(&mut self, out: &mut Vec<Completion>) {
        let rings = self.rings.len();
        self.first = (self.first + 1) % rings.max(1);
        for nth in 0..rings {
            // Each ring may bring its share, and what the ones before it left of theirs.
            let max = TURN_COMPLETIONS_MAX * (nth + 1) / rings;
            self.rings[(self.first + nth) % rings].turn(out, max);
        }
    }

    /// Sleeps in the first ring, until something completes there: an operation of its own, or a ring of
    /// the bell by another ring or another thread.
    fn sleep(&mut self, wait_ns: u64) {
        let [first, others @ ..] = &mut self.rings[..] else {
            return;
        };
        if !first.hears() {
            // An eventfd that was rung before would complete the poll at once.
            self.waker.bell().clear();
            first.hear(self.waker.bell().as_raw_fd());
        }
        // A thread may have rung since the shard fell asleep, and its ring been heard by the turn before
        // this, or forgotten just now.
        if !self.waker.is_asleep() {
            return;
        }
        others.iter_mut().for_each(|ring| ring.set_bell(true));
        // The kernel first notes work and then looks whether the bell is on; we do it the other way.
        fence(Ordering::SeqCst);
        if !others.iter_mut().any(Ring::has_work) {
            first.wait(wait_ns);
        }
        others.iter_mut().for_each(|ring| ring.set_bell(false));
    }
}

impl Driver for Uring {
    fn now(&mut self) -> Now {
        clock::now()
    }

    fn rings(&self) -> u16 {
        self.rings.len() as u16
    }

    fn slots_per_ring(&self) -> u32 {
        self.slots_per_ring
    }

    fn submit(&mut self, tag: Tag, op: Op) {
        let number = usize::from(op.ring());
        if let Some(ring) = self.rings.get_mut(number) {
            ring.queue(tag, op, &self.listeners, &self.fds);
        }
    }

    fn turn(&mut self, wait_ns: u64, completions: &mut Vec<Completion>) -> u64 {
        self.turn_rings(completions);
        if !completions.is_empty() || wait_ns == 0 {
            return 0;
        }
        let before_ns = clock::now().mono_ns;
        self.sleep(wait_ns);
        let waited_ns = clock::now().mono_ns.saturating_sub(before_ns);
        self.turn_rings(completions);
        waited_ns.min(wait_ns)
    }

    fn take_peer(&mut self, ring: u16, accept: Tag) -> Option<SocketAddr> {
        self.rings.get_mut(usize::from(ring))?.take_peer(accept)
    }

    fn bytes(&mut self, buffer: &RecvBuffer) -> &mut [u8] {
        self.rings[usize::from(buffer.ring)].bytes(buffer)
    }

    fn recycle(&mut self, buffer: RecvBuffer) {
        self.rings[usize::from(buffer.ring)].recycle(&buffer);
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        for number in (0u16..).take(self.rings.len()) {
            self.fds.set(self.shard, number, -1);
        }
    }
}
