//! A socket address as the kernel reads it.

use std::net::SocketAddr;

/// A sockaddr_in or sockaddr_in6.
pub(crate) enum SockAddr {
    V4(libc::sockaddr_in),
    V6(libc::sockaddr_in6),
}

impl SockAddr {
    pub(crate) fn new(addr: SocketAddr) -> Self {
        match addr {
            SocketAddr::V4(addr) => SockAddr::V4(libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: addr.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(addr.ip().octets()),
                },
                sin_zero: [0; 8],
            }),
            SocketAddr::V6(addr) => SockAddr::V6(libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: addr.port().to_be(),
                sin6_flowinfo: addr.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: addr.ip().octets(),
                },
                sin6_scope_id: addr.scope_id(),
            }),
        }
    }

    pub(crate) fn as_ptr(&self) -> *const libc::sockaddr {
        match self {
            SockAddr::V4(addr) => std::ptr::from_ref(addr).cast(),
            SockAddr::V6(addr) => std::ptr::from_ref(addr).cast(),
        }
    }

    pub(crate) fn len(&self) -> libc::socklen_t {
        let len = match self {
            SockAddr::V4(addr) => size_of_val(addr),
            SockAddr::V6(addr) => size_of_val(addr),
        };
        len as libc::socklen_t
    }
}
