//! How the simulated kernel carries operations out, and what makes the pending ones complete.

use libc::{
    EAGAIN, EBADF, EBADFD, ECANCELED, ECONNABORTED, ECONNRESET, EMFILE, ENFILE, ENOBUFS, ENOENT,
    EPIPE, ETIMEDOUT, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP,
};

use super::checks::Count;
use super::driver::{SimDriver, addr_of};
use super::kernel::{Event, Kernel, Sender, TaskWork};
use super::net::{SHARD, Stage};
use super::ring::{Accepting, Connecting, Kind, Mark, Polling, blank};
use crate::driver::{Completion, Interest, Op, Side, SlotRef, Tag, TcpInfo};

/// The pseudo-port of a peer that shards connect to: the peer's number behind this.
pub(super) const PORT_BASE: u16 = 10_000;

impl SimDriver {
    pub(super) fn run(&mut self, tag: Tag, op: Op) {
        match op {
            Op::Accept { ring, listener } => {
                let accept = Accepting { tag, listener };
                self.rings[usize::from(ring)].accepts.push(accept);
            }
            Op::CancelAccept { ring, accept } => self.cancel_accept(tag, ring, accept),
            Op::Socket { ring, .. } => self.socket(tag, ring),
            Op::Connect { slot, addr } => self.connect(tag, slot, addr.port() - PORT_BASE),
            Op::Poll { slot, interest } => self.arm_poll(tag, slot, interest),
            Op::CancelPoll { slot, poll } => self.cancel_poll(tag, slot, poll),
            Op::Recv { slot } => self.recv(tag, slot),
            Op::Send { slot, bytes, from } => self.send(tag, slot, bytes, from),
            Op::Shutdown { slot, side } => {
                let both = side == Side::Both;
                let result = self.on_file(slot, |kernel, link| kernel.shutdown(link, SHARD, both));
                self.done(tag, slot, Kind::Shutdown, -result.err().unwrap_or(0));
            }
            Op::Close { slot } => {
                let file = self.rings[usize::from(slot.ring)].slots[slot.index as usize]
                    .file
                    .take();
                if let Some(link) = file {
                    self.kernel.borrow_mut().release(link);
                }
                self.done(
                    tag,
                    slot,
                    Kind::Close,
                    if file.is_some() { 0 } else { -EBADF },
                );
            }
            Op::TcpInfo { slot } => self.tcp_info(tag, slot),
            Op::SendFd {
                slot,
                to_shard,
                to_ring,
                arrival,
            } => {
                let from = Sender {
                    shard: self.shard,
                    slot,
                    tag,
                };
                self.send_fd(from, to_shard, to_ring, arrival);
            }
        }
    }

    fn file(&self, slot: SlotRef) -> Option<u32> {
        self.rings[usize::from(slot.ring)]
            .slots
            .get(slot.index as usize)?
            .file
    }

    fn on_file<T>(
        &self,
        slot: SlotRef,
        call: impl FnOnce(&mut Kernel, u32) -> Result<T, i32>,
    ) -> Result<T, i32> {
        let link = self.file(slot).ok_or(EBADF)?;
        call(&mut self.kernel.borrow_mut(), link)
    }

    fn done(&mut self, tag: Tag, slot: SlotRef, kind: Kind, result: i32) {
        self.rings[usize::from(slot.ring)].post(tag, result, Mark::Done(slot.index, kind));
    }

    fn tcp_info(&mut self, tag: Tag, slot: SlotRef) {
        let file = self.file(slot);
        let mut kernel = self.kernel.borrow_mut();
        let refused = kernel.strikes(|rates| rates.no_files, Count::Unanswered);
        let link = file.filter(|_| !refused);
        let tcp_info = link.map(|link| {
            Box::new(TcpInfo {
                peer: addr_of(kernel.links[link as usize].peer),
                rtt_us: 1,
                retransmits: 0,
            })
        });
        let completion = Completion {
            tcp_info,
            ..blank(slot.ring, tag, link.map_or(-EMFILE, |_| 0))
        };
        self.rings[usize::from(slot.ring)].post_full(completion, Mark::None);
    }

    fn cancel_accept(&mut self, tag: Tag, ring: u16, accept: Tag) {
        let cancel_first = self.kernel.borrow_mut().rng.one_in(2);
        let ring = &mut self.rings[usize::from(ring)];
        let Some(at) = ring.accepts.iter().position(|armed| armed.tag == accept) else {
            return ring.post(tag, -ENOENT, Mark::None);
        };
        ring.accepts.remove(at);
        self.peers.insert(accept.0, None);
        self.kernel
            .borrow_mut()
            .checks
            .count(Count::AcceptCancelled);
        let both = [(accept, -ECANCELED), (tag, 0)];
        for which in [usize::from(cancel_first), usize::from(!cancel_first)] {
            ring.post(both[which].0, both[which].1, Mark::None);
        }
    }

