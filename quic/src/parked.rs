//! A connection at rest: what 1-RTT needs and nothing else, 344 bytes.
//!
//! Plain data without pointers, which can move between shards and processes as bytes ([`Parked::write`],
//! [`Parked::read`]). It is also the part of an awake connection that stays: [`Awake`](crate::connection::Awake) lies beside it.
//! Packets are opened and sealed here, so that keys, packet numbers and what was received are in one place.
//! Invariant: a packet number is used once, also by those who were parked in between.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::cid::{CID_BYTES, CidKey, Place, TOKEN_BYTES};
use crate::error::{Code, Error};
use crate::frame::CID_BYTES_MAX;
use crate::keys::{Generation, HeaderKey, SEALED_MAX};
use crate::packet::{self, Builder};
use crate::parameters::{Cid, Parameters};
use crate::received::Received;
use crate::recovery::Rtt;
use crate::streams::Packed;
use crate::varint::Reader;

/// The format of [`Parked::write`].
const VERSION: u8 = 1;

/// A connection on a server: the goal of the whole design.
const _: () = assert!(size_of::<Parked>() == 344);

/// Which end we are.
const SERVER: u16 = 1;
/// The key phase that we seal in.
const TX_PHASE: u16 = 1 << 1;
/// The key phase that we open.
const RX_PHASE: u16 = 1 << 2;
/// The peer's first id came with a token for stateless resets.
const HAS_TOKEN: u16 = 1 << 3;
const FLAGS: u16 = SERVER | TX_PHASE | RX_PHASE | HAS_TOKEN;

/// A connection at rest.
#[repr(C)]
pub struct Parked {
    pub(crate) received: Received,
    /// The next packet number of ours.
    pub(crate) next_number: u64,
    /// What the idle timeout is counted from: seconds of the shard's clock.
    heard_s: u32,
    /// Packets sent since the largest that the peer has acknowledged.
    pub(crate) unacked: u32,
    /// Packets sealed in this key phase.
    pub(crate) sealed: u32,
    /// Packets that did not open, in all phases.
    failed: u32,
    /// Sequence numbers of our two ids in use.
    pub(crate) ours: [u32; 2],
    rtt: [u16; 2],
    /// Sequence number of the peer's id, and the least that it has not retired.
    pub(crate) peer_sequence: u16,
    pub(crate) peer_retired: u16,
    port: u16,
    /// Milliseconds.
    max_ack_delay: u16,
    /// Seconds; 0 for never.
    idle_s: u16,
    flags: u16,
    rx: Generation,
    tx: Generation,
    rx_header: HeaderKey,
    tx_header: HeaderKey,
    ip: [u8; 16],
    peer_cid: [u8; CID_BYTES_MAX],
    /// Half of the peer's reset token: 64 bits are more than anybody can guess in a connection's life.
    token: [u8; TOKEN_BYTES / 2],
    peer_cid_len: u8,
    ack_delay_exponent: u8,
    pub(crate) streams: Packed,
}

impl fmt::Debug for Parked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parked")
            .field("received", &self.received)
            .field("next_number", &self.next_number)
            .field("remote", &self.remote())
            .finish_non_exhaustive()
    }
}

/// What a connection is made from when its handshake is done.
pub(crate) struct Parts<'a> {
    pub(crate) is_server: bool,
    pub(crate) rx: Generation,
    pub(crate) tx: Generation,
    pub(crate) rx_header: HeaderKey,
    pub(crate) tx_header: HeaderKey,
    pub(crate) peer: &'a Parameters,
    pub(crate) peer_cid: Cid,
    pub(crate) remote: SocketAddr,
    /// What we announced; zero for never.
    pub(crate) max_idle_s: u16,
    /// Microseconds.
    pub(crate) now: u64,
}

/// A packet that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) number: u64,
    /// Where its frames lie in the datagram.
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// It has a larger number than all before it.
    pub(crate) is_newest: bool,
    /// It is the next after the largest before it.
    pub(crate) follows: bool,
}

/// What becomes of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsealed {
    /// It is one of the peer's.
    Opened(Opened),
    /// Not ours, a duplicate, or damaged.
    Dropped,
    /// It is in the other key phase: keys that are not at hand. Its header is in the clear already.
    OtherPhase(packet::Short),
}

impl Parked {
    /// Bytes of [`Parked::write`].
    pub const BYTES: usize = 1
        + 3 * 8
        + Packed::BYTES
        + 6 * 4
        + 8 * 2
        + 2 * Generation::BYTES
        + 2 * HeaderKey::BYTES
        + 16
        + CID_BYTES_MAX
        + TOKEN_BYTES / 2
        + 2;

