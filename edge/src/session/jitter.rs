//! How long clients are spread over before they come again. A pure rule: the time that the operator asked
//! for, or the time that this host needs to log in everybody who is here, where that is longer: else a
//! restart of a full server is a storm that it cannot take.

/// Logins that a shard takes in a second where nobody says otherwise: half of what a core does that does
/// nothing else, at 161 us each (docs/density.md).
pub(crate) const LOGINS_PER_SHARD: u32 = 3_000;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jitter {
    /// The least, ms.
    pub configured_ms: u32,
    /// Logins that a shard can take in a second.
    pub logins_per_second: u32,
}

impl Jitter {
    /// Of a host that takes so many logins per second (0: it was not said), on each of its shards.
    pub fn of_host(configured_ms: u32, logins_per_second: u32, shards: u16) -> Self {
        let of_shard = match logins_per_second {
            0 => LOGINS_PER_SHARD,
            of_host => of_host.div_ceil(u32::from(shards.max(1))),
        };
        Self {
            configured_ms,
            logins_per_second: of_shard,
        }
    }

    /// The rule on a shard with so many connections, ms.
    pub(crate) fn ms(self, live: usize) -> u32 {
        let logins = u64::from(self.logins_per_second.max(1));
        let crowd_ms = (live as u64).saturating_mul(1_000) / logins;
        u32::try_from(crowd_ms)
            .unwrap_or(u32::MAX)
            .max(self.configured_ms)
    }

    /// When one client should come again, seconds: at least one, and spread over the rule by `spread`, any
    /// number that differs from client to client.
    pub(crate) fn retry_after_s(self, live: usize, spread: u64) -> u32 {
        let mixed = spread.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let jitter_s = u64::from(self.ms(live) / 1_000);
        1 + (mixed % (jitter_s + 1)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_crowd_keeps_to_what_was_asked() {
        let rule = Jitter::of_host(5_000, 0, 2);
        for live in [0, 1, 15_000] {
            assert_eq!(rule.ms(live), 5_000, "{live}");
        }
    }

    #[test]
    fn a_large_one_comes_no_faster_than_it_can_be_taken() {
        let rule = Jitter::of_host(5_000, 0, 2);
        assert_eq!(rule.ms(1_000_000), 333_333);
        for live in [15_003, 100_000, 1_000_000] {
            let per_second = live as f64 * 1_000.0 / f64::from(rule.ms(live));
            assert!(
                (2_990.0..=3_001.0).contains(&per_second),
                "{live}: {per_second}"
            );
        }
        let host = Jitter::of_host(0, 10_000, 4);
        assert_eq!((host.logins_per_second, host.ms(250_000)), (2_500, 100_000));
    }

    #[test]
    fn retries_are_spread_over_all_of_it() {
        let rule = Jitter::of_host(0, 1, 1);
        let mut seen = [0; 11];
        (0..11_000).for_each(|conn| seen[rule.retry_after_s(10, conn) as usize - 1] += 1);
        assert!(
            seen.iter().all(|count| (800..1_200).contains(count)),
            "{seen:?}"
        );
    }

    #[test]
    fn no_number_overflows() {
        let rule = Jitter::of_host(u32::MAX, u32::MAX, 0);
        assert_eq!(rule.ms(usize::MAX), u32::MAX);
        let zero = Jitter {
            configured_ms: 0,
            logins_per_second: 0,
        };
        assert_eq!(zero.ms(usize::MAX), u32::MAX);
        assert!(zero.retry_after_s(usize::MAX, u64::MAX) > 0);
    }
}
