//! Frames (RFC 9000 section 19): read in place, one after the other.
//!
//! It knows shapes only. Whether a frame may come now, and what it does, is the connection's. Invariant: an
//! iterator ends after its first error, and a frame that cannot be read whole is one.

mod put;

#[cfg(test)]
mod tests;

pub(crate) use put::*;

use std::ops::RangeInclusive;

use crate::error::{Code, Error};
use crate::varint::Reader;

/// Frame types (RFC 9000 section 12.4, table 3).
pub(crate) mod kind {
    pub(crate) const PING: u64 = 0x01;
    pub(crate) const ACK: u64 = 0x02;
    pub(crate) const ACK_ECN: u64 = 0x03;
    pub(crate) const RESET_STREAM: u64 = 0x04;
    pub(crate) const STOP_SENDING: u64 = 0x05;
    pub(crate) const CRYPTO: u64 = 0x06;
    pub(crate) const NEW_TOKEN: u64 = 0x07;
    /// With three bits: FIN, LEN, OFF.
    pub(crate) const STREAM: u64 = 0x08;
    pub(crate) const STREAM_LAST: u64 = 0x0f;
    pub(crate) const MAX_DATA: u64 = 0x10;
    pub(crate) const MAX_STREAM_DATA: u64 = 0x11;
    pub(crate) const MAX_STREAMS_BIDI: u64 = 0x12;
    pub(crate) const MAX_STREAMS_UNI: u64 = 0x13;
    pub(crate) const DATA_BLOCKED: u64 = 0x14;
    pub(crate) const STREAM_DATA_BLOCKED: u64 = 0x15;
    pub(crate) const STREAMS_BLOCKED_BIDI: u64 = 0x16;
    pub(crate) const STREAMS_BLOCKED_UNI: u64 = 0x17;
    pub(crate) const NEW_CONNECTION_ID: u64 = 0x18;
    pub(crate) const RETIRE_CONNECTION_ID: u64 = 0x19;
    pub(crate) const PATH_CHALLENGE: u64 = 0x1a;
    pub(crate) const PATH_RESPONSE: u64 = 0x1b;
    pub(crate) const CLOSE_TRANSPORT: u64 = 0x1c;
    pub(crate) const CLOSE_APPLICATION: u64 = 0x1d;
    pub(crate) const HANDSHAKE_DONE: u64 = 0x1e;
}

/// The longest connection id of version 1.
pub const CID_BYTES_MAX: usize = 20;

/// The most streams of a kind that there may ever be (RFC 9000 section 4.6).
const STREAMS_MAX: u64 = 1 << 60;

/// The number of a stream; its two low bits say who opened it and whether it has two directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

impl StreamId {
    /// The `index`th stream of its kind.
    pub(crate) fn new(index: u64, by_server: bool, uni: bool) -> Self {
        Self(index << 2 | u64::from(uni) << 1 | u64::from(by_server))
    }

    /// Its place among those of its kind, from 0.
    pub fn index(self) -> u64 {
        self.0 >> 2
    }

    /// Whether only its opener sends.
    pub fn is_uni(self) -> bool {
        self.0 & 2 != 0
    }

    /// Whether the server opened it.
    pub fn is_by_server(self) -> bool {
        self.0 & 1 != 0
    }
}

/// A frame; its bytes lie in the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// So many bytes of nothing.
    Padding(usize),
    Ping,
    Ack(Ack<'a>),
    ResetStream {
        id: StreamId,
        code: u64,
        final_size: u64,
    },
    StopSending {
        id: StreamId,
        code: u64,
    },
    Crypto {
        offset: u64,
        data: &'a [u8],
    },
    NewToken,
    Stream(StreamData<'a>),
    MaxData(u64),
    MaxStreamData {
        id: StreamId,
        max: u64,
    },
    MaxStreams {
        uni: bool,
        max: u64,
    },
    /// DATA_BLOCKED or STREAMS_BLOCKED: nothing is done with it.
    Blocked,
    StreamDataBlocked(StreamId),
    NewConnectionId(NewConnectionId<'a>),
    RetireConnectionId(u64),
    PathChallenge([u8; 8]),
    PathResponse([u8; 8]),
    Close {
        code: u64,
        by_application: bool,
        reason: &'a [u8],
    },
    HandshakeDone,
}

/// STREAM. Its end is at most 2^62 - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamData<'a> {
    pub(crate) id: StreamId,
    pub(crate) offset: u64,
    pub(crate) fin: bool,
    pub(crate) data: &'a [u8],
}

/// NEW_CONNECTION_ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NewConnectionId<'a> {
    pub(crate) sequence: u64,
    pub(crate) retire_prior_to: u64,
    /// 1 to [`CID_BYTES_MAX`] bytes.
    pub(crate) cid: &'a [u8],
    pub(crate) token: [u8; 16],
}

