//! Streams and flow control (RFC 9000 sections 2 to 4) of an awake connection.
//!
//! Streams are few: as many as we grant, and those that we open. Invariants: a stream that is gone is known by its
//! index being below the number opened; bytes that were received and not read are bounded by the connection's window.

mod packed;
mod recv;
mod send;

#[cfg(test)]
mod tests;

pub(crate) use packed::Packed;
pub use recv::Rest;
use send::Chunk;

use crate::error::{Code, Error};
use crate::frame::{StreamData, StreamId};
use crate::parameters::Parameters;
use recv::RecvStream;
pub(crate) use send::SendStream;

/// What we grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Bytes of one stream that were not read.
    pub stream_bytes: u32,
    /// Bytes of all streams that were not read: what a connection may make us keep.
    pub bytes: u32,
    /// Streams with two directions that the peer may have open.
    pub bidi: u16,
    /// Streams with one direction that the peer may have open.
    pub uni: u16,
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            stream_bytes: 64 * 1024,
            bytes: 128 * 1024,
            bidi: 8,
            uni: 4,
        }
    }
}

/// The streams that we open at once, whatever the peer allows.
const OPEN_MAX: usize = 64;

/// What happened to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// There is something to read, be it the end. The first sign of a stream that the peer opened.
    Readable(StreamId),
    /// There is room again after a write that was cut short.
    Writable(StreamId),
    /// The peer wants no more of it, with this code. It was reset.
    Stopped(StreamId, u64),
}

/// A stream; a half that does not exist, or is done, is `None`.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    pub(crate) send: Option<SendStream>,
    pub(crate) recv: Option<RecvStream>,
    /// [`StreamEvent::Readable`] was told and nothing was read since.
    told_readable: bool,
}

/// Numbers of streams of one kind, opened by one end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    opened: u64,
    max: u64,
}

/// What the peer allows a new stream to carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct InitialMax {
    /// Streams with two directions that we open.
    bidi_ours: u64,
    /// Those that the peer opens.
    bidi_theirs: u64,
    uni: u64,
}

/// All streams of a connection.
#[derive(Debug)]
pub(crate) struct Streams {
    is_server: bool,
    windows: Windows,
    initial: InitialMax,
    /// Ours, by [`StreamId::is_uni`].
    local: [Count; 2],
    /// The peer's.
    remote: [Count; 2],
    /// MAX_STREAMS has to be sent.
    grants_streams: [bool; 2],
    open: Vec<Stream>,
    /// Fresh bytes sent on all streams, and what the peer allows.
    sent: u64,
    sent_max: u64,
    /// The sum of the ends of all streams, what was read of it, and what we allow.
    received: u64,
    read: u64,
    received_max: u64,
    /// MAX_DATA has to be sent.
    grants_data: bool,
    /// The stream that is asked first for something to send.
    turn: usize,
    events: Vec<StreamEvent>,
}

impl Streams {
    /// The streams after a handshake.
    pub(crate) fn new(is_server: bool, windows: Windows, peer: &Parameters) -> Self {
        Self {
            is_server,
            windows,
            initial: InitialMax {
                bidi_ours: peer.stream_data_bidi_remote,
                bidi_theirs: peer.stream_data_bidi_local,
                uni: peer.stream_data_uni,
            },
            local: [peer.streams_bidi, peer.streams_uni].map(|max| Count { opened: 0, max }),
            remote: [windows.bidi, windows.uni].map(|max| Count {
                opened: 0,
                max: u64::from(max),
            }),
            grants_streams: [false; 2],
            open: Vec::new(),
            sent: 0,
            sent_max: peer.max_data,
            received: 0,
            read: 0,
            received_max: u64::from(windows.bytes),
            grants_data: false,
            turn: 0,
            events: Vec::new(),
        }
    }

    pub(crate) fn poll_event(&mut self) -> Option<StreamEvent> {
        (!self.events.is_empty()).then(|| self.events.remove(0))
    }

