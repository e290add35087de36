//! What the server's memory is, by its own account.
//!
//! MemAvailable counts about 2.2 KB of each live socket pair as reclaimable (inodes and dentries), so
//! the account is made of what is known: the process's resident bytes, the bytes in TCP's buffers, and
//! what the kernel holds for each connection. Between two samples every new connection counts as a
//! handshake.

/// Kernel bytes of a TCP connection at rest with one oneshot poll armed, in a ring's file table:
/// measured on Linux 6.18 from /proc/slabinfo (TCP 2,521, inode 862, poll 265, ...).
pub(super) const KERNEL_CONNECTION_BYTES: u64 = 4_165;

/// User bytes of a connection that has not logged in, at most, whatever it has begun: a ClientHello of 16 KiB in
/// small records takes 23,000 (tests/storm/test_unfinished.py).
pub(super) const HANDSHAKE_BYTES: u64 = 24 << 10;

/// What was seen at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Resident bytes of the process.
    pub resident_bytes: u64,
    /// Bytes in the buffers of all TCP sockets of the host.
    pub socket_bytes: u64,
    /// Connections that were counted.
    pub connections: u64,
}

impl Sample {
    /// Bytes in use, now that there are so many connections.
    pub fn used_bytes(&self, connections: u64) -> u64 {
        let new = connections.saturating_sub(self.connections);
        self.resident_bytes
            + self.socket_bytes
            + connections * KERNEL_CONNECTION_BYTES
            + new * HANDSHAKE_BYTES
    }
}

/// The most that is used where the operator does not say: an eighth of the host, and at least 256 MiB,
/// stays with everybody else.
pub fn default_max_bytes(host_bytes: u64) -> u64 {
    let reserve = (host_bytes / 8).max(256 << 20);
    host_bytes.saturating_sub(reserve)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_million_fit_into_the_host_that_they_were_measured_on() {
        let sample = Sample {
            resident_bytes: 2_000_000 * 300 + (200 << 20),
            socket_bytes: 0,
            connections: 2_000_000,
        };
        let max = default_max_bytes(24 << 30);
        assert!(sample.used_bytes(2_000_000) < max / 2);
        // A storm of a quarter of a second cannot pass by unseen.
        assert!(sample.used_bytes(2_010_000) > sample.used_bytes(2_000_000) + 240_000_000);
        assert_eq!(default_max_bytes(100 << 20), 0);
    }
}
