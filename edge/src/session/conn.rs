//! What a connection is at rest: the few plain bytes that stand in the engine's slot table.

use crate::admission::Seat;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// TLS and the HTTP upgrade.
    #[default]
    Opening,
    /// The WebSocket is open, no Login has come.
    Login,
    /// Logged in, on its way to its owner's shard.
    Moving,
    /// Messages flow.
    Live,
    /// The last words were said; the engine closes it.
    Ended,
}

impl Phase {
    /// It has not logged in: what it says waits its turn.
    pub(crate) fn is_opening(self) -> bool {
        matches!(self, Self::Opening | Self::Login)
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
    /// The session, from login on.
    pub(crate) session_id: u64,
    /// Where its TLS session lies; none without TLS.
    pub(crate) tls: Place,
    /// Where the work under way lies; none at rest.
    pub(crate) work: Place,
    /// The user's device, from login on.
    pub(crate) device_id: u32,
    /// When it last gave a sign of life, seconds of the shard's clock of deadlines; and whether it was asked to
    /// say something since, in the highest bit, and whether the question is still to be sent, in the next.
    heard_s: u32,
    /// When the token expires, Unix seconds (until 2106).
    pub(crate) expires_s: u32,
    /// How far it has come.
    pub(crate) phase: Phase,
    /// Where it is counted.
    pub(crate) seat: Seat,
}

/// In [`Conn::heard_s`]; what both leave are 34 years.
const ASKED: u32 = 1 << 31;
const OWED: u32 = 1 << 30;
const MARKS: u32 = ASKED | OWED;

impl Conn {
    /// Something came, or was acknowledged.
    pub(crate) fn hear(&mut self, now_s: u32) {
        self.heard_s = now_s & !MARKS;
    }

    /// How long there was no sign of life, seconds.
    pub(crate) fn silent_s(&self, now_s: u32) -> u32 {
        now_s.saturating_sub(self.heard_s & !MARKS)
    }

    /// It was asked to say something.
    pub(crate) fn ask(&mut self) {
        self.heard_s |= ASKED;
    }

    /// It is to be asked once its queue is empty.
    pub(crate) fn owe_ping(&mut self) {
        self.heard_s |= OWED;
    }

    /// Whether it is still to be asked; from now on not any more.
    pub(crate) fn take_owed_ping(&mut self) -> bool {
        let owed = self.heard_s & OWED != 0;
        self.heard_s &= !OWED;
        owed
    }

    /// Whether it was asked and has given no sign since.
    pub(crate) fn was_asked(&self) -> bool {
        self.heard_s & ASKED != 0
    }
}

// Two million of them make 80 MB.
const _: () = assert!(size_of::<Conn>() == 40);

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
}