    fn tell(&mut self, event: StreamEvent) {
        // Each kind once for a stream, so that there are no more events than streams.
        if !self.events.contains(&event) {
            self.events.push(event);
        }
    }

    /// Opens a stream; `None` where the peer allows no more now.
    pub(crate) fn open(&mut self, uni: bool) -> Option<StreamId> {
        let count = &mut self.local[usize::from(uni)];
        if count.opened >= count.max || self.open.len() >= OPEN_MAX {
            return None;
        }
        let id = StreamId::new(count.opened, self.is_server, uni);
        count.opened += 1;
        self.insert(id);
        Some(id)
    }

    fn insert(&mut self, id: StreamId) {
        let ours = self.is_ours(id);
        let window = u64::from(self.windows.stream_bytes);
        let max = match (id.is_uni(), ours) {
            (true, _) => self.initial.uni,
            (false, true) => self.initial.bidi_ours,
            (false, false) => self.initial.bidi_theirs,
        };
        self.open.push(Stream {
            id,
            send: (ours || !id.is_uni()).then(|| SendStream::new(0, max)),
            recv: (!ours || !id.is_uni()).then(|| RecvStream::new(0, window, window)),
            told_readable: false,
        });
    }

    fn is_ours(&self, id: StreamId) -> bool {
        id.is_by_server() == self.is_server
    }

    pub(crate) fn find(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.open.iter_mut().find(|stream| stream.id == id)
    }

    pub(crate) fn send_half(&mut self, id: StreamId) -> Option<&mut SendStream> {
        self.find(id)?.send.as_mut()
    }

    pub(crate) fn recv_half(&mut self, id: StreamId) -> Option<&mut RecvStream> {
        self.find(id)?.recv.as_mut()
    }

    /// A stream that a frame of the peer names, opened where the peer may open it. `None` where it is gone.
    fn named(&mut self, id: StreamId) -> Result<Option<&mut Stream>, Error> {
        let (index, kind) = (id.index(), usize::from(id.is_uni()));
        if self.is_ours(id) {
            //= RFC 9000 section 19.8: An endpoint MUST terminate the connection with error STREAM_STATE_ERROR if it receives a STREAM frame for a locally initiated stream that has not yet been created, or for a send-only stream.
            if index >= self.local[kind].opened {
                let reason = "a frame for a stream that we have not opened";
                return Err(Error::new(Code::STREAM_STATE_ERROR, reason));
            }
        } else {
            //= RFC 9000 section 4.6: An endpoint that receives a frame with a stream ID exceeding the limit it has sent MUST treat this as a connection error of type STREAM_LIMIT_ERROR
            if index >= self.remote[kind].max {
                return Err(Error::new(
                    Code::STREAM_LIMIT_ERROR,
                    "a stream beyond the limit",
                ));
            }
            //= RFC 9000 section 3.2: Before a stream is created, all streams of the same type with lower-numbered stream IDs MUST be created.
            while self.remote[kind].opened <= index {
                let next = StreamId::new(self.remote[kind].opened, !self.is_server, id.is_uni());
                self.remote[kind].opened += 1;
                self.insert(next);
            }
        }
        Ok(self.find(id))
    }

    /// The receiving half that a frame names.
    fn named_recv(&mut self, id: StreamId) -> Result<Option<&mut RecvStream>, Error> {
        if id.is_uni() && self.is_ours(id) {
            let reason = "a frame for a stream on which only we send";
            return Err(Error::new(Code::STREAM_STATE_ERROR, reason));
        }
        Ok(self.named(id)?.and_then(|stream| stream.recv.as_mut()))
    }

