//! Frames as they are written: each function appends one. ACK is written by
//! [`Received`](crate::received::Received).

use super::{NewConnectionId, StreamId, kind};
use crate::error::Error;
use crate::varint::{self, put};

/// A frame of a type and numbers alone.
pub(crate) fn put_numbers(kind: u64, numbers: &[u64], out: &mut Vec<u8>) {
    put(kind, out);
    for number in numbers {
        put(*number, out);
    }
}

/// Bytes in front of the data of a STREAM frame with its length, where that is below 16,384.
pub(crate) fn stream_header_len(id: StreamId, offset: u64) -> usize {
    let offset_len = if offset > 0 { varint::len(offset) } else { 0 };
    1 + varint::len(id.0) + offset_len + 2
}

/// The head of a STREAM frame, behind which `len` bytes follow, fewer than 16,384.
pub(crate) fn put_stream_header(
    id: StreamId,
    offset: u64,
    len: usize,
    fin: bool,
    out: &mut Vec<u8>,
) {
    let bits = u64::from(offset > 0) << 2 | 2 | u64::from(fin);
    put(kind::STREAM | bits, out);
    put(id.0, out);
    if offset > 0 {
        put(offset, out);
    }
    put_len(len, out);
}

/// The head of a CRYPTO frame, behind which `len` bytes follow, fewer than 16,384.
pub(crate) fn put_crypto_header(offset: u64, len: usize, out: &mut Vec<u8>) {
    put(kind::CRYPTO, out);
    put(offset, out);
    put_len(len, out);
}

/// A length of two bytes always, so that a header's length is known before the data's.
fn put_len(len: usize, out: &mut Vec<u8>) {
    debug_assert!(len < 1 << 14);
    out.extend_from_slice(&(len as u16 | 0x4000).to_be_bytes());
}

pub(crate) fn put_new_connection_id(frame: &NewConnectionId<'_>, out: &mut Vec<u8>) {
    put_numbers(
        kind::NEW_CONNECTION_ID,
        &[frame.sequence, frame.retire_prior_to],
        out,
    );
    out.push(frame.cid.len() as u8);
    out.extend_from_slice(frame.cid);
    out.extend_from_slice(&frame.token);
}

pub(crate) fn put_path(kind: u64, data: [u8; 8], out: &mut Vec<u8>) {
    put(kind, out);
    out.extend_from_slice(&data);
}

pub(crate) fn put_close_transport(error: &Error, out: &mut Vec<u8>) {
    put_numbers(kind::CLOSE_TRANSPORT, &[error.code.0, error.frame], out);
    put(error.reason.len() as u64, out);
    out.extend_from_slice(error.reason.as_bytes());
}

pub(crate) fn put_close_application(code: u64, reason: &[u8], out: &mut Vec<u8>) {
    put_numbers(kind::CLOSE_APPLICATION, &[code, reason.len() as u64], out);
    out.extend_from_slice(reason);
}
