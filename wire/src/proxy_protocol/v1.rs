//! Version 1, a line of text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Error, Header, Source};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";

/// With CR LF (section 2.1).
const LINE_BYTES_MAX: usize = 107;

const FORM: Error = Error::Malformed("the line has another form");

/// Bytes that begin with as much of [`SIGNATURE`] as there is of them.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header>, Error> {
    let seen = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let more_may_come = seen.len() < LINE_BYTES_MAX;
    let end = seen.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
    //= PROXY protocol section 2.1: The receiver must not tolerate a single CR or LF character to end the line when a complete CRLF sequence is expected.
    let line = match end.map(|at| (&seen[..at], &seen[at..])) {
        Some((line, [b'\r', b'\n', ..])) => line,
        Some((_, [b'\r'])) | None if more_may_come => return Ok(None),
        Some((_, [b'\r'])) | None => return Err(Error::TooLong),
        Some(_) => return Err(Error::Malformed("a line ends in CR and LF")),
    };
    let said = line.strip_prefix(SIGNATURE).ok_or(FORM)?;
    Ok(Some(Header {
        source: source(said)?,
        bytes: line.len() + b"\r\n".len(),
    }))
}

/// What stands between the signature and the end of the line.
fn source(said: &[u8]) -> Result<Source, Error> {
    if let Some(rest) = said.strip_prefix(b"UNKNOWN") {
        // Anything may stand there.
        return match rest {
            [] | [b' ', ..] => Ok(Source::Unknown),
            _ => Err(FORM),
        };
    }
    let said = std::str::from_utf8(said).map_err(|_| FORM)?;
    let mut words = said.split(' ');
    let mut next = || words.next().ok_or(FORM);
    let (family, client, server) = (next()?, next()?, next()?);
    let (client_port, server_port) = (next()?, next()?);
    if words.next().is_some() || !is_port(client_port) || !is_port(server_port) {
        return Err(FORM);
    }
    let addresses: Option<[IpAddr; 2]> = match family {
        "TCP4" => v4(client).zip(v4(server)).map(<[IpAddr; 2]>::from),
        "TCP6" => v6(client).zip(v6(server)).map(<[IpAddr; 2]>::from),
        _ => return Err(Error::Malformed("it is for TCP4, TCP6 or UNKNOWN")),
    };
    let [client, _] = addresses.ok_or(Error::Malformed("an address is none of its family"))?;
    Ok(Source::Client(client))
}

/// The standard library takes no leading zeros either.
fn v4(text: &str) -> Option<IpAddr> {
    text.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

/// Also with an IPv4 address at its end, as C libraries write those that are mapped.
fn v6(text: &str) -> Option<IpAddr> {
    text.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

/// A decimal number without sign and leading zeros.
fn is_port(text: &str) -> bool {
    let is_canonical = text == "0" || !text.starts_with(['0', '+']);
    is_canonical && text.parse::<u16>().is_ok()
}
