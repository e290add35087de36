//! The simulated kernel thread of one shard: its rings, what is queued to them, what they complete.
//!
//! What a real kernel orders stays ordered: the operations on one slot, and those of one ring that name
//! no slot. Everything else may change places: slots among each other, rings among each other, and
//! what io_uring hands to a worker or to task work (shutdown, connect, polls, accepts, SEND_FD).
//! `turn` never blocks: the scheduler remembers how long the loop wanted to wait.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use super::checks::{Check, Count};
use super::kernel::{Event, Kernel, TaskWork};
use super::ops::PORT_BASE;
use super::ring::{Kind, Mark, Ring};
use super::rng::mix;
use crate::driver::{Completion, Driver, Interest, Now, Op, RecvBuffer, SlotRef, Tag};
use crate::limits::ACCEPTS_MAX;

/// An operation that waits for its turn.
#[derive(Debug)]
struct Queued {
    tag: Tag,
    op: Op,
    /// Not before.
    due_ns: u64,
}

/// A simulated [`Driver`].
pub(super) struct SimDriver {
    pub(super) shard: u16,
    pub(super) kernel: Rc<RefCell<Kernel>>,
    pub(super) rings: Vec<Ring>,
    queue: VecDeque<Queued>,
    /// Where accepts' connections come from, by tag, until the loop asks; and accepts that brought none.
    pub(super) peers: BTreeMap<u64, Option<u32>>,
    wants_until_ns: u64,
    idle: bool,
}

impl SimDriver {
    /// The driver of a shard, with the rings that the kernel's plan says.
    pub(super) fn new(shard: u16, kernel: Rc<RefCell<Kernel>>) -> SimDriver {
        let ring = |number, kernel: &Kernel| {
            let plan = &kernel.plan;
            Ring::new(number, plan.slots, plan.buffers, plan.buffer_bytes)
        };
        let rings = {
            let kernel = kernel.borrow();
            (0..kernel.plan.rings)
                .map(|number| ring(number, &kernel))
                .collect()
        };
        SimDriver {
            shard,
            kernel,
            rings,
            queue: VecDeque::new(),
            peers: BTreeMap::new(),
            wants_until_ns: 0,
            idle: false,
        }
    }

    /// The last turn completed nothing and nothing was queued since: until when the loop would have
    /// waited in it.
    pub(super) fn sleeps_until_ns(&self) -> Option<u64> {
        self.idle.then_some(self.wants_until_ns)
    }

    /// The loop ended: nothing may be left, and the rings go.
    pub(super) fn check_empty(&self) {
        let kernel = &mut *self.kernel.borrow_mut();
        let kept = self.peers.len();
        kernel.checks.hold(kept == 0, Check::AddressKept, || {
            format!("shard {}: {kept}", self.shard)
        });
        for ring in &self.rings {
            ring.check_empty(self.shard, &mut kernel.checks);
            for index in ring.unreaped_files() {
                if let Some(link) = ring.slots[index as usize].file {
                    kernel.release(link);
                }
            }
        }
    }

    /// Holds the loop to its side of the contract when it submits.
    fn begin(&mut self, tag: Tag, op: &Op) {
        let checks = &mut self.kernel.borrow_mut().checks;
        let (slot, kind) = match op {
            Op::Recv { slot } => (slot, Kind::Recv),
            Op::Send { slot, bytes, from } => {
                checks.hold(*from < bytes.len(), Check::BadSend, || {
                    format!("{slot:?}: {} bytes from {from}", bytes.len())
                });
                (slot, Kind::Send)
            }
            Op::Poll {
                slot,
                interest: Interest::Read,
            } => (slot, Kind::PollRead),
            Op::Poll {
                slot,
                interest: Interest::Write,
            } => (slot, Kind::PollWrite),
            Op::Shutdown { slot, .. } => (slot, Kind::Shutdown),
            Op::Connect { slot, .. } => (slot, Kind::Connect),
            Op::SendFd { slot, .. } => (slot, Kind::SendFd),
            Op::Close { slot } => (slot, Kind::Close),
            Op::TcpInfo { slot } => (slot, Kind::TcpInfo),
            Op::Accept { ring, listener } => {
                let armed = &self.rings[usize::from(*ring)].accepts;
                let armed = armed.iter().filter(|accept| accept.listener == *listener);
                let queued = self.queue.iter().filter(|queued| {
                    matches!(queued.op, Op::Accept { ring: r, listener: l } if (r, l) == (*ring, *listener))
                });
                let few = armed.count() + queued.count() < ACCEPTS_MAX as usize;
                return checks.hold(few, Check::TooManyAccepts, || format!("{op:?}"));
            }
            Op::CancelAccept { .. } | Op::CancelPoll { .. } | Op::Socket { .. } => return,
        };
        self.rings[usize::from(slot.ring)].begin(slot.index, kind, tag, checks);
    }

