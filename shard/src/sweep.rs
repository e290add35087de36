//! A walk over all connections of a shard, so many slots in one turn: nobody waits for it.
//!
//! Whoever has something to do with every connection (a stop, a drain, a look for the longest queues)
//! keeps a [`Sweep`], takes connections from it until a bound of its own is reached, asks for another turn
//! ([`Shard::turn_again`]) and goes on there.
//!
//! Invariant: a connection that is here from the sweep's beginning to its end is met exactly once. One
//! that comes meanwhile, from a listener or from another shard, may or may not be.

use crate::{ConnId, Handler, Shard};

/// How far a walk has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// The next slot to look at.
    next: u32,
    is_over: bool,
}

impl Sweep {
    /// A walk from the first slot on.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether every slot was looked at.
    pub fn is_over(&self) -> bool {
        self.is_over
    }
}

impl<H: Handler> Shard<H> {
    /// The next connection whose slot is taken, closing ones included. `looks` are the slots that may
    /// still be looked at, free ones too (an empty stretch of the table is one look). `None` where they
    /// are used up, or the walk is over.
    pub fn sweep(&self, sweep: &mut Sweep, looks: &mut u32) -> Option<ConnId> {
        while *looks > 0 && !sweep.is_over {
            *looks -= 1;
            let (found, next) = self.slots.look(sweep.next);
            match next {
                Some(next) => sweep.next = next,
                None => sweep.is_over = true,
            }
            if found.is_some() {
                return found;
            }
        }
        None
    }
}
