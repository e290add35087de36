//! Variable-length integers (RFC 9000 section 16), and the reader that every parser of this crate goes through.
//!
//! A [`Reader`] never copies and never allocates. Invariant: what it has given out lies in front of what it will
//! give out, and a call that answers `None` has read nothing that counts, since its caller gives up.

/// The largest value: 62 bits.
pub const MAX: u64 = (1 << 62) - 1;

/// Bytes that [`put`] writes for `value`.
pub const fn len(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// Appends `value` in its shortest form. A value above [`MAX`] is cut to it: none of ours is.
pub fn put(value: u64, out: &mut Vec<u8>) {
    debug_assert!(value <= MAX, "a number of more than 62 bits");
    let value = value.min(MAX);
    let bytes = value.to_be_bytes();
    match len(value) {
        1 => out.push(bytes[7]),
        2 => out.extend_from_slice(&[bytes[6] | 0x40, bytes[7]]),
        4 => out.extend_from_slice(&[bytes[4] | 0x80, bytes[5], bytes[6], bytes[7]]),
        _ => {
            out.extend_from_slice(&bytes);
            let first = out.len() - 8;
            out[first] |= 0xc0;
        }
    }
}

/// What is left of bytes that somebody else wrote.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes that are left.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }

    /// All that is left.
    pub(crate) fn take_rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// A variable-length integer, in any of its forms.
    pub(crate) fn varint(&mut self) -> Option<u64> {
        let first = *self.rest.first()?;
        let taken = self.bytes(1 << (first >> 6))?;
        let value = taken[1..]
            .iter()
            .fold(u64::from(first & 0x3f), |value, byte| {
                value << 8 | u64::from(*byte)
            });
        Some(value)
    }

    /// Bytes behind their length as a variable-length integer.
    pub(crate) fn prefixed(&mut self) -> Option<&'a [u8]> {
        let len = self.varint()?;
        self.bytes(usize::try_from(len).ok()?)
    }

    /// Drops zero bytes at the front and tells how many.
    pub(crate) fn skip_zeros(&mut self) -> usize {
        let zeros = self.rest.iter().take_while(|byte| **byte == 0).count();
        self.rest = &self.rest[zeros..];
        zeros
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9000 appendix A.1.
    #[test]
    fn the_examples_of_the_standard() {
        let examples: [(&[u8], u64); 5] = [
            (
                &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c],
                151_288_809_941_952_652,
            ),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ];
        for (bytes, value) in examples {
            assert_eq!(Reader::new(bytes).varint(), Some(value));
            let mut out = Vec::new();
            put(value, &mut out);
            assert_eq!(out.len(), len(value));
            assert_eq!(Reader::new(&out).varint(), Some(value));
            for end in 0..bytes.len() {
                assert_eq!(Reader::new(&bytes[..end]).varint(), None);
            }
        }
    }

    #[test]
    fn the_borders_between_lengths() {
        for border in [0, 0x3f, 0x40, 0x3fff, 0x4000, 0x3fff_ffff, 0x4000_0000, MAX] {
            let mut out = Vec::new();
            put(border, &mut out);
            assert_eq!(
                (out.len(), Reader::new(&out).varint()),
                (len(border), Some(border))
            );
        }
    }
}
