//! The memory that the server takes at most, whatever clients do: a sum of bounds, told at the start.

use std::fmt;

use super::memory::{HANDSHAKE_BYTES, KERNEL_CONNECTION_BYTES};

/// User bytes of an idle connection over TLS 1.3: slot, session and user (docs/density.md has them by part), and what
/// a shard that is seldom full leaves unused.
const CONNECTION_BYTES: u64 = 400;

/// The same over TLS 1.2, whose sessions stay in rustls.
const TLS12_CONNECTION_BYTES: u64 = 3_500 + CONNECTION_BYTES;

/// The program and its libraries, threads' stacks as far as they are used, a moment's work of every thread.
const PROGRAM_BYTES: u64 = 128 << 20;

/// What the allocator keeps beside what is in use: an eighth of the parts that grow and shrink.
const SLACK: u64 = 8;

/// What is bounded elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Bounded {
    /// `limits.connections_max`.
    pub connections: u64,
    /// `limits.handshakes_max`.
    pub handshakes: u64,
    /// TLS 1.2 is allowed.
    pub has_tls12: bool,
    /// `limits.buffer_bytes_max`, resolved.
    pub buffer_bytes: u64,
    /// Rings and mailboxes.
    pub engine_bytes: u64,
    /// The router's queues and caches.
    pub router_bytes: u64,
    /// What the kernel's TCP may hold in buffers (`net.ipv4.tcp_mem`), for all sockets of the host.
    pub tcp_bytes: u64,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorstCase(Vec<(&'static str, u64)>);

impl WorstCase {
    /// The sum of what is bounded.
    pub fn new(of: &Bounded) -> Self {
        let connection = match of.has_tls12 {
            true => TLS12_CONNECTION_BYTES,
            false => CONNECTION_BYTES,
        };
        let connections = of.connections * connection;
        let handshakes = of.handshakes.min(of.connections) * HANDSHAKE_BYTES;
        let varying = connections + handshakes + of.buffer_bytes + of.router_bytes;
        Self(vec![
            ("connections", connections),
            ("handshakes", handshakes),
            ("buffers", of.buffer_bytes),
            ("router", of.router_bytes),
            ("engine", of.engine_bytes),
            ("program", PROGRAM_BYTES + varying / SLACK),
            ("kernel sockets", of.connections * KERNEL_CONNECTION_BYTES),
            ("kernel TCP buffers", of.tcp_bytes),
        ])
    }

    /// All of it.
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|(_, bytes)| bytes).sum()
    }

    /// What of it is the process's own.
    pub fn user_bytes(&self) -> u64 {
        let users = self
            .0
            .iter()
            .filter(|(part, _)| !part.starts_with("kernel"));
        users.map(|(_, bytes)| bytes).sum()
    }
}

impl fmt::Display for WorstCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: u64 = 1 << 20;
        write!(f, "{} MiB:", self.bytes().div_ceil(MIB))?;
        for (nth, (part, bytes)) in self.0.iter().enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            write!(f, "{comma} {part} {}", bytes.div_ceil(MIB))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_sum_of_its_parts() {
        let bounded = Bounded {
            connections: 1_000_000,
            handshakes: 16_384,
            has_tls12: false,
            buffer_bytes: 4 << 30,
            engine_bytes: 100 << 20,
            router_bytes: 600 << 20,
            tcp_bytes: 2 << 30,
        };
        let all = WorstCase::new(&bounded);
        assert!(all.bytes() > all.user_bytes() + (2 << 30) + 4_000_000_000);
        let text = all.to_string();
        assert!(
            text.contains(": connections 382, handshakes 384, buffers 4096,"),
            "{text}"
        );
        let more = WorstCase::new(&Bounded {
            has_tls12: true,
            ..bounded
        });
        assert!(more.user_bytes() >= all.user_bytes() + 3_500_000_000);
    }
}
