//! What users and conversations may cost in a second: a token bucket for each.
//!
//! A bucket is one number, the moment at which it will be full again (the virtual scheduling form of the leaky
//! bucket, ITU-T I.371 annex A), so nothing is ever filled up. Pure: the time comes in, by a clock that nobody
//! sets. The invariants: nobody has to wait for more than a full bucket, however much is asked; and what is kept
//! is bounded. Whoever was silent for as long as a bucket takes to fill is forgotten, which changes nothing; only
//! where more than [`BUCKETS_MAX`] have sent since then are others forgotten too, those that were silent longest.

use crate::generations::Generations;

/// Users, and conversations, that are remembered, up to twice as many: 50 B each.
const BUCKETS_MAX: usize = 65_536;

/// What a delivery costs besides its payload, in bytes of payload that take as long: a record to seal and a system
/// call.
const DELIVERY_BYTES: u64 = 4 << 10;

/// The same of a member of a new conversation: rows, which are there for good.
const MEMBERSHIP_BYTES: u64 = 32 << 10;

/// How much users and conversations may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// What a user's Sends and openings may cost in a second, bytes; 0: any number.
    pub user_bytes_per_second: u64,
    /// What the Sends of all to one conversation may cost in a second, bytes; 0: any number.
    pub conversation_bytes_per_second: u64,
    /// For how long of it who was silent has saved up, ms.
    pub burst_ms: u32,
    /// What becomes of more.
    pub mode: RateMode,
}

impl RateLimits {
    /// Nobody who types, nor a client that sends what it wrote while it was away, comes near it: 8,000 short
    /// messages a second to one other, or 15 to a group of 1,024; and a second of core time at the most for each
    /// sixteen of the largest messages to such a group.
    pub const DEFAULT: RateLimits = RateLimits {
        user_bytes_per_second: 64 << 20,
        conversation_bytes_per_second: 256 << 20,
        burst_ms: 16_000,
        mode: RateMode::Refuse,
    };
}

/// What becomes of a request that is over a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateMode {
    /// It is counted and passes.
    Count,
    /// It is refused.
    Refuse,
}

/// Whose rate a request is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The sender's.
    User,
    /// That of the conversation.
    Conversation,
}

/// A request is over a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// Whose; the one that takes longer where it is over both.
    pub whose: Whose,
    /// When there is room for it, if nothing else is asked, ms.
    pub retry_after_ms: u32,
}

/// What a message of so many bytes costs that goes to so many members: each is sent all of it.
pub fn cost_of_send(members: usize, payload_bytes: usize) -> u64 {
    members as u64 * (payload_bytes as u64 + DELIVERY_BYTES)
}

/// What a new conversation costs: rows for each member, and each is told of all.
pub fn cost_of_opening(members: usize) -> u64 {
    cost_of_send(members, 8 * members) + members as u64 * MEMBERSHIP_BYTES
}

/// See the module.
#[derive(Debug)]
pub struct Rates {
    users: Buckets,
    conversations: Buckets,
}

impl Rates {
    /// Everybody's bucket is full.
    pub fn new(limits: &RateLimits) -> Rates {
        Rates {
            users: Buckets::new(limits.user_bytes_per_second, limits.burst_ms),
            conversations: Buckets::new(limits.conversation_bytes_per_second, limits.burst_ms),
        }
    }

    /// From here on by these: who waits, waits for what comes in by them.
    pub fn set(&mut self, limits: &RateLimits) {
        self.users
            .set(limits.user_bytes_per_second, limits.burst_ms);
        self.conversations
            .set(limits.conversation_bytes_per_second, limits.burst_ms);
    }

    /// Takes what a user's request costs from both buckets, or nothing from any.
    pub fn take(
        &mut self,
        user_id: u64,
        conversation_id: Option<u64>,
        cost: u64,
        now_ms: u64,
    ) -> Result<(), Over> {
        let now_ns = now_ms.saturating_mul(1_000_000);
        let own_ns = self.users.wait_ns(user_id, cost, now_ns);
        let others_ns =
            conversation_id.map_or(0, |id| self.conversations.wait_ns(id, cost, now_ns));
        let wait_ns = own_ns.max(others_ns);
        if wait_ns > 0 {
            let whose = if own_ns >= others_ns {
                Whose::User
            } else {
                Whose::Conversation
            };
            let retry_after_ms = u32::try_from(wait_ns.div_ceil(1_000_000)).unwrap_or(u32::MAX);
            return Err(Over {
                whose,
                retry_after_ms,
            });
        }
        self.users.take(user_id, cost, now_ns);
        if let Some(id) = conversation_id {
            self.conversations.take(id, cost, now_ns);
        }
        Ok(())
    }

