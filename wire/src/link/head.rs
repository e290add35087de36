//! The HTTP exchange in front of the WebSocket: one head each way.

use super::{Error, Writer};
use crate::ws::upgrade;

/// A head that is being read. Gone when the WebSocket is open.
pub(super) struct Head {
    /// A client's request, until it is sent.
    request: Vec<u8>,
    awaited: Awaited,
    /// What has come of it; at most [`upgrade::HEAD_BYTES_MAX`] and one receive.
    read: Vec<u8>,
    /// So much must have come before it is parsed again, whole or not.
    parse_at: usize,
    lines: Lines,
}

/// How far the lines of a head have come; looks at each byte once.
#[derive(Default)]
struct Lines {
    /// Some line was not empty; those before it are skipped.
    //= RFC 9112 section 2.2: a server that is expecting to receive and parse a request-line SHOULD ignore at least one empty line (CRLF) received prior to the request-line.
    begun: bool,
    /// The line under way is not empty.
    within: bool,
}

impl Lines {
    /// Whether the head ends in these bytes: an empty line after others, its carriage returns or not.
    fn end_in(&mut self, bytes: &[u8]) -> bool {
        let mut ended = false;
        for byte in bytes {
            match byte {
                b'\r' => {}
                b'\n' => ended |= self.begun && !std::mem::take(&mut self.within),
                _ => (self.begun, self.within) = (true, true),
            }
        }
        ended
    }
}

enum Awaited {
    Request,
    Response {
        key: [u8; 16],
        subprotocol: Option<String>,
    },
}

impl Head {
    /// A server's.
    pub(super) fn request() -> Self {
        Self {
            request: Vec::new(),
            awaited: Awaited::Request,
            read: Vec::new(),
            parse_at: 0,
            lines: Lines::default(),
        }
    }

    /// A client's.
    pub(super) fn response(client: &upgrade::ClientRequest<'_>) -> Self {
        let mut request = Vec::new();
        client.encode(&mut request);
        let awaited = Awaited::Response {
            key: client.key,
            subprotocol: client.subprotocol.map(str::to_owned),
        };
        Self {
            request,
            awaited,
            read: Vec::new(),
            parse_at: 0,
            lines: Lines::default(),
        }
    }

    /// What a client says first, once; nothing from a server.
    pub(super) fn first_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.request)
    }

    /// Bytes of it that are held.
    pub(super) fn held(&self) -> usize {
        self.read.len()
    }

    /// Reads on. Where the head is whole, answers it and tells how much of `plain` belonged to it.
    pub(super) fn read(
        &mut self,
        server: &upgrade::Server,
        writer: &mut Writer<'_>,
        plain: &[u8],
    ) -> Result<Option<usize>, Error> {
        let before = self.read.len();
        self.read.extend_from_slice(plain);
        if !self.is_worth_parsing(plain) {
            return Ok(None);
        }
        let whole = match &self.awaited {
            Awaited::Request => match server.parse(&self.read)? {
                None => None,
                Some((len, request)) => {
                    let mut answer = Vec::new();
                    request.accept(&mut answer);
                    writer.raw(&[&answer]);
                    Some(len)
                }
            },
            Awaited::Response { key, subprotocol } => {
                let asked = upgrade::ClientRequest {
                    host: "",
                    path: "",
                    key: *key,
                    subprotocol: subprotocol.as_deref(),
                };
                asked.check(&self.read)?
            }
        };
        Ok(whole.map(|len| len.saturating_sub(before)))
    }

    /// A head that comes byte by byte is parsed when it ends and each time that it has doubled: what a
    /// peer makes us do stays in proportion to what it sends, and what cannot become a head is still
    /// refused before its end.
    fn is_worth_parsing(&mut self, new: &[u8]) -> bool {
        let ends = self.lines.end_in(new);
        let is_due = self.read.len() >= self.parse_at.min(upgrade::HEAD_BYTES_MAX);
        if is_due {
            self.parse_at = 2 * self.read.len();
        }
        ends || is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "GET /v1 HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n";

    /// How often a head that comes in such pieces is parsed, and after which piece it was whole.
    fn parses<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> usize {
        let mut head = Head::request();
        let mut parses = 0;
        for piece in pieces {
            head.read.extend_from_slice(piece);
            parses += usize::from(head.is_worth_parsing(piece));
        }
        parses
    }

    #[test]
    fn a_head_in_single_bytes_is_parsed_a_few_times() {
        let long = format!("{REQUEST}x: {}\r\n", "y".repeat(8_000));
        for bytes in [long.into_bytes(), vec![b'\n'; 8_000], b"\r\n".repeat(4_000)] {
            let times = parses(bytes.chunks(1));
            assert!((10..=14).contains(&times), "{times}");
        }
    }

    #[test]
    fn its_end_is_seen_however_it_is_cut() {
        for end in ["\r\n", "\n"] {
            let whole = format!("{}{end}", REQUEST.replace("\r\n", end));
            for cut in 1..whole.len() {
                let mut head = Head::request();
                // As late as can be: only its end is a reason.
                head.parse_at = usize::MAX;
                let (front, back) = whole.as_bytes().split_at(cut);
                assert!(!head.is_worth_parsing(front), "{cut}");
                assert!(head.is_worth_parsing(back), "{cut}");
            }
        }
    }
}
