//! Datagrams that go out: what is owed and what there is to say, in one packet of at most 1,200 bytes.

use std::net::SocketAddr;

use super::Connection;
use crate::frame::{
    self, NewConnectionId, kind, put_crypto_header, put_new_connection_id, put_numbers, put_path,
    put_stream_header, stream_header_len,
};
use crate::keys::TAG;
use crate::packet::Builder;
use crate::recovery::{Carried, Sent};

/// The largest datagram that we send: what every path carries (RFC 9000 section 14).
pub const DATAGRAM_BYTES: usize = 1_200;

/// The largest control frame: NEW_CONNECTION_ID with an id of ours.
const CONTROL_BYTES_MAX: usize = 1 + 8 + 8 + 1 + 8 + 16;

/// A packet that is being filled.
struct Packet<'a> {
    out: &'a mut Vec<u8>,
    /// The frames end here at the latest.
    end: usize,
    carried: Vec<Carried>,
    elicits: bool,
}

impl Packet<'_> {
    fn room(&self) -> usize {
        self.end.saturating_sub(self.out.len())
    }

    fn has_room_for_control(&self) -> bool {
        self.room() >= CONTROL_BYTES_MAX
    }

    fn numbers(&mut self, kind: u64, numbers: &[u64], carried: Carried) {
        put_numbers(kind, numbers, self.out);
        self.carried.push(carried);
        self.elicits = true;
    }
}

