//! The handshake: rustls while it lasts, a [`Session`] when it is over.
//!
//! It owns the bytes of a record that is not yet whole, so the caller hands in what it received and
//! keeps nothing. It does not know time: deadlines are the caller's. Invariant: at most
//! [`CLIENT_BYTES_MAX`] bytes are taken from a client before it has proven anything, [`SERVER_BYTES_MAX`] from a
//! server.

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;

use super::parked::Parts;
use super::record::{self, HEADER};
use super::resident::Resident;
use super::rustls_conn::{Conn, Facts, Turn, judge};
use super::secrets::Heard;
use super::{Alert, Blame, ClientConfig, Error, Role, ServerConfig, Session};

/// Most bytes of a handshake from a server: a large certificate chain is 10 KiB.
pub const SERVER_BYTES_MAX: usize = 64 * 1024;

/// Most bytes of a handshake from a client, which has no certificates here: a ClientHello with a post-quantum
/// share is 1.8 KiB.
pub const CLIENT_BYTES_MAX: usize = 16 * 1024;

/// Longest record body of any TLS version (RFC 5246 section 6.2.3); TLS 1.3's limit is rustls's.
const BODY_MAX: usize = (1 << 14) + 2048;

/// What to answer, in the clear, to a peer that sent [`Error::PlainHttp`].
pub const PLAIN_HTTP_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain\r\n\
    Content-Length: 44\r\n\
    Connection: close\r\n\
    \r\n\
    This port speaks TLS: use https:// or wss://";

/// A handshake under way. Eight bytes here, some kilobytes behind.
pub struct Handshake(Box<State>);

struct State {
    /// `None` once it is over.
    conn: Option<Conn>,
    heard: Heard,
    /// Bytes that rustls has not used up: whole records that it has seen (parts of a longer
    /// message), then at most one record that is not whole.
    pending: Vec<u8>,
    /// Bytes of `pending` that rustls has seen.
    shown: usize,
    /// Bytes taken so far, and the most.
    taken: usize,
    taken_max: usize,
}

/// How far [`Handshake::feed`] came.
#[derive(Debug)]
#[must_use]
pub enum Progress {
    /// All input was taken; `out` may hold an answer; the peer is to speak.
    NeedMore,
    /// The handshake is over.
    Done {
        /// The session.
        session: Session,
        /// Bytes of this call's input that belonged to the handshake. What follows is for
        /// [`Session::open`].
        consumed: usize,
        /// What was agreed on.
        established: Established,
    },
}

/// What a handshake agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Established {
    /// `"TLSv1.3"` or `"TLSv1.2"`.
    pub version: &'static str,
    /// The cipher suite's IANA name as rustls spells it.
    pub suite: &'static str,
    /// The key exchange group, empty where none was used.
    pub group: &'static str,
    /// The application protocol (ALPN), where one was agreed on.
    pub alpn: Option<Vec<u8>>,
    /// Whether a ticket was used.
    pub resumed: bool,
}

impl Handshake {
    /// Waits for a client.
    ///
    /// # Errors
    /// [`Error::Internal`] only.
    pub fn server(config: &ServerConfig) -> Result<Self, Error> {
        let conn = UnbufferedServerConnection::new(config.rustls())
            .map_err(|_| Error::Internal("rustls refused our server configuration"))?;
        Ok(Self::new(Conn::Server(conn)))
    }

    /// Appends a ClientHello for `host` (a DNS name or an IP address) to `out`.
    ///
    /// # Errors
    /// [`Error::Handshake`] with [`Blame::Caller`] when `host` is neither.
    pub fn client(config: &ClientConfig, host: &str, out: &mut Vec<u8>) -> Result<Self, Error> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| Error::Handshake {
            why: format!("{host:?} is neither a DNS name nor an IP address").into(),
            blame: Blame::Caller,
            alert: None,
        })?;
        let conn = UnbufferedClientConnection::new(config.rustls(), name)
            .map_err(|_| Error::Internal("rustls refused our client configuration"))?;
        let mut this = Self::new(Conn::Client(conn));
        this.0.show(0, out)?;
        Ok(this)
    }

    fn new(conn: Conn) -> Self {
        let heard = Heard::default();
        let taken_max = match conn.role() {
            Role::Server => CLIENT_BYTES_MAX,
            Role::Client => SERVER_BYTES_MAX,
        };
        Self(Box::new(State {
            conn: Some(conn),
            heard,
            pending: Vec::new(),
            shown: 0,
            taken: 0,
            taken_max,
        }))
    }

    /// Takes bytes from the peer and appends the answer to `out`.
    ///
    /// # Errors
    /// Every error ends the handshake: send `out` (it holds the alert, where one is due), close.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Progress, Error> {
        let state = &mut *self.0;
        if state.conn.is_none() {
            return Err(Error::Ended);
        }
        let said = out.len();
        state.feed(input, out).map_err(|mut error| {
            if out.len() == said && state.is_clear() {
                state.refuse(&mut error, out);
            }
            state.conn = None;
            error
        })
    }
}

