//! Our connection ids: eight bytes that say the shard in the clear, and the slot to whoever has the key.
//!
//! ```text
//! byte 0      random, but congruent to the shard modulo the number of shards: a socket filter reads it
//! bytes 1-7   slot (32 bits) and check (24 bits), permuted under the key with byte 0
//! ```
//!
//! The check is bound to the slot's generation and to the id's sequence number, so that an id of a former connection
//! is recognized as one. Nothing is stored for an id, and nobody else can link two of a connection (RFC 9000
//! section 5.1). Invariant: with one key, a (slot, generation, sequence) has one id.

use std::fmt;

use aws_lc_rs::aead::quic::{AES_128, HeaderProtectionKey};
use aws_lc_rs::hmac;

/// Bytes of our connection ids.
pub const CID_BYTES: usize = 8;

/// Bytes of a stateless reset token (RFC 9000 section 10.3).
pub const TOKEN_BYTES: usize = 16;

/// 28 bits: a half of what is permuted.
const HALF: u64 = (1 << 28) - 1;
/// 24 bits.
const CHECK: u32 = (1 << 24) - 1;

/// Where a connection lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Below `shards`.
    pub shard: u8,
    /// The number of shards, at least 1.
    pub shards: u8,
    /// Of the shard's table.
    pub slot: u32,
    /// Differs each time that the slot is used.
    pub generation: u32,
}

/// What an id says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// The slot, which may be none.
    pub slot: u32,
    check: u32,
}

/// The keys of a process's ids and of its stateless resets. Kept over a restart, they let clients of the former
/// process know at once that it is gone.
pub struct CidKey {
    permutation: HeaderProtectionKey,
    check: HeaderProtectionKey,
    token: hmac::Key,
}

impl fmt::Debug for CidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CidKey").finish_non_exhaustive()
    }
}

impl CidKey {
    /// From 32 random bytes; `None` where the cryptographic library refuses.
    pub fn new(secret: &[u8; 32]) -> Option<Self> {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derive = |label: &[u8]| hmac::sign(&root, label);
        let aes =
            |label: &[u8]| HeaderProtectionKey::new(&AES_128, &derive(label).as_ref()[..16]).ok();
        Some(Self {
            permutation: aes(b"rookery cid permutation")?,
            check: aes(b"rookery cid check")?,
            token: hmac::Key::new(hmac::HMAC_SHA256, derive(b"rookery reset token").as_ref()),
        })
    }

    /// The id of a connection with this sequence number.
    pub fn cid(&self, place: &Place, sequence: u32) -> [u8; CID_BYTES] {
        let (check, random) = self.check(place.slot, place.generation, sequence);
        let first = first_byte(random, place.shard, place.shards);
        let plain = u64::from(place.slot) << 24 | u64::from(check);
        let [_, permuted @ ..] = self.permute(first, plain).to_be_bytes();
        let mut cid = [first; CID_BYTES];
        cid[1..].copy_from_slice(&permuted);
        cid
    }

    /// What an id says; garbage, which the check tells, where it is none of ours.
    pub fn read(&self, cid: &[u8; CID_BYTES]) -> Said {
        let [first, rest @ ..] = *cid;
        let permuted = rest
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte));
        let plain = self.permute_back(first, permuted);
        Said {
            slot: (plain >> 24) as u32,
            check: plain as u32 & CHECK,
        }
    }

    /// Whether what was read is the id of that connection with this sequence number.
    pub fn is_of(&self, said: Said, place: &Place, sequence: u32) -> bool {
        said.slot == place.slot
            && said.check == self.check(place.slot, place.generation, sequence).0
    }

    //= RFC 9000 section 10.3.2: A static key can be used across multiple connections to the same endpoint by generating the proof using a pseudorandom function that takes a static key and the connection ID chosen by the endpoint (see Section 5.1) as input.
    /// What a stateless reset for the id ends with.
    pub fn reset_token(&self, cid: &[u8]) -> [u8; TOKEN_BYTES] {
        first_bytes(hmac::sign(&self.token, cid).as_ref())
    }

    /// What nobody else can foretell, for PATH_CHALLENGE: `number` is used once by the connection.
    pub(crate) fn challenge(&self, place: &Place, number: u64) -> [u8; 8] {
        let mut context = hmac::Context::with_key(&self.token);
        context.update(b"path challenge");
        context.update(&place.slot.to_be_bytes());
        context.update(&place.generation.to_be_bytes());
        context.update(&number.to_be_bytes());
        first_bytes(context.sign().as_ref())
    }

    /// The check and a byte of randomness.
    fn check(&self, slot: u32, generation: u32, sequence: u32) -> (u32, u8) {
        let mut block = [0; 16];
        for (part, number) in block.chunks_exact_mut(4).zip([slot, generation, sequence]) {
            part.copy_from_slice(&number.to_be_bytes());
        }
        let [a, b, c, random, _] = mask(&self.check, block);
        (u32::from_be_bytes([0, a, b, c]), random)
    }

    /// A Feistel network of four rounds over two halves of 28 bits.
    fn permute(&self, tweak: u8, plain: u64) -> u64 {
        let (mut left, mut right) = (plain >> 28 & HALF, plain & HALF);
        for round in 0..4 {
            (left, right) = (right, left ^ self.round(tweak, round, right));
        }
        left << 28 | right
    }

    fn permute_back(&self, tweak: u8, permuted: u64) -> u64 {
        let (mut left, mut right) = (permuted >> 28 & HALF, permuted & HALF);
        for round in (0..4).rev() {
            (left, right) = (right ^ self.round(tweak, round, left), left);
        }
        left << 28 | right
    }

    fn round(&self, tweak: u8, round: u8, half: u64) -> u64 {
        let mut block = [0; 16];
        block[0] = tweak;
        block[1] = round;
        block[8..].copy_from_slice(&half.to_be_bytes());
        let [a, b, c, d, _] = mask(&self.permutation, block);
        u64::from(u32::from_be_bytes([a, b, c, d])) & HALF
    }
}

