//! Listening sockets.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::sockaddr::SockAddr;
use crate::Config;

/// Listeners on one address, one per shard, between which the kernel spreads connections
/// (SO_REUSEPORT). Connections inherit TCP_NODELAY, TCP_NOTSENT_LOWAT and keep-alive from them.
pub(crate) fn group(
    addr: SocketAddr,
    config: &Config,
    v6_only: bool,
) -> io::Result<Vec<TcpListener>> {
    probe(addr, v6_only)?;
    let mut addr = addr;
    let backlog = config.backlog.min(i32::MAX as u32) as i32;
    let mut listeners = Vec::with_capacity(usize::from(config.shards));
    for _ in 0..config.shards {
        let listener = socket(addr, true, v6_only)?;
        if let Some(idle_s) = config.tcp_keepalive_s {
            keep_alive(listener.as_raw_fd(), idle_s)?;
        }
        if let Some(silent_s) = config.tcp_defer_accept_s {
            let silent_s = silent_s.clamp(1, 60) as i32;
            let fd = listener.as_raw_fd();
            set(fd, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, silent_s)?;
        }
        if let Some(bytes) = config.tcp_notsent_lowat_bytes {
            let bytes = bytes.min(i32::MAX as u32) as i32;
            let fd = listener.as_raw_fd();
            set(fd, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, bytes)?;
        }
        // SAFETY: no pointers are passed.
        check(unsafe { libc::listen(listener.as_raw_fd(), backlog) })?;
        addr = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Whether nobody listens there. SO_REUSEPORT would let two servers of one user share a port without a word;
/// a bind without it fails where anybody listens already.
pub(crate) fn probe(addr: SocketAddr, v6_only: bool) -> io::Result<()> {
    socket(addr, false, v6_only).map(drop)
}

/// A bound socket.
fn socket(addr: SocketAddr, share: bool, v6_only: bool) -> io::Result<TcpListener> {
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
    if addr.is_ipv6() {
        // Not left to net.ipv6.bindv6only.
        set(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, v6_only.into())?;
    }
    let name = SockAddr::new(addr);
    // SAFETY: pointer and length describe a live socket address.
    check(unsafe { libc::bind(fd, name.as_ptr(), name.len()) })?;
    Ok(TcpListener::from(socket))
}

fn keep_alive(fd: RawFd, idle_s: u32) -> io::Result<()> {
    let idle_s = idle_s.clamp(1, 32_767) as i32;
    set(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    set(fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, idle_s)
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
