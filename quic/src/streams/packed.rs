//! The streams of a connection at rest: 82 bytes of a [`Parked`](crate::parked::Parked), of which one stream may be
//! open, in both directions, with nothing to send and nothing to read.

use super::recv::RecvStream;
use super::send::SendStream;
use super::{Count, InitialMax, Stream, Streams, Windows};
use crate::frame::StreamId;
use crate::varint::Reader;

/// No stream is open.
const NO_STREAM: u32 = u32::MAX;

/// Peers' initial limits are kept in units of this, rounded down.
const UNIT: u64 = 1024;

/// What is kept. Allowances are what is left of a limit; a larger one is cut, which only makes us ask for less.
/// Aligned to two bytes, so that there is no padding behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, packed(2))]
pub(crate) struct Packed {
    sent: u64,
    received: u64,
    stream_sent: u64,
    stream_received: u64,
    allowance: u32,
    granted: u32,
    stream_allowance: u32,
    stream_granted: u32,
    stream: u32,
    local_opened: [u32; 2],
    remote_opened: [u32; 2],
    local_allowance: [u16; 2],
    remote_granted: [u16; 2],
    initial: [u16; 3],
}

impl Packed {
    /// Bytes of [`Packed::write`].
    pub(crate) const BYTES: usize = 4 * 8 + 9 * 4 + 7 * 2;

    pub(crate) const EMPTY: Self = Self {
        sent: 0,
        received: 0,
        stream_sent: 0,
        stream_received: 0,
        allowance: 0,
        granted: 0,
        stream_allowance: 0,
        stream_granted: 0,
        stream: NO_STREAM,
        local_opened: [0; 2],
        remote_opened: [0; 2],
        local_allowance: [0; 2],
        remote_granted: [0; 2],
        initial: [0; 3],
    };

    /// `None` where the streams are not at rest, or do not fit.
    pub(crate) fn pack(streams: &Streams) -> Option<Self> {
        let is_quiet =
            streams.events.is_empty() && !streams.has_control() && streams.received == streams.read;
        let (stream, send, recv) = match &streams.open[..] {
            [] => (NO_STREAM, None, None),
            [only] => {
                let send = only.send.as_ref().filter(|send| send.is_at_rest())?;
                let recv = only.recv.as_ref().filter(|recv| recv.is_at_rest())?;
                (u32::try_from(only.id.0).ok()?, Some(send), Some(recv))
            }
            _ => return None,
        };
        if !is_quiet || stream == NO_STREAM && send.is_some() {
            return None;
        }
        let (stream_sent, stream_max) = send.map_or((0, 0), SendStream::limits);
        let stream_received = recv.map_or(0, |recv| recv.offsets().0);
        let stream_granted = recv.map_or(0, |recv| recv.max() - stream_received);
        let opened = |counts: &[Count; 2]| -> Option<[u32; 2]> {
            let [bidi, uni] = counts.map(|count| u32::try_from(count.opened).ok());
            Some([bidi?, uni?])
        };
        let left = |counts: &[Count; 2]| counts.map(|count| cut(count.max - count.opened));
        Some(Self {
            sent: streams.sent,
            received: streams.received,
            stream_sent,
            stream_received,
            allowance: cut(streams.sent_max.saturating_sub(streams.sent)),
            granted: u32::try_from(streams.received_max - streams.received).ok()?,
            stream_allowance: cut(stream_max.saturating_sub(stream_sent)),
            stream_granted: u32::try_from(stream_granted).ok()?,
            stream,
            local_opened: opened(&streams.local)?,
            remote_opened: opened(&streams.remote)?,
            local_allowance: left(&streams.local),
            remote_granted: left(&streams.remote),
            initial: [
                streams.initial.bidi_ours,
                streams.initial.bidi_theirs,
                streams.initial.uni,
            ]
            .map(|max| cut(max / UNIT)),
        })
    }

    pub(crate) fn unpack(&self, is_server: bool, windows: Windows) -> Streams {
        let count = |opened: [u32; 2], left: [u16; 2]| {
            [0, 1].map(|kind| Count {
                opened: u64::from(opened[kind]),
                max: u64::from(opened[kind]) + u64::from(left[kind]),
            })
        };
        let [bidi_ours, bidi_theirs, uni] = self.initial.map(|max| u64::from(max) * UNIT);
        let window = u64::from(windows.stream_bytes);
        let open = (self.stream != NO_STREAM).then(|| Stream {
            id: StreamId(u64::from(self.stream)),
            send: Some(SendStream::new(
                self.stream_sent,
                self.stream_sent + u64::from(self.stream_allowance),
            )),
            recv: Some(RecvStream::new(
                self.stream_received,
                self.stream_received + u64::from(self.stream_granted),
                window,
            )),
            told_readable: false,
        });
        Streams {
            is_server,
            windows,
            initial: InitialMax {
                bidi_ours,
                bidi_theirs,
                uni,
            },
            local: count(self.local_opened, self.local_allowance),
            remote: count(self.remote_opened, self.remote_granted),
            grants_streams: [false; 2],
            open: open.into_iter().collect(),
            sent: self.sent,
            sent_max: self.sent + u64::from(self.allowance),
            received: self.received,
            read: self.received,
            received_max: self.received + u64::from(self.granted),
            grants_data: false,
            turn: 0,
            events: Vec::new(),
        }
    }

    /// Appends [`Packed::BYTES`] bytes, little endian.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        for long in [
            self.sent,
            self.received,
            self.stream_sent,
            self.stream_received,
        ] {
            out.extend_from_slice(&long.to_le_bytes());
        }
        let words = [
            self.allowance,
            self.granted,
            self.stream_allowance,
            self.stream_granted,
            self.stream,
        ];
        for word in words
            .into_iter()
            .chain(self.local_opened)
            .chain(self.remote_opened)
        {
            out.extend_from_slice(&word.to_le_bytes());
        }
        let halves = self.local_allowance.into_iter().chain(self.remote_granted);
        for half in halves.chain(self.initial) {
            out.extend_from_slice(&half.to_le_bytes());
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mut long = || reader.array().map(u64::from_le_bytes);
        let longs = [long()?, long()?, long()?, long()?];
        let mut word = || reader.array().map(u32::from_le_bytes);
        let words = [word()?, word()?, word()?, word()?, word()?];
        let opened = [word()?, word()?, word()?, word()?];
        let mut half = || reader.array().map(u16::from_le_bytes);
        let this = Self {
            sent: longs[0],
            received: longs[1],
            stream_sent: longs[2],
            stream_received: longs[3],
            allowance: words[0],
            granted: words[1],
            stream_allowance: words[2],
            stream_granted: words[3],
            stream: words[4],
            local_opened: [opened[0], opened[1]],
            remote_opened: [opened[2], opened[3]],
            local_allowance: [half()?, half()?],
            remote_granted: [half()?, half()?],
            initial: [half()?, half()?, half()?],
        };
        // Nothing may overflow when it is counted on.
        longs
            .iter()
            .all(|long| *long <= crate::varint::MAX)
            .then_some(this)
    }
}

/// The number, or the largest that fits.
fn cut<T: TryFrom<u64> + Bound>(value: u64) -> T {
    T::try_from(value).unwrap_or(T::LARGEST)
}

trait Bound {
    const LARGEST: Self;
}

impl Bound for u16 {
    const LARGEST: Self = Self::MAX;
}

impl Bound for u32 {
    const LARGEST: Self = Self::MAX;
}