impl Connection<'_> {
    /// Appends the next datagram to `out` and tells where it goes; `None` where there is nothing to send now. To be
    /// called until then.
    pub fn poll_transmit(&mut self, now: u64, out: &mut Vec<u8>) -> Option<SocketAddr> {
        if !self.is_open() {
            return self.transmit_close(out);
        }
        if let Some(sent) = self.transmit_probe(out) {
            return Some(sent);
        }
        self.update_worn_keys();
        let room = DATAGRAM_BYTES.min(self.awake.paths.budget());
        let sends = self.may_send() && self.has_frames() || self.awake.recovery.probes > 0;
        let acks = self.awake.acks.is_due(now);
        if !(sends || acks) {
            return None;
        }
        let from = out.len();
        let (number, builder) = self.parked.build(out);
        let mut packet = Packet {
            end: (from + room).saturating_sub(TAG),
            out: &mut *out,
            carried: Vec::new(),
            elicits: false,
        };
        if acks || self.awake.acks.is_owed() {
            let delay = self.awake.acks.delay(now);
            self.parked.received.put_ack(delay, packet.out);
            if packet.out.len() > packet.end {
                // An address that is not validated has got all that it may: more has to come from it first.
                self.parked.take_back(builder, out);
                let pto = self.pto();
                self.awake.acks.postpone(now + pto);
                return None;
            }
            self.awake.acks.on_sent();
        }
        if sends {
            self.fill(&mut packet);
        }
        let Packet {
            carried, elicits, ..
        } = packet;
        if builder.payload_len(out) == 0 {
            // A limit kept everything back.
            self.parked.take_back(builder, out);
            return None;
        }
        if !self.parked.seal(builder, 0, out) {
            self.end_worn();
            return None;
        }
        let bytes = out.len() - from;
        self.awake.paths.on_sent(bytes);
        if elicits {
            self.on_sent(Sent {
                number,
                at: now,
                bytes: bytes as u64,
                carried,
            });
        }
        Some(self.parked.remote())
    }

    fn may_send(&self) -> bool {
        let recovery = &self.awake.recovery;
        recovery.congestion.room() >= DATAGRAM_BYTES as u64 && recovery.has_room()
    }

    fn has_frames(&self) -> bool {
        let awake = &*self.awake;
        awake.control.has_frames() || awake.streams.has_control() || awake.streams.has_data()
    }

    fn on_sent(&mut self, sent: Sent) {
        //= RFC 9000 section 10.1: An endpoint also restarts its idle timer when sending an ack-eliciting packet if no other ack-eliciting packets have been sent since last receiving and processing a packet.
        if !self.awake.has_spoken {
            self.awake.has_spoken = true;
            self.awake.idle_from = sent.at;
        }
        let recovery = &mut self.awake.recovery;
        recovery.probes = recovery.probes.saturating_sub(1);
        recovery.on_sent(sent);
    }

    fn fill(&mut self, packet: &mut Packet<'_>) {
        self.fill_control(packet);
        self.fill_stream_control(packet);
        self.fill_data(packet);
        let is_probe = self.awake.recovery.probes > 0 && !packet.elicits;
        if (self.awake.control.ping || is_probe) && packet.room() > 0 {
            self.awake.control.ping = false;
            frame::put_numbers(kind::PING, &[], packet.out);
            packet.elicits = true;
        }
    }

    fn fill_control(&mut self, packet: &mut Packet<'_>) {
        let control = &mut self.awake.control;
        if packet.has_room_for_control() && std::mem::take(&mut control.handshake_done) {
            packet.numbers(kind::HANDSHAKE_DONE, &[], Carried::HandshakeDone);
        }
        while packet.has_room_for_control()
            && let Some(sequence) = control.retires.pop()
        {
            let carried = Carried::RetireConnectionId(sequence);
            packet.numbers(kind::RETIRE_CONNECTION_ID, &[u64::from(sequence)], carried);
        }
        while packet.has_room_for_control()
            && let Some(sequence) = control.new_ids.pop()
        {
            let cid = self.context.key.cid(&self.context.place, sequence);
            let frame = NewConnectionId {
                sequence: u64::from(sequence),
                retire_prior_to: 0,
                cid: &cid,
                token: self.context.key.reset_token(&cid),
            };
            put_new_connection_id(&frame, packet.out);
            packet.carried.push(Carried::NewConnectionId(sequence));
            packet.elicits = true;
        }
        while packet.has_room_for_control()
            && let Some(chunk) = control
                .crypto
                .next_chunk((packet.room() - CONTROL_BYTES_MAX / 2) as u64, u64::MAX)
        {
            let len = (chunk.offsets.end - chunk.offsets.start) as usize;
            put_crypto_header(chunk.offsets.start, len, packet.out);
            control.crypto.put(&chunk.offsets, packet.out);
            packet.carried.push(Carried::Crypto(chunk.offsets));
            packet.elicits = true;
        }
    }

    fn fill_stream_control(&mut self, packet: &mut Packet<'_>) {
        let streams = &mut self.awake.streams;
        if packet.has_room_for_control()
            && let Some(max) = streams.take_max_data()
        {
            packet.numbers(kind::MAX_DATA, &[max], Carried::MaxData);
        }
        while packet.has_room_for_control()
            && let Some((uni, max)) = streams.take_max_streams()
        {
            let kind = kind::MAX_STREAMS_BIDI + u64::from(uni);
            packet.numbers(kind, &[max], Carried::MaxStreams { uni });
        }
        for stream in streams.iter_mut() {
            let id = stream.id;
            if packet.has_room_for_control()
                && let Some(send) = &mut stream.send
                && let Some((code, size)) = send.take_reset()
            {
                packet.numbers(kind::RESET_STREAM, &[id.0, code, size], Carried::Reset(id));
            }
            let Some(recv) = &mut stream.recv else {
                continue;
            };
            if packet.has_room_for_control()
                && let Some(code) = recv.take_stop()
            {
                packet.numbers(kind::STOP_SENDING, &[id.0, code], Carried::Stop(id));
            }
            if packet.has_room_for_control() && std::mem::take(&mut recv.grants) {
                let numbers = [id.0, recv.max()];
                packet.numbers(kind::MAX_STREAM_DATA, &numbers, Carried::MaxStreamData(id));
            }
        }
    }

    fn fill_data(&mut self, packet: &mut Packet<'_>) {
        let streams = &mut self.awake.streams;
        while packet.has_room_for_control() {
            let left = packet.room();
            let room = |id, offset| {
                // The offset's length is that of the stream's end: no lost piece has a longer one.
                left.saturating_sub(stream_header_len(id, offset)) as u64
            };
            let Some((id, chunk)) = streams.next_chunk(room) else {
                return;
            };
            let len = (chunk.offsets.end - chunk.offsets.start) as usize;
            put_stream_header(id, chunk.offsets.start, len, chunk.fin, packet.out);
            if let Some(send) = streams.send_half(id) {
                send.put(&chunk.offsets, packet.out);
            }
            packet.carried.push(Carried::Stream {
                id,
                offsets: chunk.offsets,
                fin: chunk.fin,
            });
            packet.elicits = true;
        }
    }

    /// A path is probed by a datagram of its own. It is not counted as in flight: its loss says nothing about the
    /// path in use, and it is sent again by a timer of its own.
    fn transmit_probe(&mut self, out: &mut Vec<u8>) -> Option<SocketAddr> {
        while let Some(probe) = self.awake.paths.take_probe() {
            let is_current = probe.to == self.parked.remote();
            let bytes = if is_current {
                probe.bytes.min(self.awake.paths.budget())
            } else {
                probe.bytes
            };
            let least = Builder::HEADER_MAX + self.parked.peer_cid().len() + 9 + TAG;
            if bytes < least {
                continue;
            }
            let (_, builder) = self.parked.build(out);
            put_path(probe.kind, probe.data, out);
            if !self.parked.seal(builder, bytes, out) {
                self.end_worn();
                return None;
            }
            if is_current {
                self.awake.paths.on_sent(bytes);
            }
            return Some(probe.to);
        }
        None
    }

    fn transmit_close(&mut self, out: &mut Vec<u8>) -> Option<SocketAddr> {
        let frame = self.awake.state.take_frame()?.to_vec();
        let (_, builder) = self.parked.build(out);
        out.extend_from_slice(&frame);
        // Where nothing can be sealed, the peer is told nothing.
        self.parked
            .seal(builder, 0, out)
            .then(|| self.parked.remote())
    }
}
