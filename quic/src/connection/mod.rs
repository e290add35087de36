//! An awake connection: the engine of RFC 9000 and 9002 behind the handshake.
//!
//! ```text
//! datagram -> handle_datagram -> poll_event -> read
//! write -> poll_transmit -> datagram            handle_timeout <- poll_timeout
//! ```
//!
//! [`Parked`] is what stays, [`Awake`] what is needed between a message and the peer's last acknowledgement;
//! [`Connection`] borrows both for a call. Time is microseconds of a clock of the caller's. Invariant: whatever the
//! peer sends, memory is bounded by the windows that it was granted and by the constants of this crate.

mod acks;
mod close;
mod control;
mod keys;
mod paths;
mod receive;
mod transmit;

use std::net::SocketAddr;

use crate::cid::{CidKey, Place};
use crate::error::Closed;
use crate::frame::StreamId;
use crate::parameters::Parameters;
use crate::parked::Parked;
use crate::recovery::{Recovery, Rtt};
use crate::streams::{Packed, Rest, StreamEvent, Streams, Windows};
use acks::Acks;
use close::State;
use control::Control;
use keys::Phases;
use paths::Paths;

#[cfg(test)]
mod tests;

pub use acks::MAX_ACK_DELAY_MS;
pub(crate) use control::PEER_CIDS_MAX;
pub use transmit::DATAGRAM_BYTES;

/// What a connection is told with each call: where it lives, and what all of a shard have in common.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Of the process.
    pub key: &'a CidKey,
    /// Of the connection.
    pub place: Place,
    /// What is granted.
    pub windows: Windows,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// To a stream.
    Stream(StreamEvent),
    /// A client knows now that the server has its last words: the handshake's state may go.
    Confirmed,
    /// There is no connection any more; told once. Some time later [`Connection::is_over`].
    Closed(Closed),
}

/// What a connection has while it is awake. Some 700 bytes, and what streams hold.
#[derive(Debug)]
pub struct Awake {
    streams: Streams,
    recovery: Recovery,
    rtt: Rtt,
    acks: Acks,
    phases: Phases,
    control: Control,
    paths: Paths,
    state: State,
    /// The idle timeout counts from here.
    idle_from: u64,
    /// Something to be acknowledged was sent since the peer was heard.
    has_spoken: bool,
    /// [`Event::Confirmed`] and [`Event::Closed`].
    events: Vec<Event>,
}

impl Awake {
    /// For a connection whose handshake has just ended; `crypto` is what TLS has still to say.
    pub(crate) fn after_handshake(
        parked: &Parked,
        context: &Context<'_>,
        peer: &Parameters,
        crypto: &[u8],
        now: u64,
    ) -> Self {
        let streams = Streams::new(parked.is_server(), context.windows, peer);
        let mut this = Self::new(parked, streams);
        this.idle_from = now;
        this.control.after_handshake(parked.is_server(), crypto);
        this
    }

    /// For a connection that was parked. To wake it is not to have heard of the peer.
    pub fn wake(parked: &Parked, context: &Context<'_>) -> Self {
        let streams = parked.streams.unpack(parked.is_server(), context.windows);
        Self::new(parked, streams)
    }

    fn new(parked: &Parked, streams: Streams) -> Self {
        Self {
            streams,
            recovery: Recovery::new(),
            rtt: parked.rtt(),
            acks: Acks::default(),
            phases: Phases::new(parked.next_number),
            control: Control::default(),
            paths: Paths::default(),
            state: State::Open,
            idle_from: parked.idle_from(),
            has_spoken: false,
            events: Vec::new(),
        }
    }
}

/// Both parts of a connection, for a call.
#[derive(Debug)]
pub struct Connection<'a> {
    /// What stays.
    pub parked: &'a mut Parked,
    /// What goes.
    pub awake: &'a mut Awake,
    /// Where it is.
    pub context: Context<'a>,
}

