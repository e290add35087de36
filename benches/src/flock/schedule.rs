//! When each message is due: an open loop. A message is counted from the moment at which it was due,
//! not from when it could be sent, so that a server that stalls cannot hide it.

use rookery_wire::proto::ClientMsgId;

/// The messages of one shard: every `shards`-th of the whole.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    start_ns: u64,
    rate: u64,
    /// Messages over all shards.
    count: u64,
    /// The next one's number over all shards.
    next: u64,
    step: u64,
}

/// A message that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// Its number over all shards.
    pub(super) number: u64,
    /// When it was due, on the run's clock. No two messages of a run share a moment.
    pub(super) at_ns: u64,
}

impl Due {
    /// What its message is called: when it was due, and its number.
    pub(super) fn client_msg_id(self) -> ClientMsgId {
        (u128::from(self.number) << 64 | u128::from(self.at_ns)).to_le_bytes()
    }

    /// When the message of this name was due. A peer may say any name.
    pub(super) fn at_ns_of(name: &ClientMsgId) -> u64 {
        u128::from_le_bytes(*name) as u64
    }
}

impl Schedule {
    /// `rate` messages per second (at least 1) for `duration_ns`.
    pub(super) fn new(start_ns: u64, rate: u32, duration_ns: u64, shard: u16, shards: u16) -> Self {
        let rate = u64::from(rate.max(1));
        let count = u128::from(rate) * u128::from(duration_ns) / 1_000_000_000;
        Self {
            start_ns,
            rate,
            count: u64::try_from(count).unwrap_or(u64::MAX),
            next: u64::from(shard),
            step: u64::from(shards.max(1)),
        }
    }

    /// When the first message was due.
    pub(super) fn start_ns(&self) -> u64 {
        self.start_ns
    }

    /// Whether every message was handed out.
    pub(super) fn is_over(&self) -> bool {
        self.next >= self.count
    }

    /// The next message, where it is due.
    pub(super) fn due(&mut self, now_ns: u64) -> Option<Due> {
        if self.is_over() {
            return None;
        }
        let after_ns = u128::from(self.next) * 1_000_000_000 / u128::from(self.rate);
        let at_ns = self.start_ns + after_ns as u64;
        if at_ns > now_ns {
            return None;
        }
        let due = Due {
            number: self.next,
            at_ns,
        };
        self.next += self.step;
        Some(due)
    }
}

/// A number without pattern for each message number: splitmix64, so that a run can be repeated.
pub(super) fn scatter(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn the_shards_together_send_each_message_once() {
        let mut moments = BTreeSet::new();
        for shard in 0..3 {
            let mut schedule = Schedule::new(5, 7, 10 * SECOND, shard, 3);
            while let Some(due) = schedule.due(u64::MAX) {
                assert!(moments.insert(due.at_ns));
                assert_eq!(Due::at_ns_of(&due.client_msg_id()), due.at_ns);
            }
            assert!(schedule.is_over());
        }
        assert_eq!(moments.len(), 70);
        assert_eq!(moments.first(), Some(&5));
        assert!(moments.last() < Some(&(10 * SECOND + 5)));
    }

    #[test]
    fn nothing_comes_early_and_a_late_look_changes_no_moment() {
        let mut early = Schedule::new(0, 1_000, SECOND, 0, 1);
        assert_eq!(
            early.due(0),
            Some(Due {
                number: 0,
                at_ns: 0
            })
        );
        assert_eq!(early.due(999_999), None);
        assert_eq!(
            early.due(1_000_000),
            Some(Due {
                number: 1,
                at_ns: 1_000_000
            })
        );
        let late: Vec<Due> = std::iter::from_fn(|| early.due(60 * SECOND)).collect();
        assert_eq!(late.len(), 998);
        assert_eq!(late[0].at_ns, 2_000_000);
    }

    #[test]
    fn scattered_numbers_are_even() {
        let mut buckets = [0u32; 16];
        (0..16_000).for_each(|number| buckets[(scatter(number) % 16) as usize] += 1);
        assert!(
            buckets.iter().all(|&n| (800..1_200).contains(&n)),
            "{buckets:?}"
        );
    }
}
