//! Who accepts: a bounded number of one-shot accepts per listener, each on a ring with room.
//!
//! A one-shot accept tells where its connection comes from (a multishot one cannot: all of its results
//! would share one address), and the number that is armed is a bound: the handler sets it
//! ([`Shard::set_accept_budget`]), and who comes above it waits in the listener's backlog. An armed
//! accept has a slot of its ring set aside. Rings fill one after the other, since a shard enters every
//! ring that is busy. The kernel wakes the accepts of a listener in the order in which they were armed,
//! each for one connection, so that the next ring is armed beside the one that is nearly full.

use super::Engine;
use crate::driver::{Completion, Driver, Op, Tag};
use crate::limits::SLEEP_NS_MAX;
use crate::slot::state::Event;
use crate::tag::{self, Kind};
use crate::{Cause, Close, Config, Handler, Origin, Shard};

/// After an error that is likely to come again (no files, no memory), wait.
const RETRY_NS: u64 = 20_000_000;

/// A budget that is 0 for so long calls the armed accepts back. Not at once: under load it is 0 every
/// other turn, and a cancel costs some 9 us.
const SHUT_NS: u64 = 5_000_000;

/// Where nobody knows the peer. The kernel names every peer of a TCP listener.
const NOBODY: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

#[derive(Clone, Copy, Debug)]
struct Armed {
    tag: Tag,
    ring: u16,
    cancelling: bool,
}

#[derive(Clone, Debug, Default)]
struct Listening {
    armed: Vec<Armed>,
    not_before_ns: u64,
}

/// The accepts of a shard, by listener.
#[derive(Debug)]
pub(super) struct Accepts {
    listeners: Vec<Listening>,
    /// Armed accepts, by ring.
    by_ring: Vec<u32>,
    reserve: u32,
    serial: u32,
    /// Since when the budget is 0.
    shut_since_ns: Option<u64>,
}

impl Accepts {
    pub(super) fn new(config: &Config) -> Self {
        Accepts {
            listeners: vec![Listening::default(); config.listeners.len()],
            by_ring: vec![0; usize::from(config.rings_per_shard)],
            reserve: config.ring_reserve(),
            serial: 0,
            shut_since_ns: None,
        }
    }

    /// Arms and cancels as the budget and the room demand. Called once per turn.
    pub(super) fn tend<H: Handler>(&mut self, shard: &mut Shard<H>) {
        let now_ns = shard.now.mono_ns;
        let budget = if shard.stopping {
            0
        } else {
            shard.accept_budget as usize
        };
        self.shut_since_ns = (budget == 0).then(|| self.shut_since_ns.unwrap_or(now_ns));
        let shut = self
            .shut_since_ns
            .is_some_and(|since| shard.stopping || now_ns >= since + SHUT_NS);
        for listener in 0..self.listeners.len() {
            if shut {
                self.call_back(shard, listener);
            }
            while self.listeners[listener].armed.len() < budget
                && self.listeners[listener].not_before_ns <= now_ns
                && let Some(ring) = self.ring_for(shard, listener)
            {
                self.arm(shard, listener, ring);
            }
        }
    }

    /// Slots of a ring that neither a connection nor an armed accept nor the reserve has. A listener's
    /// first accept does not look at the armed ones of others, which may have nobody to wait for: it
    /// may come to use the reserve.
    fn room<H: Handler>(&self, shard: &Shard<H>, ring: u16, is_first: bool) -> u32 {
        let at = usize::from(ring);
        let armed = self.by_ring.get(at).copied().unwrap_or(0);
        let taken = if is_first { 0 } else { armed } + self.reserve;
        shard
            .rings
            .get(at)
            .map_or(0, |ring| ring.free().saturating_sub(taken))
    }

    /// The first ring with room.
    fn ring_for<H: Handler>(&self, shard: &Shard<H>, listener: usize) -> Option<u16> {
        let is_first = self.listeners[listener].armed.is_empty();
        (0..shard.rings.len() as u16).find(|ring| self.room(shard, *ring, is_first) > 0)
    }

