//! The frame header (RFC 6455 section 5.2): 2 to 14 bytes.

use super::{Error, Role};

/// The longest header: two bytes, a 64-bit length, a masking key.
pub(super) const HEADER_BYTES_MAX: usize = 14;

/// The longest payload of a control frame.
pub(super) const CONTROL_BYTES_MAX: usize = 125;

/// What a frame is (section 11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// More of the open message.
    Continuation = 0x0,
    /// A text message, UTF-8.
    Text = 0x1,
    /// A binary message.
    Binary = 0x2,
    /// The end of the connection.
    Close = 0x8,
    /// To be answered with a Pong.
    Ping = 0x9,
    /// The answer to a Ping, or unasked.
    Pong = 0xa,
}

impl Opcode {
    const fn from_bits(bits: u8) -> Result<Self, Error> {
        match bits {
            0x0 => Ok(Self::Continuation),
            0x1 => Ok(Self::Text),
            0x2 => Ok(Self::Binary),
            0x8 => Ok(Self::Close),
            0x9 => Ok(Self::Ping),
            0xa => Ok(Self::Pong),
            //= RFC 6455 section 5.2: If an unknown opcode is received, the receiving endpoint MUST _Fail the WebSocket Connection_.
            other => Err(Error::ReservedOpcode(other)),
        }
    }

    /// Close, Ping and Pong: short, whole, allowed between fragments (section 5.5).
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// A parsed frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    /// Bytes of payload, below 2^63.
    pub(super) len: u64,
    /// Zero where the frame is not masked, which masks nothing.
    pub(super) mask: [u8; 4],
}

impl Header {
    /// Parses the header at the front of `bytes` and tells its length; `None` where bytes are
    /// missing. What the bytes at hand already break is reported at once.
    pub(super) fn parse(bytes: &[u8], role: Role) -> Result<Option<(Self, usize)>, Error> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        //= RFC 6455 section 5.2: MUST be 0 unless an extension is negotiated that defines meanings for non-zero values.
        if first & 0x70 != 0 {
            return Err(Error::ReservedBits);
        }
        let fin = first & 0x80 != 0;
        let opcode = Opcode::from_bits(first & 0x0f)?;
        //= RFC 6455 section 5.5: All control frames MUST have a payload length of 125 bytes or less and MUST NOT be fragmented.
        if opcode.is_control() && !fin {
            return Err(Error::ControlFragmented);
        }
        let Some(&second) = bytes.get(1) else {
            return Ok(None);
        };
        let masked = second & 0x80 != 0;
        match (role, masked) {
            //= RFC 6455 section 5.1: The server MUST close the connection upon receiving a frame that is not masked.
            (Role::Server, false) => return Err(Error::Unmasked),
            //= RFC 6455 section 5.1: A client MUST close a connection if it detects a masked frame.
            (Role::Client, true) => return Err(Error::Masked),
            _ => {}
        }
        let short = second & 0x7f;
        if opcode.is_control() && usize::from(short) > CONTROL_BYTES_MAX {
            return Err(Error::ControlTooLong);
        }
        let Some((len, at)) = payload_len(short, &bytes[2..])? else {
            return Ok(None);
        };
        let at = 2 + at;
        if !masked {
            return Ok(Some((
                Self {
                    fin,
                    opcode,
                    len,
                    mask: [0; 4],
                },
                at,
            )));
        }
        let Some(&mask) = bytes[at..].first_chunk::<4>() else {
            return Ok(None);
        };
        Ok(Some((
            Self {
                fin,
                opcode,
                len,
                mask,
            },
            at + 4,
        )))
    }
}

/// The payload's length and the bytes that its extended form takes, which must be the shortest.
fn payload_len(short: u8, extended: &[u8]) -> Result<Option<(u64, usize)>, Error> {
    let (len, bytes, least) = match short {
        126 => match extended.first_chunk::<2>() {
            Some(len) => (u64::from(u16::from_be_bytes(*len)), 2, 126),
            None => return Ok(None),
        },
        127 => match extended.first_chunk::<8>() {
            Some(len) => (u64::from_be_bytes(*len), 8, 65_536),
            None => return Ok(None),
        },
        short => (u64::from(short), 0, 0),
    };
    //= RFC 6455 section 5.2: in all cases, the minimal number of bytes MUST be used to encode the length
    //= RFC 6455 section 5.2: the most significant bit MUST be 0
    if len < least || len >> 63 != 0 {
        return Err(Error::LengthForm);
    }
    Ok(Some((len, bytes)))
}
