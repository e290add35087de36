//! Writing frames, for both roles. A client gives a fresh masking key for each (RFC 6455 section
//! 5.3: unpredictable), a server none.

use super::header::{CONTROL_BYTES_MAX, HEADER_BYTES_MAX, Opcode};
use super::mask::apply_mask;
use crate::proto::CloseCode;

/// An encoded frame header of 2 to 14 bytes.
#[derive(Clone, Copy, Debug)]
pub struct FrameHeader {
    bytes: [u8; HEADER_BYTES_MAX],
    len: u8,
}

impl FrameHeader {
    /// The bytes to send in front of the payload.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    fn push(&mut self, bytes: &[u8]) {
        let start = usize::from(self.len);
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u8;
    }
}

/// The header of a frame with a payload of `payload_len` bytes. With a mask the caller masks the
/// payload with the same key. A control frame's payload has at most 125 bytes and `fin` set.
pub fn encode_header(
    opcode: Opcode,
    fin: bool,
    payload_len: usize,
    mask: Option<[u8; 4]>,
) -> FrameHeader {
    debug_assert!(!opcode.is_control() || (fin && payload_len <= CONTROL_BYTES_MAX));
    let mut header = FrameHeader {
        bytes: [0; HEADER_BYTES_MAX],
        len: 0,
    };
    let mask_bit = if mask.is_some() { 0x80 } else { 0 };
    header.push(&[opcode as u8 | if fin { 0x80 } else { 0 }]);
    match payload_len {
        0..=125 => header.push(&[mask_bit | payload_len as u8]),
        126..=0xffff => {
            header.push(&[mask_bit | 126]);
            header.push(&(payload_len as u16).to_be_bytes());
        }
        _ => {
            header.push(&[mask_bit | 127]);
            header.push(&(payload_len as u64).to_be_bytes());
        }
    }
    if let Some(key) = mask {
        header.push(&key);
    }
    header
}

/// Appends a whole message, or a control frame, as one frame. The payload of a control frame is cut
/// at 125 bytes.
pub fn encode_message(opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    let payload = if opcode.is_control() {
        &payload[..payload.len().min(CONTROL_BYTES_MAX)]
    } else {
        payload
    };
    out.reserve(HEADER_BYTES_MAX + payload.len());
    out.extend_from_slice(encode_header(opcode, true, payload.len(), mask).as_bytes());
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = mask {
        apply_mask(&mut out[start..], key, 0);
    }
}

/// Appends a close frame. The reason is cut at a character so that it fits; without a code there is
/// none (section 5.5.1).
pub fn encode_close(
    code: Option<CloseCode>,
    reason: &str,
    mask: Option<[u8; 4]>,
    out: &mut Vec<u8>,
) {
    let mut payload = [0; CONTROL_BYTES_MAX];
    let mut len = 0;
    if let Some(code) = code {
        let end = reason.floor_char_boundary(CONTROL_BYTES_MAX - 2);
        len = 2 + end;
        payload[..2].copy_from_slice(&code.0.to_be_bytes());
        payload[2..len].copy_from_slice(&reason.as_bytes()[..end]);
    }
    encode_message(Opcode::Close, &payload[..len], mask, out);
}
