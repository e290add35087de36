//! How often a client must say something. A pure rule: the interval that the operator asked for, or a
//! longer one on a shard so full that its pings would be a load of their own.
//!
//! A ping and its pong cost the server 15 to 20 us. A million connections on a shard, each pinged every
//! 30 s, would be 33,000 a second: more than a core can do, and nobody's message.

use std::time::Duration;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// How often a client says something, at least, ms.
    pub interval_ms: u32,
    /// Nothing for so long: the connection is closed, ms.
    pub idle_timeout_ms: u32,
    /// Pings that a shard sends per second, at most, over all its connections.
    pub pings_per_second_max: u32,
}

impl Heartbeat {
    /// The rule on a shard with so many connections: both times stretch alike.
    pub(crate) fn stretched(self, live: usize) -> Self {
        let pings = u64::from(self.pings_per_second_max.max(1));
        let fits_ms = (live as u64).saturating_mul(1_000) / pings;
        let asked_ms = u64::from(self.interval_ms.max(1));
        if fits_ms <= asked_ms {
            return self;
        }
        let idle_ms = u64::from(self.idle_timeout_ms).saturating_mul(fits_ms) / asked_ms;
        Self {
            interval_ms: u32::try_from(fits_ms).unwrap_or(u32::MAX),
            idle_timeout_ms: u32::try_from(idle_ms).unwrap_or(u32::MAX),
            ..self
        }
    }
}

/// The longest time between two looks at a live connection, of which each tells the directory, on a host
/// with room for so many of them per shard.
pub(crate) fn look_interval(rule: Heartbeat, connections_per_shard: usize) -> Duration {
    let rule = rule.stretched(connections_per_shard);
    let after_ping_ms = rule.idle_timeout_ms.saturating_sub(rule.interval_ms);
    Duration::from_millis(rule.interval_ms.max(after_ping_ms).into())
}

/// Idle seconds before the kernel's first probe of a connection, on a host with room for so many of them
/// per shard: not before the server itself would have asked, and with no more probes than pings.
pub(crate) fn tcp_keepalive_s(rule: Heartbeat, connections_per_shard: usize) -> u32 {
    rule.stretched(connections_per_shard)
        .idle_timeout_ms
        .div_ceil(1_000)
        .clamp(1, KEEPALIVE_S_MAX)
}

/// The kernel takes no more (TCP_KEEPIDLE, MAX_TCP_KEEPIDLE in include/net/tcp.h).
const KEEPALIVE_S_MAX: u32 = 32_767;

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Heartbeat = Heartbeat {
        interval_ms: 30_000,
        idle_timeout_ms: 75_000,
        pings_per_second_max: 2_000,
    };

    #[test]
    fn a_shard_with_room_keeps_to_what_was_asked() {
        for live in [0, 1, 60_000] {
            assert_eq!(RULE.stretched(live), RULE, "{live}");
        }
    }

    #[test]
    fn a_full_shard_pings_no_more_than_it_may() {
        for live in [60_100, 1_000_000, 30_000_000] {
            let full = RULE.stretched(live);
            let pings = live as f64 * 1_000.0 / f64::from(full.interval_ms);
            assert!((1_990.0..=2_000.5).contains(&pings), "{live}: {pings}");
            let ratio = f64::from(full.idle_timeout_ms) / f64::from(full.interval_ms);
            assert!((2.49..=2.51).contains(&ratio), "{live}: {ratio}");
        }
    }

    #[test]
    fn no_number_overflows() {
        let zero = Heartbeat {
            interval_ms: 0,
            pings_per_second_max: 0,
            ..RULE
        };
        assert!(zero.stretched(usize::MAX).interval_ms > 0);
        assert_eq!(tcp_keepalive_s(zero, usize::MAX), KEEPALIVE_S_MAX);
        assert_eq!(tcp_keepalive_s(RULE, 1), 75);
        assert_eq!(tcp_keepalive_s(RULE, 1_000_000), 1_250);
        assert_eq!(look_interval(RULE, 1), Duration::from_secs(45));
        assert_eq!(look_interval(RULE, 1_000_000), Duration::from_secs(750));
    }
}
