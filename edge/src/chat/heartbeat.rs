//! Whether the server still is there: a Ping at each beat, and silent is who answered none of several. Beats
//! are counted, not time: while this process stood still, no beat came, and one that comes late counts once.

use std::time::Duration;

/// Pings without a sign of life after them. Their beats are longer than two intervals of the server's.
const UNANSWERED_MAX: u32 = 2;

/// The beats of one connection.
#[derive(Debug, Default)]
pub(super) struct Heartbeat {
    unanswered: u32,
}

impl Heartbeat {
    /// How far apart beats are where the server asks for a sign of life at least so often.
    pub(super) fn period(interval: Duration) -> Duration {
        interval.mul_f32(0.8)
    }

    /// Something came.
    pub(super) fn on_heard(&mut self) {
        self.unanswered = 0;
    }

    /// A beat: whether to send a Ping, or else the server is silent.
    pub(super) fn beat(&mut self) -> bool {
        let pings = self.unanswered < UNANSWERED_MAX;
        self.unanswered += 1;
        pings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_is_who_answers_none_of_several_pings() {
        let mut heartbeat = Heartbeat::default();
        for _ in 0..3 {
            for _ in 0..UNANSWERED_MAX {
                assert!(heartbeat.beat());
            }
            heartbeat.on_heard();
        }
        for _ in 0..UNANSWERED_MAX {
            assert!(heartbeat.beat());
        }
        assert!(!heartbeat.beat());
        let interval = Duration::from_secs(30);
        assert!(Heartbeat::period(interval) * (UNANSWERED_MAX + 1) > interval * 2);
    }
}
