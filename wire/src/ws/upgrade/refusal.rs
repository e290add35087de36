//! Why an upgrade is refused, as HTTP says it.

use std::fmt::Write;

/// A refused request. After it is answered the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// 400: not HTTP, or a field is missing, doubled or malformed; says which.
    #[error("{0}")]
    BadRequest(&'static str),
    /// 404: another path.
    #[error("there is nothing at this path")]
    NotFound,
    /// 405: another method than GET.
    #[error("only GET is allowed")]
    Method,
    /// 413: a body was announced.
    #[error("an upgrade has no body")]
    Body,
    /// 426: no WebSocket upgrade was asked for, or another version than 13.
    #[error("this is a WebSocket (RFC 6455, version 13) endpoint")]
    UpgradeRequired,
    /// 431: the head is over [`HEAD_BYTES_MAX`](super::HEAD_BYTES_MAX) or has too many fields.
    #[error("the request head is too large")]
    HeadTooLarge,
    /// 503: no connections are taken now. For the caller's own decisions.
    #[error("the server is overloaded")]
    Unavailable {
        /// Seconds until the next try.
        retry_after_s: u32,
    },
    /// 505: another version than HTTP/1.1.
    #[error("only HTTP/1.1 is spoken here")]
    HttpVersion,
}

impl HttpError {
    /// The status code.
    pub const fn status(&self) -> u16 {
        self.status_line().0
    }

    const fn status_line(&self) -> (u16, &'static str) {
        match self {
            Self::BadRequest(_) => (400, "Bad Request"),
            Self::NotFound => (404, "Not Found"),
            Self::Method => (405, "Method Not Allowed"),
            Self::Body => (413, "Content Too Large"),
            Self::UpgradeRequired => (426, "Upgrade Required"),
            Self::HeadTooLarge => (431, "Request Header Fields Too Large"),
            Self::Unavailable { .. } => (503, "Service Unavailable"),
            Self::HttpVersion => (505, "HTTP Version Not Supported"),
        }
    }

    /// Appends the whole response.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (status, phrase) = self.status_line();
        let mut head = format!("HTTP/1.1 {status} {phrase}\r\n");
        match self {
            //= RFC 9110 section 15.5.6: The origin server MUST generate an Allow header field in a 405 response
            Self::Method => head.push_str("Allow: GET\r\n"),
            //= RFC 6455 section 4.4: If the server doesn't support the requested version, it MUST respond with a |Sec-WebSocket-Version| header field
            //= RFC 9110 section 15.5.22: The server MUST send an Upgrade header field in a 426 response to indicate the required protocol(s)
            Self::UpgradeRequired => {
                head.push_str("Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
            }
            Self::Unavailable { retry_after_s } => {
                // Writing to a String does not fail.
                let _ = write!(head, "Retry-After: {retry_after_s}\r\n");
            }
            _ => {}
        }
        let body = format!("{self}\n");
        //= RFC 9112 section 9.3: A server that does not support persistent connections MUST send the "close" connection option in every response message that does not have a 1xx (Informational) status code.
        //= RFC 9110 section 7.8: A sender of Upgrade MUST also send an "Upgrade" connection option in the Connection header field
        let connection = if matches!(self, Self::UpgradeRequired) {
            "Upgrade, close"
        } else {
            "close"
        };
        let _ = write!(
            head,
            "Connection: {connection}\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len(),
        );
        out.extend_from_slice(head.as_bytes());
    }
}
