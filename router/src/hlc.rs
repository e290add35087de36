//! The hybrid logical clock: 48 bits of Unix ms, 16 bits of counter.
//!
//! The invariant: stamps strictly grow, follow the wall clock when it runs ahead, and never follow
//! it back.

const COUNTER_BITS: u32 = 16;
const MS_MAX: u64 = (1 << 48) - 1;

/// One node's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hlc {
    last: u64,
}

impl Hlc {
    /// A clock whose stamps are all greater than `last` (0 for none).
    pub fn new(last: u64) -> Hlc {
        Hlc { last }
    }

    /// The stamp of an event of ours. A counter that runs over carries into the ms.
    pub fn tick(&mut self, now_ms: u64) -> u64 {
        self.last = (now_ms.min(MS_MAX) << COUNTER_BITS).max(self.last + 1);
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn follows_the_wall_forward_and_counts_while_it_stands_or_falls_back() {
        let mut hlc = Hlc::default();
        assert_eq!(hlc.tick(1_000), 1_000 << 16);
        assert_eq!(hlc.tick(1_000), (1_000 << 16) + 1);
        assert_eq!(hlc.tick(3), (1_000 << 16) + 2);
        assert_eq!(hlc.tick(1_001), 1_001 << 16);
    }

    proptest! {
        #[test]
        fn stamps_grow_through_jumps_and_restarts(
            steps in prop::collection::vec((0_u64..1 << 47, any::<bool>()), 1..200)
        ) {
            let mut hlc = Hlc::default();
            let mut last = 0;
            for (now_ms, restart) in steps {
                if restart {
                    hlc = Hlc::new(last);
                }
                let stamp = hlc.tick(now_ms);
                prop_assert!(stamp > last && stamp >> 16 >= now_ms);
                last = stamp;
            }
        }
    }
}
