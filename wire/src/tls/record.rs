//! The shape of a protected TLS 1.3 record (RFC 8446 section 5.2): header, limits, nonce, and the
//! two AEAD operations.
//!
//! It holds no state: keys and sequence numbers come in as arguments. `AeadKey` is built for one
//! call and dropped after it, because its key schedule would be several times what a connection may
//! cost at rest.

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce, UnboundKey};

use super::{Alert, Error, Suite};

/// Bytes of the header: type, legacy version, length.
pub(super) const HEADER: usize = 5;
/// Most bytes of content in one record (RFC 8446 section 5.1).
pub const FRAGMENT_MAX: usize = 1 << 14;
/// Most bytes behind the header of a protected record (RFC 8446 section 5.2).
pub(super) const CIPHERTEXT_MAX: usize = FRAGMENT_MAX + 256;
/// Bytes of the AEAD tag, the same for all three suites.
pub(super) const TAG: usize = 16;
/// Bytes of the AEAD nonce and of the static iv.
pub(super) const IV: usize = 12;

/// Content types (RFC 8446 section 5.1).
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;

/// How much of a record is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Framed {
    /// Not all: this many bytes are wanted from the start of the record.
    Want(usize),
    /// All: the record is this long, header included.
    Whole(usize),
}

/// Reads the header of a protected record. Judges as early as the bytes allow.
pub(super) fn frame(input: &[u8]) -> Result<Framed, Error> {
    match input {
        [typ, ..] if *typ != APPLICATION_DATA => Err(Error::record(
            Alert::UNEXPECTED_MESSAGE,
            "a record in the clear after the handshake",
        )),
        [_, _, _, high, low, ..] => {
            let len = usize::from(u16::from_be_bytes([*high, *low]));
            //= RFC 8446 section 5.2: The length MUST NOT exceed 2^14 + 256 bytes.  An endpoint that receives a record that exceeds this length MUST terminate the connection with a "record_overflow" alert.
            if len > CIPHERTEXT_MAX {
                return Err(Error::record(
                    Alert::RECORD_OVERFLOW,
                    "a record above 16,640 bytes",
                ));
            }
            let total = HEADER + len;
            Ok(if input.len() < total {
                Framed::Want(total)
            } else {
                Framed::Whole(total)
            })
        }
        _ => Ok(Framed::Want(HEADER)),
    }
}

/// A key with its schedule, and its iv, for the time of one call.
pub(super) struct AeadKey {
    key: LessSafeKey,
    iv: [u8; IV],
}

impl AeadKey {
    pub(super) fn new(suite: Suite, key: &[u8], iv: &[u8; IV]) -> Result<Self, Error> {
        let key = UnboundKey::new(suite.aead(), key)
            .map_err(|_| Error::Internal("the AEAD refused a key of its own length"))?;
        Ok(Self {
            key: LessSafeKey::new(key),
            iv: *iv,
        })
    }

    /// RFC 8446 section 5.3: the sequence number, big endian and padded left, xor the iv.
    fn nonce(&self, seq: u64) -> Nonce {
        let mut nonce = self.iv;
        for (byte, seq) in nonce[IV - 8..].iter_mut().zip(seq.to_be_bytes()) {
            *byte ^= seq;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    /// Opens one whole record in place. Returns the inner content type and the content's length;
    /// the content begins behind the header.
    pub(super) fn open(&self, seq: u64, record: &mut [u8]) -> Result<(u8, usize), Error> {
        let (header, body) = record.split_at_mut(HEADER);
        let plain = self
            .key
            .open_in_place(self.nonce(seq), Aad::from(&*header), body)
            //= RFC 8446 section 5.2: If the decryption fails, the receiver MUST terminate the connection with a "bad_record_mac" alert.
            .map_err(|_| Error::record(Alert::BAD_RECORD_MAC, "a record that does not decrypt"))?;
        // The type is the last byte that is not padding.
        //= RFC 8446 section 5.4: If a receiving implementation does not find a non-zero octet in the cleartext, it MUST terminate the connection with an "unexpected_message" alert.
        let Some(end) = plain.iter().rposition(|byte| *byte != 0) else {
            return Err(Error::record(
                Alert::UNEXPECTED_MESSAGE,
                "a record of padding without a content type",
            ));
        };
        //= RFC 8446 section 5.4: the full encoded TLSInnerPlaintext MUST NOT exceed 2^14 + 1 octets.
        if plain.len() > FRAGMENT_MAX + 1 {
            return Err(Error::record(
                Alert::RECORD_OVERFLOW,
                "content above 16,384 bytes",
            ));
        }
        Ok((plain[end], end))
    }

    /// Appends one record whose content `fill` appends. `len` is the content's length, at most
    /// [`FRAGMENT_MAX`].
    pub(super) fn seal(
        &self,
        seq: u64,
        typ: u8,
        len: usize,
        out: &mut Vec<u8>,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Error> {
        let body_len = len + 1 + TAG;
        let [high, low] = u16::try_from(body_len)
            .map_err(|_| Error::Internal("a fragment above the record limit"))?
            .to_be_bytes();
        let header = [APPLICATION_DATA, 3, 3, high, low];
        out.reserve(HEADER + body_len);
        out.extend_from_slice(&header);
        let start = out.len();
        fill(out);
        debug_assert_eq!(
            out.len() - start,
            len,
            "the fragment is as long as announced"
        );
        out.push(typ);
        let nonce = self.nonce(seq);
        let sealed =
            self.key
                .seal_in_place_separate_tag(nonce, Aad::from(header), &mut out[start..]);
        let Ok(tag) = sealed else {
            // Content in the clear must not reach the peer.
            out.truncate(start - HEADER);
            return Err(Error::Internal("the AEAD refused to seal"));
        };
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }
}

/// Appends an alert record in the clear, for the time before keys exist.
pub(super) fn plain_alert(alert: Alert, out: &mut Vec<u8>) {
    out.extend_from_slice(&[ALERT, 3, 3, 0, 2, 2, alert.0]);
}
