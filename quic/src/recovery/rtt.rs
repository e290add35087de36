//! How long a round trip takes (RFC 9002 section 5). Times are microseconds.

/// Until the first sample (RFC 9002 section 6.2.2).
const INITIAL: u64 = 333_000;
/// The timers' grain (RFC 9002 section 6.1.2).
pub(crate) const GRANULARITY: u64 = 1_000;

/// At rest both numbers are kept in units of this.
const UNIT: u64 = 64;

/// The estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rtt {
    pub(crate) latest: u64,
    pub(crate) smoothed: u64,
    variation: u64,
    /// `None` until the first sample, and again after a rest: conditions may have changed.
    min: Option<u64>,
    has_sample: bool,
}

impl Rtt {
    pub(crate) const UNKNOWN: Self = Self {
        latest: 0,
        smoothed: INITIAL,
        variation: INITIAL / 2,
        min: None,
        has_sample: false,
    };

    /// Takes a sample in; `ack_delay` is what the peer says that it waited, already limited to what it promised.
    pub(crate) fn sample(&mut self, latest: u64, ack_delay: u64) {
        self.latest = latest;
        let min = self.min.map_or(latest, |min| min.min(latest));
        self.min = Some(min);
        if !self.has_sample {
            self.has_sample = true;
            self.smoothed = latest;
            self.variation = latest / 2;
            return;
        }
        //= RFC 9002 section 5.3: MUST NOT subtract the acknowledgment delay from the RTT sample if the resulting value is smaller than the min_rtt.
        let adjusted = if latest >= min + ack_delay {
            latest - ack_delay
        } else {
            latest
        };
        self.variation = (3 * self.variation + self.smoothed.abs_diff(adjusted)) / 4;
        self.smoothed = (7 * self.smoothed + adjusted) / 8;
    }

    pub(crate) fn has_sample(&self) -> bool {
        self.has_sample
    }

    /// A probe timeout without backoff (RFC 9002 section 6.2.1).
    pub(crate) fn pto(&self, max_ack_delay: u64) -> u64 {
        self.smoothed + (4 * self.variation).max(GRANULARITY) + max_ack_delay
    }

    /// What a later packet's acknowledgement says an earlier one was lost by (RFC 9002 section 6.1.2).
    pub(crate) fn loss_delay(&self) -> u64 {
        (self.latest.max(self.smoothed) * 9 / 8).max(GRANULARITY)
    }

    /// Two numbers of 16 bits, up to four seconds each; zeros where nothing is known.
    pub(crate) fn pack(&self) -> [u16; 2] {
        if !self.has_sample {
            return [0; 2];
        }
        let pack = |value: u64| u16::try_from(value / UNIT).unwrap_or(u16::MAX);
        [pack(self.smoothed).max(1), pack(self.variation)]
    }

    pub(crate) fn unpack([smoothed, variation]: [u16; 2]) -> Self {
        if smoothed == 0 {
            return Self::UNKNOWN;
        }
        let smoothed = u64::from(smoothed) * UNIT;
        Self {
            latest: smoothed,
            smoothed,
            variation: u64::from(variation) * UNIT,
            min: None,
            has_sample: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    //= test of RFC 9002 section 5.3: MUST NOT subtract the acknowledgment delay from the RTT sample if the resulting value is smaller than the min_rtt.
    #[test]
    fn samples() {
        let mut rtt = Rtt::UNKNOWN;
        assert_eq!(rtt.pto(25_000), 333_000 + 2 * 333_000 + 25_000);
        rtt.sample(40_000, 20_000);
        assert_eq!((rtt.smoothed, rtt.variation), (40_000, 20_000));
        // All of the delay would lead below the least.
        rtt.sample(48_000, 20_000);
        assert_eq!(rtt.smoothed, 41_000);
        rtt.sample(81_000, 40_000);
        assert_eq!(rtt.smoothed, 41_000);
        assert_eq!(rtt.loss_delay(), 81_000 * 9 / 8);
        let again = Rtt::unpack(rtt.pack());
        assert!(rtt.smoothed.abs_diff(again.smoothed) < UNIT);
        assert!(rtt.variation.abs_diff(again.variation) < UNIT);
        assert_eq!(Rtt::unpack(Rtt::UNKNOWN.pack()), Rtt::UNKNOWN);
    }
}
