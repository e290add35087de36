//! Reads one life of one segment, batch by batch. Says where it stops; what that means is decided
//! by `recover` and `replay`.

use std::io;

use super::api::Offset;
use super::disk::ReadAt;
use super::format::{BATCH_HEADER_BYTES, BatchHeader, Life, check_batch};
use super::options::BLOCK_BYTES;

/// Read ahead by so much; longer batches are read whole.
const WINDOW_BYTES: u64 = 256 << 10;

/// A cursor over a segment's batches.
pub(crate) struct Scan {
    file: Box<dyn ReadAt>,
    life: Life,
    segment_bytes: u64,
    position: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl Scan {
    /// Starts behind the segment's header.
    pub(crate) fn new(file: Box<dyn ReadAt>, life: Life, segment_bytes: u64) -> Self {
        Self {
            file,
            life,
            segment_bytes,
            position: BLOCK_BYTES as u64,
            window: Vec::new(),
            window_at: 0,
        }
    }

    /// Where the next batch begins, or would.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The sound batch here that begins at `expected`, and steps over it; `None` where there is
    /// none, and then the cursor stays.
    pub(crate) fn next_batch(
        &mut self,
        expected: Offset,
    ) -> io::Result<Option<(BatchHeader, &[u8])>> {
        let position = self.position;
        match self.sound_at(position)? {
            Some(header) if header.base == expected => {
                self.position += header.padded();
                let bytes = self.bytes(position, header.length)?;
                Ok(Some((header, bytes)))
            }
            _ => Ok(None),
        }
    }

    /// Steps over the batches that end at or before `offset`, by their headers alone (they were
    /// checked when the log was opened); gives the first offset of the batch then under the cursor.
    pub(crate) fn skip_to(&mut self, offset: Offset) -> io::Result<Option<Offset>> {
        while let Some(header) = self.header_at(self.position)? {
            if header.end() > offset {
                return Ok(Some(header.base));
            }
            self.position += header.padded();
        }
        Ok(None)
    }

    /// True where a batch of this life claims to begin here, sound or not: the tail was torn
    /// rather than never written.
    pub(crate) fn claimed(&mut self) -> io::Result<bool> {
        Ok(self.header_at(self.position)?.is_some())
    }

    /// The first sound batch of this life at or after a position: proof that what lies before it
    /// was whole once.
    pub(crate) fn find_from(&mut self, mut position: u64) -> io::Result<Option<u64>> {
        while position < self.segment_bytes {
            if self.sound_at(position)?.is_some() {
                return Ok(Some(position));
            }
            position += BLOCK_BYTES as u64;
        }
        Ok(None)
    }

    fn header_at(&mut self, position: u64) -> io::Result<Option<BatchHeader>> {
        let room = self.segment_bytes.saturating_sub(position);
        if room < BLOCK_BYTES as u64 {
            return Ok(None);
        }
        let life = self.life;
        let bytes = self.bytes(position, BATCH_HEADER_BYTES)?;
        Ok(BatchHeader::peek(bytes, life, position, room))
    }

    fn sound_at(&mut self, position: u64) -> io::Result<Option<BatchHeader>> {
        let Some(header) = self.header_at(position)? else {
            return Ok(None);
        };
        let life = self.life;
        let bytes = self.bytes(position, header.length)?;
        Ok(check_batch(bytes, &header, life).then_some(header))
    }

    /// A range within the segment, through the window.
    fn bytes(&mut self, position: u64, length: usize) -> io::Result<&[u8]> {
        let end = position + length as u64;
        if position < self.window_at || end > self.window_at + self.window.len() as u64 {
            let want = WINDOW_BYTES
                .max(length as u64)
                .min(self.segment_bytes - position);
            self.window.resize(want as usize, 0);
            if let Err(error) = self.file.read_exact_at(&mut self.window, position) {
                self.window.clear();
                return Err(error);
            }
            self.window_at = position;
        }
        let from = (position - self.window_at) as usize;
        Ok(&self.window[from..from + length])
    }
}
