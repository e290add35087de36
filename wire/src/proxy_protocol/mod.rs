//! The PROXY protocol, versions 1 and 2: what a balancer says about a client, in front of the client's bytes
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).
//!
//! [`parse`] has no state: it looks at everything that has come. Invariant: what it says of some bytes it
//! says whatever follows them, and of [`HEADER_BYTES_MAX`] bytes it always says something. It does not
//! decide who may send a header. What is extra in version 2 (TLVs) is skipped; a CRC-32c among it is not
//! computed, TCP has a sum of its own.

mod v1;
mod v2;

pub mod fuzz;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

/// The longest header that is taken, bytes: both formats are made to fit into the smallest segment that
/// every host takes (section 2). Of version 1 the standard allows 107.
pub const HEADER_BYTES_MAX: usize = 536;

/// Whom the connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A client at this address.
    Client(IpAddr),
    /// A client, and the proxy cannot tell its address (UNKNOWN, or no TCP over IP): the address is the
    /// proxy's own.
    Unknown,
    /// The proxy itself, which looks whether the server is well (LOCAL).
    Proxy,
}

/// A header that has come as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whom the connection is for.
    pub source: Source,
    /// Bytes that the header takes; the client's follow.
    pub bytes: usize,
}

/// The proxy broke the rules, or is none: the connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The connection begins with something else.
    #[error("a PROXY header is due, and something else came")]
    Absent,
    /// Longer than [`HEADER_BYTES_MAX`], or a line of over 107 bytes.
    #[error("the PROXY header is too long")]
    TooLong,
    /// It begins as a header and is none.
    #[error("the PROXY header is malformed: {0}")]
    Malformed(&'static str),
}

/// Reads the header at the beginning of everything that has come; `None` where more has to come first.
///
/// # Errors
/// What is wrong with it, told as early as it is seen.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, Error> {
    if begins_as(bytes, v2::SIGNATURE) {
        v2::parse(bytes)
    } else if begins_as(bytes, v1::SIGNATURE) {
        v1::parse(bytes)
    } else {
        Err(Error::Absent)
    }
}

/// As far as they have come.
fn begins_as(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(one, other)| one == other)
}
