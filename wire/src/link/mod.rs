//! One connection's byte stream: TLS, then the HTTP upgrade, then WebSocket, for both ends, sans-IO.
//!
//! A [`Link`] exists only while something is under way: a handshake, a partial record, a fragmented
//! message. At rest ([`Link::is_at_rest`]) it is dropped, and all that is left of the stream is its
//! [`tls::Session`]; [`Link::open`] makes it anew for the next bytes. What stands above it (a session
//! of the edge, a client of the load generator) sees messages only, and would see the same over QUIC.
//!
//! Invariant: events are handed up in order and exactly once, also across [`Flow::Stop`], after which
//! the rest of the input waits inside the link.

mod error;
#[doc(hidden)]
pub mod fuzz;
mod head;
mod writer;

#[cfg(test)]
mod tests;

pub use error::Error;
use head::Head;
pub use writer::{Masks, Writer};

use crate::tls;
use crate::ws::{self, upgrade};

/// How an end behaves; one value serves any number of links.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// How frames are read.
    pub frames: ws::Config,
    /// What a server answers upgrade requests with; a client has no use for it.
    pub server: upgrade::Server,
    /// Which pings are answered.
    pub pongs: Pongs,
}

/// Which pings are answered (RFC 6455 section 5.5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pongs {
    /// The latest before the next message, or of what came at once: it stands for those before it.
    Latest,
    /// Each, which conformance suites count.
    Each,
}

/// Whether the link goes on with what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Hand up the next event.
    Continue,
    /// Keep the rest; the next [`Link::feed`] starts there.
    Stop,
}

/// What stands above a link.
pub trait Receiver {
    /// The WebSocket is open.
    fn on_open(&mut self, writer: &mut Writer<'_>) -> Flow;
    /// A message or a close. Pings were answered and are handed up as a sign of life only.
    fn on_event(&mut self, writer: &mut Writer<'_>, event: ws::Event<'_>) -> Flow;
    /// A TLS record without data, such as a KeyUpdate: new keys for a few bytes, so that who has many peers counts
    /// them.
    fn on_idle_record(&mut self, _writer: &mut Writer<'_>) -> Flow {
        Flow::Continue
    }
}

enum Stage {
    Tls {
        handshake: tls::Handshake,
        then: Box<Head>,
    },
    Head(Box<Head>),
    Open,
}

/// See the module.
pub struct Link {
    stage: Stage,
    /// A partial record, or what came after [`Flow::Stop`].
    cipher: Vec<u8>,
    /// Plaintext that came after [`Flow::Stop`].
    plain: Vec<u8>,
    decoder: ws::Decoder,
}

impl Link {
    fn new(stage: Stage) -> Self {
        Self {
            stage,
            cipher: Vec::new(),
            plain: Vec::new(),
            decoder: ws::Decoder::new(),
        }
    }

    /// A server's end of a new connection.
    pub fn accept(handshake: Option<tls::Handshake>) -> Self {
        let head = Box::new(Head::request());
        Self::new(match handshake {
            Some(handshake) => Stage::Tls {
                handshake,
                then: head,
            },
            None => Stage::Head(head),
        })
    }

    /// A client's end of a new connection; its first bytes are appended to `out` (those of the
    /// handshake are there already).
    pub fn connect(
        handshake: Option<tls::Handshake>,
        request: &upgrade::ClientRequest<'_>,
        out: &mut Vec<u8>,
    ) -> Self {
        let mut head = Box::new(Head::response(request));
        Self::new(match handshake {
            Some(handshake) => Stage::Tls {
                handshake,
                then: head,
            },
            None => {
                out.append(&mut head.first_bytes());
                Stage::Head(head)
            }
        })
    }

    /// Either end of an open WebSocket that was at rest.
    pub fn open() -> Self {
        Self::new(Stage::Open)
    }

