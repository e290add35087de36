//! Handshake messages that come after the handshake (RFC 8446 section 4.6): KeyUpdate and, for a
//! client, NewSessionTicket. All others are refused.
//!
//! A message may lie in several records, and several tickets in one. Nothing is buffered: a
//! KeyUpdate is five bytes that follow from their first, a ticket is counted and dropped. The whole
//! state is five bytes, part of a parked session.

use super::{Alert, Error, Role};

/// Message types (RFC 8446 section 4).
const NEW_SESSION_TICKET: u8 = 4;
pub(super) const KEY_UPDATE: u8 = 24;

/// The longest NewSessionTicket taken. Tickets are a few hundred bytes in practice.
const TICKET_MAX: usize = 1 << 16;

/// The peer changed its key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KeyUpdate {
    /// It asks us to change ours.
    pub(super) requested: bool,
}

/// How far the present message has come.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Messages {
    /// Bytes of `header` that have come; 0 between messages.
    header_len: u8,
    /// Type and length; when complete, the length counts down what is still to come.
    header: [u8; 4],
}

impl Messages {
    pub(super) const BYTES: usize = 5;

    /// Inside of a message.
    pub(super) fn is_partial(&self) -> bool {
        self.header_len != 0
    }

    /// Takes the content of one handshake record, sent to a peer in `role`.
    pub(super) fn take(
        &mut self,
        mut content: &[u8],
        role: Role,
    ) -> Result<Option<KeyUpdate>, Error> {
        if content.is_empty() {
            //= RFC 8446 section 5.4: Implementations MUST NOT send Handshake and Alert records that have a zero-length TLSInnerPlaintext.content; if such a message is received, the receiving implementation MUST terminate the connection with an "unexpected_message" alert.
            return Err(unexpected("an empty handshake fragment"));
        }
        while let [byte, rest @ ..] = content {
            if usize::from(self.header_len) < self.header.len() {
                self.take_header_byte(*byte, role)?;
                content = rest;
            } else if self.header[0] == KEY_UPDATE {
                self.header_len = 0;
                return key_update(*byte, rest).map(Some);
            } else {
                let count = self.left().min(content.len());
                self.set_left(self.left() - count);
                content = &content[count..];
            }
        }
        Ok(None)
    }

    fn take_header_byte(&mut self, byte: u8, role: Role) -> Result<(), Error> {
        if self.header_len == 0 {
            let known = byte == KEY_UPDATE || (byte == NEW_SESSION_TICKET && role == Role::Client);
            if !known {
                return Err(unexpected("a handshake message that has no place here"));
            }
        }
        self.header[usize::from(self.header_len)] = byte;
        self.header_len += 1;
        if usize::from(self.header_len) < self.header.len() {
            return Ok(());
        }
        let fits = match self.header[0] {
            KEY_UPDATE => self.left() == 1,
            _ => (1..=TICKET_MAX).contains(&self.left()),
        };
        if fits {
            Ok(())
        } else {
            Err(Error::record(
                Alert::DECODE_ERROR,
                "a handshake message of an impossible length",
            ))
        }
    }

    fn left(&self) -> usize {
        let [_, high, middle, low] = self.header;
        u32::from_be_bytes([0, high, middle, low]) as usize
    }

    /// Ends the message at 0.
    fn set_left(&mut self, left: usize) {
        let [.., high, middle, low] = left.to_be_bytes();
        self.header[1..].copy_from_slice(&[high, middle, low]);
        if left == 0 {
            self.header_len = 0;
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(self.header_len);
        out.extend_from_slice(&self.header);
    }

    pub(super) fn read([header_len, header @ ..]: [u8; Self::BYTES]) -> Option<Self> {
        let this = Self { header_len, header };
        let sound = match header_len {
            0 => true,
            1..=3 => matches!(header[0], KEY_UPDATE | NEW_SESSION_TICKET),
            4 if header[0] == KEY_UPDATE => this.left() == 1,
            4 if header[0] == NEW_SESSION_TICKET => (1..=TICKET_MAX).contains(&this.left()),
            _ => false,
        };
        sound.then_some(this)
    }
}

/// The key changes behind it, so it ends its record.
//= RFC 8446 section 5.1: Implementations MUST verify that all messages immediately preceding a key change align with a record boundary; if not, then they MUST terminate the connection with an "unexpected_message" alert.
fn key_update(request: u8, rest: &[u8]) -> Result<KeyUpdate, Error> {
    if !rest.is_empty() {
        return Err(unexpected("bytes behind a KeyUpdate in its record"));
    }
    match request {
        0 | 1 => Ok(KeyUpdate {
            requested: request == 1,
        }),
        //= RFC 8446 section 4.6.3: If an implementation receives any other value, it MUST terminate the connection with an "illegal_parameter" alert.
        _ => Err(Error::record(
            Alert::ILLEGAL_PARAMETER,
            "a KeyUpdate with an unknown request",
        )),
    }
}

fn unexpected(why: &'static str) -> Error {
    Error::record(Alert::UNEXPECTED_MESSAGE, why)
}
