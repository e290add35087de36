//! Listening sockets.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::sockaddr::SockAddr;

/// Listeners on one address, one per shard, between which the kernel spreads connections
/// (SO_REUSEPORT). Connections inherit TCP_NODELAY and keep-alive from them.
pub(crate) fn group(
    addr: SocketAddr,
    shards: u16,
    backlog: u32,
    keepalive_s: Option<u32>,
) -> io::Result<Vec<TcpListener>> {
    // SO_REUSEPORT would let two servers of one user share a port without a word. A bind without it
    // fails where anybody listens already.
    drop(socket(addr, false, keepalive_s)?);
    let mut addr = addr;
    let mut listeners = Vec::with_capacity(usize::from(shards));
    for _ in 0..shards {
        let listener = socket(addr, true, keepalive_s)?;
        // SAFETY: no pointers are passed.
        check(unsafe { libc::listen(listener.as_raw_fd(), backlog.min(i32::MAX as u32) as i32) })?;
        addr = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// A bound socket.
fn socket(addr: SocketAddr, share: bool, keepalive_s: Option<u32>) -> io::Result<TcpListener> {
    let family = if addr.is_ipv6() {
        libc::AF_INET6
    } else {
        libc::AF_INET
    };
    // SAFETY: no pointers are passed.
    let fd = check(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the descriptor was just made and nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    set(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if share {
        set(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    }
    set(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    if let Some(idle_s) = keepalive_s {
        let idle_s = idle_s.clamp(1, 32_767) as i32;
        set(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
        set(fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, idle_s)?;
    }
    let name = SockAddr::new(addr);
    // SAFETY: pointer and length describe a live socket address.
    check(unsafe { libc::bind(fd, name.as_ptr(), name.len()) })?;
    Ok(TcpListener::from(socket))
}

fn set(fd: RawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: four readable bytes, as each of these options asks.
    check(unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), len) })?;
    Ok(())
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