    fn arm<H: Handler>(&mut self, shard: &mut Shard<H>, listener: usize, ring: u16) {
        self.serial = self.serial.wrapping_add(1);
        let number = listener as u16;
        let tag = tag::of_accept(Kind::Accept, self.serial, ring, number);
        self.listeners[listener].armed.push(Armed {
            tag,
            ring,
            cancelling: false,
        });
        self.by_ring[usize::from(ring)] += 1;
        let listener = number;
        shard.ops.push((tag, Op::Accept { ring, listener }));
    }

    /// Cancels what is armed. All of it: of several accepts one that is cancelled may have been woken
    /// for a connection already, and the next arrival would wake another; with none left, the next
    /// that is armed finds it in the backlog.
    fn call_back<H: Handler>(&mut self, shard: &mut Shard<H>, listener: usize) {
        for armed in &mut self.listeners[listener].armed {
            if !std::mem::replace(&mut armed.cancelling, true) {
                self.serial = self.serial.wrapping_add(1);
                let ring = armed.ring;
                let own = tag::of_accept(Kind::CancelAccept, self.serial, ring, listener as u16);
                let accept = armed.tag;
                shard.ops.push((own, Op::CancelAccept { ring, accept }));
            }
        }
    }

    /// Notes the end of an accept.
    fn note(&mut self, completion: &Completion, now_ns: u64) {
        let listener = usize::from(tag::listener(completion.tag));
        let Some(listening) = self.listeners.get_mut(listener) else {
            return;
        };
        let is_it = |armed: &Armed| armed.tag == completion.tag;
        let Some(at) = listening.armed.iter().position(is_it) else {
            return;
        };
        let armed = listening.armed.swap_remove(at);
        self.by_ring[usize::from(armed.ring)] -= 1;
        let again = matches!(
            -completion.result,
            i32::MIN..=0 | libc::ECANCELED | libc::ECONNABORTED | libc::EINTR
        );
        if !again {
            listening.not_before_ns = now_ns + RETRY_NS;
        }
    }

    /// Whether an accept is armed, or its end is awaited.
    pub(super) fn is_armed(&self) -> bool {
        self.by_ring.iter().any(|armed| *armed > 0)
    }

    /// When accepts are to be armed again, or called back.
    pub(super) fn sleep_ns(&self, now_ns: u64) -> u64 {
        let retry = |listening: &Listening| match listening.not_before_ns {
            at if at > now_ns => at - now_ns,
            _ => SLEEP_NS_MAX,
        };
        let retry = self.listeners.iter().map(retry).min();
        let is_left = |listening: &Listening| listening.armed.iter().any(|it| !it.cancelling);
        let call_back = self
            .shut_since_ns
            .filter(|_| self.listeners.iter().any(is_left))
            .map(|since| (since + SHUT_NS).saturating_sub(now_ns));
        retry
            .unwrap_or(SLEEP_NS_MAX)
            .min(call_back.unwrap_or(SLEEP_NS_MAX))
    }
}

impl<D: Driver, H: Handler> Engine<D, H> {
    pub(super) fn handle_accept(&mut self, completion: &Completion) {
        let peer = self.driver.take_peer(completion.ring, completion.tag);
        self.accepts.note(completion, self.shard.now.mono_ns);
        if completion.result < 0 {
            match -completion.result {
                libc::ECANCELED => {}
                libc::ENFILE => self.shard.counters.enfile += 1,
                _ => self.shard.counters.accept_errors += 1,
            }
            return;
        }
        let slot = completion.result as u32;
        let Some(conn) = self.shard.occupy(completion.ring, slot) else {
            return;
        };
        self.shard.counters.accepted += 1;
        self.shard.apply(conn, Event::Accepted);
        if self.shard.stopping {
            // Nobody has been told of it.
            return self.shard.close_for(conn, Close::Now, Cause::Stopping);
        }
        let listener = tag::listener(completion.tag);
        let peer = peer.unwrap_or(NOBODY);
        self.open(conn, Origin::Accepted { listener, peer });
    }
}
