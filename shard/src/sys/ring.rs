//! One io_uring: its fixed file table, its buffers, and what is in flight on it that owns memory.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use io_uring::squeue::{Entry, Flags};
use io_uring::{IoUring, cqueue, opcode, types};

use super::accepts::Accepts;
use super::buffers::{Buffers, GROUP};
use super::sockaddr::SockAddr;
use super::tcp_info;
use super::uring::RingFds;
use crate::driver::{Completion, Interest, Op, RecvBuffer, Side, Tag};
use crate::limits::{CQ_ENTRIES, SQ_ENTRIES};

/// Operations of the driver's own; their completions end here. No tag of the engine's is one.
const OWN: u64 = 15 << 60;
/// The poll by which a ring hears the shard's bell.
const BELL: u64 = OWN | 1;
/// Accepts, by the number of their place: the tag is there.
const ACCEPT: u64 = OWN | 1 << 32;

/// Enters of one ring in a turn: the kernel runs some twenty completions' work per enter.
const ENTERS_MAX: u32 = 64;

static ONE: libc::c_int = 1;

/// Tags are well spread by one multiplication.
#[derive(Default)]
pub(super) struct TagHasher(u64);

impl Hasher for TagHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(26);
    }
}

/// A ring. Fields drop in this order: the ring ends before the memory that it knows.
pub(super) struct Ring {
    uring: IoUring,
    number: u16,
    recv_bytes: u32,
    /// The bytes of sends in flight, by tag.
    sends: HashMap<u64, Vec<u8>, BuildHasherDefault<TagHasher>>,
    /// Addresses of connects that the kernel has not read yet.
    #[allow(
        clippy::vec_box,
        reason = "the kernel reads them where they are: they must not move"
    )]
    addrs: Vec<Box<SockAddr>>,
    /// Accepts in flight, and the peers' addresses.
    accepts: Accepts,
    /// Questions about connections under way, by tag; of one connection there may be several.
    questions: Vec<u64>,
    /// Entries for which the submission queue had no room.
    waiting: VecDeque<Entry>,
    buffers: Buffers,
    /// The poll of the bell is armed.
    hears: bool,
}

/// The builder of every ring: what `probe` checks and what the shards use.
pub(crate) fn builder() -> io_uring::Builder {
    let mut builder = IoUring::builder();
    builder
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_coop_taskrun()
        .setup_no_sqarray()
        .setup_submit_all()
        .setup_cqsize(CQ_ENTRIES);
    builder
}

impl Ring {
    pub(super) fn new(number: u16, slots: u32, buffers: u16, recv_bytes: u32) -> io::Result<Self> {
        let uring = builder().build(SQ_ENTRIES)?;
        uring.submitter().register_files_sparse(slots)?;
        let buffers = Buffers::new(&uring, buffers, recv_bytes)?;
        Ok(Ring {
            uring,
            number,
            recv_bytes,
            sends: HashMap::default(),
            addrs: Vec::new(),
            accepts: Accepts::default(),
            questions: Vec::new(),
            waiting: VecDeque::new(),
            buffers,
            hears: false,
        })
    }

    /// Has the ring ring the bell at completions, where [`set_bell`](Self::set_bell) turns that on.
    pub(super) fn ring_at_completions(&mut self, bell: RawFd) -> io::Result<()> {
        self.uring.submitter().register_eventfd(bell)?;
        self.uring.completion().disable_eventfd();
        Ok(())
    }

    pub(super) fn fd(&self) -> RawFd {
        self.uring.as_raw_fd()
    }

    /// Queues an operation.
    pub(super) fn queue(
        &mut self,
        tag: Tag,
        op: Op,
        listeners: &[TcpListener],
        fds: &Arc<RingFds>,
    ) {
        let user_data = match op {
            Op::Accept { .. } => None,
            _ => Some(tag.0),
        };
        let entry = self.entry(tag, op, listeners, fds);
        self.push(match user_data {
            Some(own) => entry.user_data(own),
            None => entry,
        });
    }

