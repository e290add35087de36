//! Packet headers (RFC 9000 section 17): the short one in full, and of long ones as much as it takes to find where
//! they end, since their packets are for the handshake.
//!
//! Header protection is put on and taken off here (RFC 9001 section 5.4). Invariant: what a header says is not used
//! before the packet was opened, but for the key phase and the number, which say how to open it.

use crate::keys::{Generation, HeaderKey, Refused, TAG};
use crate::varint::Reader;

/// Long header form.
const LONG: u8 = 0x80;
/// Set in every packet of version 1.
const FIXED: u8 = 0x40;
const RESERVED: u8 = 0x18;
const KEY_PHASE: u8 = 0x04;

/// Packets below this size are no 1-RTT packets: flags, a number and its payload of four bytes, the tag.
const SHORT_BYTES_MIN: usize = 1 + 4 + TAG;

/// Bytes between the start of the packet number and the sample of the payload.
const SAMPLE_AT: usize = 4;

/// Where the datagram's 1-RTT packet begins: behind the long headers, or at its end where it has none.
pub fn short_at(datagram: &[u8]) -> usize {
    let mut at = 0;
    while let Some(first) = datagram.get(at) {
        if first & LONG == 0 {
            // Padding behind an Initial is not a packet.
            return if first & FIXED != 0 {
                at
            } else {
                datagram.len()
            };
        }
        match long_len(&datagram[at..]) {
            Some(len) => at += len,
            None => return datagram.len(),
        }
    }
    at.min(datagram.len())
}

/// Bytes of the long-header packet in front; `None` where it takes all that is there.
fn long_len(bytes: &[u8]) -> Option<usize> {
    const VERSION: [u8; 4] = [0, 0, 0, 1];
    const INITIAL: u8 = 0;
    const RETRY: u8 = 3;
    let mut reader = Reader::new(bytes);
    let kind = reader.byte()? >> 4 & 3;
    if reader.array()? != VERSION || kind == RETRY {
        return None;
    }
    for _cid in 0..2 {
        let len = reader.byte()?;
        reader.bytes(usize::from(len))?;
    }
    if kind == INITIAL {
        reader.prefixed()?;
    }
    reader.prefixed()?;
    Some(bytes.len() - reader.left())
}

/// The destination connection id of a datagram, where ours are of `len` bytes.
pub fn destination(datagram: &[u8], len: usize) -> Option<&[u8]> {
    let mut reader = Reader::new(datagram);
    if reader.byte()? & LONG == 0 {
        return reader.bytes(len);
    }
    reader.array::<4>()?;
    let len = reader.byte()?;
    reader.bytes(usize::from(len))
}

/// A short header without its protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short {
    pub(crate) number: u64,
    /// Bytes of the header.
    pub(crate) len: usize,
    pub(crate) key_phase: bool,
    /// Both must be 0, which counts once the packet was opened.
    pub(crate) has_reserved_bits: bool,
}

/// Takes the protection off the header in place. `next` is one more than the largest number received. `None` where
/// it is no 1-RTT packet.
pub(crate) fn unprotect(
    packet: &mut [u8],
    cid_len: usize,
    key: &HeaderKey,
    next: u64,
) -> Option<Short> {
    let number_at = 1 + cid_len;
    if packet.len() < SHORT_BYTES_MIN + cid_len || packet[0] & (LONG | FIXED) != FIXED {
        return None;
    }
    let sample_at = number_at + SAMPLE_AT;
    let mask = key.mask(packet.get(sample_at..sample_at + TAG)?).ok()?;
    packet[0] ^= mask[0] & 0x1f;
    let number_len = usize::from(packet[0] & 3) + 1;
    let mut truncated = 0;
    for (byte, mask) in packet[number_at..number_at + number_len]
        .iter_mut()
        .zip(&mask[1..])
    {
        *byte ^= mask;
        truncated = truncated << 8 | u64::from(*byte);
    }
    Some(Short {
        number: decode_number(next, truncated, number_len),
        len: number_at + number_len,
        key_phase: packet[0] & KEY_PHASE != 0,
        has_reserved_bits: packet[0] & RESERVED != 0,
    })
}

/// RFC 9000 appendix A.3.
fn decode_number(expected: u64, truncated: u64, len: usize) -> u64 {
    let window = 1 << (8 * len);
    let half = window / 2;
    let candidate = expected & !(window - 1) | truncated;
    if candidate + half <= expected && candidate < (1 << 62) - window {
        candidate + window
    } else if candidate > expected + half && candidate >= window {
        candidate - window
    } else {
        candidate
    }
}

/// Bytes of a number that the peer can tell apart, `unacked` being its distance to the largest that it has
/// acknowledged (RFC 9000 section 17.1).
//= RFC 9000 section 17.1: the sender MUST use a packet number size able to represent more than twice as large a range as the difference between the largest acknowledged packet number and the packet number being sent.
const fn number_len(unacked: u64) -> usize {
    match unacked {
        0..0x80 => 1,
        0x80..0x8000 => 2,
        0x8000..0x80_0000 => 3,
        _ => 4,
    }
}

/// A 1-RTT packet that is being written at the end of a buffer.
pub(crate) struct Builder {
    from: usize,
    number: u64,
    number_at: usize,
    header: usize,
}

impl Builder {
    /// Bytes in front of the payload, at most, without the connection id.
    pub(crate) const HEADER_MAX: usize = 1 + 4;