    /// The sending half that a frame names.
    fn named_send(&mut self, id: StreamId) -> Result<Option<&mut SendStream>, Error> {
        //= RFC 9000 section 19.10: An endpoint that receives a MAX_STREAM_DATA frame for a receive-only stream MUST terminate the connection with error STREAM_STATE_ERROR.
        //= RFC 9000 section 19.5: An endpoint that receives a STOP_SENDING frame for a receive-only stream MUST terminate the connection with error STREAM_STATE_ERROR.
        if id.is_uni() && !self.is_ours(id) {
            let reason = "a frame for a stream on which only the peer sends";
            return Err(Error::new(Code::STREAM_STATE_ERROR, reason));
        }
        Ok(self.named(id)?.and_then(|stream| stream.send.as_mut()))
    }

    pub(crate) fn on_data(&mut self, frame: &StreamData<'_>) -> Result<(), Error> {
        let Some(recv) = self.named_recv(frame.id)? else {
            return Ok(());
        };
        let moved = recv.insert(frame.offset, frame.data, frame.fin)?;
        let unread = if recv.is_stopped() { moved } else { 0 };
        self.account(moved, unread)?;
        self.after_receive(frame.id);
        Ok(())
    }

    pub(crate) fn on_reset(&mut self, id: StreamId, code: u64, size: u64) -> Result<(), Error> {
        let Some(recv) = self.named_recv(id)? else {
            return Ok(());
        };
        let (moved, unread) = recv.reset(code, size)?;
        self.account(moved, unread)?;
        self.after_receive(id);
        Ok(())
    }

    fn account(&mut self, moved: u64, unread: u64) -> Result<(), Error> {
        self.received += moved;
        //= RFC 9000 section 19.9: An endpoint MUST terminate a connection with an error of type FLOW_CONTROL_ERROR if it receives more data than the maximum data value that it has sent.
        if self.received > self.received_max {
            return Err(Error::new(
                Code::FLOW_CONTROL_ERROR,
                "data behind the limit of the connection",
            ));
        }
        self.on_read(unread);
        Ok(())
    }

    fn after_receive(&mut self, id: StreamId) {
        if let Some(stream) = self.find(id)
            && !stream.told_readable
            && stream.recv.as_ref().is_some_and(RecvStream::is_readable)
        {
            stream.told_readable = true;
            self.tell(StreamEvent::Readable(id));
        }
        self.drop_done(id);
    }

    pub(crate) fn on_stop(&mut self, id: StreamId, code: u64) -> Result<(), Error> {
        //= RFC 9000 section 3.5: An endpoint that receives a STOP_SENDING frame MUST send a RESET_STREAM frame if the stream is in the "Ready" or "Send" state.
        if let Some(send) = self.named_send(id)?
            && send.reset(code)
        {
            self.tell(StreamEvent::Stopped(id, code));
        }
        Ok(())
    }

    pub(crate) fn on_max_stream_data(&mut self, id: StreamId, max: u64) -> Result<(), Error> {
        if let Some(send) = self.named_send(id)? {
            send.allow(max);
        }
        Ok(())
    }

    pub(crate) fn on_stream_data_blocked(&mut self, id: StreamId) -> Result<(), Error> {
        self.named_recv(id).map(drop)
    }

    pub(crate) fn on_max_data(&mut self, max: u64) {
        self.sent_max = self.sent_max.max(max);
    }

    //= RFC 9000 section 19.11: A MAX_STREAMS frame with a lower stream limit than was previously advertised MUST be ignored
    pub(crate) fn on_max_streams(&mut self, uni: bool, max: u64) {
        let count = &mut self.local[usize::from(uni)];
        count.max = count.max.max(max);
    }

    /// Moves at most `max` bytes of a stream to `out`. `None` where there is no such stream, or its end was read.
    pub(crate) fn read(
        &mut self,
        id: StreamId,
        max: usize,
        out: &mut Vec<u8>,
    ) -> Option<(usize, Rest)> {
        let stream = self.find(id)?;
        let recv = stream.recv.as_mut()?;
        let (len, rest) = recv.read(max, out);
        stream.told_readable = recv.is_readable();
        self.on_read(len as u64);
        self.drop_done(id);
        Some((len, rest))
    }