    fn tell(&self, text: impl FnOnce() -> String) {
        let kernel = self.kernel.borrow();
        if kernel.verbose {
            println!(
                "{} shard {}: {}",
                kernel.now().mono_ns / 1_000,
                self.shard,
                text()
            );
        }
    }

    /// Carries out what is due, in an order that keeps each slot's operations in theirs.
    fn run_queue(&mut self) {
        let now_ns = self.kernel.borrow().now().mono_ns;
        let mut waiting = VecDeque::new();
        let mut held: Vec<SlotRef> = Vec::new();
        let mut queue = std::mem::take(&mut self.queue);
        self.mix_slots(queue.make_contiguous());
        for queued in queue {
            let slot = slot_of(&queued.op);
            let behind = slot.is_some_and(|slot| held.contains(&slot));
            if !behind && queued.due_ns <= now_ns {
                self.run(queued.tag, queued.op);
                continue;
            }
            // A worker thread does the shutdown; nothing waits for it.
            if !matches!(queued.op, Op::Shutdown { .. }) {
                held.extend(slot);
            }
            waiting.push_back(queued);
        }
        self.queue = waiting;
    }

    /// Neighbours that have nothing to do with each other change places.
    fn mix_slots(&mut self, queue: &mut [Queued]) {
        let rng = &mut self.kernel.borrow_mut().rng;
        for at in 1..queue.len() {
            let (one, other) = (slot_of(&queue[at - 1].op), slot_of(&queue[at].op));
            if one.is_some() && other.is_some() && one != other && rng.one_in(3) {
                queue.swap(at - 1, at);
            }
        }
    }

    /// How long an operation waits before it is carried out.
    fn delay(&mut self, op: &Op) -> u64 {
        if slot_of(op).is_none() || matches!(op, Op::CancelPoll { .. } | Op::Poll { .. }) {
            return 0;
        }
        let mut kernel = self.kernel.borrow_mut();
        let worker = matches!(op, Op::Shutdown { .. }) && kernel.rng.one_in(3);
        if !worker && !kernel.strikes(|rates| rates.late_op, Count::LateOp) {
            return 0;
        }
        let delay = kernel.rng.between(1, 400_000);
        kernel.schedule(delay, Event::Shard(self.shard));
        delay
    }

    fn run_task_work(&mut self) {
        let port = usize::from(self.shard);
        let work = std::mem::take(&mut self.kernel.borrow_mut().ports[port].task_work);
        for item in work {
            match item {
                TaskWork::Install {
                    link,
                    ring,
                    arrival,
                    from,
                } => {
                    self.install(link, ring, arrival, from);
                }
                TaskWork::Sent { from, result } => {
                    let mark = Mark::Done(from.slot.index, Kind::SendFd);
                    self.rings[usize::from(from.slot.ring)].post(from.tag, result, mark);
                }
            }
        }
    }

    /// Moves completions of all rings to the loop, not always all.
    fn reap(&mut self, completions: &mut Vec<Completion>) {
        let mut kernel = self.kernel.borrow_mut();
        let mut order: Vec<usize> = (0..self.rings.len()).collect();
        kernel.rng.shuffle(&mut order);
        for ring in order {
            let ring = &mut self.rings[ring];
            // A bounded turn leaves some in the ring: what follows from them elsewhere may be seen first.
            let most = if kernel.rng.one_in(4) { 2 } else { 64 };
            let batch = kernel.rng.between(0, most);
            for _ in 0..batch {
                let Some(completion) = ring.reap() else { break };
                kernel
                    .checks
                    .note(completion.tag.0, completion.result as u64);
                if kernel.verbose {
                    let Completion {
                        tag,
                        ring,
                        result,
                        more,
                        ..
                    } = &completion;
                    let now_us = kernel.now().mono_ns / 1_000;
                    println!(
                        "{now_us} shard {}: {tag:x?} on ring {ring} gave {result}, more: {more}",
                        self.shard
                    );
                }
                completions.push(completion);
            }
            if !ring.done.is_empty() {
                kernel.ports[usize::from(self.shard)].dirty = true;
            }
        }
    }
}

