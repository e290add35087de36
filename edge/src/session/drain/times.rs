//! The times of a drain. A pure rule: how a window is divided between telling clients to go and waiting
//! until the last of them have gone.

/// The most time that one client is given to go: its moment is to be its own, not its whole day.
const LEAVE_MS_MAX: u64 = 10_000;

/// Milliseconds all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Over so long clients are told, evenly.
    pub tell_ms: u64,
    /// A client goes within so long after it was told: it chooses the moment.
    pub leave_ms: u64,
    /// One that has not gone so long after it was told is closed.
    pub stay_ms: u64,
}

impl Times {
    /// Of a drain of so many clients within a window, at no more than so many in a second (0: any number).
    /// The rate is the stronger of the two: others cannot take more.
    pub fn of(window_ms: u64, clients: u64, per_second_max: u32) -> Self {
        let leave_ms = (window_ms / 6).min(LEAVE_MS_MAX);
        let stay_ms = 2 * leave_ms;
        let at_rate_ms = match per_second_max {
            0 => 0,
            rate => clients.saturating_mul(1_000).div_ceil(rate.into()),
        };
        Self {
            tell_ms: (window_ms - stay_ms).max(at_rate_ms),
            leave_ms,
            stay_ms,
        }
    }

    /// From the first that is told to the last that is closed.
    pub fn all_ms(&self) -> u64 {
        self.tell_ms.saturating_add(self.stay_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_kept_to() {
        for window_ms in [0, 1, 7, 3_000, 30_000, 600_000] {
            let times = Times::of(window_ms, 1_000_000, 0);
            assert_eq!(times.all_ms(), window_ms);
            assert!(times.leave_ms <= times.stay_ms && times.leave_ms <= LEAVE_MS_MAX);
        }
        let times = Times::of(30_000, 1, 0);
        assert_eq!(
            (times.tell_ms, times.leave_ms, times.stay_ms),
            (20_000, 5_000, 10_000)
        );
    }

    #[test]
    fn a_rate_is_kept_to_and_the_window_grows() {
        let times = Times::of(30_000, 100_000, 2_000);
        assert_eq!((times.tell_ms, times.all_ms()), (50_000, 60_000));
        assert_eq!(Times::of(30_000, 100, 2_000), Times::of(30_000, 100, 0));
        assert_eq!(
            Times::of(u64::MAX, u64::MAX, u32::MAX).leave_ms,
            LEAVE_MS_MAX
        );
    }
}
