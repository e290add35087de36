//! A Redis of the test's own, to be killed, stopped and emptied.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use rookery_router::redis::Options;
use tempfile::TempDir;
use tokio::net::TcpSocket;

use super::eventually;

const PASSWORD: &str = "its-own";

/// See the module. Ends with the value.
pub(crate) struct RedisServer {
    port: u16,
    /// Bound and not listened on: nobody is given the port while it is down.
    _held: TcpSocket,
    dir: TempDir,
    process: Child,
}

impl RedisServer {
    pub(crate) fn start() -> RedisServer {
        let held = TcpSocket::new_v4().expect("a socket");
        // As the server does, so that it may listen on it all the same.
        held.set_reuseaddr(true).expect("a socket's option");
        held.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .expect("a port");
        let port = held.local_addr().expect("its address").port();
        let dir = tempfile::tempdir().expect("a folder");
        let process = spawn(port, &dir, "yes");
        RedisServer {
            port,
            _held: held,
            dir,
            process,
        }
    }

    pub(crate) fn options(&self) -> Options {
        Options::new(format!("redis://:{PASSWORD}@127.0.0.1:{}", self.port))
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("it ran");
        self.process.wait().expect("it ended");
    }

    /// After a kill: with what it wrote.
    pub(crate) fn start_again(&mut self) {
        self.process = spawn(self.port, &self.dir, "yes");
    }

    /// After a kill: with its last snapshot.
    pub(crate) fn start_from_snapshot(&mut self) {
        self.process = spawn(self.port, &self.dir, "no");
    }

    /// After a kill: with nothing.
    pub(crate) fn start_empty(&mut self) {
        self.dir = tempfile::tempdir().expect("a folder");
        self.start_again();
    }

    /// SIGSTOP: connections stay open, nothing is answered.
    pub(crate) fn hang(&self) {
        self.signal("STOP");
    }

    /// SIGCONT.
    pub(crate) fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(pid)
            .status();
        assert!(sent.expect("kill runs").success());
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // A stopped one is killed too; one that is gone needs nothing.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(port: u16, dir: &TempDir, append_only: &str) -> Child {
    let process = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--requirepass", PASSWORD, "--appendonly", append_only])
        .args(["--appendfsync", "everysec", "--save", "", "--dir"])
        .arg(dir.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed by cargo xtask services up");
    eventually("redis-server listens", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    process
}
