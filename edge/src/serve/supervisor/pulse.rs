//! Signs of life that are given only while every shard moves.

use std::time::{Duration, Instant};

/// A shard turns at least once a second, and the main thread looks four times a second: with less than this
/// between two signs, an idle server would seem to hang.
pub(super) const INTERVAL_MIN: Duration = Duration::from_secs(4);

/// When the next sign is due, and what the shards had done at the last one.
#[derive(Debug)]
pub(super) struct Pulse {
    every: Duration,
    last: Instant,
    turns: Vec<Option<u64>>,
}

impl Pulse {
    /// The first sign is due in `every`.
    pub(super) fn new(every: Duration, now: Instant) -> Self {
        Self {
            every,
            last: now,
            turns: Vec::new(),
        }
    }

    /// Whether a sign is to be given: it is due, and each shard has turned since the last one, or has ended.
    /// One that is withheld is given as soon as the last shard moves.
    pub(super) fn beats(&mut self, now: Instant, turns: &[Option<u64>]) -> bool {
        let beats = now.duration_since(self.last) >= self.every && all_moved(&self.turns, turns);
        if beats {
            self.last = now;
            self.turns = turns.to_vec();
        }
        beats
    }
}

fn all_moved(before: &[Option<u64>], now: &[Option<u64>]) -> bool {
    before
        .iter()
        .zip(now)
        .all(|(before, now)| now.is_none() || before != now)
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
        let start = Instant::now();
        let mut pulse = Pulse::new(EVERY, start);
        let mut beats = |seconds, turns: [Option<u64>; 2]| {
            pulse.beats(start + Duration::from_secs(seconds), &turns)
        };
        assert!(!beats(9, [Some(9), Some(9)]), "not due");
        assert!(beats(10, [Some(10), Some(10)]));
        assert!(!beats(19, [Some(19), Some(19)]), "not due again");
        assert!(!beats(20, [Some(20), Some(10)]), "the second stands");
        assert!(!beats(20, [Some(10), Some(20)]), "the first stands");
        assert!(!beats(500, [Some(500), Some(10)]), "it stands for good");
        assert!(beats(501, [Some(501), Some(11)]), "as soon as it moves");
        assert!(
            !beats(510, [Some(510), Some(20)]),
            "counted from the late one"
        );
        assert!(
            beats(511, [Some(511), None]),
            "what has ended hangs no more"
        );
        assert!(beats(521, [None, None]));
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