    fn socket(&mut self, tag: Tag, ring: u16) {
        let mut kernel = self.kernel.borrow_mut();
        let ring = &mut self.rings[usize::from(ring)];
        let refused = kernel.strikes(|rates| rates.no_files, Count::SocketFull);
        let free = ring.free_slot(&mut kernel.rng).filter(|_| !refused);
        let Some(index) = free else {
            return ring.post(tag, -ENFILE, Mark::None);
        };
        let link = kernel.socket();
        kernel.links[link as usize].refs = 1;
        ring.slots[index as usize].file = Some(link);
        ring.post(tag, index as i32, Mark::Given(index));
    }

    fn connect(&mut self, tag: Tag, slot: SlotRef, peer: u16) {
        let Some(link) = self.file(slot) else {
            return self.done(tag, slot, Kind::Connect, -EBADF);
        };
        let mut kernel = self.kernel.borrow_mut();
        kernel.connect(link, u32::from(peer));
        kernel.links[link as usize].watchers |= 1 << self.shard;
        let connect = Connecting {
            tag,
            slot: slot.index,
            link,
        };
        self.rings[usize::from(slot.ring)].connects.push(connect);
    }

    pub(super) fn run_connects(&mut self) {
        let mut kernel = self.kernel.borrow_mut();
        for ring in &mut self.rings {
            for connect in std::mem::take(&mut ring.connects) {
                let link = &mut kernel.links[connect.link as usize];
                let result = match link.stage {
                    Stage::Connecting => {
                        ring.connects.push(connect);
                        continue;
                    }
                    Stage::Open => 0,
                    Stage::Fresh => -link.ends[SHARD].error.take().unwrap_or(ECONNABORTED),
                };
                kernel.checks.count(if result == 0 {
                    Count::Connected
                } else {
                    Count::ConnectFailed
                });
                ring.post(connect.tag, result, Mark::Done(connect.slot, Kind::Connect));
            }
        }
    }

    fn arm_poll(&mut self, tag: Tag, slot: SlotRef, interest: Interest) {
        let Some(link) = self.file(slot) else {
            return self.done(tag, slot, poll_kind(interest), -EBADF);
        };
        let mut kernel = self.kernel.borrow_mut();
        kernel.links[link as usize].refs += 1;
        kernel.links[link as usize].watchers |= 1 << self.shard;
        let poll = Polling {
            tag,
            slot: slot.index,
            interest,
            link,
        };
        self.rings[usize::from(slot.ring)].polls.push(poll);
    }

    fn cancel_poll(&mut self, tag: Tag, slot: SlotRef, poll: Tag) {
        let mut kernel = self.kernel.borrow_mut();
        let ring = &mut self.rings[usize::from(slot.ring)];
        let Some(at) = ring.polls.iter().position(|armed| armed.tag == poll) else {
            return ring.post(tag, -ENOENT, Mark::None);
        };
        let armed = ring.polls.remove(at);
        kernel.release(armed.link);
        let mark = Mark::Done(armed.slot, poll_kind(armed.interest));
        let mut both = [(poll, -ECANCELED, mark), (tag, 0, Mark::None)];
        kernel.rng.shuffle(&mut both);
        for (tag, result, mark) in both {
            ring.post(tag, result, mark);
        }
    }

    pub(super) fn run_polls(&mut self) {
        let mut kernel = self.kernel.borrow_mut();
        for ring in &mut self.rings {
            let mut polls = std::mem::take(&mut ring.polls);
            kernel.rng.shuffle(&mut polls);
            for poll in polls {
                let wanted = match poll.interest {
                    Interest::Read => POLLIN | POLLRDHUP | POLLERR | POLLHUP,
                    Interest::Write => POLLOUT | POLLERR | POLLHUP,
                };
                let wanted = i32::from(wanted);
                let mut events = kernel.links[poll.link as usize].events(SHARD) & wanted;
                if events != 0 && kernel.strikes(|rates| rates.late_poll, Count::LatePoll) {
                    let delay = kernel.rng.between(1, 200_000);
                    kernel.schedule(delay, Event::Shard(self.shard));
                    events = 0;
                } else if events == 0
                    && kernel.strikes(|rates| rates.spurious_poll, Count::SpuriousPoll)
                {
                    events = wanted & i32::from(POLLIN | POLLOUT);
                }
                if events == 0 {
                    ring.polls.push(poll);
                    continue;
                }
                kernel.release(poll.link);
                ring.post(
                    poll.tag,
                    events,
                    Mark::Done(poll.slot, poll_kind(poll.interest)),
                );
            }
        }
    }

    fn recv(&mut self, tag: Tag, slot: SlotRef) {
        let got = self.recv_bytes(slot);
        let mut kernel = self.kernel.borrow_mut();
        let ring = &mut self.rings[usize::from(slot.ring)];
        let mut completion = blank(slot.ring, tag, 0);
        match got {
            Ok((link, id, bytes)) => {
                // The kernel keeps the buffer when the stream has ended.
                completion.result = bytes.len() as i32;
                completion.buffer = (!bytes.is_empty()).then(|| ring.fill(id, &bytes));
                let pipe = &kernel.links[link as usize].pipes[SHARD];
                completion.nonempty = !pipe.arrived.is_empty() || pipe.fin;
            }
            Err(errno) => {
                match errno {
                    ENOBUFS => kernel.checks.count(Count::NoBuffers),
                    EAGAIN => kernel.checks.count(Count::RecvWouldBlock),
                    ECONNRESET => kernel.checks.count(Count::RecvReset),
                    ETIMEDOUT => kernel.checks.count(Count::RecvTimedOut),
                    _ => {}
                }
                completion.result = -errno;
            }
        }
        ring.post_full(completion, Mark::Done(slot.index, Kind::Recv));
    }

