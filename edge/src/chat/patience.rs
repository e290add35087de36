//! What a refusal with a retry-after is answered with: the same again, after the time that it asked for,
//! and a longer one each time that it refuses again. What somebody waits for in front of it is not tried
//! for ever; what keeps the conversation whole is.

use std::time::{Duration, Instant};

/// Refusals in a row before it is given up; some two minutes where the server asks for half a second.
pub(super) const REFUSALS_MAX: u32 = 10;
/// The wait grows up to this, or to what the server asks for where that is longer.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// How often something was refused in a row, and when it is tried again.
#[derive(Debug, Default)]
pub(super) struct Patience {
    refusals: u32,
    again_at: Option<Instant>,
}

impl Patience {
    /// It was refused: how long to wait, or nothing where it is of no use to try again.
    pub(super) fn refuse(&mut self, now: Instant, retry_after_ms: u32) -> Option<Duration> {
        (retry_after_ms > 0 && self.refusals < REFUSALS_MAX)
            .then(|| self.put_off(now, retry_after_ms))
    }

    /// It was refused, and will be tried until it is taken: how long to wait.
    pub(super) fn put_off(&mut self, now: Instant, retry_after_ms: u32) -> Duration {
        let asked = Duration::from_millis(retry_after_ms.into());
        let grown = asked.saturating_mul(1 << self.refusals);
        let wait = grown.min(WAIT_MAX.max(asked));
        self.refusals = REFUSALS_MAX.min(self.refusals + 1);
        self.again_at = Some(now + wait);
        wait
    }

    /// When it is tried again, if it waits.
    pub(super) fn again_at(&self) -> Option<Instant> {
        self.again_at
    }

    /// Whether it is to be tried now; it waits no longer then.
    pub(super) fn take_due(&mut self, now: Instant) -> bool {
        self.again_at.take_if(|at| *at <= now).is_some()
    }

    /// It was accepted.
    pub(super) fn accept(&mut self) {
        self.refusals = 0;
    }

    /// There is nothing to wait for.
    pub(super) fn forget_wait(&mut self) {
        self.again_at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_as_asked_then_longer_and_not_for_ever() {
        let now = Instant::now();
        let mut patience = Patience::default();
        let mut waits = Vec::new();
        while let Some(wait) = patience.refuse(now, 500) {
            assert_eq!(patience.again_at(), Some(now + wait));
            assert!(!patience.take_due(now));
            assert!(patience.take_due(now + wait));
            waits.push(wait.as_millis());
        }
        let expected = [
            500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000, 30_000,
        ];
        assert_eq!(waits, expected);
        patience.accept();
        let long = patience.refuse(now, u32::MAX);
        assert_eq!(long, Some(Duration::from_millis(u32::MAX.into())));
        assert_eq!(patience.refuse(now, 0), None);
        for _ in 0..100 {
            assert_eq!(patience.put_off(now, 40_000), Duration::from_secs(40));
        }
    }
}
