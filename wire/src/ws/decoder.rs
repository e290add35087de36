//! From received bytes to events.
//!
//! The decoder is one pointer, null while nothing is pending. Pending state (a partial header or
//! payload, an open message) lives in a box that goes away with the last byte that completes it.

use std::borrow::Cow;
use std::mem;

use super::assembly::Assembly;
use super::header::{HEADER_BYTES_MAX, Header, Opcode};
use super::mask::apply_mask;
use super::{Config, Error, close};

/// What a peer sent. Borrowed where the whole message lay in the input, else owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A text message.
    Text(Cow<'a, str>),
    /// A binary message.
    Binary(Cow<'a, [u8]>),
    /// A ping of at most 125 bytes: answer with a pong of the same payload.
    Ping(Cow<'a, [u8]>),
    /// A pong of at most 125 bytes.
    Pong(Cow<'a, [u8]>),
    /// The closing handshake. Whatever follows it is swallowed.
    Close {
        /// The peer's code, if it gave one; always one that may be sent back.
        code: Option<crate::proto::CloseCode>,
        /// The peer's reason.
        reason: Cow<'a, str>,
    },
}

impl Event<'_> {
    /// The same event, owning its payload.
    pub fn into_owned(self) -> Event<'static> {
        match self {
            Self::Text(text) => Event::Text(Cow::Owned(text.into_owned())),
            Self::Binary(bytes) => Event::Binary(Cow::Owned(bytes.into_owned())),
            Self::Ping(bytes) => Event::Ping(Cow::Owned(bytes.into_owned())),
            Self::Pong(bytes) => Event::Pong(Cow::Owned(bytes.into_owned())),
            Self::Close { code, reason } => Event::Close {
                code,
                reason: Cow::Owned(reason.into_owned()),
            },
        }
    }
}

/// One connection's receiving half.
#[derive(Debug, Default)]
pub struct Decoder {
    pending: Option<Box<State>>,
}

/// What is pending.
#[derive(Debug, Default)]
struct State {
    /// The fragmented or partly received message.
    message: Option<Assembly>,
    frame: Frame,
}

/// How far into a frame the input ended.
#[derive(Debug, Default)]
enum Frame {
    #[default]
    Boundary,
    Header {
        bytes: [u8; HEADER_BYTES_MAX],
        len: u8,
    },
    /// Payload of the open message.
    Data {
        header: Header,
        received: u64,
    },
    Control {
        header: Header,
        masked: Vec<u8>,
    },
    /// A close frame or a violation came.
    Closed,
}

impl Decoder {
    /// A decoder at the beginning of a connection's frames.
    pub const fn new() -> Self {
        Self { pending: None }
    }

    /// Whether nothing is pending: no heap memory, no state worth moving.
    pub const fn is_at_rest(&self) -> bool {
        self.pending.is_none()
    }

    /// Bytes of memory that what is pending takes.
    pub fn held_bytes(&self) -> usize {
        let Some(state) = self.pending.as_deref() else {
            return 0;
        };
        let message = state.message.as_ref().map_or(0, Assembly::capacity);
        let control = match &state.frame {
            Frame::Control { masked, .. } => masked.capacity(),
            _ => 0,
        };
        size_of::<State>() + message + control
    }

    /// Consumes input up to the end of the first event, or all of it. Returns the bytes consumed;
    /// call again with the rest until it is empty. Where an event is returned its payload may have
    /// been unmasked in place.
    ///
    /// # Errors
    /// What the peer did wrong. The decoder swallows whatever it is given afterwards.
    pub fn decode<'a>(
        &mut self,
        config: &Config,
        input: &'a mut [u8],
    ) -> Result<(usize, Option<Event<'a>>), Error> {
        let input_len = input.len();
        let state = self
            .pending
            .take()
            .map_or_else(State::default, |pending| *pending);
        let mut walk = Walk {
            config,
            state,
            rest: input,
        };
        let outcome = walk.next_event();
        if matches!(outcome, Err(_) | Ok(Some(Event::Close { .. }))) {
            walk.state = State {
                message: None,
                frame: Frame::Closed,
            };
        }
        if !walk.state.is_at_rest() {
            self.pending = Some(Box::new(walk.state));
        }
        outcome.map(|event| (input_len - walk.rest.len(), event))
    }
}

impl State {
    const fn is_at_rest(&self) -> bool {
        self.message.is_none() && matches!(self.frame, Frame::Boundary)
    }
}

/// One call of `decode`.
struct Walk<'a, 'c> {
    config: &'c Config,
    state: State,
    rest: &'a mut [u8],
}

