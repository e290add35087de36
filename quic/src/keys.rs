//! Packet protection of 1-RTT packets (RFC 9001 section 5) with `TLS_AES_128_GCM_SHA256`, the one suite that we
//! offer: keys as bytes, and the expanded form that lives for one call.
//!
//! Expanded AES keys are some 250 bytes each, so that a connection keeps bytes ([`Generation`], [`HeaderKey`]) and
//! expands at need, some 0.1 us. Invariant: who seals has a packet number of its own for each call.

use std::fmt;

use aws_lc_rs::aead::quic::{AES_128, HeaderProtectionKey};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use zeroize::Zeroize;

/// Bytes of the AEAD's tag.
pub(crate) const TAG: usize = 16;
/// Bytes of a traffic secret.
pub(crate) const SECRET: usize = 32;
const KEY: usize = 16;
const IV: usize = 12;

/// Packets that one key may seal; we change it long before.
//= RFC 9001 section 6.6: For AEAD_AES_128_GCM and AEAD_AES_256_GCM, the confidentiality limit is 2^23 encrypted packets
pub(crate) const SEALED_MAX: u32 = 1 << 23;
/// Packets after which we change the key.
pub(crate) const SEALED_UPDATE: u32 = 1 << 22;

/// A failure of the cryptographic library, or of bytes to be what they claim to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the packet protection refused")]
pub(crate) struct Refused;

/// One direction's traffic secret of one generation and what is expanded from it.
#[derive(Clone)]
#[repr(C)]
pub(crate) struct Generation {
    secret: [u8; SECRET],
    key: [u8; KEY],
    iv: [u8; IV],
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generation").finish_non_exhaustive()
    }
}

impl Generation {
    /// Bytes of [`Generation::write`].
    pub(crate) const BYTES: usize = SECRET + KEY + IV;

    pub(crate) fn new(secret: [u8; SECRET]) -> Result<Self, Refused> {
        let mut this = Self {
            secret,
            key: [0; KEY],
            iv: [0; IV],
        };
        let prk = this.prk();
        expand_label(&prk, b"quic key", &mut this.key)?;
        expand_label(&prk, b"quic iv", &mut this.iv)?;
        Ok(this)
    }

    /// RFC 9001 section 6.1.
    pub(crate) fn next(&self) -> Result<Self, Refused> {
        let mut secret = [0; SECRET];
        expand_label(&self.prk(), b"quic ku", &mut secret)?;
        Self::new(secret)
    }

    pub(crate) fn header_key(&self) -> Result<HeaderKey, Refused> {
        let mut key = HeaderKey([0; KEY]);
        expand_label(&self.prk(), b"quic hp", &mut key.0)?;
        Ok(key)
    }

    fn prk(&self) -> Prk {
        Prk::new_less_safe(HKDF_SHA256, &self.secret)
    }

    fn aead(&self) -> Result<LessSafeKey, Refused> {
        UnboundKey::new(&AES_128_GCM, &self.key)
            .map(LessSafeKey::new)
            .map_err(|_| Refused)
    }