    /// The application wants no more of a stream.
    pub(crate) fn stop(&mut self, id: StreamId, code: u64) {
        if let Some(recv) = self.recv_half(id) {
            let unread = recv.stop(code);
            self.on_read(unread);
            self.drop_done(id);
        }
    }

    fn on_read(&mut self, len: u64) {
        self.read += len;
        let window = u64::from(self.windows.bytes);
        let max = self.read + window;
        if max > self.received_max + window / 2 {
            self.received_max = max;
            self.grants_data = true;
        }
    }

    /// Drops the halves that are done, and the stream with its last; the peer may open another one then.
    pub(crate) fn drop_done(&mut self, id: StreamId) {
        let Some(at) = self.open.iter().position(|stream| stream.id == id) else {
            return;
        };
        let stream = &mut self.open[at];
        stream.send.take_if(|send| send.is_done());
        stream.recv.take_if(|recv| recv.is_done());
        if stream.send.is_some() || stream.recv.is_some() {
            return;
        }
        self.open.remove(at);
        if !self.is_ours(id) {
            let kind = usize::from(id.is_uni());
            self.remote[kind].max += 1;
            self.grants_streams[kind] = true;
        }
    }

    /// Whether any stream has something to send that its limits allow.
    pub(crate) fn has_data(&self) -> bool {
        let credit = self.sent_max.saturating_sub(self.sent);
        let mut halves = self.open.iter().filter_map(|stream| stream.send.as_ref());
        halves.any(|send| send.has_chunk(credit))
    }

    /// Takes the next chunk of the stream whose turn it is; `room` says what fits behind the header of a stream at
    /// an offset.
    pub(crate) fn next_chunk(
        &mut self,
        room: impl Fn(StreamId, u64) -> u64,
    ) -> Option<(StreamId, Chunk)> {
        let credit = self.sent_max.saturating_sub(self.sent);
        for step in 0..self.open.len() {
            let at = (self.turn + step) % self.open.len();
            let stream = &mut self.open[at];
            let Some(send) = &mut stream.send else {
                continue;
            };
            let room = room(stream.id, send.limits().0);
            if let Some(chunk) = send.next_chunk(room, credit) {
                self.sent += chunk.fresh;
                self.turn = at + 1;
                return Some((stream.id, chunk));
            }
        }
        None
    }

    /// Tells who waited for room that there is some.
    pub(crate) fn tell_writable(&mut self, id: StreamId) {
        if let Some(send) = self.send_half(id)
            && send.waits
            && send.room() > 0
        {
            send.waits = false;
            self.tell(StreamEvent::Writable(id));
        }
    }

    /// The limits that have to be told to the peer: of all data, of kinds of streams, of streams.
    pub(crate) fn take_max_data(&mut self) -> Option<u64> {
        std::mem::take(&mut self.grants_data).then_some(self.received_max)
    }

    pub(crate) fn take_max_streams(&mut self) -> Option<(bool, u64)> {
        let uni = self.grants_streams.iter().position(|grants| *grants)?;
        self.grants_streams[uni] = false;
        Some((uni == 1, self.remote[uni].max))
    }

    pub(crate) fn on_max_data_lost(&mut self) {
        self.grants_data = true;
    }

    pub(crate) fn on_max_streams_lost(&mut self, uni: bool) {
        self.grants_streams[usize::from(uni)] = true;
    }

    /// Streams, to look for control frames.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.open.iter_mut()
    }

    /// Whether a control frame about streams has to be sent.
    pub(crate) fn has_control(&self) -> bool {
        self.grants_data
            || self.grants_streams.contains(&true)
            || self.open.iter().any(|stream| {
                stream.send.as_ref().is_some_and(SendStream::has_reset)
                    || stream
                        .recv
                        .as_ref()
                        .is_some_and(|recv| recv.grants || recv.has_stop())
            })
    }
}
