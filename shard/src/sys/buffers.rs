//! A ring of receive buffers that the kernel picks from (a provided buffer ring), and their memory.
//!
//! Both lie in anonymous mappings, so that pages which no receive has touched cost nothing. A buffer
//! is either the kernel's (between `give` and the completion that names it) or ours, never both.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

/// The only buffer group of a ring.
pub(super) const GROUP: u16 = 0;

/// An anonymous private mapping.
struct Mapping {
    at: *mut u8,
    bytes: usize,
}

impl Mapping {
    fn new(bytes: usize) -> io::Result<Self> {
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: a fresh mapping, at an address of the kernel's choice.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = at.cast();
        Ok(Mapping { at, bytes })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length and nothing borrows from it any more.
        unsafe { libc::munmap(self.at.cast(), self.bytes) };
    }
}

/// The receive buffers of one ring. Must be dropped after the ring.
pub(super) struct Buffers {
    entries: Mapping,
    data: Mapping,
    count: u16,
    each: u32,
    tail: u16,
}

impl Buffers {
    /// `count` (a power of two) buffers of `each` bytes, registered with the ring.
    pub(super) fn new(ring: &IoUring, count: u16, each: u32) -> io::Result<Self> {
        let mut buffers = Buffers {
            entries: Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?,
            data: Mapping::new(usize::from(count) * each as usize)?,
            count,
            each,
            tail: 0,
        };
        let at = buffers.entries.at as u64;
        // SAFETY: the mapping holds `count` entries, is page aligned, and outlives the ring (the
        // driver drops its rings before their buffers).
        unsafe {
            ring.submitter()
                .register_buf_ring_with_flags(at, count, GROUP, 0)?
        };
        (0..count).for_each(|id| buffers.give(id));
        Ok(buffers)
    }

    /// Gives a buffer to the kernel.
    pub(super) fn give(&mut self, id: u16) {
        let data = self.data.at as u64 + u64::from(id % self.count) * u64::from(self.each);
        let base = self.entries.at.cast::<BufRingEntry>();
        let place = usize::from(self.tail % self.count);
        // SAFETY: `place` is inside the mapping of `count` entries. The kernel does not read an entry
        // before the tail passes it, and reads the tail as a 16-bit atomic.
        unsafe {
            let entry = &mut *base.add(place);
            entry.set_addr(data);
            entry.set_len(self.each);
            entry.set_bid(id % self.count);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(base).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }

    /// The first `len` bytes of a buffer that the kernel has given back.
    pub(super) fn bytes(&mut self, id: u16, len: u32) -> &mut [u8] {
        let offset = usize::from(id % self.count) * self.each as usize;
        let len = len.min(self.each) as usize;
        // SAFETY: inside the mapping; the buffer is ours until it is given back, which needs the same
        // exclusive borrow of `self`.
        unsafe { std::slice::from_raw_parts_mut(self.data.at.add(offset), len) }
    }
}