    pub(crate) fn new(parts: Parts<'_>) -> Self {
        let mut flags = if parts.is_server { SERVER } else { 0 };
        let mut token = [0; TOKEN_BYTES / 2];
        if let Some(full) = parts.peer.reset_token {
            flags |= HAS_TOKEN;
            token.copy_from_slice(&full[..TOKEN_BYTES / 2]);
        }
        let mut this = Self {
            received: Received::default(),
            next_number: 0,
            streams: Packed::EMPTY,
            heard_s: 0,
            unacked: 0,
            sealed: 0,
            failed: 0,
            ours: [0, 1],
            rtt: [0; 2],
            peer_sequence: 0,
            peer_retired: 0,
            port: 0,
            max_ack_delay: parts.peer.max_ack_delay.as_millis() as u16,
            idle_s: idle_s(parts.max_idle_s, parts.peer),
            flags,
            rx: parts.rx,
            tx: parts.tx,
            rx_header: parts.rx_header,
            tx_header: parts.tx_header,
            ip: [0; 16],
            peer_cid: [0; CID_BYTES_MAX],
            token,
            peer_cid_len: 0,
            ack_delay_exponent: parts.peer.ack_delay_exponent,
        };
        this.set_peer_cid(parts.peer_cid.as_slice());
        this.set_remote(parts.remote);
        this.heard(parts.now);
        this
    }

    /// Whether we are the server.
    pub fn is_server(&self) -> bool {
        self.flags & SERVER != 0
    }

