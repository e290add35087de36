//! A wake that costs a system call only when the thread to be woken sleeps.
//!
//! Not a channel's own wait: crossbeam's yields the processor some times before it parks, which on a
//! host whose cores are all busy was 5 % of all processor time of a chat's server, taken from the shards.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::thread::Thread;
use std::time::Duration;

/// One thread sleeps on it, any thread rings it.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    sleeping: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Bell {
    /// The calling thread is the one to wake. A bell has one in its life: later calls change nothing.
    pub(crate) fn serve(&self) {
        self.thread.get_or_init(std::thread::current);
    }

    /// Makes the thread look around. The fence pairs with the one in [`sleep`](Self::sleep): either the
    /// thread sees what was done before the ring, or the ringer sees that it sleeps.
    pub(crate) fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed)
            && self.sleeping.swap(false, Ordering::AcqRel)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Sleeps until a ring, unless `ready` says that there is something to do; at most so long. May
    /// return early.
    pub(crate) fn sleep(&self, at_most: Option<Duration>, ready: impl FnOnce() -> bool) {
        self.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !ready() {
            match at_most {
                Some(time) => std::thread::park_timeout(time),
                None => std::thread::park(),
            }
        }
        self.sleeping.store(false, Ordering::Relaxed);
    }
}
