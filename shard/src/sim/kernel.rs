//! The machine that all shards of a simulation share: clock, network, listeners, events.
//!
//! What its sockets do is in `socket`; what rings do (file tables, provided buffers,
//! submission and completion) is the driver's, one per shard. Everything that happens comes from the
//! seed and happens on one thread, so a seed is a run.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use libc::{ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EOWNERDEAD, ETIMEDOUT};

use super::checks::{Checks, Count};
use super::faults::{Plan, Rates};
use super::net::{Link, PEER, SHARD, Stage};
use super::rng::Rng;
use crate::driver::{Now, SlotRef, Tag};
use crate::limits::STANDSTILL_NS;

/// The wall clock at the start: 2026-01-01.
const UNIX_START_MS: i64 = 1_767_225_600_000;

/// Something that happens at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// A packet reaches an end.
    Deliver { link: u32, to: usize },
    /// An RST reaches an end.
    Reset { link: u32, to: usize },
    /// The answer to a connect: 0 or an errno.
    Answer { link: u32, errno: i32 },
    /// A peer has something to look at.
    Peer(u32),
    /// A shard has something that became due.
    Shard(u16),
}

/// Who sent a file to another ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    /// The shard.
    pub(super) shard: u16,
    /// The slot that holds the file there.
    pub(super) slot: SlotRef,
    /// The tag of the operation.
    pub(super) tag: Tag,
}

/// What one shard's kernel thread leaves for another's.
#[derive(Debug)]
pub(super) enum TaskWork {
    /// MSG_RING SEND_FD: to be installed in a free slot of a ring.
    Install {
        link: u32,
        ring: u16,
        arrival: Tag,
        /// Where the sender's own completion goes.
        from: Sender,
    },
    /// The sender's own completion.
    Sent { from: Sender, result: i32 },
}

/// Where a peer's connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// None so far.
    None,
    /// This one.
    Link(u32),
    /// A shard was to connect to it and could not.
    Failed,
}

/// A shard as the others see it.
#[derive(Debug, Default)]
pub(super) struct Port {
    /// Connections that wait to be accepted, for each listener. No listener when the shard is gone.
    pub(super) backlogs: Vec<VecDeque<u32>>,
    /// What other threads left for it.
    pub(super) task_work: VecDeque<TaskWork>,
    /// Something may have completed or woken it.
    pub(super) dirty: bool,
    /// When its present turn began.
    pub(super) turn_ns: u64,
    /// In which it neither ran nor waited, in all, and what a fault took of its waits: no fault of its
    /// timers.
    pub(super) away_ns: u64,
    /// Of this, what is no peer's fault either.
    pub(super) stood_still_ns: u64,
}

impl Port {
    /// A turn begins, after a wait of so long.
    pub(super) fn begin_turn(&mut self, now_ns: u64, waited_ns: u64) {
        let away_ns = (now_ns - self.turn_ns).saturating_sub(waited_ns);
        self.away_ns += away_ns;
        self.stood_still_ns += away_ns.saturating_sub(STANDSTILL_NS);
        self.turn_ns = now_ns;
    }
}

/// The shared machine.
pub(super) struct Kernel {
    /// The source of everything.
    pub(super) rng: Rng,
    /// What may happen.
    pub(super) plan: Plan,
    /// The watch.
    pub(super) checks: Checks,
    /// Every connection that there ever was.
    pub(super) links: Vec<Link>,
    /// The shards.
    pub(super) ports: Vec<Port>,
    /// Each peer's connection.
    pub(super) lines: Vec<Line>,
    /// The shards are to stop, or have: peers are owed nothing more.
    pub(super) stopping: bool,
    /// Every step is printed.
    pub(super) verbose: bool,
    mono_ns: u64,
    unix_offset_ms: i64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    scheduled: u64,
}

impl Kernel {
    /// A machine with idle shards, each with that many listeners.
    pub(super) fn new(mut rng: Rng, plan: Plan, listeners: usize) -> Kernel {
        let mono_ns = rng.between(0, 1 << 40);
        let port = || Port {
            backlogs: vec![VecDeque::new(); listeners],
            turn_ns: mono_ns,
            ..Port::default()
        };
        Kernel {
            ports: (0..plan.shards).map(|_| port()).collect(),
            lines: vec![Line::None; plan.peers as usize],
            rng,
            plan,
            checks: Checks::default(),
            links: Vec::new(),
            stopping: false,
            verbose: false,
            mono_ns,
            unix_offset_ms: 0,
            events: BinaryHeap::new(),
            scheduled: 0,
        }
    }

    /// Both clocks.
    pub(super) fn now(&self) -> Now {
        let unix_ms = UNIX_START_MS + (self.mono_ns / 1_000_000) as i64 + self.unix_offset_ms;
        Now {
            mono_ns: self.mono_ns,
            unix_ms: unix_ms.max(0) as u64,
        }
    }

    /// Time goes on to `mono_ns`, never back.
    pub(super) fn advance_to(&mut self, mono_ns: u64) {
        self.mono_ns = self.mono_ns.max(mono_ns);
    }

    /// The wall clock is set.
    pub(super) fn jump_wall(&mut self, by_ms: i64) {
        self.unix_offset_ms += by_ms;
    }

    /// From here on nothing fails.
    pub(super) fn calm_down(&mut self) {
        self.plan.rates = Rates::default();
    }

    /// Whether a fault of that rate strikes; counts it if so.
    pub(super) fn strikes(
        &mut self,
        rate: impl Fn(&Rates) -> super::rng::Rate,
        count: Count,
    ) -> bool {
        let struck = self.rng.strikes(rate(&self.plan.rates));
        if struck {
            self.checks.count(count);
        }
        struck
    }

