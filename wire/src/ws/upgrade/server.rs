//! The server's side of the opening handshake (RFC 6455 section 4.2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use httparse::Status;

use super::{HEAD_BYTES_MAX, HEADERS_MAX, HttpError, accept_of, has_token, single, tokens, values};

/// What an endpoint serves.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// The paths at which it answers; a query is ignored.
    pub paths: &'static [&'static str],
    /// The subprotocol that a client must offer; `None` takes every client and agrees to none.
    pub subprotocol: Option<&'static str>,
    /// It takes nobody now: requests that it would accept are refused with 503, and told to come
    /// again after so many seconds.
    pub retry_after_s: Option<u32>,
}

/// An acceptable request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    accept: String,
    subprotocol: Option<&'static str>,
}

impl Server {
    /// The chat endpoint.
    pub const CHAT: Self = Self {
        paths: &["/", "/v1"],
        subprotocol: Some(crate::proto::SUBPROTOCOL),
        retry_after_s: None,
    };

    /// An endpoint that echoes, for conformance suites and load generators.
    pub const ECHO: Self = Self {
        paths: &["/"],
        subprotocol: None,
        retry_after_s: None,
    };

    /// Reads a request at the front of `bytes` and tells the length of its head; `None` where it
    /// is not whole yet. What follows the head is the client's first frames.
    ///
    /// # Errors
    /// The refusal to send. Bytes that cannot become a request are refused without waiting.
    pub fn parse(&self, bytes: &[u8]) -> Result<Option<(usize, Request)>, HttpError> {
        let head = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(head).map_err(parse_error)? {
            Status::Complete(len) => Ok(Some((len, self.judge(&request)?))),
            Status::Partial if head.len() == HEAD_BYTES_MAX => Err(HttpError::HeadTooLarge),
            Status::Partial => Ok(None),
        }
    }

    fn judge(&self, request: &httparse::Request<'_, '_>) -> Result<Request, HttpError> {
        let headers = &*request.headers;
        if request.version != Some(1) {
            return Err(HttpError::HttpVersion);
        }
        //= RFC 9112 section 3.2: A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message that lacks a Host header field and to any request message that contains more than one Host header field line
        if single(headers, "Host").is_none_or(<[u8]>::is_empty) {
            return Err(HttpError::BadRequest("exactly one Host is needed"));
        }
        let path = path_of(request.path.unwrap_or_default());
        if !path.is_some_and(|path| self.paths.contains(&path)) {
            return Err(HttpError::NotFound);
        }
        if request.method != Some("GET") {
            return Err(HttpError::Method);
        }
        if values(headers, "Content-Length").any(|len| len != b"0")
            || values(headers, "Transfer-Encoding").next().is_some()
        {
            return Err(HttpError::Body);
        }
        if !has_token(headers, "Upgrade", "websocket") {
            return Err(HttpError::UpgradeRequired);
        }
        if !has_token(headers, "Connection", "upgrade") {
            return Err(HttpError::BadRequest("Connection does not name Upgrade"));
        }
        if single(headers, "Sec-WebSocket-Version") != Some(b"13") {
            return Err(HttpError::UpgradeRequired);
        }
        //= RFC 6455 section 4.2.1: the server MUST stop processing the client's handshake and return an HTTP response with an appropriate error code (such as 400 Bad Request).
        //= RFC 6455 section 11.3.1: The |Sec-WebSocket-Key| header field MUST NOT appear more than once in an HTTP request.
        let key = single(headers, "Sec-WebSocket-Key")
            .filter(|key| is_key(key))
            .ok_or(HttpError::BadRequest(
                "Sec-WebSocket-Key is not 16 bytes in base64",
            ))?;
        let request = Request {
            accept: accept_of(key),
            subprotocol: self.agree(headers)?,
        };
        match self.retry_after_s {
            Some(retry_after_s) => Err(HttpError::Unavailable { retry_after_s }),
            None => Ok(request),
        }
    }

    /// Section 4.2.2: one of the offered subprotocols, compared with case.
    fn agree(&self, headers: &[httparse::Header<'_>]) -> Result<Option<&'static str>, HttpError> {
        match self.subprotocol {
            None => Ok(None),
            Some(ours)
                if tokens(headers, "Sec-WebSocket-Protocol").any(|it| it == ours.as_bytes()) =>
            {
                Ok(Some(ours))
            }
            Some(_) => Err(HttpError::BadRequest(
                "Sec-WebSocket-Protocol does not offer rookery.v1, the only subprotocol here",
            )),
        }
    }
}

impl Request {
    /// Appends the response that switches protocols. No extension is agreed to.
    pub fn accept(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Accept: ",
        );
        out.extend_from_slice(self.accept.as_bytes());
        if let Some(subprotocol) = self.subprotocol {
            out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
            out.extend_from_slice(subprotocol.as_bytes());
        }
        out.extend_from_slice(b"\r\n\r\n");
    }

    /// The subprotocol agreed to.
    pub const fn subprotocol(&self) -> Option<&'static str> {
        self.subprotocol
    }
}

/// The path of a request's target, without its query, where the target is of this server: in origin-form, or
/// in absolute-form, which a server takes too (RFC 9112 section 3.2.2). The authority is not ours to judge:
/// TLS has done so.
fn path_of(target: &str) -> Option<&str> {
    const SCHEMES: [&str; 4] = ["http", "https", "ws", "wss"];
    let rest = if target.starts_with('/') {
        target
    } else {
        let (scheme, rest) = target.split_once("://")?;
        SCHEMES
            .iter()
            .find(|known| known.eq_ignore_ascii_case(scheme))?;
        let authority_bytes = rest.find(['/', '?']).unwrap_or(rest.len());
        (authority_bytes > 0).then(|| &rest[authority_bytes..])?
    };
    let path = rest.split_once('?').map_or(rest, |(path, _query)| path);
    // RFC 9110 section 4.2.3: an empty path is "/".
    Some(if path.is_empty() { "/" } else { path })
}

/// 24 characters that are 16 bytes (section 4.1 item 7).
fn is_key(key: &[u8]) -> bool {
    let mut nonce = [0; 18];
    key.len() == 24 && STANDARD.decode_slice(key, &mut nonce) == Ok(16)
}

const fn parse_error(error: httparse::Error) -> HttpError {
    match error {
        httparse::Error::TooManyHeaders => HttpError::HeadTooLarge,
        httparse::Error::Version => HttpError::HttpVersion,
        //= RFC 9112 section 5.1: A server MUST reject, with a response status code of 400 (Bad Request), any received request message that contains whitespace between a header field name and colon.
        _ => HttpError::BadRequest("this is not an HTTP/1.1 request"),
    }
}
