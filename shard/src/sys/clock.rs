//! The clocks.

use crate::driver::Now;

fn read(clock: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a live timespec, which the call fills.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time
}

/// Monotonic and wall time.
pub(crate) fn now() -> Now {
    let mono = read(libc::CLOCK_MONOTONIC);
    let wall = read(libc::CLOCK_REALTIME);
    Now {
        mono_ns: mono.tv_sec as u64 * 1_000_000_000 + mono.tv_nsec as u64,
        unix_ms: wall.tv_sec as u64 * 1_000 + wall.tv_nsec as u64 / 1_000_000,
    }
}
