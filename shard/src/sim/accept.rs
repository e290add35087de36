//! Accept into the file table as io_uring has it.
//!
//! A connection is taken from the backlog before the table is asked for a slot: where there is none,
//! the connection is lost with the ENFILE that is the accept's result (io_fixed_fd_install puts the
//! file).

use libc::{ECONNABORTED, EINTR, EMFILE, ENFILE};

use super::checks::Count;
use super::driver::SimDriver;
use super::kernel::Kernel;
use super::net::SHARD;
use super::ring::{Accepting, Mark, Ring};

/// How an accept stands after a look at its listener.
enum Accepted {
    /// Nobody waits.
    Waits,
    /// It is over: it took that connection, or none.
    Ended(Option<u32>),
}

impl SimDriver {
    /// Lets the armed accepts take who waits, rings in any order.
    pub(super) fn run_accepts(&mut self) {
        let mut kernel = self.kernel.borrow_mut();
        let mut order: Vec<usize> = (0..self.rings.len()).collect();
        kernel.rng.shuffle(&mut order);
        for number in order {
            let ring = &mut self.rings[number];
            let mut at = 0;
            while at < ring.accepts.len() {
                let accept = ring.accepts[at];
                match accept_one(&mut kernel, self.shard, ring, accept) {
                    Accepted::Waits => at += 1,
                    Accepted::Ended(link) => {
                        ring.accepts.remove(at);
                        let from = link.map(|link| kernel.links[link as usize].peer);
                        self.peers.insert(accept.tag.0, from);
                    }
                }
            }
        }
    }
}

fn accept_one(kernel: &mut Kernel, shard: u16, ring: &mut Ring, accept: Accepting) -> Accepted {
    let port = usize::from(shard);
    let listener = usize::from(accept.listener);
    let waits = |kernel: &Kernel| {
        let backlog = kernel.ports[port].backlogs.get(listener)?;
        backlog.front().copied()
    };
    let Some(link) = waits(kernel) else {
        return Accepted::Waits;
    };
    if kernel.strikes(|rates| rates.no_files, Count::AcceptNoFile) {
        let errno = if kernel.rng.one_in(2) { ENFILE } else { EMFILE };
        ring.post(accept.tag, -errno, Mark::None);
        return Accepted::Ended(None);
    }
    if kernel.strikes(|rates| rates.accept_ends, Count::AcceptEnded) {
        let errno = if kernel.rng.one_in(2) {
            ECONNABORTED
        } else {
            EINTR
        };
        ring.post(accept.tag, -errno, Mark::None);
        return Accepted::Ended(None);
    }
    kernel.ports[port].backlogs[listener].pop_front();
    let Some(index) = ring.free_slot(&mut kernel.rng) else {
        kernel.checks.count(Count::AcceptFull);
        kernel.links[link as usize].excused = true;
        kernel.close(link, SHARD);
        ring.post(accept.tag, -ENFILE, Mark::None);
        return Accepted::Ended(None);
    };
    kernel.checks.count(Count::Accepted);
    kernel.links[link as usize].refs = 1;
    ring.slots[index as usize].file = Some(link);
    ring.post(accept.tag, index as i32, Mark::Given(index));
    Accepted::Ended(Some(link))
}