    //= RFC 9001 section 5.3: The 62 bits of the reconstructed QUIC packet number in network byte order are left-padded with zeros to the size of the IV.
    fn nonce(&self, number: u64) -> Nonce {
        let mut nonce = self.iv;
        for (byte, number) in nonce[IV - 8..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= number;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    /// Seals `packet[header..]`, which is its payload, and appends the tag.
    pub(crate) fn seal(
        &self,
        number: u64,
        header: usize,
        packet: &mut Vec<u8>,
        from: usize,
    ) -> Result<(), Refused> {
        let (head, payload) = packet[from..].split_at_mut(header);
        let tag = self
            .aead()?
            .seal_in_place_separate_tag(self.nonce(number), Aad::from(&*head), payload)
            .map_err(|_| Refused)?;
        packet.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Opens the payload in place and tells its length. Where it refuses, `payload` is garbage.
    pub(crate) fn open(
        &self,
        number: u64,
        header: &[u8],
        payload: &mut [u8],
    ) -> Result<usize, Refused> {
        self.aead()?
            .open_in_place(self.nonce(number), Aad::from(header), payload)
            .map(|plain| plain.len())
            .map_err(|_| Refused)
    }

    /// Appends the bytes that [`Generation::read`] takes.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.secret);
        out.extend_from_slice(&self.key);
        out.extend_from_slice(&self.iv);
    }

    pub(crate) fn read(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let (secret, rest) = bytes.split_first_chunk()?;
        let (key, iv) = rest.split_first_chunk()?;
        Some(Self {
            secret: *secret,
            key: *key,
            iv: iv.try_into().ok()?,
        })
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.secret.zeroize();
        self.key.zeroize();
        self.iv.zeroize();
    }
}

/// One direction's header protection key. It stays the same through all key updates.
#[derive(Clone)]
#[repr(C)]
pub(crate) struct HeaderKey([u8; KEY]);

impl HeaderKey {
    pub(crate) const BYTES: usize = KEY;

    /// The mask for a packet with this sample of 16 bytes (RFC 9001 section 5.4.3).
    pub(crate) fn mask(&self, sample: &[u8]) -> Result<[u8; 5], Refused> {
        HeaderProtectionKey::new(&AES_128, &self.0)
            .and_then(|key| key.new_mask(sample))
            .map_err(|_| Refused)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; KEY] {
        &self.0
    }

    pub(crate) fn from_bytes(bytes: [u8; KEY]) -> Self {
        Self(bytes)
    }
}

impl Drop for HeaderKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand-Label with an empty context (RFC 8446 section 7.1).
fn expand_label(prk: &Prk, label: &[u8], out: &mut [u8]) -> Result<(), Refused> {
    const PREFIX: &[u8] = b"tls13 ";
    let [.., high, low] = out.len().to_be_bytes();
    let label_len = [(PREFIX.len() + label.len()) as u8];
    let info: [&[u8]; 5] = [&[high, low], &label_len, PREFIX, label, &[0]];
    prk.expand(&info, Length(out.len()))
        .and_then(|okm| okm.fill(out))
        .map_err(|_| Refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex<const N: usize>(text: &str) -> [u8; N] {
        let byte = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
        std::array::from_fn(byte)
    }

    /// RFC 9001 appendix A.1: the keys of a server's Initial packets are of this suite and expanded alike.
    #[test]
    fn keys_of_the_standard() {
        let server = Generation::new(hex(
            "3c199828fd139efd216c155ad844cc81fb82fa8d7446fa7d78be803acdda951b",
        ))
        .unwrap();
        assert_eq!(server.key, hex("cf3a5331653c364c88f0f379b6067e37"));
        assert_eq!(server.iv, hex("0ac1493ca1905853b0bba03e"));
        let header = server.header_key().unwrap();
        assert_eq!(header.0, hex("c206b8d9b9f0f37644430b490eeaa314"));
        // Appendix A.3: the sample of the server's Initial and its mask.
        let mask = header.mask(&hex::<16>("2cd0991cd25b0aac406a5816b6394100"));
        assert_eq!(mask, Ok(hex("2ec0d8356a")));
    }

    #[test]
    fn each_generation_has_its_own_keys_and_opens_only_its_own() {
        let first = Generation::new([7; SECRET]).unwrap();
        let second = first.next().unwrap();
        assert_ne!(first.key, second.key);
        let mut packet = b"headpayload".to_vec();
        first.seal(3, 4, &mut packet, 0).unwrap();
        let (head, payload) = packet.split_at(4);
        for (keys, number, opens) in [(&first, 3, true), (&first, 4, false), (&second, 3, false)] {
            let mut payload = payload.to_vec();
            let opened = keys.open(number, head, &mut payload);
            assert_eq!(opened.is_ok(), opens);
            if opens {
                assert_eq!(&payload[..7], b"payload");
            }
        }
    }
}