    /// What a receive gets: the link, the buffer to use, the bytes.
    fn recv_bytes(&mut self, slot: SlotRef) -> Result<(u32, u16, Vec<u8>), i32> {
        let link = self.file(slot).ok_or(EBADF)?;
        let mut kernel = self.kernel.borrow_mut();
        let rates = kernel.plan.rates;
        if kernel.rng.strikes(rates.no_buffers) {
            return Err(ENOBUFS);
        }
        let ring = &self.rings[usize::from(slot.ring)];
        let (id, size) = ring.free_buffer(&mut kernel.rng).ok_or(ENOBUFS)?;
        let waiting = kernel.links[link as usize].pipes[SHARD].arrived.len();
        let mut max = size;
        let now_ns = kernel.now().mono_ns;
        if waiting > 0 && kernel.rng.strikes(rates.would_block) {
            kernel.links[link as usize].denied_ns = now_ns;
            return Err(EAGAIN);
        }
        kernel.links[link as usize].note_read(now_ns);
        if waiting.min(size) > 1 && kernel.strikes(|rates| rates.short_read, Count::ShortRead) {
            max = kernel.rng.between(1, waiting.min(size) as u64 - 1) as usize;
        }
        let bytes = kernel.recv(link, SHARD, max)?;
        Ok((link, id, bytes))
    }

    fn send(&mut self, tag: Tag, slot: SlotRef, bytes: Vec<u8>, from: usize) {
        let rest = bytes.get(from..).unwrap_or_default();
        let result = self.on_file(slot, |kernel, link| {
            let blocks = kernel.rng.strikes(kernel.plan.rates.would_block);
            let mut max = rest.len();
            if max > 1 && kernel.strikes(|rates| rates.short_write, Count::ShortWrite) {
                max = kernel.rng.between(1, max as u64 - 1) as usize;
            }
            if blocks {
                Err(EAGAIN)
            } else {
                kernel.send(link, SHARD, rest, max)
            }
        });
        let result = match result {
            Ok(n) => n as i32,
            Err(errno) => {
                let checks = &mut self.kernel.borrow_mut().checks;
                match errno {
                    EAGAIN => checks.count(Count::SendWouldBlock),
                    ECONNRESET => checks.count(Count::SendReset),
                    EPIPE => checks.count(Count::SendBrokenPipe),
                    _ => {}
                }
                -errno
            }
        };
        let completion = Completion {
            sent: Some(bytes),
            ..blank(slot.ring, tag, result)
        };
        let ring = &mut self.rings[usize::from(slot.ring)];
        ring.post_full(completion, Mark::Done(slot.index, Kind::Send));
    }

    fn send_fd(&mut self, from: Sender, to_shard: u16, to_ring: u16, arrival: Tag) {
        let Some(link) = self.file(from.slot) else {
            return self.done(from.tag, from.slot, Kind::SendFd, -EBADF);
        };
        let mut kernel = self.kernel.borrow_mut();
        let kernel = &mut *kernel;
        let port = &mut kernel.ports[usize::from(to_shard)];
        if port.backlogs.is_empty() {
            // The other shard has ended: its ring is disabled.
            let mark = Mark::Done(from.slot.index, Kind::SendFd);
            return self.rings[usize::from(from.slot.ring)].post(from.tag, -EBADFD, mark);
        }
        kernel.links[link as usize].refs += 1;
        port.task_work.push_back(TaskWork::Install {
            link,
            ring: to_ring,
            arrival,
            from,
        });
        let delay = kernel.rng.between(1, 50_000);
        kernel.schedule(delay, Event::Shard(to_shard));
    }

    pub(super) fn install(&mut self, link: u32, ring: u16, arrival: Tag, from: Sender) {
        let mut kernel = self.kernel.borrow_mut();
        let refused = kernel.strikes(|rates| rates.send_fd_full, Count::MoveFull);
        let ring = &mut self.rings[usize::from(ring)];
        let free = ring.free_slot(&mut kernel.rng).filter(|_| !refused);
        let result = match free {
            Some(index) => {
                ring.slots[index as usize].file = Some(link);
                ring.post(arrival, index as i32, Mark::Given(index));
                kernel.checks.count(Count::MoveDone);
                0
            }
            None => {
                kernel.release(link);
                -ENFILE
            }
        };
        let sent = TaskWork::Sent { from, result };
        let port = &mut kernel.ports[usize::from(from.shard)];
        port.task_work.push_back(sent);
        let delay = kernel.rng.between(1, 50_000);
        kernel.schedule(delay, Event::Shard(from.shard));
    }
}

fn poll_kind(interest: Interest) -> Kind {
    match interest {
        Interest::Read => Kind::PollRead,
        Interest::Write => Kind::PollWrite,
    }
}