impl<'a> Walk<'a, '_> {
    fn next_event(&mut self) -> Result<Option<Event<'a>>, Error> {
        loop {
            let event = match mem::take(&mut self.state.frame) {
                Frame::Closed => {
                    self.take(self.rest.len());
                    self.state.frame = Frame::Closed;
                    return Ok(None);
                }
                Frame::Boundary if self.rest.is_empty() => return Ok(None),
                Frame::Boundary => self.boundary()?,
                Frame::Header { bytes, len } => self.header(bytes, len)?,
                Frame::Data { header, received } => self.data(header, received)?,
                Frame::Control { header, masked } => self.control(header, masked)?,
            };
            match event {
                Progress::Event(event) => return Ok(Some(event)),
                Progress::Starved => return Ok(None),
                Progress::Next => {}
            }
        }
    }

    fn take(&mut self, len: usize) -> &'a mut [u8] {
        let (taken, rest) = mem::take(&mut self.rest).split_at_mut(len);
        self.rest = rest;
        taken
    }

    /// The frame's payload where all of it is at hand, unmasked in place.
    fn take_whole(&mut self, header: &Header) -> Option<&'a [u8]> {
        if header.len > self.rest.len() as u64 {
            return None;
        }
        let payload = self.take(header.len as usize);
        apply_mask(payload, header.mask, 0);
        Some(payload)
    }

    /// A frame's first byte. Nearly always its whole header is there and is read where it lies.
    fn boundary(&mut self) -> Result<Progress<'a>, Error> {
        match Header::parse(self.rest, self.config.role)? {
            Some((header, header_len)) => {
                self.take(header_len);
                self.begin(header)
            }
            None => self.header([0; HEADER_BYTES_MAX], 0),
        }
    }

    fn header(
        &mut self,
        mut bytes: [u8; HEADER_BYTES_MAX],
        len: u8,
    ) -> Result<Progress<'a>, Error> {
        let held = usize::from(len);
        let filled = (held + self.rest.len()).min(HEADER_BYTES_MAX);
        bytes[held..filled].copy_from_slice(&self.rest[..filled - held]);
        let Some((header, header_len)) = Header::parse(&bytes[..filled], self.config.role)? else {
            self.take(filled - held);
            self.state.frame = Frame::Header {
                bytes,
                len: filled as u8,
            };
            return Ok(Progress::Starved);
        };
        // A held part is never a whole header, so this does not underflow.
        self.take(header_len - held);
        self.begin(header)
    }

    fn begin(&mut self, header: Header) -> Result<Progress<'a>, Error> {
        if header.opcode.is_control() {
            self.begin_control(header)
        } else {
            self.begin_data(header)
        }
    }

    /// Section 5.5: control frames may stand between the fragments of a message.
    fn begin_control(&mut self, header: Header) -> Result<Progress<'a>, Error> {
        //= RFC 6455 section 5.4: An endpoint MUST be capable of handling control frames in the middle of a fragmented message.
        if let Some(message) = &mut self.state.message {
            message.count_control(&self.config.limits)?;
        }
        match self.take_whole(&header) {
            Some(payload) => control_event(header.opcode, Cow::Borrowed(payload)),
            None => self.control(header, Vec::new()),
        }
    }

    fn control(&mut self, header: Header, mut masked: Vec<u8>) -> Result<Progress<'a>, Error> {
        let missing = header.len as usize - masked.len();
        masked.extend_from_slice(self.take(missing.min(self.rest.len())));
        if (masked.len() as u64) < header.len {
            self.state.frame = Frame::Control { header, masked };
            return Ok(Progress::Starved);
        }
        apply_mask(&mut masked, header.mask, 0);
        control_event(header.opcode, Cow::Owned(masked))
    }

    /// Section 5.4: a message opens with its opcode and goes on with continuations.
    fn begin_data(&mut self, header: Header) -> Result<Progress<'a>, Error> {
        let limits = &self.config.limits;
        let held = match (&self.state.message, header.opcode) {
            (None, Opcode::Continuation) => return Err(Error::ContinuationOfNothing),
            (Some(message), Opcode::Continuation) => message.len(),
            //= RFC 6455 section 5.4: The fragments of one message MUST NOT be interleaved between the fragments of another message
            (Some(_), _) => return Err(Error::MessageInMessage),
            (None, Opcode::Text) if !self.config.text => return Err(Error::TextRefused),
            (None, _) => 0,
        };
        if header.len > (limits.message_bytes_max - held) as u64 {
            return Err(Error::MessageTooBig {
                max: limits.message_bytes_max,
            });
        }
        if header.fin
            && header.opcode != Opcode::Continuation
            && let Some(payload) = self.take_whole(&header)
        {
            return message_event(header.opcode, payload);
        }
        self.state
            .message
            .get_or_insert(Assembly::new(header.opcode == Opcode::Text))
            .count_fragment(limits)?;
        self.data(header, 0)
    }

    fn data(&mut self, header: Header, received: u64) -> Result<Progress<'a>, Error> {
        let len = (header.len - received).min(self.rest.len() as u64) as usize;
        let masked = self.take(len);
        // A data frame is begun by `begin_data` only, which opens the message.
        let Some(mut message) = self.state.message.take() else {
            return Err(Error::ContinuationOfNothing);
        };
        message.append(masked, &header, received, &self.config.limits)?;
        let received = received + len as u64;
        if received == header.len && header.fin {
            return message.into_event().map(Progress::Event);
        }
        self.state.message = Some(message);
        if received == header.len {
            return Ok(Progress::Next);
        }
        self.state.frame = Frame::Data { header, received };
        Ok(Progress::Starved)
    }
}

/// What a step led to.
enum Progress<'a> {
    Event(Event<'a>),
    /// A frame ended without an event.
    Next,
    /// The input is used up.
    Starved,
}

fn message_event(opcode: Opcode, payload: &[u8]) -> Result<Progress<'_>, Error> {
    Ok(Progress::Event(if opcode == Opcode::Text {
        Event::Text(Cow::Borrowed(
            str::from_utf8(payload).map_err(|_| Error::Utf8)?,
        ))
    } else {
        Event::Binary(Cow::Borrowed(payload))
    }))
}

fn control_event(opcode: Opcode, payload: Cow<'_, [u8]>) -> Result<Progress<'_>, Error> {
    Ok(Progress::Event(match opcode {
        Opcode::Ping => Event::Ping(payload),
        Opcode::Pong => Event::Pong(payload),
        _ => close::parse(payload)?,
    }))
}
