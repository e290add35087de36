//! The integrity tag of Retry packets (RFC 9001 section 5.8). Its keys are known to all: it tells damage, not forgery.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

const KEY: [u8; 16] = [
    0xbe, 0x0c, 0x69, 0x0b, 0x9f, 0x66, 0x57, 0x5a, 0x1d, 0x76, 0x6b, 0x54, 0xe3, 0x68, 0xc8, 0x4e,
];
const NONCE: [u8; 12] = [
    0x46, 0x15, 0x99, 0xd3, 0x5d, 0x63, 0x2b, 0xf2, 0x23, 0x98, 0x25, 0xbb,
];

/// The tag of a packet whose parts before the tag are `parts`, for a client that first sent to `original`.
pub(super) fn tag(original: &[u8], parts: &[&[u8]]) -> Option<[u8; 16]> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &KEY).ok()?);
    let mut pseudo = vec![original.len() as u8];
    pseudo.extend_from_slice(original);
    for part in parts {
        pseudo.extend_from_slice(part);
    }
    let nonce = Nonce::assume_unique_for_key(NONCE);
    let tag = key
        .seal_in_place_separate_tag(nonce, Aad::from(&pseudo), &mut [])
        .ok()?;
    tag.as_ref().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9001 appendix A.4.
    #[test]
    fn the_example_of_the_standard() {
        let original = [0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];
        let header = [
            0xff, 0, 0, 0, 1, 0, 8, 0xf0, 0x67, 0xa5, 0x50, 0x2a, 0x42, 0x62, 0xb5,
        ];
        let tag = tag(&original, &[&header, b"token"]).unwrap();
        let expected = [
            0x04, 0xa2, 0x65, 0xba, 0x2e, 0xff, 0x4d, 0x82, 0x90, 0x58, 0xfb, 0x3f, 0x0f, 0x24,
            0x96, 0xba,
        ];
        assert_eq!(tag, expected);
    }
}
