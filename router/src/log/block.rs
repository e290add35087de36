//! Memory that direct I/O takes: aligned to the block, without `unsafe`.

use super::options::BLOCK_BYTES;

/// Bytes that begin on a block boundary: a longer allocation, of which the aligned part is used.
/// It never grows, so the boundary stays where it was found.
#[derive(Debug)]
pub(crate) struct BlockBuf {
    backing: Vec<u8>,
    start: usize,
    len: usize,
}

impl BlockBuf {
    /// `len` zero bytes.
    pub(crate) fn new(len: usize) -> Self {
        let backing = vec![0; len + BLOCK_BYTES];
        let start = backing.as_ptr().addr().wrapping_neg() % BLOCK_BYTES;
        Self {
            backing,
            start,
            len,
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.backing[self.start..self.start + self.len]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.backing[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_aligned_and_whole() {
        for len in [1, 511, 4096, 8192, 1 << 20] {
            let mut buf = BlockBuf::new(len);
            assert_eq!(buf.bytes().as_ptr().addr() % BLOCK_BYTES, 0, "length {len}");
            assert_eq!(buf.bytes_mut().len(), len);
        }
    }
}
