//! What a Reconnect asks for: leaving at a moment of one's own, with nothing under way, for another server
//! or the same name. No I/O.

use std::time::{Duration, Instant};

use rookery_wire::proto;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leave {
    at: Instant,
    by: Instant,
    /// A WebSocket URL.
    pub(super) alternative: Option<String>,
}

impl Leave {
    /// The moment is drawn evenly from the window, and one of the alternatives from all; `dice` are even
    /// over all numbers.
    pub(super) fn of(told: &proto::Reconnect, now: Instant, dice: u64) -> Self {
        let after = |ms: u32| now + Duration::from_millis(ms.into());
        let by = after(told.not_after_ms.max(told.not_before_ms));
        let window = by.duration_since(after(told.not_before_ms));
        let part = f64::from(dice as u32) / f64::from(u32::MAX);
        let nth = ((dice >> 32) * told.alternatives.len() as u64) >> 32;
        let chosen = told.alternatives.get(nth as usize);
        Self {
            at: after(told.not_before_ms) + window.mul_f64(part),
            by,
            alternative: chosen.and_then(|it| String::from_utf8(it.url.clone()).ok()),
        }
    }

    /// Whether nothing new is to be begun.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.at
    }

    /// Whether it is time, where everything that was said is durable, or is not.
    pub(super) fn is_time(&self, now: Instant, all_durable: bool) -> bool {
        self.is_due(now) && (all_durable || now >= self.by)
    }

    /// When to ask again.
    pub(super) fn poll_timeout(&self, now: Instant) -> Instant {
        if self.is_due(now) { self.by } else { self.at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(urls: &[&str]) -> proto::Reconnect {
        proto::Reconnect {
            server_time_ms: 0,
            not_before_ms: 1_000,
            not_after_ms: 5_000,
            alternatives: urls
                .iter()
                .map(|url| proto::Alternative {
                    url: url.as_bytes().to_vec(),
                })
                .collect(),
            reason: Vec::new(),
        }
    }

    #[test]
    fn the_moment_lies_in_the_window_and_what_is_under_way_is_waited_for() {
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        for dice in [0, 1 << 31, u64::from(u32::MAX), u64::MAX] {
            let leave = Leave::of(&told(&[]), now, dice);
            assert!(!leave.is_time(at(999), true), "{dice}");
            assert!(leave.is_time(at(5_000), false), "{dice}");
            assert_eq!(leave.alternative, None);
        }
        let leave = Leave::of(&told(&[]), now, 0);
        assert_eq!(leave.poll_timeout(now), at(1_000));
        assert!(leave.is_due(at(1_000)) && leave.is_time(at(1_000), true));
        assert!(!leave.is_time(at(4_999), false));
        assert_eq!(leave.poll_timeout(at(1_000)), at(5_000));
    }

    #[test]
    fn the_alternatives_are_taken_evenly_and_nonsense_harms_nobody() {
        let now = Instant::now();
        let urls = ["wss://a/", "wss://b/"];
        let chosen = |dice| Leave::of(&told(&urls), now, dice).alternative;
        assert_eq!(chosen(0).as_deref(), Some("wss://a/"));
        assert_eq!(chosen(u64::MAX).as_deref(), Some("wss://b/"));
        let mut odd = told(&[]);
        odd.alternatives
            .push(proto::Alternative { url: vec![0xff] });
        (odd.not_before_ms, odd.not_after_ms) = (u32::MAX, 0);
        let leave = Leave::of(&odd, now, u64::MAX);
        assert_eq!(leave.alternative, None);
        assert!(!leave.is_due(now));
    }
}