    fn entry(&mut self, tag: Tag, op: Op, listeners: &[TcpListener], fds: &RingFds) -> Entry {
        match op {
            Op::Accept { listener, .. } => {
                let fd = listeners
                    .get(usize::from(listener))
                    .map_or(-1, AsRawFd::as_raw_fd);
                let (place, target) = self.accepts.begin(tag);
                opcode::Accept::new(types::Fd(fd), target.addr, target.len)
                    .file_index(Some(types::DestinationSlot::auto_target()))
                    .build()
                    .user_data(ACCEPT | u64::from(place))
            }
            Op::CancelAccept { accept, .. } => {
                // One that is over is at no place: the kernel finds nothing to cancel.
                let place = self.accepts.place(accept).unwrap_or(u32::MAX);
                opcode::AsyncCancel::new(ACCEPT | u64::from(place)).build()
            }
            Op::CancelPoll { poll, .. } => opcode::AsyncCancel::new(poll.0).build(),
            Op::Socket { ipv6, .. } => {
                let family = if ipv6 { libc::AF_INET6 } else { libc::AF_INET };
                opcode::Socket::new(family, libc::SOCK_STREAM, 0)
                    .file_index(Some(types::DestinationSlot::auto_target()))
                    .build()
            }
            Op::Connect { slot, addr } => {
                self.push(nodelay(types::Fixed(slot.index)));
                let addr = Box::new(SockAddr::new(addr));
                let (at, len) = (addr.as_ptr(), addr.len());
                self.addrs.push(addr);
                opcode::Connect::new(types::Fixed(slot.index), at, len).build()
            }
            Op::Poll { slot, interest } => {
                let events = match interest {
                    Interest::Read => libc::POLLIN | libc::POLLRDHUP,
                    Interest::Write => libc::POLLOUT,
                };
                opcode::PollAdd::new(types::Fixed(slot.index), events as u32).build()
            }
            Op::Recv { slot } => {
                let file = types::Fixed(slot.index);
                opcode::Recv::new(file, std::ptr::null_mut(), self.recv_bytes)
                    .flags(libc::MSG_DONTWAIT)
                    .buf_group(GROUP)
                    .build()
                    .flags(Flags::BUFFER_SELECT)
            }
            Op::Send { slot, bytes, from } => {
                let rest = bytes.get(from..).unwrap_or_default();
                let (at, len) = (rest.as_ptr(), rest.len().min(i32::MAX as usize) as u32);
                let before = self.sends.insert(tag.0, bytes);
                assert!(before.is_none(), "two sends of one connection in flight");
                opcode::Send::new(types::Fixed(slot.index), at, len)
                    .flags(libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT)
                    .build()
            }
            Op::Shutdown { slot, side } => {
                let how = match side {
                    Side::Write => libc::SHUT_WR,
                    Side::Both => libc::SHUT_RDWR,
                };
                opcode::Shutdown::new(types::Fixed(slot.index), how).build()
            }
            Op::Close { slot } => opcode::Close::new(types::Fixed(slot.index)).build(),
            Op::TcpInfo { slot } => {
                self.questions.push(tag.0);
                opcode::FixedFdInstall::new(types::Fixed(slot.index), 0).build()
            }
            Op::SendFd {
                slot,
                to_shard,
                to_ring,
                arrival,
            } => {
                let target = types::Fd(fds.of(to_shard, to_ring));
                let file = types::Fixed(slot.index);
                let anywhere = types::DestinationSlot::auto_target();
                opcode::MsgRingSendFd::new(target, file, anywhere, arrival.0).build()
            }
        }
    }

    fn push(&mut self, entry: Entry) {
        if self.waiting.is_empty() {
            if self.uring.submission().is_full() {
                self.enter();
            }
            if self.fits(&entry) {
                return;
            }
        }
        self.waiting.push_back(entry);
    }

    fn fits(&mut self, entry: &Entry) -> bool {
        // SAFETY: what an entry points to lives until its completion: a send's bytes in `sends`, a
        // receive's in `buffers`, a socket option in a static, an accept's address in
        // `accepts`, and a connect's in `addrs` until the kernel has copied it, at submission.
        unsafe { self.uring.submission().push(entry).is_ok() }
    }

    /// Hands the queue to the kernel and lets it run the work that it deferred to us.
    fn enter(&mut self) {
        match self.uring.submit() {
            Ok(_) => {}
            // EBUSY: completions are to be reaped first. EAGAIN: no memory now. Both pass.
            Err(error) => match error.raw_os_error() {
                Some(libc::EBUSY | libc::EAGAIN | libc::EINTR) => {}
                _ => tracing::error!(ring = self.number, %error, "io_uring_enter"),
            },
        }
        if self.waiting.is_empty() && self.uring.submission().is_empty() {
            self.addrs.clear();
        }
    }

    /// Something to submit, or work of the kernel's to be run.
    fn is_dirty(&mut self) -> bool {
        let queue = self.uring.submission();
        !queue.is_empty() || queue.taskrun() || queue.cq_overflow()
    }

    /// Whether a turn would bring something.
    pub(super) fn has_work(&mut self) -> bool {
        self.is_dirty() || !self.waiting.is_empty() || !self.uring.completion().is_empty()
    }

    /// Rings the bell at completions, or does not.
    pub(super) fn set_bell(&mut self, on: bool) {
        let queue = self.uring.completion();
        if on {
            queue.enable_eventfd()
        } else {
            queue.disable_eventfd()
        }
    }