    /// The peer's address.
    pub fn remote(&self) -> SocketAddr {
        let ip = Ipv6Addr::from(self.ip);
        let ip = ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4);
        SocketAddr::new(ip, self.port)
    }

    pub(crate) fn set_remote(&mut self, remote: SocketAddr) {
        self.ip = match remote.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        self.port = remote.port();
    }

    pub(crate) fn peer_cid(&self) -> &[u8] {
        &self.peer_cid[..usize::from(self.peer_cid_len)]
    }

    /// The caller has checked that it is at most 20 bytes long.
    pub(crate) fn set_peer_cid(&mut self, cid: &[u8]) {
        let len = cid.len().min(CID_BYTES_MAX);
        self.peer_cid[..len].copy_from_slice(&cid[..len]);
        self.peer_cid_len = len as u8;
    }

    /// The token of the peer's first id is of no use for another one.
    pub(crate) fn forget_token(&mut self) {
        self.flags &= !HAS_TOKEN;
    }

    pub(crate) fn rtt(&self) -> Rtt {
        Rtt::unpack(self.rtt)
    }

    pub(crate) fn set_rtt(&mut self, rtt: &Rtt) {
        self.rtt = rtt.pack();
    }

    /// The peer's, in microseconds.
    pub(crate) fn max_ack_delay(&self) -> u64 {
        u64::from(self.max_ack_delay) * 1_000
    }

    /// An ACK frame's delay in microseconds.
    pub(crate) fn ack_delay(&self, delay: u64) -> u64 {
        delay.saturating_mul(1 << self.ack_delay_exponent)
    }

    pub(crate) fn heard(&mut self, now: u64) {
        self.heard_s = u32::try_from(now / 1_000_000).unwrap_or(u32::MAX);
    }

    /// When the connection is gone where nothing comes, in microseconds of the clock that it was told.
    pub fn idle_deadline(&self) -> Option<u64> {
        self.idle_after(self.idle_from())
    }

    /// What the idle timeout is counted from. The second that had begun counts in full: we are never the first to
    /// give up.
    pub(crate) fn idle_from(&self) -> u64 {
        (u64::from(self.heard_s) + 1) * 1_000_000
    }

    //= RFC 9000 section 10.1: Each endpoint advertises a max_idle_timeout, but the effective value at an endpoint is computed as the minimum of the two advertised values (or the sole advertised value, if only one endpoint advertises a non-zero value).
    pub(crate) fn idle_after(&self, from: u64) -> Option<u64> {
        (self.idle_s > 0).then(|| from + u64::from(self.idle_s) * 1_000_000)
    }

    pub(crate) fn tx_phase(&self) -> bool {
        self.flags & TX_PHASE != 0
    }

    pub(crate) fn phases_agree(&self) -> bool {
        self.tx_phase() == (self.flags & RX_PHASE != 0)
    }

    /// Whether a datagram's connection id is one of ours.
    pub fn is_addressed(&self, key: &CidKey, place: &Place, datagram: &[u8]) -> bool {
        let cid = packet::destination(datagram, CID_BYTES).and_then(|cid| cid.first_chunk());
        cid.is_some_and(|cid| {
            let said = key.read(cid);
            self.ours
                .iter()
                .any(|sequence| key.is_of(said, place, *sequence))
        })
    }

    /// Opens a datagram of one 1-RTT packet in place, with the keys of this phase.
    pub(crate) fn open(&mut self, datagram: &mut [u8]) -> Unsealed {
        let next = self.received.next();
        let unprotected = packet::unprotect(datagram, CID_BYTES, &self.rx_header, next);
        let Some(short) = unprotected else {
            return self.unopened();
        };
        if short.key_phase != (self.flags & RX_PHASE != 0) {
            return Unsealed::OtherPhase(short);
        }
        let (header, payload) = datagram.split_at_mut(short.len);
        match self.rx.open(short.number, header, payload) {
            Ok(len) => self.take(short, len),
            Err(_) => self.unopened(),
        }
    }

    /// Enters a packet of `len` bytes of payload that was opened.
    pub(crate) fn take(&mut self, short: packet::Short, len: usize) -> Unsealed {
        if !self.received.is_new(short.number) {
            return Unsealed::Dropped;
        }
        let is_newest = short.number >= self.received.next();
        Unsealed::Opened(Opened {
            number: short.number,
            start: short.len,
            end: short.len + len,
            is_newest,
            follows: self.received.insert(short.number),
        })
    }

    /// Whether the datagram ends as the peer's stateless resets do. Its connection id is none of anybody.
    /// Compared in constant time (RFC 9000 section 10.3.1).
    pub fn is_reset(&self, datagram: &[u8]) -> bool {
        let said = datagram.last_chunk::<TOKEN_BYTES>();
        self.flags & HAS_TOKEN != 0
            && said.is_some_and(|said| {
                let said = &said[..TOKEN_BYTES / 2];
                aws_lc_rs::constant_time::verify_slices_are_equal(said, &self.token).is_ok()
            })
    }

    #[cfg(test)]
    pub(crate) fn set_failed(&mut self, failed: u32) {
        self.failed = failed;
    }

    /// Counts a packet that did not open.
    pub(crate) fn unopened(&mut self) -> Unsealed {
        self.failed = self.failed.saturating_add(1);
        Unsealed::Dropped
    }

    /// Whether more packets did not open than keys may be tried with, long before the standard's limit.
    //= RFC 9001 section 6.6: If the total number of received packets that fail authentication within the connection, across all keys, exceeds the integrity limit for the selected AEAD, the endpoint MUST immediately close the connection with a connection error of type AEAD_LIMIT_REACHED and not process any more packets.
    pub(crate) fn check_failed(&self) -> Result<(), Error> {
        if self.failed == u32::MAX {
            return Err(Error::new(
                Code::AEAD_LIMIT_REACHED,
                "too many packets that do not open",
            ));
        }
        Ok(())
    }

    /// The reserved bits of a packet that was opened.
    //= RFC 9000 section 17.3.1: An endpoint MUST treat receipt of a packet that has a non-zero value for these bits, after removing both packet and header protection, as a connection error of type PROTOCOL_VIOLATION.
    pub(crate) fn check_reserved(datagram: &[u8]) -> Result<(), Error> {
        if datagram.first().is_some_and(|first| first & 0x18 != 0) {
            return Err(Error::new(
                Code::PROTOCOL_VIOLATION,
                "reserved bits are set",
            ));
        }
        Ok(())
    }

    /// Begins a packet. The caller appends frames and calls [`Parked::seal`].
    pub(crate) fn build(&mut self, out: &mut Vec<u8>) -> (u64, Builder) {
        let number = self.next_number;
        self.next_number += 1;
        self.unacked = self.unacked.saturating_add(1);
        let unacked = u64::from(self.unacked);
        let builder = Builder::new(self.peer_cid(), number, unacked, self.tx_phase(), out);
        (number, builder)
    }

    /// Gives a packet up that was begun last. Its number was not used.
    pub(crate) fn take_back(&mut self, builder: Builder, out: &mut Vec<u8>) {
        builder.take_back(out);
        self.next_number -= 1;
        self.unacked -= 1;
    }

    /// False where the packet cannot be sealed; it is taken back then.
    //= RFC 9001 section 6.6: If a key update is not possible or integrity limits are reached, the endpoint MUST stop using the connection and only send stateless resets in response to receiving packets.
    pub(crate) fn seal(&mut self, builder: Builder, bytes_min: usize, out: &mut Vec<u8>) -> bool {
        if self.sealed >= SEALED_MAX {
            builder.take_back(out);
            return false;
        }
        self.sealed += 1;
        builder
            .seal(&self.tx, &self.tx_header, bytes_min, out)
            .is_ok()
    }

    /// The keys that open the phase after this one.
    pub(crate) fn next_rx(&self) -> Option<Generation> {
        self.rx.next().ok()
    }

    /// Exchanges the keys that open, and gives back the old ones.
    pub(crate) fn turn_rx(&mut self, next: Generation) -> Generation {
        self.flags ^= RX_PHASE;
        std::mem::replace(&mut self.rx, next)
    }

    /// Seals with the next generation from now on.
    pub(crate) fn turn_tx(&mut self) -> bool {
        let Ok(next) = self.tx.next() else {
            return false;
        };
        self.tx = next;
        self.flags ^= TX_PHASE;
        self.sealed = 0;
        true
    }

    /// Appends [`Parked::BYTES`] bytes: the version, then the fields in their order, little endian.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        let (next, window) = self.received.parts();
        for long in [next, window, self.next_number] {
            out.extend_from_slice(&long.to_le_bytes());
        }
        self.streams.write(out);
        let words = [self.heard_s, self.unacked, self.sealed, self.failed];
        for word in words.into_iter().chain(self.ours) {
            out.extend_from_slice(&word.to_le_bytes());
        }
        let [smoothed, variation] = self.rtt;
        for half in [
            smoothed,
            variation,
            self.peer_sequence,
            self.peer_retired,
            self.port,
            self.max_ack_delay,
            self.idle_s,
            self.flags,
        ] {
            out.extend_from_slice(&half.to_le_bytes());
        }
        self.rx.write(out);
        self.tx.write(out);
        out.extend_from_slice(self.rx_header.as_bytes());
        out.extend_from_slice(self.tx_header.as_bytes());
        out.extend_from_slice(&self.ip);
        out.extend_from_slice(&self.peer_cid);
        out.extend_from_slice(&self.token);
        out.extend_from_slice(&[self.peer_cid_len, self.ack_delay_exponent]);
    }

    /// Reads what [`Parked::write`] wrote. `None` for another version or length, or what it would not write.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        if reader.byte()? != VERSION || bytes.len() != Self::BYTES {
            return None;
        }
        let mut long = || reader.array().map(u64::from_le_bytes);
        let [next, window, next_number] = [long()?, long()?, long()?];
        let streams = Packed::read(&mut reader)?;
        let mut word = || reader.array().map(u32::from_le_bytes);
        let [heard_s, unacked, sealed, failed] = [word()?, word()?, word()?, word()?];
        let ours = [word()?, word()?];
        let mut half = || reader.array().map(u16::from_le_bytes);
        let this = Self {
            received: Received::from_parts(next, window),
            next_number,
            streams,
            heard_s,
            unacked,
            sealed,
            failed,
            ours,
            rtt: [half()?, half()?],
            peer_sequence: half()?,
            peer_retired: half()?,
            port: half()?,
            max_ack_delay: half()?,
            idle_s: half()?,
            flags: half()?,
            rx: Generation::read(&reader.array()?)?,
            tx: Generation::read(&reader.array()?)?,
            rx_header: HeaderKey::from_bytes(reader.array()?),
            tx_header: HeaderKey::from_bytes(reader.array()?),
            ip: reader.array()?,
            peer_cid: reader.array()?,
            token: reader.array()?,
            peer_cid_len: reader.byte()?,
            ack_delay_exponent: reader.byte()?,
        };
        let is_good = this.flags & !FLAGS == 0
            && usize::from(this.peer_cid_len) <= CID_BYTES_MAX
            && this.ack_delay_exponent <= 20
            && next.max(next_number) <= crate::varint::MAX
            && u64::from(unacked) <= next_number;
        is_good.then_some(this)
    }
}

/// The smaller of the two that are not zero, rounded up to seconds.
fn idle_s(ours: u16, peer: &Parameters) -> u16 {
    let theirs = peer.max_idle_timeout.as_millis().div_ceil(1_000);
    let theirs = u16::try_from(theirs).unwrap_or(u16::MAX);
    match (ours, theirs) {
        (0, only) | (only, 0) => only,
        (ours, theirs) => ours.min(theirs),
    }
}
