//! Control frames that are no stream's: HANDSHAKE_DONE, the ticket, connection ids, PING.

use super::{Connection, Event};
use crate::error::{Code, Error};
use crate::frame::NewConnectionId;
use crate::recovery::{Carried, Sent};
use crate::streams::SendStream;

/// RETIRE_CONNECTION_ID frames that wait to be sent.
const RETIRES_MAX: usize = 16;

/// Connection ids of the peer's that may be in use at once: what we announce.
pub(crate) const PEER_CIDS_MAX: u64 = 2;

/// What has to be sent.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) ping: bool,
    /// [`Event::Confirmed`] was told.
    is_confirmed: bool,
    pub(super) handshake_done: bool,
    /// Sequence numbers of ids of ours.
    pub(super) new_ids: Vec<u32>,
    /// Sequence numbers of ids of the peer's.
    pub(super) retires: Vec<u16>,
    /// What TLS says after the handshake: a ticket.
    pub(super) crypto: SendStream,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            ping: false,
            is_confirmed: false,
            handshake_done: false,
            new_ids: Vec::new(),
            retires: Vec::new(),
            crypto: SendStream::new(0, u64::MAX),
        }
    }
}

impl Control {
    /// A server confirms the handshake; both give out a second id.
    //= RFC 9001 section 4.1.2: The server MUST send a HANDSHAKE_DONE frame as soon as the handshake is complete.
    pub(super) fn after_handshake(&mut self, is_server: bool, crypto: &[u8]) {
        self.handshake_done = is_server;
        self.new_ids.push(1);
        self.crypto.write(crypto);
    }

    /// Whether nothing waits.
    pub(super) fn is_quiet(&self) -> bool {
        !self.has_frames() && self.crypto.is_at_rest()
    }

    /// Whether a frame waits.
    pub(super) fn has_frames(&self) -> bool {
        self.ping
            || self.handshake_done
            || !self.new_ids.is_empty()
            || !self.retires.is_empty()
            || self.crypto.has_chunk(u64::MAX)
    }
}

