//! What a connection is at rest: the few plain bytes that stand in the engine's slot table.

use rookery_wire::proto::CloseCode;

use crate::admission::Seat;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// It has said nothing.
    #[default]
    Silent,
    /// TLS and the HTTP upgrade.
    Opening,
    /// The WebSocket is open, no Login has come.
    Login,
    /// Logged in, on its way to its owner's shard.
    Moving,
    /// Messages flow.
    Live,
    /// Messages flow; it was told to reconnect, and counts nowhere any more.
    Leaving,
    /// The last words were said; the engine closes it.
    Ended,
}

impl Phase {
    /// It has not logged in: what it says waits its turn.
    pub(crate) fn is_opening(self) -> bool {
        matches!(self, Self::Silent | Self::Opening | Self::Login)
    }

    /// It has logged in, and messages flow.
    pub(crate) fn is_live(self) -> bool {
        matches!(self, Self::Live | Self::Leaving)
    }
}

/// An index into an arena, or none, in four bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place(u32);

impl Place {
    /// Of an arena's index.
    pub(crate) fn at(index: u32) -> Self {
        Self(index.wrapping_add(1))
    }

    /// The index, where there is one.
    pub(crate) fn index(self) -> Option<u32> {
        self.0.checked_sub(1)
    }
}

/// See the module. No pointers: a process that takes over the connection can copy it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conn {
    /// The user, from login on.
    pub(crate) user_id: u64,
    /// Where its TLS session lies; none without TLS.
    pub(crate) tls: Place,
    /// Where the work under way lies; none at rest.
    pub(crate) work: Place,
    /// The user's device, from login on.
    pub(crate) device_id: u32,
    /// When it last gave a sign of life, seconds of the shard's clock of deadlines; above them how many pings,
    /// pongs and TLS records without data came in that second, whether the question is still to be sent, and, in the highest bit,
    /// whether it was asked to say something since.
    heard: u32,
    /// When the token expires, Unix seconds (until 2106). Once it has ended: the close code that was said
    /// last, or 0.
    pub(crate) expires_s: u32,
    /// How far it has come.
    pub(crate) phase: Phase,
    /// Where it is counted.
    pub(crate) seat: Seat,
}

/// In [`Conn::heard`]; what they leave are 194 days, of which a connection is silent for a few minutes.
const ASKED: u32 = 1 << 31;
const OWED: u32 = 1 << 30;
const CONTROLS: u32 = 0x3f << 24;
const SECONDS: u32 = (1 << 24) - 1;

/// Pings, pongs and TLS records without data, such as KeyUpdates, that a client may send within a second of the
/// clock.
const CONTROLS_MAX: u32 = 60;

impl Conn {
    /// Its last words were said: a close code, where there was one. What it was before.
    pub(crate) fn end(&mut self, code: Option<CloseCode>) -> Phase {
        self.expires_s = code.map_or(0, |code| u32::from(code.0));
        std::mem::replace(&mut self.phase, Phase::Ended)
    }

    /// The close code with which it ended.
    pub(crate) fn close_code(&self) -> Option<CloseCode> {
        let code = u16::try_from(self.expires_s).ok()?;
        (self.phase == Phase::Ended && code > 0).then_some(CloseCode(code))
    }

    /// Something came, or was acknowledged.
    pub(crate) fn hear(&mut self, now_s: u32) {
        let now = now_s & SECONDS;
        let same_second = self.heard & SECONDS == now;
        let controls = if same_second {
            self.heard & CONTROLS
        } else {
            0
        };
        self.heard = now | controls;
    }

    /// Such a frame or record came in the second in which it was heard last; whether that is one too many.
    pub(crate) fn is_flooding(&mut self) -> bool {
        let one = CONTROLS & CONTROLS.wrapping_neg();
        if (self.heard & CONTROLS) / one >= CONTROLS_MAX {
            return true;
        }
        self.heard += one;
        false
    }

    /// How long there was no sign of life, seconds. The clock of the shard that it came from may have been
    /// a moment ahead.
    pub(crate) fn silent_s(&self, now_s: u32) -> u32 {
        let silent = now_s.wrapping_sub(self.heard) & SECONDS;
        if silent > SECONDS / 2 { 0 } else { silent }
    }

    /// It was asked to say something.
    pub(crate) fn ask(&mut self) {
        self.heard |= ASKED;
    }

    /// It is to be asked once its queue is empty.
    pub(crate) fn owe_ping(&mut self) {
        self.heard |= OWED;
    }

    /// Whether it is still to be asked; from now on not any more.
    pub(crate) fn take_owed_ping(&mut self) -> bool {
        let owed = self.heard & OWED != 0;
        self.heard &= !OWED;
        owed
    }

    /// Whether it was asked and has given no sign since.
    pub(crate) fn was_asked(&self) -> bool {
        self.heard & ASKED != 0
    }
}

// With the engine's half it is a cache line.
const _: () = assert!(size_of::<Conn>() == 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_of_life_takes_back_the_question_and_the_marks_are_no_time() {
        let mut conn = Conn::default();
        conn.hear(100);
        conn.ask();
        conn.owe_ping();
        assert_eq!((conn.silent_s(130), conn.was_asked()), (30, true));
        assert!(conn.take_owed_ping());
        assert!(!conn.take_owed_ping(), "asked once");
        assert_eq!((conn.silent_s(130), conn.was_asked()), (30, true));
        conn.owe_ping();
        conn.hear(140);
        assert!(!conn.was_asked() && !conn.take_owed_ping());
        assert_eq!(conn.silent_s(141), 1);
    }

    #[test]
    fn pings_are_counted_within_a_second_and_the_seconds_may_wrap() {
        let mut conn = Conn::default();
        for second in [7, 8, SECONDS, SECONDS + 1] {
            for _ in 0..CONTROLS_MAX {
                conn.hear(second);
                assert!(!conn.is_flooding());
            }
            assert!(conn.is_flooding());
            conn.ask();
            assert_eq!((conn.silent_s(second + 30), conn.was_asked()), (30, true));
            assert_eq!(
                conn.silent_s(second.wrapping_sub(1)),
                0,
                "a clock that is behind"
            );
        }
    }
}