    /// Appends the header. The caller appends frames and calls [`Builder::seal`].
    pub(crate) fn new(
        cid: &[u8],
        number: u64,
        unacked: u64,
        key_phase: bool,
        out: &mut Vec<u8>,
    ) -> Self {
        let from = out.len();
        let number_len = number_len(unacked);
        let phase = if key_phase { KEY_PHASE } else { 0 };
        out.push(FIXED | phase | (number_len - 1) as u8);
        out.extend_from_slice(cid);
        let number_at = out.len();
        out.extend_from_slice(&number.to_be_bytes()[8 - number_len..]);
        Self {
            from,
            number,
            number_at,
            header: out.len() - from,
        }
    }

    /// Bytes of payload so far.
    pub(crate) fn payload_len(&self, out: &[u8]) -> usize {
        out.len() - self.from - self.header
    }

    /// Pads, seals and protects. Where it refuses, the packet is taken back.
    pub(crate) fn seal(
        self,
        keys: &Generation,
        header_key: &HeaderKey,
        bytes_min: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Refused> {
        let sealed = self.seal_in(keys, header_key, bytes_min, out);
        if sealed.is_err() {
            out.truncate(self.from);
        }
        sealed
    }

    /// Gives the packet up.
    pub(crate) fn take_back(self, out: &mut Vec<u8>) {
        out.truncate(self.from);
    }

    fn seal_in(
        &self,
        keys: &Generation,
        header_key: &HeaderKey,
        bytes_min: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Refused> {
        // A stateless reset has to look like a packet, and a sample needs four bytes of number and payload.
        let least = (self.number_at + SAMPLE_AT).max(self.from + bytes_min.saturating_sub(TAG));
        if out.len() < least {
            out.resize(least, 0);
        }
        keys.seal(self.number, self.header, out, self.from)?;
        let sample_at = self.number_at + SAMPLE_AT;
        let mask = header_key.mask(&out[sample_at..sample_at + TAG])?;
        out[self.from] ^= mask[0] & 0x1f;
        let number_end = self.from + self.header;
        for (byte, mask) in out[self.number_at..number_end].iter_mut().zip(&mask[1..]) {
            *byte ^= mask;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 9000 appendix A.3 and the borders around it.
    #[test]
    fn numbers_of_the_standard() {
        assert_eq!(decode_number(0xa82f_30eb, 0x9b32, 2), 0xa82f_9b32);
        assert_eq!(decode_number(0, 0xff, 1), 0xff);
        assert_eq!(decode_number(0x100, 0xff, 1), 0xff);
        assert_eq!(decode_number(0x1ff, 0x00, 1), 0x200);
    }

    proptest! {
        //= test of RFC 9000 section 17.1: the sender MUST use a packet number size able to represent more than twice as large a range as the difference between the largest acknowledged packet number and the packet number being sent.
        #[test]
        fn a_number_is_read_as_it_was_meant(acked in 0_u64..1 << 40, ahead in 1_u64..1 << 30, heard in any::<u64>()) {
            let number = acked + ahead;
            let len = number_len(ahead);
            prop_assert!(1_u64 << (8 * len) > 2 * ahead);
            // The receiver has heard anything between what it acknowledged and what comes now.
            let next = acked + 1 + heard % ahead;
            let truncated = number & ((1 << (8 * len)) - 1);
            prop_assert_eq!(decode_number(next, truncated, len), number);
        }

        #[test]
        fn a_packet_comes_out_as_it_went_in(
            number in 0_u64..1 << 30, unacked in 0_u64..1 << 20, phase in any::<bool>(),
            cid in proptest::collection::vec(any::<u8>(), 0..20),
            payload in proptest::collection::vec(any::<u8>(), 1..100),
        ) {
            let keys = Generation::new([1; 32]).unwrap();
            let header_key = keys.header_key().unwrap();
            let mut packet = b"before".to_vec();
            let unacked = unacked.min(number);
            let builder = Builder::new(&cid, number, unacked, phase, &mut packet);
            packet.extend_from_slice(&payload);
            builder.seal(&keys, &header_key, 0, &mut packet).unwrap();
            let mut packet = packet.split_off(6);
            prop_assert_eq!(destination(&packet, cid.len()), Some(&cid[..]));
            let short = unprotect(&mut packet, cid.len(), &header_key, number - unacked).unwrap();
            prop_assert_eq!((short.number, short.key_phase), (number, phase));
            let (header, body) = packet.split_at_mut(short.len);
            let len = keys.open(number, header, body).unwrap();
            prop_assert_eq!(&body[..payload.len()], &payload[..]);
            prop_assert!(body[payload.len()..len].iter().all(|byte| *byte == 0));
        }

        #[test]
        fn any_datagram_is_split_somewhere(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let at = short_at(&bytes);
            prop_assert!(at <= bytes.len());
            let key = Generation::new([1; 32]).unwrap().header_key().unwrap();
            if let Some(short) = unprotect(&mut bytes, 8, &key, 5) {
                prop_assert!(short.len + TAG <= bytes.len());
            }
        }
    }

    #[test]
    fn the_tail_behind_long_headers() {
        let mut datagram = vec![0xe0, 0, 0, 0, 1, 1, 9, 0, 3, 7, 7, 7];
        let handshake = datagram.len();
        assert_eq!(short_at(&datagram), handshake);
        datagram.extend_from_slice(&[0x41, 1, 2, 3]);
        assert_eq!(short_at(&datagram), handshake);
        datagram[handshake] = 0;
        assert_eq!(short_at(&datagram), datagram.len(), "padding");
        // An Initial has a token.
        assert_eq!(short_at(&[0xc0, 0, 0, 0, 1, 0, 0, 1, 5, 1, 7, 0x40, 1]), 11);
        assert_eq!(short_at(&[0x40, 1, 2]), 0);
        assert_eq!(
            short_at(&[0xc0, 0, 0, 0, 1, 0, 0, 1, 5, 0x41]),
            10,
            "cut off"
        );
    }
}
