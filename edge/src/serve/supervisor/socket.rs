//! The service manager's socket: datagrams of assignments, one a line.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Where messages go to.
#[derive(Debug)]
pub(super) struct Socket {
    socket: UnixDatagram,
    manager: SocketAddr,
}

impl Socket {
    /// The one of this name: a path, or `@` and a name in the kernel's own space (unix(7), abstract). `None`
    /// without a name. A message waits `patience` for room.
    pub(super) fn open(name: Option<OsString>, patience: Duration) -> io::Result<Option<Self>> {
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let manager = match name.as_bytes().split_first() {
            Some((b'@', name)) => SocketAddr::from_abstract_name(name),
            Some((b'/', _)) => SocketAddr::from_pathname(&name),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "NOTIFY_SOCKET is neither a path from the root nor an abstract name (@...)",
            )),
        }?;
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(patience))?;
        Ok(Some(Self { socket, manager }))
    }

    /// False: it was not taken. Whoever is told nothing acts by its own limits, so the log needs no word of it.
    pub(super) fn send(&self, message: &str) -> bool {
        self.socket
            .send_to_addr(message.as_bytes(), &self.manager)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be_used_are_errors_and_none_is_nobody() {
        let open = |name: &str| Socket::open(Some(name.into()), Duration::from_millis(1));
        assert!(open("").unwrap().is_none());
        assert!(
            Socket::open(None, Duration::from_millis(1))
                .unwrap()
                .is_none()
        );
        let long = "n".repeat(200);
        for name in [
            "relative",
            "vsock:2:1234",
            &format!("/{long}"),
            &format!("@{long}"),
        ] {
            assert!(open(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_manager_that_reads_nothing_or_is_gone_holds_nobody_up() {
        let name = format!("rookery-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let socket = Socket::open(Some(format!("@{name}").into()), Duration::from_millis(1));
        let socket = socket.unwrap().unwrap();
        assert!(socket.send("READY=1"));
        let fills = (0..10_000).any(|_| !socket.send("STATUS=more"));
        assert!(fills, "its queue never fills");
        let mut buffer = [0; 64];
        let length = manager.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
        drop(manager);
        assert!(!socket.send("STATUS=nobody"));
    }
}
