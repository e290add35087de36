//! RLIMIT_NOFILE: it bounds fixed file tables too.

/// The soft limit of open files; 1,024 (the usual default) if the kernel does not tell.
pub(crate) fn nofile() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live rlimit, which the call fills.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    if result == 0 { limit.rlim_cur } else { 1_024 }
}