impl State {
    fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Progress, Error> {
        let mut rest = input;
        loop {
            let missing = self.missing()?;
            if missing > 0 {
                if rest.is_empty() {
                    return Ok(Progress::NeedMore);
                }
                let (now, later) = rest.split_at(missing.min(rest.len()));
                self.taken += now.len();
                if self.taken > self.taken_max {
                    return Err(Error::HandshakeTooLong(self.taken_max));
                }
                self.pending.extend_from_slice(now);
                rest = later;
            } else if self.show(self.pending.len(), out)? == Turn::Ready {
                return self.finish(input.len() - rest.len());
            }
        }
    }

    /// Whether the peer reads alerts in the clear: a server that has sent no more than that.
    fn is_clear(&self) -> bool {
        let server = self
            .conn
            .as_ref()
            .is_some_and(|conn| conn.role() == Role::Server);
        server && self.heard.server.as_slice().is_empty()
    }

    /// Says goodbye where rustls did not: it has no alert for some of its errors.
    fn refuse(&self, error: &mut Error, out: &mut Vec<u8>) {
        if let Error::Handshake { alert, .. } = error {
            *alert = Some(Alert::HANDSHAKE_FAILURE);
        }
        if let Some(alert) = error.alert() {
            record::plain_alert(alert, out);
        }
    }

    /// Bytes that the record at `shown` still lacks. 0 when it is whole.
    fn missing(&self) -> Result<usize, Error> {
        let record = &self.pending[self.shown..];
        if self.taken == record.len() && resembles_http(record) {
            return match record.len() {
                ..4 => Ok(HEADER - record.len()),
                _ => Err(Error::PlainHttp),
            };
        }
        match record {
            [typ, ..] if !(20..=23).contains(typ) => Err(Error::NotTls),
            [_, major, ..] if *major != 3 => Err(Error::NotTls),
            [_, _, _, high, low, body @ ..] => {
                let len = usize::from(u16::from_be_bytes([*high, *low]));
                if len > BODY_MAX {
                    Err(Error::NotTls)
                } else {
                    Ok(len - body.len().min(len))
                }
            }
            _ => Ok(HEADER - record.len()),
        }
    }

    /// Shows rustls the first `end` bytes of `pending` until it has nothing more to say to them.
    fn show(&mut self, end: usize, out: &mut Vec<u8>) -> Result<Turn, Error> {
        let mut plain = Vec::new();
        self.shown = end;
        loop {
            let conn = self.conn.as_mut().ok_or(Error::Ended)?;
            let said = out.len();
            let input = &mut self.pending[..self.shown];
            let (used, turn) = conn.look(input, &mut self.heard, &mut plain, out);
            let used = used.min(self.shown);
            self.pending.drain(..used);
            self.shown -= used;
            match turn {
                Ok(Turn::Again) => {}
                Ok(Turn::PeerClosed) => return Err(Error::PeerAlert(Alert::CLOSE_NOTIFY)),
                Ok(turn) => return Ok(turn),
                Err(error) => {
                    conn.drain(out);
                    return Err(judge(&error, &out[said..]));
                }
            }
        }
    }

    fn finish(&mut self, consumed: usize) -> Result<Progress, Error> {
        let conn = self.conn.take().ok_or(Error::Ended)?;
        if !self.pending.is_empty() {
            return Err(Error::Internal("rustls left bytes of the handshake"));
        }
        let facts = conn.facts();
        let role = conn.role();
        let tls13 = facts.tls13;
        let session = if tls13 {
            self.park(conn, role)?
        } else {
            Session::resident(Resident::new(conn))
        };
        Ok(Progress::Done {
            session,
            consumed,
            established: established(facts),
        })
    }

    fn park(&self, conn: Conn, role: Role) -> Result<Session, Error> {
        let extracted = conn.extract()?;
        let (rx_seq, tx_seq) = extracted.seqs();
        let keys = extracted.keys();
        if keys.is_none() {
            return Err(Error::Internal("keys of a kind that we do not offer"));
        }
        // Two accounts of the same keys. A wrong secret shows when the keys are first forgotten.
        Session::park(&Parts {
            suite: extracted.suite,
            role,
            client_secret: self.heard.client.as_slice(),
            server_secret: self.heard.server.as_slice(),
            rx_seq,
            tx_seq,
            keys,
        })
    }
}

fn established(facts: Facts) -> Established {
    Established {
        version: if facts.tls13 { "TLSv1.3" } else { "TLSv1.2" },
        suite: facts.suite.unwrap_or_default(),
        group: facts.group.unwrap_or_default(),
        alpn: facts.alpn,
        resumed: facts.resumed,
    }
}

/// Whether the first bytes of a connection (at most five of them) can begin an HTTP request.
fn resembles_http(bytes: &[u8]) -> bool {
    // With the space behind them, as far as five bytes reach: what follows may be a path or a whole URL.
    const METHODS: [&[u8]; 10] = [
        b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELET", b"OPTIO", b"PATCH", b"CONNE", b"TRACE",
        b"PRI *",
    ];
    let begins = |method: &[u8]| method.starts_with(bytes) || bytes.starts_with(method);
    !bytes.is_empty() && METHODS.into_iter().any(begins)
}