impl Driver for SimDriver {
    fn now(&mut self) -> Now {
        self.kernel.borrow().now()
    }

    fn rings(&self) -> u16 {
        self.rings.len() as u16
    }

    fn slots_per_ring(&self) -> u32 {
        self.rings[0].slots.len() as u32
    }

    fn submit(&mut self, tag: Tag, op: Op) {
        self.begin(tag, &op);
        self.tell(|| format!("submits {tag:x?} {}", brief(&op)));
        self.idle = false;
        let due_ns = self.delay(&op);
        let due_ns = self.kernel.borrow().now().mono_ns + due_ns;
        self.queue.push_back(Queued { tag, op, due_ns });
    }

    fn turn(&mut self, wait_ns: u64, completions: &mut Vec<Completion>) -> u64 {
        let before = completions.len();
        let waited_ns = {
            let mut kernel = self.kernel.borrow_mut();
            let now_ns = kernel.now().mono_ns;
            let port = &mut kernel.ports[usize::from(self.shard)];
            port.dirty = false;
            // The wait of the turn before, which returned at once.
            let until_ns = self.sleeps_until_ns().unwrap_or(0).min(now_ns);
            let waited_ns = until_ns.saturating_sub(port.turn_ns);
            // The loop reckons from its own last look at the clock.
            self.wants_until_ns = port.turn_ns.saturating_add(wait_ns);
            port.begin_turn(now_ns, waited_ns);
            kernel.checks.count(Count::Turn);
            waited_ns
        };
        self.run_queue();
        self.run_task_work();
        self.run_accepts();
        self.run_connects();
        self.run_polls();
        self.reap(completions);
        self.idle = completions.len() == before && wait_ns > 0;
        waited_ns
    }

    fn take_peer(&mut self, _: u16, accept: Tag) -> Option<SocketAddr> {
        let from = self.peers.remove(&accept.0);
        let checks = &mut self.kernel.borrow_mut().checks;
        checks.hold(from.is_some(), Check::AddressTwice, || {
            format!("{accept:x?} has no address any more")
        });
        from.flatten().map(addr_of)
    }

    fn bytes(&mut self, buffer: &RecvBuffer) -> &mut [u8] {
        let checks = &mut self.kernel.borrow_mut().checks;
        self.rings[usize::from(buffer.ring)].bytes(buffer, checks)
    }

    fn recycle(&mut self, buffer: RecvBuffer) {
        let mut kernel = self.kernel.borrow_mut();
        kernel
            .checks
            .note(mix(u64::from(buffer.id)), u64::from(buffer.len));
        self.rings[usize::from(buffer.ring)].recycle(&buffer, &mut kernel.checks);
    }
}

/// The address of a peer.
pub(super) fn addr_of(peer: u32) -> SocketAddr {
    let ip = if peer.is_multiple_of(2) {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    } else {
        IpAddr::V6(Ipv6Addr::LOCALHOST)
    };
    SocketAddr::new(ip, PORT_BASE + peer as u16)
}

/// An operation without the bytes of a send.
fn brief(op: &Op) -> String {
    match op {
        Op::Send { slot, bytes, from } => {
            format!("Send {{ {slot:?}, {} bytes from {from} }}", bytes.len())
        }
        op => format!("{op:?}"),
    }
}

/// The slot that an operation names.
fn slot_of(op: &Op) -> Option<SlotRef> {
    match op {
        Op::Accept { .. } | Op::CancelAccept { .. } | Op::Socket { .. } => None,
        Op::Connect { slot, .. }
        | Op::Poll { slot, .. }
        | Op::CancelPoll { slot, .. }
        | Op::Recv { slot }
        | Op::Send { slot, .. }
        | Op::Shutdown { slot, .. }
        | Op::Close { slot }
        | Op::TcpInfo { slot }
        | Op::SendFd { slot, .. } => Some(*slot),
    }
}
