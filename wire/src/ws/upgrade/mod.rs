//! The opening handshake (RFC 6455 section 4): HTTP/1.1 until the blank line, then frames.
//!
//! [`Server`] reads a request and answers it, [`ClientRequest`] writes one and checks the answer.
//! Neither keeps state: the caller holds the bytes until the head is whole (at most
//! [`HEAD_BYTES_MAX`]) and hands them in again.

mod client;
mod refusal;
mod server;

pub use client::{ClientError, ClientRequest};
pub use refusal::HttpError;
pub use server::{Request, Server};

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The most bytes of a request or response head.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;

/// The most header fields in a head.
const HEADERS_MAX: usize = 64;

/// Section 1.3: what both ends append to the key.
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Sec-WebSocket-Accept of a Sec-WebSocket-Key as it was sent (section 4.2.2).
fn accept_of(key: &[u8]) -> String {
    let mut sha1 = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    sha1.update(key);
    sha1.update(ACCEPT_GUID);
    STANDARD.encode(sha1.finish())
}

/// The values of all header fields of this name.
fn values<'h>(
    headers: &'h [httparse::Header<'_>],
    name: &'h str,
) -> impl Iterator<Item = &'h [u8]> {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value.trim_ascii())
}

/// The value of a header field that must be there exactly once.
fn single<'h>(headers: &'h [httparse::Header<'_>], name: &'h str) -> Option<&'h [u8]> {
    let mut values = values(headers, name);
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// The elements of a comma-separated list that may be spread over several fields.
fn tokens<'h>(
    headers: &'h [httparse::Header<'_>],
    name: &'h str,
) -> impl Iterator<Item = &'h [u8]> {
    values(headers, name)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

/// Whether a list has an element, whatever its case.
fn has_token(headers: &[httparse::Header<'_>], name: &str, wanted: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted.as_bytes()))
}

#[cfg(test)]
mod tests {
    /// The example of section 1.3.
    #[test]
    fn accept_is_the_one_of_the_rfc() {
        assert_eq!(
            super::accept_of(b"dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }
}