    /// Whether nothing is under way, so that the link may be dropped and made anew by
    /// [`open`](Self::open).
    pub fn is_at_rest(&self) -> bool {
        self.is_open()
            && self.cipher.is_empty()
            && self.plain.is_empty()
            && self.decoder.is_at_rest()
    }

    /// Bytes of memory that what was received and is not whole yet takes, the link's own not included. A handshake's
    /// are not counted: they have a bound of their own.
    pub fn held_bytes(&self) -> usize {
        self.cipher.capacity() + self.plain.capacity() + self.decoder.held_bytes()
    }

    /// Whether its TLS handshake is under way.
    pub fn is_handshaking(&self) -> bool {
        matches!(self.stage, Stage::Tls { .. })
    }

    /// Whether the WebSocket is open.
    pub fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open)
    }

    /// Keeps what was received for the next [`feed`](Self::feed), without a look at it.
    pub fn keep(&mut self, bytes: &[u8]) {
        self.cipher.extend_from_slice(bytes);
    }

    /// Takes what was received and hands up what it holds. Whatever is to be sent is appended to the
    /// writer's buffer, also where the result is an error: then it ends with the last words (an alert,
    /// an HTTP answer, a close frame), after which the connection is to be closed.
    ///
    /// `session` is where the TLS session is while the link works: filled when a handshake ends.
    pub fn feed(
        &mut self,
        config: &Config,
        session: &mut Option<tls::Session>,
        masks: Option<&mut Masks>,
        out: &mut Vec<u8>,
        receiver: &mut dyn Receiver,
        bytes: &mut [u8],
    ) -> Result<Flow, Error> {
        let used = match self.shake_hands(session, out, bytes) {
            Ok(Some(used)) => used,
            Ok(None) => return Ok(Flow::Continue),
            Err(error) => {
                if error == tls::Error::PlainHttp {
                    out.extend_from_slice(tls::PLAIN_HTTP_ANSWER);
                }
                return Err(error.into());
            }
        };
        let writer = Writer::gathering(session.as_mut(), masks, out);
        let mut up = Up {
            config,
            writer,
            receiver,
            ping: None,
        };
        if used > 0 {
            self.ask(&mut up.writer);
        }
        let fed = self.stream(&mut up, &mut bytes[used..]);
        up.answer_ping();
        if let Err(error) = &fed {
            error.write_last_words(&mut up.writer);
        }
        fed
    }

    /// Goes on with the TLS handshake where there is one. How many bytes it used, or `None` where
    /// the peer is to say more.
    fn shake_hands(
        &mut self,
        session: &mut Option<tls::Session>,
        out: &mut Vec<u8>,
        bytes: &[u8],
    ) -> Result<Option<usize>, tls::Error> {
        let Stage::Tls { handshake, .. } = &mut self.stage else {
            return Ok(Some(0));
        };
        match handshake.feed(bytes, out)? {
            tls::Progress::NeedMore => Ok(None),
            tls::Progress::Done {
                session: done,
                consumed,
                ..
            } => {
                *session = Some(done);
                if let Stage::Tls { then, .. } = std::mem::replace(&mut self.stage, Stage::Open) {
                    self.stage = Stage::Head(then);
                }
                Ok(Some(consumed))
            }
        }
    }

    /// A client's request, now that TLS stands.
    fn ask(&mut self, writer: &mut Writer<'_>) {
        if let Stage::Head(head) = &mut self.stage {
            let request = head.first_bytes();
            if !request.is_empty() {
                writer.raw(&[&request]);
            }
        }
    }

    /// The bytes after the TLS handshake, in front of which stands what was left last time.
    fn stream(&mut self, up: &mut Up<'_>, bytes: &mut [u8]) -> Result<Flow, Error> {
        let mut plain = std::mem::take(&mut self.plain);
        if !plain.is_empty() && self.plaintext(up, &mut plain)? == Flow::Stop {
            self.cipher.extend_from_slice(bytes);
            return Ok(Flow::Stop);
        }
        if self.cipher.is_empty() {
            let (used, flow) = self.records(up, bytes)?;
            self.cipher.extend_from_slice(&bytes[used..]);
            return Ok(flow);
        }
        let mut cipher = std::mem::take(&mut self.cipher);
        cipher.extend_from_slice(bytes);
        let (used, flow) = self.records(up, &mut cipher)?;
        debug_assert!(used <= cipher.len(), "a byte is used once");
        if used < cipher.len() {
            cipher.drain(..used);
            self.cipher = cipher;
        }
        Ok(flow)
    }

    /// Opens record after record in place; without TLS all of it is plaintext. How much was used.
    fn records(&mut self, up: &mut Up<'_>, cipher: &mut [u8]) -> Result<(usize, Flow), Error> {
        if !up.writer.is_sealed() {
            let flow = self.plaintext(up, cipher)?;
            return Ok((cipher.len(), flow));
        }
        let mut used = 0;
        while used < cipher.len() {
            match up.writer.open(&mut cipher[used..])? {
                tls::Opened::NeedMore { .. } => break,
                tls::Opened::Handled { consumed } => {
                    used += consumed;
                    if up.receiver.on_idle_record(&mut up.writer) == Flow::Stop {
                        return Ok((used, Flow::Stop));
                    }
                }
                tls::Opened::CloseNotify { .. } => return Err(Error::PeerEnded),
                tls::Opened::Data { consumed, data } => {
                    used += consumed;
                    if self.plaintext(up, data)? == Flow::Stop {
                        return Ok((used, Flow::Stop));
                    }
                }
            }
        }
        Ok((used, Flow::Continue))
    }

    /// Plaintext, all of which is used or kept.
    fn plaintext(&mut self, up: &mut Up<'_>, plain: &mut [u8]) -> Result<Flow, Error> {
        let mut rest = plain;
        if let Stage::Head(head) = &mut self.stage {
            let Some(used) = head.read(&up.config.server, &mut up.writer, rest)? else {
                return Ok(Flow::Continue);
            };
            rest = &mut rest[used..];
            self.stage = Stage::Open;
            if up.receiver.on_open(&mut up.writer) == Flow::Stop {
                self.plain.extend_from_slice(rest);
                return Ok(Flow::Stop);
            }
        }
        while !rest.is_empty() {
            let (used, event) = self.decoder.decode(&up.config.frames, rest)?;
            if let Some(event) = event
                && up.hand(event) == Flow::Stop
            {
                self.plain.extend_from_slice(&rest[used..]);
                return Ok(Flow::Stop);
            }
            rest = &mut rest[used..];
        }
        Ok(Flow::Continue)
    }
}

/// Everything that an event on its way up needs.
struct Up<'a> {
    config: &'a Config,
    writer: Writer<'a>,
    receiver: &'a mut dyn Receiver,
    /// What the latest ping holds, while it is not answered.
    ping: Option<Vec<u8>>,
}

impl Up<'_> {
    fn hand(&mut self, event: ws::Event<'_>) -> Flow {
        //= RFC 6455 section 5.5.2: Upon receipt of a Ping frame, an endpoint MUST send a Pong frame in response, unless it already received a Close frame.
        // As soon as is practical, with the same payload.
        match &event {
            ws::Event::Ping(payload) => self.ping = Some(payload.to_vec()),
            ws::Event::Pong(_) => {}
            // Answers stand in the order of what they answer, and none behind a close.
            _ => self.answer_ping(),
        }
        if self.config.pongs == Pongs::Each {
            self.answer_ping();
        }
        self.receiver.on_event(&mut self.writer, event)
    }

    fn answer_ping(&mut self) {
        if let Some(payload) = self.ping.take()
            && !self.writer.is_closed()
        {
            self.writer.message(ws::Opcode::Pong, &payload);
        }
    }
}
