//! Why a link ends, and its last words.

use super::Writer;
use crate::proto::CloseCode;
use crate::tls;
use crate::ws::{self, upgrade};

/// Why a link ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// In the TLS handshake or a record.
    #[error("TLS: {0}")]
    Tls(tls::Error),
    /// The peer sent a TLS close_notify without a WebSocket close.
    #[error("the peer ended TLS")]
    PeerEnded,
    /// The upgrade request was refused.
    #[error("HTTP: {0}")]
    Request(upgrade::HttpError),
    /// The server's answer is not what was asked for.
    #[error("HTTP: {0}")]
    Response(upgrade::ClientError),
    /// In a frame.
    #[error("WebSocket: {0}")]
    Frame(ws::Error),
}

/// Not `#[from]`: that would make each the source of ours too, and a chain would tell it twice.
macro_rules! wrap {
    ($($variant:ident($error:ty),)*) => {
        $(impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        })*
    };
}

wrap! {
    Tls(tls::Error),
    Request(upgrade::HttpError),
    Response(upgrade::ClientError),
    Frame(ws::Error),
}

impl Error {
    /// The close code that the peer is told, where there is a WebSocket to tell it.
    pub fn close_code(&self) -> Option<CloseCode> {
        match self {
            Self::Frame(error) => Some(error.close_code()),
            _ => None,
        }
    }

    /// Says what the peer is owed. TLS has said its alert itself.
    pub(super) fn write_last_words(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Tls(_) => return,
            Self::Request(refusal) => {
                let mut answer = Vec::new();
                refusal.encode(&mut answer);
                writer.raw(&[&answer]);
            }
            Self::Frame(error) => writer.close(error.close_code(), &error.to_string()),
            Self::PeerEnded | Self::Response(_) => {}
        }
        writer.end();
    }
}
