//! RLIMIT_NOFILE: it bounds fixed file tables too.

use std::io;

fn read() -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live rlimit, which the call fills.
    match unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } {
        0 => Ok(limit),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The soft limit of open files; 1,024 (the usual default) if the kernel does not tell.
pub(crate) fn nofile() -> u64 {
    read().map_or(1_024, |limit| limit.rlim_cur)
}

/// Raises the soft limit to the hard one.
pub(crate) fn raise_nofile() -> io::Result<()> {
    let mut limit = read()?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the pointer is to a live rlimit, which the call reads.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