/// Five bytes of AES over a block.
fn mask(key: &HeaderProtectionKey, block: [u8; 16]) -> [u8; 5] {
    let mask = key.new_mask(&block);
    debug_assert!(mask.is_ok(), "a block is a sample");
    mask.unwrap_or_default()
}

/// The byte nearest to `random` from below that is congruent to the shard, or the shard's first.
fn first_byte(random: u8, shard: u8, shards: u8) -> u8 {
    let shards = shards.max(1);
    let down = random - random % shards;
    down.checked_add(shard).unwrap_or(shard)
}

fn first_bytes<const N: usize>(tag: &[u8]) -> [u8; N] {
    std::array::from_fn(|at| tag.get(at).copied().unwrap_or_default())
}

/// Appends a stateless reset for a datagram of `cause` bytes to an id that nobody has; nothing where it would not be
/// smaller than its cause. `random` is what it looks like.
//= RFC 9000 section 10.3: An endpoint MUST NOT send a Stateless Reset that is three times or more larger than the packet it receives to avoid being used for amplification.
//= RFC 9000 section 10.3.3: an endpoint MUST ensure that every Stateless Reset that it sends is smaller than the packet that triggered it, unless it maintains state sufficient to prevent looping.
pub fn put_stateless_reset(
    key: &CidKey,
    cid: &[u8; CID_BYTES],
    cause: usize,
    random: &[u8; 32],
    out: &mut Vec<u8>,
) -> bool {
    /// Below it, a receiver does not look for a token (RFC 9000 section 10.3).
    const BYTES_MIN: usize = 5 + TOKEN_BYTES;
    let len = cause.saturating_sub(1).min(random.len() + TOKEN_BYTES);
    if len < BYTES_MIN {
        return false;
    }
    out.push(0x40 | random[0] & 0x3f);
    out.extend_from_slice(&random[1..len - TOKEN_BYTES]);
    out.extend_from_slice(&key.reset_token(cid));
    true
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn key() -> CidKey {
        CidKey::new(&[5; 32]).unwrap()
    }

    proptest! {
        #[test]
        fn an_id_says_its_shard_and_slot_and_is_of_nobody_else(
            shard in 0_u8..7, slot: u32, generation: u32, sequence in 0_u32..u32::MAX, other in 1_u32..1_000,
        ) {
            let key = key();
            let place = Place { shard, shards: 7, slot, generation };
            let cid = key.cid(&place, sequence);
            prop_assert_eq!(cid[0] % 7, shard);
            let said = key.read(&cid);
            prop_assert_eq!(said.slot, slot);
            prop_assert!(key.is_of(said, &place, sequence));
            prop_assert!(!key.is_of(said, &place, sequence.wrapping_add(other)));
            let former = Place { generation: generation.wrapping_sub(other), ..place };
            prop_assert!(!key.is_of(said, &former, sequence));
            let next = CidKey::new(&[6; 32]).unwrap();
            prop_assert!(!next.is_of(next.read(&cid), &place, sequence));
        }

        #[test]
        fn the_permutation_is_one(tweak: u8, value in 0_u64..1 << 56) {
            let key = key();
            prop_assert_eq!(key.permute_back(tweak, key.permute(tweak, value)), value);
        }
    }

    #[test]
    fn ids_differ() {
        let key = key();
        let place = Place {
            shard: 1,
            shards: 2,
            slot: 9,
            generation: 3,
        };
        let ids: HashSet<_> = (0..1_000)
            .map(|sequence| key.cid(&place, sequence))
            .collect();
        assert_eq!(ids.len(), 1_000);
        let tokens: HashSet<_> = ids.iter().map(|cid| key.reset_token(cid)).collect();
        assert_eq!(tokens.len(), 1_000);
        assert_ne!(key.challenge(&place, 1), key.challenge(&place, 2));
    }

    //= test of RFC 9000 section 10.3: An endpoint MUST NOT send a Stateless Reset that is three times or more larger than the packet it receives to avoid being used for amplification.
    //= test of RFC 9000 section 10.3.3: an endpoint MUST ensure that every Stateless Reset that it sends is smaller than the packet that triggered it, unless it maintains state sufficient to prevent looping.
    #[test]
    fn a_reset_is_smaller_than_its_cause() {
        let key = key();
        for cause in 0..100 {
            let mut out = Vec::new();
            let said = put_stateless_reset(&key, &[1; 8], cause, &[0xff; 32], &mut out);
            assert_eq!(said, cause > 21, "{cause}");
            if said {
                assert!(out.len() < cause && out[0] & 0xc0 == 0x40);
                assert!(out.ends_with(&key.reset_token(&[1; 8])));
            }
        }
    }
}