impl Connection<'_> {
    /// NEW_CONNECTION_ID. One id of the peer's is in use; another one is only taken where that is retired.
    pub(super) fn on_new_id(&mut self, frame: &NewConnectionId<'_>) -> Result<(), Error> {
        if self.parked.peer_cid().is_empty() {
            //= RFC 9000 section 19.15: An endpoint that is sending packets with a zero-length Destination Connection ID MUST treat receipt of a NEW_CONNECTION_ID frame as a connection error of type PROTOCOL_VIOLATION.
            return Err(violation("a connection id beside an empty one"));
        }
        let (Ok(sequence), Ok(prior)) = (
            u16::try_from(frame.sequence),
            u16::try_from(frame.retire_prior_to),
        ) else {
            let reason = "more than 65,535 connection ids";
            return Err(Error::new(Code::INTERNAL_ERROR, reason));
        };
        let parked = &mut *self.parked;
        if sequence == parked.peer_sequence && frame.cid != parked.peer_cid() {
            return Err(violation("one sequence number for two connection ids"));
        }
        let least = parked.peer_retired.max(prior);
        //= RFC 9000 section 5.1.1: After processing a NEW_CONNECTION_ID frame and adding and retiring active connection IDs, if the number of active connection IDs exceeds the value advertised in its active_connection_id_limit transport parameter, an endpoint MUST close the connection with an error of type CONNECTION_ID_LIMIT_ERROR.
        if u64::from(sequence) >= u64::from(least) + PEER_CIDS_MAX {
            let reason = "more connection ids than we keep";
            return Err(Error::new(Code::CONNECTION_ID_LIMIT_ERROR, reason));
        }
        //= RFC 9000 section 5.1.2: Upon receipt of an increased Retire Prior To field, the peer MUST stop using the corresponding connection IDs and retire them with RETIRE_CONNECTION_ID frames before adding the newly provided connection ID to the set of active connection IDs.
        let from = parked.peer_retired;
        parked.peer_retired = least;
        if parked.peer_sequence < least && sequence >= least {
            parked.peer_sequence = sequence;
            parked.set_peer_cid(frame.cid);
            parked.forget_token();
        }
        for gone in from..least {
            self.retire(gone)?;
        }
        //= RFC 9000 section 19.15: An endpoint that receives a NEW_CONNECTION_ID frame with a sequence number smaller than the Retire Prior To field of a previously received NEW_CONNECTION_ID frame MUST send a corresponding RETIRE_CONNECTION_ID frame that retires the newly received connection ID, unless it has already done so for that sequence number.
        if sequence < from {
            self.retire(sequence)?;
        }
        Ok(())
    }

    fn retire(&mut self, sequence: u16) -> Result<(), Error> {
        let retires = &mut self.awake.control.retires;
        if retires.contains(&sequence) {
            return Ok(());
        }
        if retires.len() >= RETIRES_MAX {
            let reason = "too many connection ids to retire at once";
            return Err(Error::new(Code::CONNECTION_ID_LIMIT_ERROR, reason));
        }
        retires.push(sequence);
        Ok(())
    }

    /// RETIRE_CONNECTION_ID: another one takes its place.
    pub(super) fn on_retired(&mut self, sequence: u64) -> Result<(), Error> {
        let [a, b] = self.parked.ours;
        let newest = a.max(b);
        //= RFC 9000 section 19.16: Receipt of a RETIRE_CONNECTION_ID frame containing a sequence number greater than any previously sent to the peer MUST be treated as a connection error of type PROTOCOL_VIOLATION.
        if sequence > u64::from(newest) {
            return Err(violation("a connection id retired that was not given out"));
        }
        let used = self.parked.ours.iter_mut();
        if let Some(place) = used.into_iter().find(|ours| u64::from(**ours) == sequence) {
            let Some(next) = newest.checked_add(1) else {
                let reason = "no connection ids are left";
                return Err(Error::new(Code::INTERNAL_ERROR, reason));
            };
            let gone = std::mem::replace(place, next);
            let new_ids = &mut self.awake.control.new_ids;
            new_ids.retain(|waits| *waits != gone);
            new_ids.push(next);
        }
        Ok(())
    }

    pub(super) fn on_handshake_done(&mut self) -> Result<(), Error> {
        if self.parked.is_server() {
            //= RFC 9000 section 19.20: A server MUST treat receipt of a HANDSHAKE_DONE frame as a connection error of type PROTOCOL_VIOLATION.
            return Err(violation("HANDSHAKE_DONE from a client"));
        }
        if !std::mem::replace(&mut self.awake.control.is_confirmed, true) {
            self.awake.events.push(Event::Confirmed);
        }
        Ok(())
    }

    /// What packets carried is to be sent again, where that still makes sense.
    pub(super) fn on_lost(&mut self, lost: Vec<Sent>) {
        let awake = &mut *self.awake;
        for carried in lost.into_iter().flat_map(|sent| sent.carried) {
            match carried {
                Carried::Stream { id, offsets, fin } => {
                    if let Some(send) = awake.streams.send_half(id) {
                        send.on_lost(offsets, fin);
                    }
                }
                Carried::Crypto(offsets) => awake.control.crypto.on_lost(offsets, false),
                Carried::Reset(id) => {
                    if let Some(send) = awake.streams.send_half(id) {
                        send.on_reset_lost();
                    }
                }
                Carried::Stop(id) => {
                    if let Some(recv) = awake.streams.recv_half(id) {
                        recv.on_stop_lost();
                    }
                }
                Carried::MaxStreamData(id) => {
                    if let Some(recv) = awake.streams.recv_half(id) {
                        recv.grants = true;
                    }
                }
                Carried::MaxData => awake.streams.on_max_data_lost(),
                Carried::MaxStreams { uni } => awake.streams.on_max_streams_lost(uni),
                Carried::NewConnectionId(sequence) => {
                    if self.parked.ours.contains(&sequence) {
                        awake.control.new_ids.push(sequence);
                    }
                }
                Carried::RetireConnectionId(sequence) => awake.control.retires.push(sequence),
                Carried::HandshakeDone => awake.control.handshake_done = true,
            }
        }
    }

    /// What packets carried has arrived.
    pub(super) fn on_acked(&mut self, acked: Vec<Sent>) {
        let streams = &mut self.awake.streams;
        for carried in acked.into_iter().flat_map(|sent| sent.carried) {
            match carried {
                Carried::Stream { id, offsets, fin } => {
                    if let Some(send) = streams.send_half(id) {
                        send.on_acked(offsets, fin);
                        streams.tell_writable(id);
                        streams.drop_done(id);
                    }
                }
                Carried::Reset(id) => {
                    if let Some(send) = streams.send_half(id) {
                        send.on_reset_acked();
                        streams.drop_done(id);
                    }
                }
                Carried::Crypto(offsets) => self.awake.control.crypto.on_acked(offsets, false),
                _ => {}
            }
        }
    }
}

fn violation(reason: &'static str) -> Error {
    Error::new(Code::PROTOCOL_VIOLATION, reason)
}
