//! A datagram for a parked connection: a PING is answered and nothing wakes.
//!
//! Browsers ping every 15 s, so this is what a server at rest does all day. Anything that asks for more than an
//! acknowledgement wakes the connection, which goes on with the packet as it was opened. Invariant: at rest nothing is
//! in flight, so that there is nothing to lose and no timer but the idle one.

use std::net::SocketAddr;

use crate::connection::{Awake, Connection, Context};
use crate::error::{Code, Error};
use crate::frame::{Frame, Frames};
use crate::keys::SEALED_UPDATE;
use crate::packet::Short;
use crate::parked::{Opened, Parked, Unsealed};

/// What became of a datagram at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtRest {
    /// It said nothing that matters, or was not of this connection.
    Dropped,
    /// It is acknowledged: a datagram was appended, for the peer's address.
    Answered,
    /// It asks for more: [`Pending::wake`] with the same datagram.
    Wake(Pending),
    /// The peer has no such connection (a stateless reset): drop this one.
    Reset,
}

/// A datagram that is opened and not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Pending(Unsealed);

impl Pending {
    /// Wakes the connection, which takes the datagram as [`Parked::handle`] left it.
    pub fn wake(
        self,
        parked: &mut Parked,
        context: Context<'_>,
        now: u64,
        from: SocketAddr,
        datagram: &mut [u8],
    ) -> Awake {
        let mut awake = Awake::wake(parked, &context);
        let mut connection = Connection {
            parked,
            awake: &mut awake,
            context,
        };
        connection.resume(self.0, now, from, datagram);
        awake
    }
}

impl Parked {
    /// Takes a datagram that begins with a short header, in place. An acknowledgement is appended to `out`.
    pub fn handle(
        &mut self,
        context: &Context<'_>,
        now: u64,
        from: SocketAddr,
        datagram: &mut [u8],
        out: &mut Vec<u8>,
    ) -> AtRest {
        if self.is_reset(datagram) {
            return AtRest::Reset;
        }
        if !self.is_addressed(context.key, &context.place, datagram) {
            return AtRest::Dropped;
        }
        let unsealed = match self.open(datagram) {
            Unsealed::OtherPhase(short) => self.follow(short, datagram),
            other => other,
        };
        let Unsealed::Opened(opened) = unsealed else {
            // Damaged packets wake nobody, but for the last one that is too many.
            return match self.check_failed() {
                Ok(()) => AtRest::Dropped,
                Err(_) => AtRest::Wake(Pending(unsealed)),
            };
        };
        let is_plain = from == self.remote() && Self::check_reserved(datagram).is_ok();
        let answer = is_plain.then(|| self.answer(opened, datagram)).flatten();
        let Some(elicits) = answer else {
            return AtRest::Wake(Pending(unsealed));
        };
        self.heard(now);
        if !elicits {
            return AtRest::Dropped;
        }
        let (_, builder) = self.build(out);
        self.received.put_ack(0, out);
        if self.seal(builder, 0, out) {
            AtRest::Answered
        } else {
            AtRest::Dropped
        }
    }

    /// Opens a packet that claims to be of the next key phase, and follows the peer there (RFC 9001 section 6.2). No
    /// key of the phase before is kept at rest: what is late is lost.
    fn follow(&mut self, short: Short, datagram: &mut [u8]) -> Unsealed {
        let (header, payload) = datagram.split_at_mut(short.len);
        let opened = self
            .next_rx()
            .and_then(|next| Some((next.open(short.number, header, payload).ok()?, next)));
        match opened {
            Some((len, next)) if short.number >= self.received.next() && self.turn_tx() => {
                self.turn_rx(next);
                self.take(short, len)
            }
            _ => self.unopened(),
        }
    }

    /// Whether an acknowledgement is all that the packet asks for, or not even that; `None` where it asks for more.
    fn answer(&mut self, opened: Opened, datagram: &[u8]) -> Option<bool> {
        let mut largest_acked = None;
        let mut elicits = false;
        let mut any = false;
        for frame in Frames::new(&datagram[opened.start..opened.end]) {
            any = true;
            match frame {
                Ok(Frame::Padding(_)) => {}
                Ok(Frame::Ping) => elicits = true,
                Ok(Frame::Ack(ack)) if ack.largest < self.next_number => {
                    largest_acked = largest_acked.max(Some(ack.largest));
                }
                Ok(Frame::NewConnectionId(frame)) if self.is_known(&frame) => elicits = true,
                _ => return None,
            }
        }
        // Keys that are worn are changed by an awake connection.
        if !any || elicits && self.sealed >= SEALED_UPDATE {
            return None;
        }
        if let Some(largest) = largest_acked {
            self.on_ack(largest).ok()?;
        }
        Some(elicits)
    }

    /// A spare id of the peer's, which we do not keep.
    fn is_known(&self, frame: &crate::frame::NewConnectionId<'_>) -> bool {
        let least = u64::from(self.peer_retired);
        !self.peer_cid().is_empty()
            && frame.retire_prior_to <= least
            && (least..least + crate::connection::PEER_CIDS_MAX).contains(&frame.sequence)
            && frame.sequence != u64::from(self.peer_sequence)
    }

    /// An ACK frame's largest number.
    //= RFC 9000 section 13.1: An endpoint SHOULD treat receipt of an acknowledgment for a packet it did not send as a connection error of type PROTOCOL_VIOLATION, if it is able to detect the condition.
    pub(crate) fn on_ack(&mut self, largest: u64) -> Result<(), Error> {
        let Some(unacked) = self.next_number.checked_sub(largest + 1) else {
            let reason = "an acknowledgement of a packet that was not sent";
            return Err(Error::new(Code::PROTOCOL_VIOLATION, reason));
        };
        self.unacked = self.unacked.min(u32::try_from(unacked).unwrap_or(u32::MAX));
        Ok(())
    }
}
