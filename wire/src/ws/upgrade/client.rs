//! The client's side of the opening handshake (RFC 6455 section 4.1).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use httparse::Status;

use super::{HEAD_BYTES_MAX, HEADERS_MAX, accept_of, has_token, single, values};

/// An upgrade request.
#[derive(Clone, Copy, Debug)]
pub struct ClientRequest<'a> {
    /// Host and port, as the Host header wants it.
    pub host: &'a str,
    /// The path.
    pub path: &'a str,
    /// 16 random bytes, fresh for every connection.
    pub key: [u8; 16],
    /// The one subprotocol that is offered, if any.
    pub subprotocol: Option<&'a str>,
}

/// Why a response is no upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Not an HTTP/1.1 response.
    #[error("the answer is not HTTP/1.1")]
    Malformed,
    /// The head is over [`HEAD_BYTES_MAX`] or has too many fields.
    #[error("the response head is too large")]
    HeadTooLarge,
    /// Another status than 101.
    #[error("the upgrade was refused with status {status}")]
    Refused {
        /// The status.
        status: u16,
    },
    /// Upgrade or Connection is missing.
    #[error("the response does not switch to WebSocket")]
    NotUpgraded,
    /// Sec-WebSocket-Accept does not belong to the key.
    #[error("Sec-WebSocket-Accept is wrong")]
    AcceptMismatch,
    /// Another subprotocol than the offered one, or none.
    #[error("the subprotocol was not agreed to")]
    SubprotocolMismatch,
    /// An extension that was not offered.
    #[error("the response names an extension")]
    Extension,
}

impl ClientRequest<'_> {
    fn key_text(&self) -> String {
        STANDARD.encode(self.key)
    }

    /// Appends the request.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let Self { host, path, .. } = self;
        let key = self.key_text();
        let mut head = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n",
        );
        if let Some(subprotocol) = self.subprotocol {
            head.push_str("Sec-WebSocket-Protocol: ");
            head.push_str(subprotocol);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        out.extend_from_slice(head.as_bytes());
    }

    /// Checks the response at the front of `bytes` and tells the length of its head; `None` where
    /// it is not whole yet. What follows the head is the server's first frames.
    pub fn check(&self, bytes: &[u8]) -> Result<Option<usize>, ClientError> {
        let head = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let len = match response.parse(head) {
            Ok(Status::Complete(len)) => len,
            Ok(Status::Partial) if head.len() < HEAD_BYTES_MAX => return Ok(None),
            Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                return Err(ClientError::HeadTooLarge);
            }
            Err(_) => return Err(ClientError::Malformed),
        };
        match response.code {
            Some(101) => {}
            Some(status) => return Err(ClientError::Refused { status }),
            None => return Err(ClientError::Malformed),
        }
        self.check_headers(response.headers)?;
        Ok(Some(len))
    }

    fn check_headers(&self, headers: &[httparse::Header<'_>]) -> Result<(), ClientError> {
        //= RFC 6455 section 4.1: If the response lacks an |Upgrade| header field or the |Upgrade| header field contains a value that is not an ASCII case-insensitive match for the value "websocket", the client MUST _Fail the WebSocket Connection_.
        if !has_token(headers, "Upgrade", "websocket")
            || !has_token(headers, "Connection", "upgrade")
        {
            return Err(ClientError::NotUpgraded);
        }
        let accept = accept_of(self.key_text().as_bytes());
        //= RFC 6455 section 4.1: If the response lacks a |Sec-WebSocket-Accept| header field or the |Sec-WebSocket-Accept| contains a value other than the base64-encoded SHA-1 ... the client MUST _Fail the WebSocket Connection_.
        if single(headers, "Sec-WebSocket-Accept") != Some(accept.as_bytes()) {
            return Err(ClientError::AcceptMismatch);
        }
        let mut agreed = values(headers, "Sec-WebSocket-Protocol");
        //= RFC 6455 section 4.1: the use of a subprotocol that was not present in the client's handshake ... the client MUST _Fail the WebSocket Connection_.
        if agreed.next() != self.subprotocol.map(str::as_bytes) || agreed.next().is_some() {
            return Err(ClientError::SubprotocolMismatch);
        }
        //= RFC 6455 section 4.1: the use of an extension that was not present in the client's handshake ... the client MUST _Fail the WebSocket Connection_.
        if values(headers, "Sec-WebSocket-Extensions").next().is_some() {
            return Err(ClientError::Extension);
        }
        Ok(())
    }
}
