//! What an operator may choose about the embedded commit log, with its defaults and their bounds.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::api::LogError;

/// The unit of every write: batches and headers start and end on it.
pub const BLOCK_BYTES: usize = 4096;

/// Who writes the blocks. Both keep the same promise and pass the same tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriterKind {
    /// `pwrite` on an `O_DIRECT | O_DSYNC` descriptor.
    #[default]
    Plain,
    /// A `glommio` executor on the log's thread, writing through `DmaFile`.
    Glommio,
}

/// How a log is kept. The defaults suit a server; tests make the segments small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Who writes.
    pub writer: WriterKind,
    /// Length of a segment file. A multiple of [`BLOCK_BYTES`] with room for its header and two
    /// full batches; fixed when the log is made.
    pub segment_bytes: u64,
    /// Zero-filled segments kept ready, so that no commit waits for one.
    pub segments_spare: u32,
    /// Segment files at most, in use and spare: the bound of the log's disk space. At the bound
    /// appends are refused as [`StorageFull`](super::AppendError::StorageFull) until the watermark
    /// frees a segment.
    pub segments_max: u32,
    /// The longest body.
    pub record_bytes_max: usize,
    /// The longest group commit, header and padding included.
    pub batch_bytes_max: usize,
    /// Records waiting for their commit at most.
    pub queue_records_max: usize,
    /// Bytes of bodies waiting for their commit at most.
    pub queue_bytes_max: usize,
    /// How often room is looked for after the storage was full.
    pub retry_full: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            writer: WriterKind::Plain,
            segment_bytes: 64 << 20,
            segments_spare: 1,
            segments_max: 64,
            record_bytes_max: 256 << 10,
            batch_bytes_max: 1 << 20,
            queue_records_max: 64 << 10,
            queue_bytes_max: 64 << 20,
            retry_full: Duration::from_secs(1),
        }
    }
}

impl Options {
    /// How long a segment may be, bytes: its header and two batches fit in, and places in it are told in 32
    /// bits. A multiple of [`BLOCK_BYTES`] besides.
    pub fn segment_bytes_bounds(&self) -> RangeInclusive<u64> {
        let block = BLOCK_BYTES as u64;
        let max = u64::from(u32::MAX);
        block + 2 * self.batch_bytes_max as u64..=max - max % block
    }

    /// Refuses options under which some record could never be written into segments of so many
    /// bytes.
    pub(crate) fn check(&self, segment_bytes: u64) -> Result<(), LogError> {
        let block = BLOCK_BYTES as u64;
        let wrong = |what: String| Err(LogError::Options(what));
        if !segment_bytes.is_multiple_of(block)
            || segment_bytes > *self.segment_bytes_bounds().end()
        {
            return wrong(format!(
                "segment_bytes is {}; it must be a multiple of {block} below 4 GiB",
                segment_bytes
            ));
        }
        if !self.batch_bytes_max.is_multiple_of(BLOCK_BYTES) || self.batch_bytes_max == 0 {
            return wrong(format!(
                "batch_bytes_max is {}; it must be a multiple of {block}",
                self.batch_bytes_max
            ));
        }
        if segment_bytes < *self.segment_bytes_bounds().start() {
            return wrong(format!(
                "segment_bytes is {}; a header and two batches of {} need more",
                segment_bytes, self.batch_bytes_max
            ));
        }
        if self.record_bytes_max > self.batch_bytes_max.saturating_sub(super::format::OVERHEAD) {
            return wrong(format!(
                "record_bytes_max is {}; a batch of {} cannot hold such a record",
                self.record_bytes_max, self.batch_bytes_max
            ));
        }
        if self.segments_max < 2
            || self.queue_records_max == 0
            || self.queue_bytes_max < self.record_bytes_max
        {
            return wrong(
                "segments_max must be at least 2, queue_records_max at least 1, and \
                 queue_bytes_max at least record_bytes_max"
                    .into(),
            );
        }
        Ok(())
    }
}
