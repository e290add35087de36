//! How many clients may be told by now. A pure rule: evenly over the time of the drain, and after a pause
//! of the shard (its thread did not run) no more than a little faster, so that no second has over one and a
//! half times its share.

/// What a pause adds at once, at most, nanoseconds of the plan.
const BURST_NS: u64 = 100_000_000;

/// Between two turns that look for somebody to tell: a turn for each would be nothing but turns.
const TURN_NS: u64 = 5_000_000;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    began_ns: u64,
    /// Between two clients.
    each_ns: u64,
    told: u64,
    /// Time of the plan that may be used at once, and when it was last added to.
    credit_ns: u64,
    credited_ns: u64,
}

impl Pace {
    /// So many clients over so long.
    pub(super) fn new(now_ns: u64, clients: u64, over_ns: u64) -> Self {
        let each_ns = (over_ns / clients.max(1)).max(1);
        Self {
            began_ns: now_ns,
            each_ns,
            told: 0,
            credit_ns: each_ns,
            credited_ns: now_ns,
        }
    }

    /// Clients that may be told now.
    pub(super) fn due(&mut self, now_ns: u64) -> u64 {
        let passed_ns = now_ns.saturating_sub(self.credited_ns);
        let most_ns = BURST_NS.max(self.each_ns);
        self.credit_ns = self
            .credit_ns
            .saturating_add(passed_ns.saturating_add(passed_ns / 4))
            .min(most_ns);
        self.credited_ns = now_ns;
        let planned = now_ns.saturating_sub(self.began_ns) / self.each_ns + 1;
        planned
            .saturating_sub(self.told)
            .min(self.credit_ns / self.each_ns)
    }

    /// One was told.
    pub(super) fn tell(&mut self) {
        self.told += 1;
        self.credit_ns = self.credit_ns.saturating_sub(self.each_ns);
    }

    /// When to ask again, at the earliest.
    pub(super) fn next_ns(&self, now_ns: u64) -> u64 {
        let planned_ns = self.told.saturating_mul(self.each_ns);
        now_ns
            .saturating_add(TURN_NS)
            .max(self.began_ns.saturating_add(planned_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const BEGAN: u64 = 77 * SECOND;

    /// Tells all, with turns at these times; how many in each second, by any second's beginning.
    fn run(clients: u64, over_s: u64, wake: impl Fn(u64) -> u64) -> Vec<u64> {
        let mut pace = Pace::new(BEGAN, clients, over_s * SECOND);
        let (mut now_ns, mut moments) = (BEGAN, Vec::new());
        while (moments.len() as u64) < clients {
            for _ in 0..pace.due(now_ns) {
                pace.tell();
                moments.push(now_ns - BEGAN);
            }
            let next_ns = pace.next_ns(now_ns);
            assert!(next_ns > now_ns);
            now_ns = wake(next_ns - BEGAN) + BEGAN;
        }
        moments
    }

    /// The most of any second, wherever it begins.
    fn most(moments: &[u64]) -> usize {
        let before = |at: u64| moments.partition_point(|it| *it < at);
        let within = |&at: &u64| before(at + SECOND) - before(at);
        moments.iter().map(within).max().unwrap_or(0)
    }

    #[test]
    fn everybody_is_told_evenly_and_in_time() {
        for (clients, over_s) in [(1, 20), (7, 20), (2_000, 20), (30_000, 20)] {
            let moments = run(clients, over_s, |next| next);
            assert!(
                moments.last() <= Some(&(over_s * SECOND)),
                "{clients}: {:?}",
                moments.last()
            );
            let share = clients.div_ceil(over_s) as usize;
            assert!(
                most(&moments) <= share + 1,
                "{clients}: {} of {share}",
                most(&moments)
            );
        }
    }

    #[test]
    fn after_a_pause_nobody_is_flooded() {
        // The thread does not run from the 4th second to the 7th.
        let stalls = |next: u64| {
            if (4 * SECOND..7 * SECOND).contains(&next) {
                7 * SECOND
            } else {
                next
            }
        };
        let moments = run(2_000, 20, stalls);
        assert!(
            most(&moments) <= 150,
            "{} of a share of 100",
            most(&moments)
        );
        assert!(
            moments.last() <= Some(&(20 * SECOND)),
            "it has caught up: {:?}",
            moments.last()
        );
    }

    #[test]
    fn no_number_overflows() {
        let mut pace = Pace::new(u64::MAX, u64::MAX, 0);
        assert!(pace.due(0) <= 1);
        pace.tell();
        assert_eq!(pace.next_ns(u64::MAX), u64::MAX);
        let mut none = Pace::new(0, 0, SECOND);
        assert_eq!(none.due(0), 1);
    }
}
