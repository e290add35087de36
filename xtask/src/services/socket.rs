//! A socket to a service, with the few ways in which the probes read and write.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// On loopback a listener answers at once or is not there.
const CONNECT: Duration = Duration::from_millis(500);

/// A service that has just started may think for a while about its first request.
const ANSWER: Duration = Duration::from_secs(5);

/// No answer to a probe is larger.
const ANSWER_MAX: usize = 1 << 20;

/// A connection to a service on this host.
pub(super) struct Socket {
    stream: TcpStream,
}

impl Socket {
    pub(super) fn connect(port: u16) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect_timeout(&address, CONNECT)
            .with_context(|| format!("connect to port {port}"))?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        Ok(Self { stream })
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("send a request")
    }

    /// As many bytes as asked for.
    pub(super) fn take(&mut self, length: usize) -> Result<Vec<u8>> {
        ensure!(length <= ANSWER_MAX, "an answer of {length} bytes");
        let mut bytes = vec![0; length];
        self.stream
            .read_exact(&mut bytes)
            .context("wait for the answer")?;
        Ok(bytes)
    }

    /// A length of four bytes in network order, then as many bytes.
    pub(super) fn take_sized(&mut self) -> Result<Vec<u8>> {
        let length = self.take(4)?;
        self.take(Cursor::new(&length).i32()?.try_into()?)
    }
}

/// Reads an answer field by field, in network order.
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(super) fn bytes(&mut self, length: usize) -> Result<&'a [u8]> {
        ensure!(
            length <= self.rest.len(),
            "the answer ends {} bytes early",
            length - self.rest.len()
        );
        let (bytes, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.bytes(2)?.try_into()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.bytes(4)?.try_into()?))
    }

    /// A string with a length of two bytes; a negative length is no string.
    pub(super) fn string(&mut self) -> Result<String> {
        let length = self.i16()?;
        let bytes = self.bytes(usize::try_from(length).unwrap_or(0))?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }
}

/// A string with a length of two bytes, as both Kafka and CQL write it.
pub(super) fn string(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(&text.as_bytes()[..usize::from(length)]);
    bytes
}

/// Bytes with a length of four bytes, as both write them.
pub(super) fn sized(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(body);
    bytes
}

/// What SASL's mechanism PLAIN sends (RFC 4616): both Kafka and Cassandra take it.
pub(super) fn plain(user: &str, password: &str) -> Vec<u8> {
    sized(format!("\0{user}\0{password}").as_bytes())
}
