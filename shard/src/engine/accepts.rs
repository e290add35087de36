//! Who accepts: one multishot accept per listener, on the shard's ring with the most room.
//!
//! io_uring's accept polls exclusively: of several rings armed on one listener, the first would get
//! nearly everything. So one ring is armed at a time; the accept moves on after a few hundred
//! connections and before its table is full. When every ring is full nothing is armed, and the
//! listener's backlog waits.

use super::Engine;
use crate::driver::{Completion, Driver, Op, Tag};
use crate::limits::{ACCEPT_RESERVE_MAX, ACCEPT_ROTATE, SLEEP_NS_MAX};
use crate::slot::state::Event;
use crate::tag::{self, Kind};
use crate::{Cause, Close, Config, Handler, Origin, Shard};

/// After an error that is likely to come again (no files, no memory), wait.
const RETRY_NS: u64 = 20_000_000;

#[derive(Clone, Copy, Debug)]
enum Listening {
    Idle { not_before_ns: u64 },
    Armed { tag: Tag, ring: u16, taken: u32 },
    Cancelling { tag: Tag },
}

/// The accepts of a shard, by listener.
#[derive(Debug)]
pub(super) struct Accepts {
    listeners: Vec<Listening>,
    reserve: u32,
    serial: u32,
}

impl Accepts {
    pub(super) fn new(config: &Config) -> Self {
        let idle = Listening::Idle { not_before_ns: 0 };
        Accepts {
            listeners: vec![idle; config.listeners.len()],
            reserve: (config.ring_slots / 8).min(ACCEPT_RESERVE_MAX),
            serial: 0,
        }
    }

    /// Arms, moves and cancels as the room demands. Called once per turn.
    pub(super) fn tend<H: Handler>(&mut self, shard: &mut Shard<H>) {
        for listener in 0..self.listeners.len() {
            let roomiest = self.roomiest(shard);
            match self.listeners[listener] {
                Listening::Idle { not_before_ns } if not_before_ns <= shard.now.mono_ns => {
                    if let Some(ring) = roomiest {
                        self.arm(shard, listener, ring);
                    }
                }
                Listening::Armed { tag, ring, taken } => {
                    let full = shard.rings[usize::from(ring)].free() <= self.reserve;
                    let turn = taken >= ACCEPT_ROTATE && roomiest != Some(ring);
                    if full || turn || shard.stopping {
                        self.cancel(shard, listener, tag, ring);
                    }
                }
                _ => {}
            }
        }
    }

    /// The ring with the most room above the reserve.
    fn roomiest<H: Handler>(&self, shard: &Shard<H>) -> Option<u16> {
        if shard.stopping {
            return None;
        }
        (0u16..)
            .zip(&shard.rings)
            .filter(|(_, ring)| ring.free() > self.reserve)
            .max_by_key(|(number, ring)| (ring.free(), std::cmp::Reverse(*number)))
            .map(|(number, _)| number)
    }

    fn arm<H: Handler>(&mut self, shard: &mut Shard<H>, listener: usize, ring: u16) {
        self.serial = self.serial.wrapping_add(1);
        let number = listener as u16;
        let tag = tag::of_accept(Kind::Accept, self.serial, ring, number);
        let taken = 0;
        self.listeners[listener] = Listening::Armed { tag, ring, taken };
        let listener = number;
        shard.ops.push((tag, Op::Accept { ring, listener }));
    }

    fn cancel<H: Handler>(&mut self, shard: &mut Shard<H>, listener: usize, tag: Tag, ring: u16) {
        self.listeners[listener] = Listening::Cancelling { tag };
        let own = tag::of_accept(Kind::CancelAccept, self.serial, ring, listener as u16);
        shard
            .ops
            .push((own, Op::CancelAccept { ring, accept: tag }));
    }

    /// Notes one result of an accept.
    fn note(&mut self, completion: &Completion, now_ns: u64) {
        let Some(listening) = self
            .listeners
            .get_mut(usize::from(tag::listener(completion.tag)))
        else {
            return;
        };
        match listening {
            Listening::Armed { tag, .. } | Listening::Cancelling { tag }
                if *tag != completion.tag =>
            {
                return;
            }
            Listening::Armed { taken, .. } if completion.result >= 0 => *taken += 1,
            _ => {}
        }
        if !completion.more {
            let again = matches!(
                -completion.result,
                i32::MIN..=0 | libc::ECANCELED | libc::ECONNABORTED | libc::EINTR
            );
            let not_before_ns = if again { 0 } else { now_ns + RETRY_NS };
            *listening = Listening::Idle { not_before_ns };
        }
    }

    /// Whether an accept is armed, or its end is awaited.
    pub(super) fn is_armed(&self) -> bool {
        let idle = |listening: &Listening| matches!(listening, Listening::Idle { .. });
        !self.listeners.iter().all(idle)
    }

    /// When an accept is to be tried again.
    pub(super) fn sleep_ns(&self, now_ns: u64) -> u64 {
        let waits = self.listeners.iter().map(|listening| match listening {
            Listening::Idle { not_before_ns } if *not_before_ns > now_ns => not_before_ns - now_ns,
            _ => SLEEP_NS_MAX,
        });
        waits.min().unwrap_or(SLEEP_NS_MAX)
    }
}

impl<D: Driver, H: Handler> Engine<D, H> {
    pub(super) fn handle_accept(&mut self, completion: &Completion) {
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
        self.open(conn, Origin::Accepted { listener });
    }
}
