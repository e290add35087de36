//! What the kernel knows of a TCP connection, by a descriptor that was installed for the question.

use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::driver::TcpInfo;

/// Asks, and closes the descriptor. `installed` is the result of a FIXED_FD_INSTALL; nobody else has it.
pub(super) fn read(installed: RawFd) -> Option<TcpInfo> {
    if installed < 0 {
        return None;
    }
    // SAFETY: the kernel has just made this descriptor for us, and told nobody else of it.
    let stream = TcpStream::from(unsafe { OwnedFd::from_raw_fd(installed) });
    let peer = stream.peer_addr().ok()?;
    // SAFETY: an all-zero tcp_info is valid: it is numbers.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the descriptor is open, and the kernel writes at most `len` bytes into a live tcp_info.
    let failed = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &mut len,
        )
    };
    (failed == 0).then_some(TcpInfo {
        peer,
        rtt_us: info.tcpi_rtt,
        retransmits: info.tcpi_total_retrans,
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::IntoRawFd;

    use super::*;

    #[test]
    fn a_connection_is_known_by_its_peer_and_the_descriptor_is_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = listener.accept().unwrap().0.into_raw_fd();
        let info = read(server).unwrap();
        assert_eq!(info.peer, client.local_addr().unwrap());
        assert!(info.rtt_us > 0 && info.retransmits == 0, "{info:?}");
        assert!(!std::path::Path::new(&format!("/proc/self/fd/{server}")).exists());
        assert_eq!(read(-libc::EINVAL), None);
    }
}