    /// Lets an event happen in `delay_ns`.
    pub(super) fn schedule(&mut self, delay_ns: u64, event: Event) {
        self.schedule_at(self.mono_ns + delay_ns, event);
    }

    pub(super) fn schedule_at(&mut self, at: u64, event: Event) {
        self.scheduled += 1;
        self.events.push(Reverse((at, self.scheduled, event)));
    }

    /// When the next event is due.
    pub(super) fn next_event_ns(&self) -> Option<u64> {
        self.events.peek().map(|event| event.0.0)
    }

    /// Lets everything happen that is due, and returns the peers that have something to look at.
    pub(super) fn run_due(&mut self) -> Vec<u32> {
        let mut peers = Vec::new();
        while self.next_event_ns().is_some_and(|at| at <= self.mono_ns) {
            let Some(Reverse((_, _, event))) = self.events.pop() else {
                break;
            };
            match event {
                Event::Deliver { link, to } => self.deliver(link, to),
                Event::Reset { link, to } => self.reset_arrives(link, to),
                Event::Answer { link, errno } => self.answer(link, errno),
                Event::Shard(shard) => self.ports[usize::from(shard)].dirty = true,
                Event::Peer(peer) if !peers.contains(&peer) => peers.push(peer),
                Event::Peer(_) => {}
            }
        }
        peers
    }

    pub(super) fn latency(&mut self) -> u64 {
        let most = self.plan.latency_ns;
        self.rng.between(most / 8, most)
    }

    fn capacities(&mut self) -> [usize; 2] {
        std::array::from_fn(|_| 1 << self.rng.between(6, 13))
    }

    /// Somebody at that end may want to look.
    pub(super) fn notify(&mut self, id: u32, end: usize) {
        let link = &self.links[id as usize];
        if end == SHARD {
            for (shard, port) in self.ports.iter_mut().enumerate() {
                port.dirty |= link.watchers & (1 << shard) != 0;
            }
        } else {
            let peer = link.peer;
            let delay = self.rng.between(1, 20_000);
            self.schedule(delay, Event::Peer(peer));
        }
    }

    fn answer(&mut self, id: u32, errno: i32) {
        let link = &mut self.links[id as usize];
        if link.stage != Stage::Connecting {
            return;
        }
        let peer = link.peer as usize;
        if errno != 0 {
            link.stage = Stage::Fresh;
            link.ends[SHARD].error = Some(errno);
            self.lines[peer] = Line::Failed;
        } else {
            link.stage = Stage::Open;
            self.lines[peer] = Line::Link(id);
            self.notify(id, PEER);
        }
        self.notify(id, SHARD);
    }

    /// A peer connects to some shard, as SO_REUSEPORT spreads them.
    pub(super) fn dial(&mut self, peer: u32) -> bool {
        let shard = self.rng.index(self.ports.len());
        let capacities = self.capacities();
        let backlog_most = self.plan.backlog;
        let backlogs = &mut self.ports[shard].backlogs;
        if backlogs.is_empty() {
            return false;
        }
        let backlog = {
            let listener = self.rng.index(backlogs.len());
            &mut backlogs[listener]
        };
        if backlog.len() >= backlog_most {
            self.checks.count(Count::BacklogFull);
            return false;
        }
        let id = self.links.len() as u32;
        backlog.push_back(id);
        self.links.push(Link::new(peer, Stage::Open, capacities));
        self.lines[peer as usize] = Line::Link(id);
        self.ports[shard].dirty = true;
        true
    }

    /// A new socket of a shard.
    pub(super) fn socket(&mut self) -> u32 {
        let capacities = self.capacities();
        self.links
            .push(Link::new(u32::MAX, Stage::Fresh, capacities));
        self.links.len() as u32 - 1
    }

    /// A shard's socket connects to a peer.
    pub(super) fn connect(&mut self, id: u32, peer: u32) {
        let fails = self.rng.strikes(self.plan.rates.connect_fails);
        let errnos = [ECONNREFUSED, ETIMEDOUT, ENETUNREACH, EHOSTUNREACH];
        let errno = if fails { errnos[self.rng.index(4)] } else { 0 };
        let mut delay = self.latency();
        if fails && self.rng.one_in(4) {
            // No answer at all: tcp_syn_retries of 6 give up after 127 s.
            self.checks.count(Count::ConnectUnanswered);
            delay = 127_000_000_000;
        }
        let link = &mut self.links[id as usize];
        link.peer = peer;
        link.stage = Stage::Connecting;
        self.schedule(delay, Event::Answer { link: id, errno });
    }

    /// A shard is gone: its listeners with it, and whoever waited there. Files on their way to it
    /// stay where they are (io_msg_tw_fd_complete in an exiting task).
    pub(super) fn unlisten(&mut self, shard: u16) {
        let port = &mut self.ports[usize::from(shard)];
        let backlogs = std::mem::take(&mut port.backlogs);
        let work = std::mem::take(&mut port.task_work);
        for id in backlogs.into_iter().flatten() {
            self.links[id as usize].excused = true;
            self.reset_by(id, SHARD);
        }
        for item in work {
            if let TaskWork::Install { link, from, .. } = item {
                self.release(link);
                let result = -EOWNERDEAD;
                let source = &mut self.ports[usize::from(from.shard)];
                source.task_work.push_back(TaskWork::Sent { from, result });
                self.schedule(0, Event::Shard(from.shard));
            }
        }
    }
}