    /// Gives back some of what was taken: it did not cost so much.
    pub fn give_back(&mut self, user_id: u64, conversation_id: Option<u64>, cost: u64) {
        self.users.give_back(user_id, cost);
        if let Some(id) = conversation_id {
            self.conversations.give_back(id, cost);
        }
    }
}

#[derive(Debug)]
struct Buckets {
    /// When each is full.
    full_ns: Generations<u64, u64>,
    bytes_per_second: u64,
    /// An empty one is full after so long.
    burst_ns: u64,
    /// When the generations turned.
    turned_ns: u64,
}

impl Buckets {
    fn new(bytes_per_second: u64, burst_ms: u32) -> Buckets {
        Buckets {
            full_ns: Generations::new(BUCKETS_MAX),
            bytes_per_second,
            burst_ns: u64::from(burst_ms) * 1_000_000,
            turned_ns: 0,
        }
    }

    fn set(&mut self, bytes_per_second: u64, burst_ms: u32) {
        self.bytes_per_second = bytes_per_second;
        self.burst_ns = u64::from(burst_ms) * 1_000_000;
    }

    /// The time in which so much comes in; never more than a whole bucket.
    fn time_ns(&self, cost: u64) -> u64 {
        if self.bytes_per_second == 0 {
            return 0;
        }
        let ns = u128::from(cost) * 1_000_000_000 / u128::from(self.bytes_per_second);
        u64::try_from(ns).map_or(self.burst_ns, |ns| ns.min(self.burst_ns))
    }

    /// How long until so much is in a bucket.
    fn wait_ns(&mut self, key: u64, cost: u64, now_ns: u64) -> u64 {
        let full_ns = self.full_ns.hit(key).map_or(0, |full_ns| *full_ns);
        let missing_ns = full_ns.saturating_sub(now_ns);
        (missing_ns + self.time_ns(cost)).saturating_sub(self.burst_ns)
    }

    /// Only where it is there.
    fn take(&mut self, key: u64, cost: u64, now_ns: u64) {
        let time_ns = self.time_ns(cost);
        if time_ns == 0 {
            return;
        }
        if now_ns.saturating_sub(self.turned_ns) >= self.burst_ns {
            self.full_ns.age();
            self.turned_ns = now_ns;
        }
        self.full_ns.turn();
        match self.full_ns.hit(key) {
            Some(full_ns) => *full_ns = (*full_ns).max(now_ns) + time_ns,
            None => self.full_ns.insert(key, now_ns + time_ns, 1),
        }
    }

