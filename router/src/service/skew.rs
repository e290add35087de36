//! How far the host's clock is from those of the log and the store, as far as they have told.
//!
//! Not a clock: both of the host's, the wall clock and the steady one (which nobody sets, and which also
//! runs while the host sleeps), are arguments. What was told once says what time it is later too, by the
//! steady clock; so a wall clock that is set is noticed at once, and nobody need be asked for that. The
//! invariant: an answer that comes late makes no clock wrong that is right, for it says no more than that
//! their time lay between the question and the answer.

/// How far a clock may be off. Whoever keeps time over the network is closer by a thousand times.
pub(super) const SKEW_MS_MAX: u64 = 10_000;
/// Where the last one to tell the time contradicts, one that agreed so shortly before counts as well: of
/// several hosts that tell it, one may be wrong.
const AGREED_MS: u64 = 60_000;

/// What somebody else's clock said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Unix ms.
    pub(super) theirs_ms: u64,
    /// When it was asked for, by the steady clock.
    pub(super) asked_ms: u64,
    /// When it was heard.
    pub(super) heard_ms: u64,
}

/// What the host's clocks say at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    /// The wall clock, Unix ms.
    pub(super) wall_ms: u64,
    pub(super) steady_ms: u64,
}

impl Told {
    /// By how many ms the wall clock is off at least; above 0 where it is ahead.
    fn off(&self, own: Own) -> i64 {
        let since = |moment: u64| own.steady_ms.saturating_sub(moment);
        let least = self.theirs_ms.saturating_add(since(self.heard_ms));
        let most = self.theirs_ms.saturating_add(since(self.asked_ms));
        let wall = own.wall_ms;
        match wall {
            _ if wall > most => i64::try_from(wall - most).unwrap_or(i64::MAX),
            _ if wall < least => i64::try_from(least - wall).map_or(i64::MIN, |behind| -behind),
            _ => 0,
        }
    }

    fn agrees(&self, own: Own) -> bool {
        self.off(own).unsigned_abs() <= SKEW_MS_MAX
    }
}

/// What is to be thought of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nobody has told the time yet.
    Unknown,
    Right,
    /// By so many ms at least; above 0 where it is ahead.
    Off(i64),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Skew {
    last: Option<Told>,
    /// The last one that agreed when it was heard.
    agreed: Option<Told>,
}

impl Skew {
    pub(super) fn hear(&mut self, told: Told, own: Own) {
        // It says too little.
        if told.heard_ms.saturating_sub(told.asked_ms) > SKEW_MS_MAX {
            return;
        }
        if told.agrees(own) {
            self.agreed = Some(told);
        }
        self.last = Some(told);
    }

    pub(super) fn judge(&self, own: Own) -> Verdict {
        let Some(last) = self.last else {
            return Verdict::Unknown;
        };
        let lately = |told: &Told| told.heard_ms.saturating_add(AGREED_MS) >= last.heard_ms;
        let also = self.agreed.filter(lately);
        if last.agrees(own) || also.is_some_and(|told| told.agrees(own)) {
            return Verdict::Right;
        }
        Verdict::Off(last.off(own))
    }

    /// When the time was told last, by the steady clock.
    pub(super) fn heard_ms(&self) -> Option<u64> {
        self.last.map(|told| told.heard_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_790_000_000_000;

    /// The host's clocks, the wall clock off by so much.
    fn own(steady_ms: u64, off_ms: i64) -> Own {
        Own {
            wall_ms: (NOW_MS + steady_ms).saturating_add_signed(off_ms),
            steady_ms,
        }
    }

    /// By a clock that is off by so much.
    fn told(asked_ms: u64, heard_ms: u64, off_ms: i64) -> Told {
        Told {
            theirs_ms: (NOW_MS + asked_ms).saturating_add_signed(off_ms),
            asked_ms,
            heard_ms,
        }
    }

    #[test]
    fn a_clock_that_is_set_is_noticed_at_once_either_way_and_again_when_it_is_right() {
        let mut skew = Skew::default();
        assert_eq!(skew.judge(own(0, 0)), Verdict::Unknown);
        skew.hear(told(0, 20, 0), own(20, 0));
        for later in [20, 3_600_000] {
            assert_eq!(skew.judge(own(later, 9_000)), Verdict::Right);
            assert_eq!(skew.judge(own(later, -9_000)), Verdict::Right);
            assert_eq!(skew.judge(own(later, 20_000)), Verdict::Off(20_000));
            assert!(matches!(
                skew.judge(own(later, -20_000)),
                Verdict::Off(..-9_000)
            ));
            assert_eq!(skew.judge(own(later, 0)), Verdict::Right);
        }
    }

    #[test]
    fn a_late_answer_makes_no_clock_wrong() {
        let mut skew = Skew::default();
        skew.hear(told(0, 9_000, 0), own(9_000, 0));
        assert_eq!(skew.judge(own(9_000, 9_000)), Verdict::Right);
        // The process stood still for a minute.
        skew.hear(told(9_000, 69_000, 0), own(69_000, 0));
        assert_eq!(skew.judge(own(69_000, 0)), Verdict::Right);
        assert_eq!(skew.heard_ms(), Some(9_000));
    }

    #[test]
    fn one_wrong_clock_of_several_stops_nobody_and_all_of_them_do() {
        let mut skew = Skew::default();
        for at in (0..300_000).step_by(10_000) {
            skew.hear(told(at, at + 5, 0), own(at + 5, 0));
            skew.hear(told(at + 6, at + 9, 400_000), own(at + 9, 0));
            assert_eq!(skew.judge(own(at + 9, 0)), Verdict::Right);
        }
        for at in (300_000..400_000).step_by(10_000) {
            skew.hear(told(at, at + 9, 400_000), own(at + 9, 0));
        }
        assert!(matches!(
            skew.judge(own(400_000, 0)),
            Verdict::Off(..-390_000)
        ));
    }

    #[test]
    fn clocks_at_their_ends_are_judged_too() {
        let mut skew = Skew::default();
        let at = |wall_ms, steady_ms| Own { wall_ms, steady_ms };
        let end = Told {
            theirs_ms: u64::MAX,
            asked_ms: 0,
            heard_ms: 0,
        };
        skew.hear(end, at(0, 0));
        assert_eq!(skew.judge(at(0, u64::MAX)), Verdict::Off(i64::MIN));
        skew.hear(
            Told {
                theirs_ms: 0,
                ..end
            },
            at(0, 0),
        );
        assert_eq!(skew.judge(at(u64::MAX, 0)), Verdict::Off(i64::MAX));
    }
}