    /// Whether [`hear`](Self::hear) still holds.
    pub(super) fn hears(&self) -> bool {
        self.hears
    }

    /// Has the bell complete something on this ring whenever it is rung; nobody need read it. It holds as
    /// long as threads ring. When another ring did, the kernel makes it the last time (EPOLL_URING_WAKE
    /// in io_poll_wake, Linux 6.1, against rings that wake each other for ever).
    pub(super) fn hear(&mut self, bell: RawFd) {
        self.hears = true;
        let poll = opcode::PollAdd::new(types::Fd(bell), libc::POLLIN as u32).multi(true);
        self.push(poll.build().user_data(BELL));
    }

    /// Hands the queue to the kernel and waits there until something has completed, for so long at most.
    pub(super) fn wait(&mut self, wait_ns: u64) {
        let time = types::Timespec::from(Duration::from_nanos(wait_ns));
        let limit = types::SubmitArgs::new().timespec(&time);
        match self.uring.submitter().submit_with_args(1, &limit) {
            Ok(_) => {}
            Err(error) => match error.raw_os_error() {
                // ETIME: the time is over. The others are as in `enter`.
                Some(libc::ETIME | libc::EBUSY | libc::EAGAIN | libc::EINTR) => {}
                _ => tracing::error!(ring = self.number, %error, "io_uring_enter"),
            },
        }
    }

    /// Submits and reaps until nothing comes any more, or `max` completions are there.
    pub(super) fn turn(&mut self, out: &mut Vec<Completion>, max: usize) {
        self.reap(out, max);
        for _ in 0..ENTERS_MAX {
            while let Some(entry) = self.waiting.front().cloned()
                && self.fits(&entry)
            {
                self.waiting.pop_front();
            }
            if out.len() >= max && self.uring.submission().is_empty() || !self.is_dirty() {
                break;
            }
            self.enter();
            self.reap(out, max);
        }
    }

    fn reap(&mut self, out: &mut Vec<Completion>, max: usize) {
        while out.len() < max {
            let Some(entry) = self.uring.completion().next() else {
                break;
            };
            if entry.user_data() & OWN != OWN {
                out.push(self.completion(&entry));
            } else if entry.user_data() == BELL {
                self.hears = cqueue::more(entry.flags());
            } else if entry.user_data() != OWN {
                out.extend(self.accepted(&entry));
            }
        }
    }

    fn completion(&mut self, entry: &cqueue::Entry) -> Completion {
        let (flags, result) = (entry.flags(), entry.result());
        let buffer = cqueue::buffer_select(flags).map(|id| RecvBuffer {
            ring: self.number,
            id,
            len: result.max(0) as u32,
        });
        // Only sends are in the map; most completions find it empty.
        let sent = if self.sends.is_empty() {
            None
        } else {
            self.sends.remove(&entry.user_data())
        };
        let question = self
            .questions
            .iter()
            .position(|tag| *tag == entry.user_data());
        let tcp_info = question.and_then(|at| {
            self.questions.swap_remove(at);
            tcp_info::read(result).map(Box::new)
        });
        Completion {
            tag: Tag(entry.user_data()),
            ring: self.number,
            result,
            more: cqueue::more(flags),
            nonempty: cqueue::sock_nonempty(flags),
            buffer,
            sent,
            tcp_info,
        }
    }

    /// An accept's end, with the tag that the engine gave it.
    fn accepted(&self, entry: &cqueue::Entry) -> Option<Completion> {
        let tag = self.accepts.tag(entry.user_data() as u32)?;
        Some(Completion {
            tag,
            ring: self.number,
            result: entry.result(),
            more: false,
            nonempty: false,
            buffer: None,
            sent: None,
            tcp_info: None,
        })
    }

    pub(super) fn take_peer(&mut self, accept: Tag) -> Option<SocketAddr> {
        self.accepts.take(accept)
    }

    pub(super) fn bytes(&mut self, buffer: &RecvBuffer) -> &mut [u8] {
        self.buffers.bytes(buffer.id, buffer.len)
    }

    pub(super) fn recycle(&mut self, buffer: &RecvBuffer) {
        self.buffers.give(buffer.id);
    }
}

/// TCP_NODELAY for a socket of ours (accepted ones inherit it). Its failure costs latency only.
fn nodelay(file: types::Fixed) -> Entry {
    let (level, name) = (libc::IPPROTO_TCP as u32, libc::TCP_NODELAY as u32);
    let len = size_of::<libc::c_int>() as u32;
    opcode::SetSockOpt::new(file, level, name, (&raw const ONE).cast(), len)
        .build()
        .user_data(OWN)
}