    fn give_back(&mut self, key: u64, cost: u64) {
        let time_ns = self.time_ns(cost);
        if let Some(full_ns) = self.full_ns.hit(key) {
            *full_ns = full_ns.saturating_sub(time_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 1,000 bytes a second for a user, 3,000 for a conversation, two seconds of each.
    const SMALL: RateLimits = RateLimits {
        user_bytes_per_second: 1_000,
        conversation_bytes_per_second: 3_000,
        burst_ms: 2_000,
        mode: RateMode::Refuse,
    };

    fn over(whose: Whose, retry_after_ms: u32) -> Result<(), Over> {
        Err(Over {
            whose,
            retry_after_ms,
        })
    }

    #[test]
    fn a_burst_passes_and_then_what_comes_in() {
        let mut rates = Rates::new(&SMALL);
        let mut take = |cost, now_ms| rates.take(1, Some(7), cost, now_ms);
        assert_eq!(take(1_500, 10_000), Ok(()));
        assert_eq!(take(501, 10_000), over(Whose::User, 1));
        assert_eq!(take(500, 10_000), Ok(()));
        assert_eq!(take(1_000, 10_000), over(Whose::User, 1_000));
        assert_eq!(take(1_000, 10_999), over(Whose::User, 1));
        assert_eq!(take(1_000, 11_000), Ok(()), "it was told when");
        assert_eq!(take(1, 11_000), over(Whose::User, 1));
        assert_eq!(take(2_000, 99_000), Ok(()), "more than full it is never");
        assert_eq!(take(1, 99_000), over(Whose::User, 1));
    }

    #[test]
    fn a_conversation_has_a_bucket_for_all_and_what_is_refused_takes_from_none() {
        let mut rates = Rates::new(&SMALL);
        for user_id in 1..=3 {
            assert_eq!(rates.take(user_id, Some(7), 2_000, 0), Ok(()));
        }
        for _ in 0..10 {
            assert_eq!(
                rates.take(4, Some(7), 1_500, 0),
                over(Whose::Conversation, 500)
            );
        }
        assert_eq!(
            rates.take(4, Some(8), 2_000, 0),
            Ok(()),
            "elsewhere there is room"
        );
        assert_eq!(rates.take(4, None, 1, 0), over(Whose::User, 1));
        assert_eq!(rates.take(5, Some(7), 1_500, 500), Ok(()));
    }

    #[test]
    fn more_than_a_bucket_costs_a_whole_one_and_what_is_given_back_is_there() {
        let mut rates = Rates::new(&SMALL);
        assert_eq!(rates.take(1, Some(7), u64::MAX, 0), Ok(()));
        assert_eq!(
            rates.take(1, Some(7), u64::MAX, 0),
            over(Whose::User, 2_000)
        );
        rates.give_back(1, Some(7), 600);
        assert_eq!(rates.take(1, Some(7), 600, 0), Ok(()));
        assert_eq!(rates.take(1, Some(7), 1, 0), over(Whose::User, 1));
        rates.give_back(9, None, u64::MAX);
        assert_eq!(rates.take(9, None, 2_000, 0), Ok(()));
    }

    #[test]
    fn a_rate_that_changes_counts_at_once() {
        let mut rates = Rates::new(&SMALL);
        assert_eq!(rates.take(1, None, 2_000, 0), Ok(()));
        assert_eq!(rates.take(1, None, 1_000, 0), over(Whose::User, 1_000));
        rates.set(&RateLimits {
            user_bytes_per_second: 4_000,
            ..SMALL
        });
        assert_eq!(rates.take(1, None, 1_000, 0), over(Whose::User, 250));
        rates.set(&RateLimits {
            user_bytes_per_second: 0,
            ..SMALL
        });
        // What was missing before is still to come in.
        assert_eq!(rates.take(2, None, u64::MAX, 0), Ok(()));
    }

    #[test]
    fn without_a_rate_nothing_is_kept() {
        let mut rates = Rates::new(&RateLimits {
            user_bytes_per_second: 0,
            conversation_bytes_per_second: 0,
            ..SMALL
        });
        for user_id in 0..1_000 {
            assert_eq!(rates.take(user_id, Some(7), u64::MAX, 0), Ok(()));
        }
        assert_eq!(
            rates.users.full_ns.len() + rates.conversations.full_ns.len(),
            0
        );
    }

    #[test]
    fn strangers_do_not_grow_the_table_and_the_silent_are_forgotten() {
        let mut rates = Rates::new(&SMALL);
        assert_eq!(rates.take(1, None, 2_000, 0), Ok(()));
        for user_id in 2..500_000 {
            assert_eq!(rates.take(user_id, None, 1, 0), Ok(()));
            // Who goes on is not forgotten, whatever the others do.
            assert!(user_id % 1_000 > 0 || rates.take(1, None, 1, 0).is_err());
        }
        assert!(rates.users.full_ns.len() <= 2 * BUCKETS_MAX + 1);
        for at_ms in [2_000, 4_000, 6_000] {
            assert_eq!(rates.take(1, None, 1, at_ms), Ok(()));
        }
        assert_eq!(rates.users.full_ns.len(), 1);
    }

    proptest! {
        /// Whatever is asked, no more passes than the burst and what came in; and who waits as told gets it.
        #[test]
        fn no_more_than_the_rate_passes_and_nobody_waits_in_vain(
            asked in prop::collection::vec((0..3_000_u64, 0..1_000_u64), 1..200)
        ) {
            let mut rates = Rates::new(&SMALL);
            let (mut now_ms, mut passed) = (0, 0);
            for (cost, pause_ms) in asked {
                now_ms += pause_ms;
                if let Err(over) = rates.take(1, None, cost, now_ms) {
                    prop_assert!(over.retry_after_ms <= SMALL.burst_ms);
                    let before = now_ms + u64::from(over.retry_after_ms) - 1;
                    prop_assert!(rates.take(1, None, cost, before).is_err());
                    now_ms = before + 1;
                    prop_assert_eq!(rates.take(1, None, cost, now_ms), Ok(()));
                }
                passed += cost.min(2_000);
                prop_assert!(passed <= 2_000 + now_ms);
            }
        }
    }

    #[test]
    fn the_largest_message_to_the_largest_group_costs_what_its_deliveries_do() {
        assert_eq!(cost_of_send(1_024, 65_536), 1_024 * 69_632);
        assert_eq!(cost_of_send(2, 100), 2 * 4_196);
        assert_eq!(cost_of_opening(2), 2 * (16 + 4_096 + 32_768));
    }
}