/// ACK. It was read to its end once, so that its ranges are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ack<'a> {
    pub(crate) largest: u64,
    /// In units of the sender's exponent.
    pub(crate) delay: u64,
    first: u64,
    ranges: &'a [u8],
}

impl Ack<'_> {
    /// Acknowledged numbers, the largest range first.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u64>> {
        let mut reader = Reader::new(self.ranges);
        let mut least = self.largest - self.first;
        let rest = std::iter::from_fn(move || {
            let largest = least.checked_sub(reader.varint()?.checked_add(2)?)?;
            least = largest.checked_sub(reader.varint()?)?;
            Some(least..=largest)
        });
        std::iter::once(self.largest - self.first..=self.largest).chain(rest)
    }
}

impl Frame<'_> {
    /// Whether it is to be acknowledged (RFC 9000 section 13.2.1).
    pub(crate) fn is_ack_eliciting(&self) -> bool {
        !matches!(self, Self::Padding(_) | Self::Ack(_) | Self::Close { .. })
    }

    /// Whether a packet of nothing else only probes a path (RFC 9000 section 9.1).
    pub(crate) fn is_probing(&self) -> bool {
        matches!(
            self,
            Self::Padding(_)
                | Self::NewConnectionId(_)
                | Self::PathChallenge(_)
                | Self::PathResponse(_)
        )
    }
}

/// The frames of a packet's payload.
pub(crate) struct Frames<'a> {
    reader: Reader<'a>,
    failed: bool,
}

impl<'a> Frames<'a> {
    pub(crate) fn new(payload: &'a [u8]) -> Self {
        Self {
            reader: Reader::new(payload),
            failed: false,
        }
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.reader.is_empty() {
            return None;
        }
        let frame = read(&mut self.reader);
        self.failed = frame.is_err();
        Some(frame)
    }
}

fn read<'a>(reader: &mut Reader<'a>) -> Result<Frame<'a>, Error> {
    let zeros = reader.skip_zeros();
    if zeros > 0 {
        return Ok(Frame::Padding(zeros));
    }
    let bad = |kind, reason| Error::in_frame(Code::FRAME_ENCODING_ERROR, kind, reason);
    let before = reader.left();
    let kind = reader
        .varint()
        .ok_or(bad(0, "a frame type that is cut off"))?;
    //= RFC 9000 section 12.4: An endpoint MAY treat the receipt of a frame type that uses a longer encoding than necessary as a connection error of type PROTOCOL_VIOLATION.
    if before - reader.left() != crate::varint::len(kind) {
        let reason = "a frame type in a longer form than it needs";
        return Err(Error::in_frame(Code::PROTOCOL_VIOLATION, kind, reason));
    }
    body(kind, reader)?.ok_or(bad(
        kind,
        "a frame that is cut off or has an impossible value",
    ))
}

/// `Ok(None)` where the frame cannot be read.
fn body<'a>(kind: u64, reader: &mut Reader<'a>) -> Result<Option<Frame<'a>>, Error> {
    let frame = match kind {
        kind::PING => Some(Frame::Ping),
        kind::ACK | kind::ACK_ECN => ack(kind == kind::ACK_ECN, reader),
        kind::STREAM..=kind::STREAM_LAST => stream(kind, reader),
        kind::NEW_CONNECTION_ID => new_connection_id(reader),
        kind::CLOSE_TRANSPORT | kind::CLOSE_APPLICATION => close(kind, reader),
        kind::RESET_STREAM..=kind::NEW_TOKEN => of_data(kind, reader),
        kind::MAX_DATA..=kind::HANDSHAKE_DONE => of_control(kind, reader),
        //= RFC 9000 section 12.4: An endpoint MUST treat the receipt of a frame of unknown type as a connection error of type FRAME_ENCODING_ERROR.
        _ => {
            let reason = "a frame of an unknown type";
            return Err(Error::in_frame(Code::FRAME_ENCODING_ERROR, kind, reason));
        }
    };
    Ok(frame)
}

fn of_data<'a>(kind: u64, reader: &mut Reader<'a>) -> Option<Frame<'a>> {
    Some(match kind {
        kind::RESET_STREAM => Frame::ResetStream {
            id: StreamId(reader.varint()?),
            code: reader.varint()?,
            final_size: reader.varint()?,
        },
        kind::STOP_SENDING => Frame::StopSending {
            id: StreamId(reader.varint()?),
            code: reader.varint()?,
        },
        kind::CRYPTO => {
            let offset = reader.varint()?;
            let data = reader.prefixed()?;
            ends_within(offset, data)?;
            Frame::Crypto { offset, data }
        }
        //= RFC 9000 section 19.7: A client MUST treat receipt of a NEW_TOKEN frame with an empty Token field as a connection error of type FRAME_ENCODING_ERROR.
        _ => (!reader.prefixed()?.is_empty()).then_some(Frame::NewToken)?,
    })
}

