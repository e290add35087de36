//! Signs of life that are given only while every shard moves.

use std::time::{Duration, Instant};

use crate::pulse::Pulse;

/// A shard turns at least once a second, and the main thread looks four times a second: with less than this
/// between two signs, an idle server would seem to hang.
pub(super) const INTERVAL_MIN: Duration = Duration::from_secs(4);

/// Something that is said every so often, for as long as every shard moves.
#[derive(Debug)]
pub(super) struct Beat {
    every: Duration,
    last: Instant,
    pulse: Pulse,
}

impl Beat {
    /// The first sign is due in `every`.
    pub(super) fn new(every: Duration, now: Instant) -> Self {
        Self {
            every,
            last: now,
            pulse: Pulse::default(),
        }
    }

    /// Whether a sign is to be given: it is due, and each shard has turned since the last one, or has ended.
    /// One that is withheld is given as soon as the last shard moves.
    pub(super) fn is_due(&mut self, now: Instant, turns: &[Option<u64>]) -> bool {
        self.pulse.look(turns.iter().copied(), now);
        let is_due =
            now.duration_since(self.last) >= self.every && self.pulse.all_moved_after(self.last);
        if is_due {
            self.last = now;
        }
        is_due
    }
}

/// How often the manager expects a sign, from `WATCHDOG_USEC` and `WATCHDOG_PID` (sd_watchdog_enabled(3)); `None`:
/// not at all, or of another process.
pub(super) fn interval(usec: Option<&str>, of: Option<&str>, pid: u32) -> Option<Duration> {
    let usec: u64 = usec?.parse().ok().filter(|usec| *usec > 0)?;
    let ours = of.is_none_or(|of| of.parse() == Ok(pid));
    ours.then_some(Duration::from_micros(usec))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(10);

    #[test]
    fn beats_when_due_and_only_while_every_shard_moves() {
        for stands in 0..2 {
            let start = Instant::now();
            let mut beat = Beat::new(EVERY, start);
            // The turns of the one that stands, and of the one that always moves.
            let mut is_due = |seconds, turns: Option<u64>| {
                let mut both = [Some(seconds), Some(seconds)];
                both[stands] = turns;
                beat.is_due(start + Duration::from_secs(seconds), &both)
            };
            assert!(!is_due(9, Some(9)), "not due");
            assert!(is_due(10, Some(10)));
            assert!(!is_due(19, Some(10)), "not due again");
            assert!(!is_due(20, Some(10)), "one stands");
            assert!(!is_due(500, Some(10)), "it stands for good");
            assert!(is_due(501, Some(11)), "as soon as it moves");
            assert!(!is_due(510, Some(20)), "counted from the late one");
            assert!(is_due(511, None), "what has ended hangs no more");
            assert!(is_due(521, None));
        }
        let mut beat = Beat::new(EVERY, Instant::now() - EVERY);
        assert!(beat.is_due(Instant::now(), &[None, None]));
    }

    #[test]
    fn the_interval_is_ours_only() {
        let seconds = Some(Duration::from_secs(30));
        assert_eq!(interval(Some("30000000"), Some("7"), 7), seconds);
        assert_eq!(interval(Some("30000000"), None, 7), seconds);
        for (usec, of) in [
            (None, Some("7")),
            (Some("30000000"), Some("8")),
            (Some("30000000"), Some("x")),
            (Some("0"), Some("7")),
            (Some(""), Some("7")),
            (Some("-1"), Some("7")),
            (Some("99999999999999999999"), Some("7")),
        ] {
            assert_eq!(interval(usec, of, 7), None, "{usec:?} {of:?}");
        }
    }
}
