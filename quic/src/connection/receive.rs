//! Datagrams that come in: opened, read frame by frame, and what each frame does.

use std::net::SocketAddr;

use super::Connection;
use crate::error::{Closed, Code, Error};
use crate::frame::{Ack, Frame, Frames};
use crate::parked::{Opened, Parked, Unsealed};

/// What a packet's frames were, taken together.
#[derive(Clone, Copy, Debug, Default)]
struct Summary {
    /// There was a frame at all.
    any: bool,
    elicits: bool,
    /// Something else than probing a path.
    is_not_probing: bool,
}

impl Connection<'_> {
    /// Takes a datagram that begins with a short header; it is opened in place. One that is not of this connection,
    /// comes twice or is damaged changes nothing.
    pub fn handle_datagram(&mut self, now: u64, from: SocketAddr, datagram: &mut [u8]) {
        if self.is_open() && self.parked.is_reset(datagram) {
            //= RFC 9000 section 10.3.1: If the last 16 bytes of the datagram are identical in value to a stateless reset token, the endpoint MUST enter the draining period and not send any further packets on this connection.
            self.end(Closed::Reset);
            return;
        }
        if !self
            .parked
            .is_addressed(self.context.key, &self.context.place, datagram)
        {
            return;
        }
        let unsealed = self.parked.open(datagram);
        self.resume(unsealed, now, from, datagram);
    }

    /// The same, for a datagram that woke the connection and is opened already.
    pub(crate) fn resume(
        &mut self,
        unsealed: Unsealed,
        now: u64,
        from: SocketAddr,
        datagram: &mut [u8],
    ) {
        if !self.is_open() {
            self.after_close(unsealed, now, datagram);
        } else if let Err(error) = self.take(unsealed, now, from, datagram) {
            self.fail(error, now);
        }
    }

    fn take(
        &mut self,
        unsealed: Unsealed,
        now: u64,
        from: SocketAddr,
        datagram: &mut [u8],
    ) -> Result<(), Error> {
        let unsealed = match unsealed {
            Unsealed::OtherPhase(short) => self.open_other_phase(short, datagram, now)?,
            other => other,
        };
        let Unsealed::Opened(opened) = unsealed else {
            return self.parked.check_failed();
        };
        //= RFC 9000 section 9: Clients are responsible for initiating all migrations.
        if from != self.parked.remote() && !self.parked.is_server() {
            return Ok(());
        }
        Parked::check_reserved(datagram)?;
        self.awake.idle_from = now;
        self.awake.has_spoken = false;
        self.on_datagram_from(from, datagram.len());
        self.on_packet(opened, now, from, datagram)
    }

    fn on_packet(
        &mut self,
        opened: Opened,
        now: u64,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), Error> {
        let mut summary = Summary::default();
        for frame in Frames::new(&datagram[opened.start..opened.end]) {
            let frame = frame?;
            summary.any = true;
            summary.elicits |= frame.is_ack_eliciting();
            summary.is_not_probing |= !frame.is_probing();
            if let Frame::PathChallenge(data) = frame {
                self.awake.paths.on_challenge(from, data, datagram.len());
            } else {
                self.on_frame(&frame, now)?;
            }
            if !self.is_open() {
                return Ok(());
            }
        }
        if !summary.any {
            //= RFC 9000 section 12.4: An endpoint MUST treat receipt of a packet containing no frames as a connection error of type PROTOCOL_VIOLATION.
            return Err(Error::new(
                Code::PROTOCOL_VIOLATION,
                "a packet without frames",
            ));
        }
        let Opened {
            is_newest, follows, ..
        } = opened;
        self.awake
            .acks
            .on_packet(is_newest, summary.elicits, follows, now);
        if is_newest && summary.is_not_probing && from != self.parked.remote() {
            self.on_rebinding(from, datagram.len(), now);
        }
        Ok(())
    }

    fn on_frame(&mut self, frame: &Frame<'_>, now: u64) -> Result<(), Error> {
        let streams = &mut self.awake.streams;
        match *frame {
            // Also what says that the peer would like more: it gets more when the application has read.
            Frame::Padding(_) | Frame::Ping | Frame::Blocked | Frame::PathChallenge(_) => Ok(()),
            // Tickets, which our clients do not use.
            Frame::Crypto { .. } => self.only_of_servers("CRYPTO behind the handshake"),
            Frame::NewToken => self.only_of_servers("NEW_TOKEN from a client"),
            Frame::Ack(ack) => self.on_ack(&ack, now),
            Frame::Stream(frame) => streams.on_data(&frame),
            Frame::ResetStream {
                id,
                code,
                final_size,
            } => streams.on_reset(id, code, final_size),
            Frame::StopSending { id, code } => streams.on_stop(id, code),
            Frame::MaxStreamData { id, max } => streams.on_max_stream_data(id, max),
            Frame::StreamDataBlocked(id) => streams.on_stream_data_blocked(id),
            Frame::MaxData(max) => {
                streams.on_max_data(max);
                Ok(())
            }
            Frame::MaxStreams { uni, max } => {
                streams.on_max_streams(uni, max);
                Ok(())
            }
            Frame::NewConnectionId(frame) => self.on_new_id(&frame),
            Frame::RetireConnectionId(sequence) => self.on_retired(sequence),
            Frame::PathResponse(data) => {
                self.on_response(data);
                Ok(())
            }
            Frame::Close {
                code,
                by_application,
                reason,
            } => {
                self.on_close(code, by_application, reason, now);
                Ok(())
            }
            Frame::HandshakeDone => self.on_handshake_done(),
        }
    }

    //= RFC 9000 section 19.7: A server MUST treat receipt of a NEW_TOKEN frame as a connection error of type PROTOCOL_VIOLATION.
    fn only_of_servers(&self, reason: &'static str) -> Result<(), Error> {
        if self.parked.is_server() {
            return Err(Error::new(Code::PROTOCOL_VIOLATION, reason));
        }
        Ok(())
    }

    fn on_ack(&mut self, ack: &Ack<'_>, now: u64) -> Result<(), Error> {
        self.parked.on_ack(ack.largest)?;
        let max_ack_delay = self.parked.max_ack_delay();
        let awake = &mut *self.awake;
        let verdict = awake.recovery.on_ack(
            ack.ranges(),
            ack.largest,
            self.parked.ack_delay(ack.delay),
            now,
            &mut awake.rtt,
            max_ack_delay,
        );
        self.on_acked(verdict.acked);
        self.on_lost(verdict.lost);
        Ok(())
    }

    /// The peer may not know yet that we have closed, or close itself.
    fn after_close(&mut self, unsealed: Unsealed, now: u64, datagram: &[u8]) {
        let Unsealed::Opened(opened) = unsealed else {
            return;
        };
        let frames = Frames::new(&datagram[opened.start..opened.end]);
        if frames
            .flatten()
            .any(|frame| matches!(frame, Frame::Close { .. }))
        {
            self.on_close(0, true, &[], now);
        } else {
            self.awake.state.on_packet();
        }
    }
}
