//! What the shards of one process share: parcels of moving connections, room per ring, counters, and
//! the order to stop. Atomics and bounded queues only; no shard waits for another.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crossbeam::queue::ArrayQueue;
use rookery_metrics::{Histogram, Snapshot};

use crate::config::Config;
use crate::counters::{Counters, Published};
use crate::mailbox::{Inbox, Waker};

/// Where a ring stands among those that are to be filled, the least first: one after the other, and those with
/// less than enough room last.
pub(crate) fn filling_order(free: u32, enough: u32, ring: u16) -> impl Ord {
    (Reverse(free.min(enough)), ring)
}

/// What travels beside a connection that moves: the file goes from ring to ring, this through memory.
#[derive(Debug)]
pub(crate) struct Envelope<P> {
    /// The shard that it left.
    pub(crate) from: u16,
    /// The number of the move at that shard; the arrival's tag carries both.
    pub(crate) token: u32,
    /// Bytes that the handler sent while the file was on its way.
    pub(crate) unsent: Vec<Vec<u8>>,
    /// The handler's part.
    pub(crate) parcel: P,
}

/// One shard as the others see it.
#[derive(Debug)]
struct Port<P> {
    parcels: ArrayQueue<Envelope<P>>,
    waker: Arc<Waker>,
    free: Vec<AtomicU32>,
    counters: Published,
    turns: Histogram,
}

/// Shared by the shards of one engine.
#[derive(Debug)]
pub struct Fabric<P> {
    ports: Vec<Port<P>>,
    ring_reserve: u32,
    stop: AtomicBool,
}

impl<P> Fabric<P> {
    /// For the shards that own `inboxes`, in their order.
    pub fn new<M>(config: &Config, inboxes: &[Inbox<M>]) -> Arc<Self> {
        let ports = inboxes.iter().map(|inbox| Port {
            parcels: ArrayQueue::new(config.parcels_max.max(1)),
            waker: Arc::clone(inbox.waker()),
            free: (0..config.rings_per_shard)
                .map(|_| AtomicU32::new(config.ring_slots))
                .collect(),
            counters: Published::default(),
            turns: Histogram::default(),
        });
        Arc::new(Fabric {
            ports: ports.collect(),
            ring_reserve: config.ring_reserve(),
            stop: AtomicBool::new(false),
        })
    }

    /// The number of shards.
    pub fn shards(&self) -> u16 {
        self.ports.len() as u16
    }

    /// Asks every shard to stop. May be called more than once.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        for port in &self.ports {
            port.waker.wake();
        }
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// The counters that each shard published at the end of its last turn.
    pub fn counters(&self) -> Vec<Counters> {
        self.ports.iter().map(|p| p.counters.snapshot()).collect()
    }

    /// How long the turns of all shards took.
    pub fn turns(&self) -> Snapshot {
        let mut sum = Snapshot::default();
        for port in &self.ports {
            sum.add(&port.turns.snapshot());
        }
        sum
    }

    pub(crate) fn record_turn(&self, shard: u16, took_ns: u64) {
        self.ports[usize::from(shard)].turns.record_ns(took_ns);
    }

    /// Free slots of each ring of each shard, as last published.
    pub fn free_slots(&self) -> Vec<Vec<u32>> {
        let of = |port: &Port<P>| {
            port.free
                .iter()
                .map(|f| f.load(Ordering::Relaxed))
                .collect()
        };
        self.ports.iter().map(of).collect()
    }

    /// Free slots of a shard, as last published.
    pub(crate) fn free_slots_of(&self, shard: u16) -> u64 {
        let port = &self.ports[usize::from(shard)];
        let free = port.free.iter().map(|free| free.load(Ordering::Relaxed));
        free.map(u64::from).sum()
    }

    pub(crate) fn publish(&self, shard: u16, counters: &Counters) {
        self.ports[usize::from(shard)].counters.publish(counters);
    }

    pub(crate) fn publish_free(&self, shard: u16, ring: u16, free: u32) {
        self.ports[usize::from(shard)].free[usize::from(ring)].store(free, Ordering::Relaxed);
    }

    /// The `nth` (from 0) of a shard's rings in the order in which they are to be tried: rings fill one
    /// after the other, and those with little room come last. `None` where the rest are full.
    pub(crate) fn ring_with_room(&self, shard: u16, nth: u8) -> Option<u16> {
        let port = self.ports.get(usize::from(shard))?;
        let mut rings: Vec<(u32, u16)> = (0u16..)
            .zip(&port.free)
            .map(|(ring, free)| (free.load(Ordering::Relaxed), ring))
            .filter(|(free, _)| *free > 0)
            .collect();
        // The reserve, and as much for the accepts that are armed there.
        let enough = 2 * self.ring_reserve + 1;
        rings.sort_by_key(|(free, ring)| filling_order(*free, enough, *ring));
        rings.get(usize::from(nth)).map(|(_, ring)| *ring)
    }

    /// Hands an envelope to a shard, or gives it back where that shard's queue is full.
    pub(crate) fn deliver(&self, shard: u16, envelope: Envelope<P>) -> Result<(), Envelope<P>> {
        let port = &self.ports[usize::from(shard)];
        port.parcels.push(envelope)?;
        port.waker.wake();
        Ok(())
    }

    pub(crate) fn take_parcel(&self, shard: u16) -> Option<Envelope<P>> {
        self.ports[usize::from(shard)].parcels.pop()
    }

    pub(crate) fn has_parcels(&self, shard: u16) -> bool {
        !self.ports[usize::from(shard)].parcels.is_empty()
    }
}

/// Stops an engine from any thread.
#[derive(Clone)]
pub struct Stopper {
    stop: Arc<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Stopper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stopper")
    }
}

impl Stopper {
    pub(crate) fn new<P: Send + 'static>(fabric: Arc<Fabric<P>>) -> Self {
        Stopper {
            stop: Arc::new(move || fabric.stop()),
        }
    }

    /// Every shard calls its handler's `on_stop`, accepts nothing more, and ends when it has no
    /// connection left or after `Config::stop_grace_ms`. May be called more than once.
    pub fn stop(&self) {
        (self.stop)();
    }
}