fn of_control<'a>(kind: u64, reader: &mut Reader<'a>) -> Option<Frame<'a>> {
    Some(match kind {
        kind::MAX_DATA => Frame::MaxData(reader.varint()?),
        kind::MAX_STREAM_DATA => Frame::MaxStreamData {
            id: StreamId(reader.varint()?),
            max: reader.varint()?,
        },
        kind::MAX_STREAMS_BIDI | kind::MAX_STREAMS_UNI => Frame::MaxStreams {
            uni: kind == kind::MAX_STREAMS_UNI,
            max: count_of_streams(reader)?,
        },
        kind::DATA_BLOCKED => reader.varint().map(|_| Frame::Blocked)?,
        kind::STREAM_DATA_BLOCKED => {
            let id = StreamId(reader.varint()?);
            reader.varint()?;
            Frame::StreamDataBlocked(id)
        }
        kind::STREAMS_BLOCKED_BIDI | kind::STREAMS_BLOCKED_UNI => {
            count_of_streams(reader).map(|_| Frame::Blocked)?
        }
        kind::RETIRE_CONNECTION_ID => Frame::RetireConnectionId(reader.varint()?),
        kind::PATH_CHALLENGE => Frame::PathChallenge(reader.array()?),
        kind::PATH_RESPONSE => Frame::PathResponse(reader.array()?),
        _ => Frame::HandshakeDone,
    })
}

//= RFC 9000 section 19.11: Receipt of a frame that permits opening of a stream larger than this limit MUST be treated as a connection error of type FRAME_ENCODING_ERROR.
fn count_of_streams(reader: &mut Reader<'_>) -> Option<u64> {
    reader.varint().filter(|max| *max <= STREAMS_MAX)
}

/// Counts are not believed: ranges are walked while there are bytes.
fn ack<'a>(with_ecn: bool, reader: &mut Reader<'a>) -> Option<Frame<'a>> {
    let largest = reader.varint()?;
    let delay = reader.varint()?;
    let count = reader.varint()?;
    let first = reader.varint()?;
    let ranges_from = *reader;
    //= RFC 9000 section 19.3.1: If any computed packet number is negative, an endpoint MUST generate a connection error of type FRAME_ENCODING_ERROR.
    let mut least = largest.checked_sub(first)?;
    for _ in 0..count {
        let gap = reader.varint()?;
        let len = reader.varint()?;
        least = least.checked_sub(gap)?.checked_sub(2)?.checked_sub(len)?;
    }
    let ranges = { ranges_from }.bytes(ranges_from.left() - reader.left())?;
    if with_ecn {
        for _ in 0..3 {
            reader.varint()?;
        }
    }
    Some(Frame::Ack(Ack {
        largest,
        delay,
        first,
        ranges,
    }))
}

fn stream<'a>(kind: u64, reader: &mut Reader<'a>) -> Option<Frame<'a>> {
    let id = StreamId(reader.varint()?);
    let offset = if kind & 4 != 0 { reader.varint()? } else { 0 };
    let data = if kind & 2 != 0 {
        reader.prefixed()?
    } else {
        reader.take_rest()
    };
    ends_within(offset, data)?;
    Some(Frame::Stream(StreamData {
        id,
        offset,
        fin: kind & 1 != 0,
        data,
    }))
}

//= RFC 9000 section 19.8: The largest offset delivered on a stream -- the sum of the offset and data length -- cannot exceed 2^62-1
fn ends_within(offset: u64, data: &[u8]) -> Option<()> {
    let end = offset.checked_add(data.len() as u64)?;
    (end <= crate::varint::MAX).then_some(())
}

fn new_connection_id<'a>(reader: &mut Reader<'a>) -> Option<Frame<'a>> {
    let sequence = reader.varint()?;
    let retire_prior_to = reader.varint()?;
    let len = usize::from(reader.byte()?);
    let cid = reader.bytes(len)?;
    let token = reader.array()?;
    //= RFC 9000 section 19.15: Values less than 1 and greater than 20 are invalid and MUST be treated as a connection error of type FRAME_ENCODING_ERROR.
    let is_good = (1..=CID_BYTES_MAX).contains(&len)
        //= RFC 9000 section 19.15: Receiving a value in the Retire Prior To field that is greater than that in the Sequence Number field MUST be treated as a connection error of type FRAME_ENCODING_ERROR.
        && retire_prior_to <= sequence;
    is_good.then_some(Frame::NewConnectionId(NewConnectionId {
        sequence,
        retire_prior_to,
        cid,
        token,
    }))
}

fn close<'a>(kind: u64, reader: &mut Reader<'a>) -> Option<Frame<'a>> {
    let code = reader.varint()?;
    let by_application = kind == kind::CLOSE_APPLICATION;
    if !by_application {
        reader.varint()?;
    }
    Some(Frame::Close {
        code,
        by_application,
        reason: reader.prefixed()?,
    })
}