impl Connection<'_> {
    /// What happened, in order, each thing once.
    pub fn poll_event(&mut self) -> Option<Event> {
        if !self.awake.events.is_empty() {
            return Some(self.awake.events.remove(0));
        }
        self.awake.streams.poll_event().map(Event::Stream)
    }

    /// Opens a stream; `None` where the peer allows no more now, or the connection is closing.
    pub fn open(&mut self, uni: bool) -> Option<StreamId> {
        self.is_open().then(|| self.awake.streams.open(uni))?
    }

    /// Takes as many of the bytes as there is room for; `None` where the stream takes no more for good. After a
    /// short write [`StreamEvent::Writable`] says when to go on.
    pub fn write(&mut self, id: StreamId, bytes: &[u8]) -> Option<usize> {
        let send = self.awake.streams.send_half(id)?;
        send.is_open().then(|| send.write(bytes))
    }

    /// Nothing more will be written to the stream.
    pub fn finish(&mut self, id: StreamId) {
        if let Some(send) = self.awake.streams.send_half(id) {
            send.finish();
        }
    }

    /// Gives up what the peer has not got of the stream.
    pub fn reset(&mut self, id: StreamId, code: u64) {
        if let Some(send) = self.awake.streams.send_half(id) {
            send.reset(code);
        }
    }

    /// Moves at most `max` bytes of the stream to `out`. `None` where there is nothing more for good.
    pub fn read(&mut self, id: StreamId, max: usize, out: &mut Vec<u8>) -> Option<(usize, Rest)> {
        self.awake.streams.read(id, max, out)
    }

    /// Asks the peer to send no more on the stream; what has come is dropped.
    pub fn stop(&mut self, id: StreamId, code: u64) {
        self.awake.streams.stop(id, code);
    }

    /// Sends a PING, which the peer acknowledges.
    pub fn ping(&mut self) {
        self.awake.control.ping = true;
    }

    /// Seals with new keys from now on. False where the peer has not acknowledged anything under the present ones.
    pub fn update_keys(&mut self) -> bool {
        self.is_open() && self.try_update_keys()
    }

    /// Whether the connection carries data.
    pub fn is_open(&self) -> bool {
        self.awake.state.is_open()
    }

    /// Whether both parts may be dropped: the connection has ended, and whatever still comes for it may be answered
    /// like what comes for nobody.
    pub fn is_over(&self) -> bool {
        self.awake.state.is_over()
    }

    /// When [`Connection::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<u64> {
        let awake = &*self.awake;
        if !awake.state.is_open() {
            return awake.state.until();
        }
        let max_ack_delay = self.parked.max_ack_delay();
        [
            awake.acks.due(),
            awake.recovery.timeout(&awake.rtt, max_ack_delay),
            awake.paths.timeout(),
            self.idle_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what is due; [`Connection::poll_transmit`] says what is to be sent then.
    pub fn handle_timeout(&mut self, now: u64) {
        if !self.awake.state.is_open() {
            self.awake.state.handle_timeout(now);
            return;
        }
        if self.idle_deadline().is_some_and(|at| at <= now) {
            //= RFC 9000 section 10.1: If a max_idle_timeout is specified by either endpoint in its transport parameters (Section 18.2), the connection is silently closed and its state is discarded when it remains idle for longer than the minimum of the max_idle_timeout value advertised by both endpoints.
            self.end(Closed::Idle);
            return;
        }
        let max_ack_delay = self.parked.max_ack_delay();
        let awake = &mut *self.awake;
        let lost = awake
            .recovery
            .handle_timeout(now, &awake.rtt, max_ack_delay);
        self.on_lost(lost);
        self.check_path(now);
    }

    /// Until when something has to come.
    fn idle_deadline(&self) -> Option<u64> {
        let after = self.parked.idle_after(self.awake.idle_from)?;
        //= RFC 9000 section 10.1: To avoid excessively small idle timeout periods, endpoints MUST increase the idle timeout period to be at least three times the current Probe Timeout (PTO).
        Some(after.max(self.awake.idle_from + 3 * self.pto()))
    }

    fn pto(&self) -> u64 {
        self.awake.rtt.pto(self.parked.max_ack_delay())
    }

    /// Puts the connection to rest where nothing is under way: true, and [`Awake`] may go. What it knows is in
    /// [`Parked`] then.
    pub fn park(&mut self) -> bool {
        let awake = &mut *self.awake;
        let is_quiet = awake.state.is_open()
            && awake.events.is_empty()
            && awake.recovery.is_empty()
            && awake.acks.is_quiet()
            && awake.control.is_quiet()
            && awake.paths.is_quiet()
            && self.parked.phases_agree();
        let packed = is_quiet.then(|| Packed::pack(&awake.streams)).flatten();
        let Some(packed) = packed else {
            return false;
        };
        self.parked.streams = packed;
        self.parked.set_rtt(&awake.rtt);
        if awake.idle_from > self.parked.idle_from() {
            self.parked.heard(awake.idle_from);
        }
        true
    }

    /// The peer's address.
    pub fn remote(&self) -> SocketAddr {
        self.parked.remote()
    }
}
