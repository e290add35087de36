//! What can go wrong with a TLS connection, and whose fault it is.
//!
//! Every error ends the connection. Whatever can still be said to the peer (the fatal alert) is
//! already in `out` when a call returns one: the caller sends it and closes.

use super::Alert;

/// Who has to act on an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The peer broke the protocol, or does not speak it.
    PeerMisbehaved,
    /// The peer is correct but shares no version, suite, group or protocol with us.
    PeerIncompatible,
    /// The peer ended the session with a fatal alert: it names its own reason.
    PeerRefused,
    /// The peer's certificate was not accepted (seen by the client only).
    PeerUntrusted,
    /// The caller used a session that had ended.
    Caller,
    /// We have a bug.
    Us,
}

/// Why a TLS connection ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The first bytes are an HTTP request. Nothing is in `out`: the caller may answer with
    /// [`PLAIN_HTTP_ANSWER`](super::PLAIN_HTTP_ANSWER).
    #[error("plain HTTP on a port that speaks TLS")]
    PlainHttp,
    /// The first bytes are neither TLS nor HTTP.
    #[error("the peer does not speak TLS")]
    NotTls,
    /// The peer's part of the handshake is longer than so many bytes.
    #[error("the handshake is longer than {0} bytes")]
    HandshakeTooLong(usize),
    /// The handshake failed.
    #[error("handshake failed: {why}")]
    Handshake {
        /// What was wrong.
        why: Box<str>,
        /// Whose fault it is.
        blame: Blame,
        /// The alert that was sent, where it went out in the clear.
        alert: Option<Alert>,
    },
    /// The peer broke the record protocol.
    #[error("{alert}: {why}")]
    Record {
        /// What was wrong.
        why: &'static str,
        /// The alert that is in `out`.
        alert: Alert,
    },
    /// The peer ended the session with this fatal alert. It gets no answer.
    #[error("the peer ended the session with the alert {0}")]
    PeerAlert(Alert),
    /// The session had ended before this call.
    #[error("the session has ended")]
    Ended,
    /// A bug of ours or a failure of the cryptographic library.
    #[error("internal: {0}")]
    Internal(&'static str),
}

impl Error {
    pub(super) fn record(alert: Alert, why: &'static str) -> Self {
        Self::Record { why, alert }
    }

    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self {
            Self::PlainHttp | Self::NotTls | Self::HandshakeTooLong(_) | Self::Record { .. } => {
                Blame::PeerMisbehaved
            }
            Self::Handshake { blame, .. } => *blame,
            Self::PeerAlert(_) => Blame::PeerRefused,
            Self::Ended => Blame::Caller,
            Self::Internal(_) => Blame::Us,
        }
    }

    /// The fatal alert that this error sends, where one is sent and known.
    pub fn alert(&self) -> Option<Alert> {
        match self {
            Self::NotTls => Some(Alert::UNEXPECTED_MESSAGE),
            Self::HandshakeTooLong(_) => Some(Alert::HANDSHAKE_FAILURE),
            Self::Handshake { alert, .. } => *alert,
            Self::Record { alert, .. } => Some(*alert),
            Self::Internal(_) => Some(Alert::INTERNAL_ERROR),
            Self::PlainHttp | Self::PeerAlert(_) | Self::Ended => None,
        }
    }
}
