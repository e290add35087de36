//! How much of a shard's turn may be spent on handshakes.
//!
//! Whoever is established waits for the turn to end. So a turn has a target, and what handshakes may
//! take of it follows from how long turns really are while handshakes wait: a little more after each
//! turn within the target, much less after one over it (as TCP shares a line). The length of a turn is
//! taken from its start to the next one's: accepts, other work, and a core that was given to somebody
//! else are in it. The floor lets one handshake through whatever happens, and the target is the most.

/// One handshake, about: what is left of the share when every turn is too long.
const FLOOR_NS: u64 = 50_000;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    target_ns: u64,
    share_ns: u64,
    /// When the last turn began, where work was left over in it: then nobody slept.
    busy_since_ns: Option<u64>,
}

impl Pace {
    /// Turns should take so long while handshakes wait.
    pub fn new(target_ns: u64) -> Self {
        let target_ns = target_ns.max(FLOOR_NS);
        Self {
            target_ns,
            share_ns: target_ns / 2,
            busy_since_ns: None,
        }
    }

    /// A turn began at this time. What may be spent on handshakes in it, nanoseconds.
    pub fn begin_turn(&mut self, now_ns: u64) -> u64 {
        if let Some(since_ns) = self.busy_since_ns.take() {
            let took_ns = now_ns.saturating_sub(since_ns);
            self.share_ns = if took_ns > self.target_ns {
                (self.share_ns - self.share_ns / 4).max(FLOOR_NS)
            } else {
                (self.share_ns + self.target_ns / 32).min(self.target_ns)
            };
        }
        self.share_ns
    }

    /// That turn ends, and left handshakes over: the next one begins at once.
    pub fn leave_work(&mut self, began_ns: u64) {
        self.busy_since_ns = Some(began_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET_NS: u64 = 1_000_000;

    /// Turns that do their other work and spend the whole share, until `turns` are over. The mean
    /// length of the last half.
    fn mean_turn_ns(pace: &mut Pace, other_ns: u64, turns: u64) -> u64 {
        let (mut now_ns, mut sum) = (1, 0);
        for turn in 0..turns {
            let took_ns = other_ns + pace.begin_turn(now_ns);
            pace.leave_work(now_ns);
            now_ns += took_ns;
            if turn >= turns / 2 {
                sum += took_ns;
            }
        }
        sum / (turns / 2)
    }

    #[test]
    fn a_turn_comes_to_its_target_whatever_else_is_done_in_it() {
        for other_ns in [0, 100_000, 500_000, 900_000] {
            let mean = mean_turn_ns(&mut Pace::new(TARGET_NS), other_ns, 1_000);
            let wanted = TARGET_NS * 3 / 4..=TARGET_NS * 21 / 20;
            assert!(
                wanted.contains(&mean),
                "{mean} with {other_ns} of other work"
            );
        }
    }

    #[test]
    fn a_handshake_gets_through_a_shard_that_is_always_late() {
        let mut pace = Pace::new(TARGET_NS);
        assert_eq!(
            mean_turn_ns(&mut pace, 5_000_000, 1_000),
            5_000_000 + FLOOR_NS
        );
        let mean = mean_turn_ns(&mut pace, 0, 1_000);
        assert!(mean > TARGET_NS * 3 / 4, "it recovers: {mean}");
    }

    #[test]
    fn sleep_is_not_work() {
        let mut pace = Pace::new(TARGET_NS);
        let first = pace.begin_turn(1);
        let after_a_pause = pace.begin_turn(60_000_000_000);
        assert_eq!(first, after_a_pause);
    }
}
