//! The end of a connection (RFC 9000 section 10): closing, draining, gone.

use super::{Connection, Event};
use crate::error::{Closed, Code, Error, REASON_BYTES_MAX};
use crate::frame::{put_close_application, put_close_transport};

/// Where in its life the connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// We have closed and say so again, less and less often, to whoever still sends.
    Closing {
        until: u64,
        frame: Box<[u8]>,
        /// Packets that came since, and at how many we answer next.
        came: u32,
        answer_at: u32,
        /// The frame is to be sent now.
        pending: bool,
    },
    /// The peer has closed. We say nothing.
    Draining {
        until: u64,
    },
    Over,
}

impl State {
    pub(super) fn is_open(&self) -> bool {
        *self == Self::Open
    }

    pub(super) fn is_over(&self) -> bool {
        *self == Self::Over
    }

    pub(super) fn until(&self) -> Option<u64> {
        match self {
            Self::Closing { until, .. } | Self::Draining { until } => Some(*until),
            Self::Open | Self::Over => None,
        }
    }

    pub(super) fn handle_timeout(&mut self, now: u64) {
        if self.until().is_some_and(|until| until <= now) {
            *self = Self::Over;
        }
    }

    /// A packet came while closing.
    //= RFC 9000 section 10.2.1: An endpoint SHOULD limit the rate at which it generates packets in the closing state.
    pub(super) fn on_packet(&mut self) {
        if let Self::Closing {
            came,
            answer_at,
            pending,
            ..
        } = self
        {
            *came = came.saturating_add(1);
            if came >= answer_at {
                *pending = true;
                *answer_at = came.saturating_mul(2);
            }
        }
    }

    /// The frame to be sent, once.
    pub(super) fn take_frame(&mut self) -> Option<&[u8]> {
        match self {
            Self::Closing { frame, pending, .. } if *pending => {
                *pending = false;
                Some(frame)
            }
            _ => None,
        }
    }
}

impl Connection<'_> {
    /// Closes with an application's code and reason, of which at most [`REASON_BYTES_MAX`] bytes are sent. What is
    /// under way may be lost.
    pub fn close(&mut self, code: u64, reason: &[u8], now: u64) {
        if self.is_open() {
            let mut frame = Vec::new();
            let reason = &reason[..reason.len().min(REASON_BYTES_MAX)];
            put_close_application(code, reason, &mut frame);
            self.enter_closing(frame, now);
            self.awake.events.push(Event::Closed(Closed::Ours(code)));
        }
    }

    /// Closes because of an error, which the peer is told.
    pub(super) fn fail(&mut self, error: Error, now: u64) {
        let mut frame = Vec::new();
        put_close_transport(&error, &mut frame);
        self.enter_closing(frame, now);
        self.awake.events.push(Event::Closed(Closed::Broken(error)));
    }

    //= RFC 9000 section 10.2: These states SHOULD persist for at least three times the current PTO interval as defined in [QUIC-RECOVERY].
    fn enter_closing(&mut self, frame: Vec<u8>, now: u64) {
        self.awake.state = State::Closing {
            until: now + 3 * self.pto(),
            frame: frame.into_boxed_slice(),
            came: 0,
            answer_at: 1,
            pending: true,
        };
    }

    /// The peer has closed.
    pub(super) fn on_close(&mut self, code: u64, by_application: bool, reason: &[u8], now: u64) {
        let reason = reason[..reason.len().min(REASON_BYTES_MAX)].to_vec();
        let until = now + 3 * self.pto();
        if self.is_open() {
            let closed = if by_application {
                Closed::Peer { code, reason }
            } else {
                Closed::PeerTransport {
                    code: Code(code),
                    reason,
                }
            };
            self.awake.events.push(Event::Closed(closed));
        }
        self.awake.state = State::Draining { until };
    }

    /// The connection is gone at once, without a word.
    pub(super) fn end(&mut self, closed: Closed) {
        if self.is_open() {
            self.awake.events.push(Event::Closed(closed));
        }
        self.awake.state = State::Over;
    }

    /// No packet can be sealed any more.
    pub(super) fn end_worn(&mut self) {
        let reason = "the keys are worn and the peer takes no new ones";
        self.end(Closed::Broken(Error::new(Code::AEAD_LIMIT_REACHED, reason)));
    }
}
