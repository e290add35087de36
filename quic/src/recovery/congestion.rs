//! NewReno (RFC 9002 section 7). It counts bytes and decides how many may be in flight.

/// Payload of our datagrams.
const DATAGRAM: u64 = 1_200;
/// RFC 9002 section 7.2.
const WINDOW_INITIAL: u64 = 10 * DATAGRAM;
const WINDOW_MIN: u64 = 2 * DATAGRAM;
/// Nobody needs more of us; it bounds what is kept of packets in flight.
const WINDOW_MAX: u64 = 1 << 20;

/// The controller. It begins anew after a rest, with the initial window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NewReno {
    window: u64,
    threshold: u64,
    in_flight: u64,
    /// When the last reduction was: packets sent before it cause no other one.
    recovery_since: Option<u64>,
}

impl NewReno {
    pub(crate) const NEW: Self = Self {
        window: WINDOW_INITIAL,
        threshold: u64::MAX,
        in_flight: 0,
        recovery_since: None,
    };

    /// Bytes that may be sent now.
    //= RFC 9002 section 7: An endpoint MUST NOT send a packet if it would cause bytes_in_flight (see Appendix B.2) to be larger than the congestion window, unless the packet is sent on a PTO timer expiration (see Section 6.2) or when entering recovery (see Section 7.3.2).
    pub(crate) fn room(&self) -> u64 {
        self.window.saturating_sub(self.in_flight)
    }

    pub(crate) fn on_sent(&mut self, bytes: u64) {
        self.in_flight += bytes;
    }

    /// A packet that was sent at `sent_at` was acknowledged. `was_limited` tells whether the window is in use.
    pub(crate) fn on_acked(&mut self, bytes: u64, sent_at: u64) {
        //= RFC 9002 section 7.8: When bytes in flight is smaller than the congestion window and sending is not pacing limited, the congestion window is underutilized.
        let was_limited = self.in_flight + DATAGRAM >= self.window;
        self.in_flight = self.in_flight.saturating_sub(bytes);
        let in_recovery = self.recovery_since.is_some_and(|since| sent_at <= since);
        if in_recovery || !was_limited {
            return;
        }
        let more = if self.window < self.threshold {
            bytes
        } else {
            DATAGRAM * bytes / self.window
        };
        self.window = (self.window + more).min(WINDOW_MAX);
    }

    /// Packets were lost, the last of them sent at `last_sent_at`.
    pub(crate) fn on_lost(&mut self, bytes: u64, last_sent_at: u64, now: u64, persistent: bool) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
        if self.recovery_since.is_none_or(|since| last_sent_at > since) {
            self.recovery_since = Some(now);
            //= RFC 9002 section 7.3.2: On entering a recovery period, a sender MUST set the slow start threshold to half the value of the congestion window when loss is detected.
            self.window = (self.window / 2).max(WINDOW_MIN);
            self.threshold = self.window;
        }
        if persistent {
            //= RFC 9002 section 7.6.2: When persistent congestion is declared, the sender's congestion window MUST be reduced to the minimum congestion window (kMinimumWindow), similar to a TCP sender's response on an RTO [RFC5681].
            self.window = WINDOW_MIN;
            self.recovery_since = None;
        }
    }

    /// Bytes are forgotten without a verdict.
    pub(crate) fn on_discarded(&mut self, bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    //= test of RFC 9002 section 7: An endpoint MUST NOT send a packet if it would cause bytes_in_flight (see Appendix B.2) to be larger than the congestion window, unless the packet is sent on a PTO timer expiration (see Section 6.2) or when entering recovery (see Section 7.3.2).
    //= test of RFC 9002 section 7.3.2: On entering a recovery period, a sender MUST set the slow start threshold to half the value of the congestion window when loss is detected.
    //= test of RFC 9002 section 7.6.2: When persistent congestion is declared, the sender's congestion window MUST be reduced to the minimum congestion window (kMinimumWindow), similar to a TCP sender's response on an RTO [RFC5681].
    #[test]
    fn the_window_grows_when_used_and_halves_once() {
        let mut reno = NewReno::NEW;
        for _ in 0..10 {
            assert!(reno.room() >= DATAGRAM);
            reno.on_sent(DATAGRAM);
        }
        assert_eq!(reno.room(), 0);
        reno.on_acked(DATAGRAM, 0);
        assert_eq!(reno.window, 11 * DATAGRAM);
        // Three losses of one flight are one event.
        for _ in 0..3 {
            reno.on_lost(DATAGRAM, 5, 10, false);
        }
        assert_eq!(
            (reno.window, reno.threshold),
            (11 * DATAGRAM / 2, 11 * DATAGRAM / 2)
        );
        reno.on_acked(DATAGRAM, 7);
        assert_eq!(reno.window, 11 * DATAGRAM / 2, "sent before the recovery");
        reno.on_lost(0, 9, 11, true);
        assert_eq!(reno.window, WINDOW_MIN);
        // Unused, it does not grow.
        let mut idle = NewReno::NEW;
        idle.on_sent(100);
        idle.on_acked(100, 0);
        assert_eq!(idle.window, WINDOW_INITIAL);
    }
}
