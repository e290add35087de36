//! Bytes on disk, as `docs/commit-log.md` gives them: encoding and checking, no files.
//!
//! Invariant: nothing validates but what this log wrote at this place in this life of the segment.
//! The checksum is seeded with the log's random id and covers epoch, place and first offset, so a
//! block of another log, of a former life of the segment or from another place is never taken.

use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use super::api::Offset;
use super::block::BlockBuf;
use super::options::BLOCK_BYTES;

/// The version that this program reads and writes.
pub(crate) const VERSION: u32 = 1;
/// Length of the control file: two slots of a block each.
pub(crate) const CONTROL_BYTES: u64 = 2 * BLOCK_BYTES as u64;
/// The control file's name.
pub(crate) const CONTROL_NAME: &str = "control";
/// What stands in front of a batch's records.
pub(crate) const BATCH_HEADER_BYTES: usize = 40;
/// What stands in front of a record's body.
pub(crate) const RECORD_HEADER_BYTES: usize = 12;
/// What a batch of one record adds to its body.
pub(crate) const OVERHEAD: usize = BATCH_HEADER_BYTES + RECORD_HEADER_BYTES;

const CONTROL_MAGIC: [u8; 8] = *b"RKRYCTRL";
const SEGMENT_MAGIC: [u8; 8] = *b"RKRYSEGM";
const BATCH_MAGIC: [u8; 4] = *b"RKBA";
const SEGMENT_PREFIX: &str = "segment-";

/// The file of a slot. Its name stays while its lives go by.
pub(crate) fn segment_name(slot: u32) -> String {
    format!("{SEGMENT_PREFIX}{slot:06}")
}

/// The slot of a file, where the name is a segment's.
pub(crate) fn segment_slot(name: &str) -> Option<u32> {
    let digits = name.strip_prefix(SEGMENT_PREFIX)?;
    let slot = digits.parse().ok()?;
    (segment_name(slot) == name).then_some(slot)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// What a block that should hold a header turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Block<T> {
    /// Sound.
    Valid(T),
    /// Never written.
    Zero,
    /// Sound, of another format version.
    Version(u32),
    /// Torn or damaged.
    Invalid,
}

/// Where a log stands, kept in two slots that are written in turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Control {
    /// Drawn at random when the log is made.
    pub(crate) log_id: u64,
    /// Grows by one with each write; its parity is the slot.
    pub(crate) generation: u64,
    /// The store is durable below.
    pub(crate) watermark: Offset,
    /// Epoch of the oldest segment whose records count.
    pub(crate) oldest: u64,
    /// Epoch of the newest segment at the time of writing: it must still be there.
    pub(crate) newest: u64,
    /// The durable end at the time of writing: the log must still reach it.
    pub(crate) end: Offset,
    /// Length of every segment file.
    pub(crate) segment_bytes: u64,
}

impl Control {
    /// Where this generation stands in the file.
    pub(crate) fn position(&self) -> u64 {
        (self.generation % 2) * BLOCK_BYTES as u64
    }

    pub(crate) fn encode(&self) -> BlockBuf {
        encode_block(
            CONTROL_MAGIC,
            0,
            &[
                self.log_id,
                self.generation,
                self.watermark.0,
                self.oldest,
                self.newest,
                self.end.0,
                self.segment_bytes,
            ],
        )
    }

    pub(crate) fn decode(block: &[u8]) -> Block<Self> {
        decode_block(block, CONTROL_MAGIC, |_| 0).map(
            |[
                log_id,
                generation,
                watermark,
                oldest,
                newest,
                end,
                segment_bytes,
            ]| Self {
                log_id,
                generation,
                watermark: Offset(watermark),
                oldest,
                newest,
                end: Offset(end),
                segment_bytes,
            },
        )
    }
}

/// The first block of a segment: which life it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// The log it belongs to.
    pub(crate) log_id: u64,
    /// Grows by one from segment to segment; never used twice.
    pub(crate) epoch: u64,
    /// Offset of its first record; also where the segment before it ends.
    pub(crate) base: Offset,
    /// Length of the file.
    pub(crate) segment_bytes: u64,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> BlockBuf {
        encode_block(
            SEGMENT_MAGIC,
            self.log_id,
            &[self.log_id, self.epoch, self.base.0, self.segment_bytes],
        )
    }

    pub(crate) fn decode(block: &[u8]) -> Block<Self> {
        decode_block(block, SEGMENT_MAGIC, |log_id| log_id).map(
            |[log_id, epoch, base, segment_bytes]| Self {
                log_id,
                epoch,
                base: Offset(base),
                segment_bytes,
            },
        )
    }
}

impl<T> Block<T> {
    fn map<U>(self, f: impl FnOnce(T) -> U) -> Block<U> {
        match self {
            Self::Valid(inner) => Block::Valid(f(inner)),
            Self::Zero => Block::Zero,
            Self::Version(found) => Block::Version(found),
            Self::Invalid => Block::Invalid,
        }
    }
}

/// Magic, version, checksum, then words; the rest zero. The same for control and segment, and for
/// every version to come, so that another version is told from damage.
fn encode_block(magic: [u8; 8], seed: u64, words: &[u64]) -> BlockBuf {
    let mut buf = BlockBuf::new(BLOCK_BYTES);
    let block = buf.bytes_mut();
    block[..8].copy_from_slice(&magic);
    block[8..12].copy_from_slice(&VERSION.to_le_bytes());
    for (word, place) in words.iter().zip(block[24..].as_chunks_mut::<8>().0) {
        *place = word.to_le_bytes();
    }
    let sum = block_checksum(block, seed);
    block[16..24].copy_from_slice(&sum.to_le_bytes());
    buf
}

fn decode_block<const N: usize>(
    block: &[u8],
    magic: [u8; 8],
    seed: impl FnOnce(u64) -> u64,
) -> Block<[u64; N]> {
    if block.iter().all(|byte| *byte == 0) {
        return Block::Zero;
    }
    let (Some(version), Some(sum), Some(first)) =
        (u32_at(block, 8), u64_at(block, 16), u64_at(block, 24))
    else {
        return Block::Invalid;
    };
    if !block.starts_with(&magic) || sum != block_checksum(block, seed(first)) {
        return Block::Invalid;
    }
    if version != VERSION {
        return Block::Version(version);
    }
    let mut words = [0; N];
    for (word, place) in words.iter_mut().zip(block[24..].as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*place);
    }
    Block::Valid(words)
}

/// Of everything but the checksum's own eight bytes.
fn block_checksum(block: &[u8], seed: u64) -> u64 {
    let mut hash = Xxh3::with_seed(seed);
    hash.update(&block[..16]);
    hash.update(&block[24..]);
    hash.digest()
}

/// The life of a segment that a batch must belong to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) log_id: u64,
    pub(crate) epoch: u64,
}

/// A batch's header, not yet checked against its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    /// Bytes in use, this header included.
    pub(crate) length: usize,
    /// Offset of the first record.
    pub(crate) base: Offset,
    /// Number of records, at least one.
    pub(crate) count: u32,
}

impl BatchHeader {
    /// Reads the header of a batch that claims to be of this life and at this position, and to fit
    /// in `room` bytes. Cheap, and proves nothing: [`check_batch`] does.
    pub(crate) fn peek(bytes: &[u8], life: Life, position: u64, room: u64) -> Option<Self> {
        let length = u32_at(bytes, 4)?;
        let count = u32_at(bytes, 32)?;
        let sound = bytes.starts_with(&BATCH_MAGIC)
            && u64_at(bytes, 16)? == life.epoch
            && u64::from(u32_at(bytes, 36)?) == position / BLOCK_BYTES as u64
            && u64::from(length) <= room
            && count > 0;
        let length = length as usize;
        (sound && length >= OVERHEAD).then_some(Self {
            length,
            base: Offset(u64_at(bytes, 24)?),
            count,
        })
    }

    /// Bytes on disk.
    pub(crate) fn padded(&self) -> u64 {
        padded(self.length) as u64
    }

    /// Offset of the record after the batch.
    pub(crate) fn end(&self) -> Offset {
        self.base.plus(u64::from(self.count))
    }
}

fn padded(length: usize) -> usize {
    length.next_multiple_of(BLOCK_BYTES)
}

/// True where `bytes`, exactly a batch by its header, is sound down to the last record.
pub(crate) fn check_batch(bytes: &[u8], header: &BatchHeader, life: Life) -> bool {
    bytes.len() == header.length
        && u64_at(bytes, 8) == Some(xxh3_64_with_seed(&bytes[16..], life.log_id))
        && {
            let mut records = Records::of(bytes);
            let count = records.by_ref().count();
            count == header.count as usize && records.rest.is_empty()
        }
}

/// The records of a sound batch: key and body.
pub(crate) struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    pub(crate) fn of(batch: &'a [u8]) -> Self {
        Self {
            rest: batch.get(BATCH_HEADER_BYTES..).unwrap_or_default(),
        }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = (u64, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = u32_at(self.rest, 0)? as usize;
        let key = u64_at(self.rest, 4)?;
        let body = self.rest.get(RECORD_HEADER_BYTES..)?.get(..length)?;
        self.rest = &self.rest[RECORD_HEADER_BYTES + length..];
        Some((key, body))
    }
}

/// A batch in the making: records first, its header when its place is known.
#[derive(Debug)]
pub(crate) struct Batch {
    buf: BlockBuf,
    length: usize,
    count: u32,
}

impl Batch {
    /// Room for `bytes_max`, a multiple of the block.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            buf: BlockBuf::new(bytes_max),
            length: BATCH_HEADER_BYTES,
            count: 0,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.length = BATCH_HEADER_BYTES;
        self.count = 0;
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// True where a body of `bytes` still goes in.
    pub(crate) fn fits(&self, bytes: usize) -> bool {
        bytes
            <= self
                .buf
                .bytes()
                .len()
                .saturating_sub(self.length + RECORD_HEADER_BYTES)
    }

    /// Adds a record that [`fits`](Self::fits); false where it does not.
    #[must_use]
    pub(crate) fn push(&mut self, key: u64, body: &[u8]) -> bool {
        let Ok(bytes) = u32::try_from(body.len()) else {
            return false;
        };
        if !self.fits(body.len()) {
            return false;
        }
        let (head, rest) = self.buf.bytes_mut()[self.length..].split_at_mut(RECORD_HEADER_BYTES);
        head[..4].copy_from_slice(&bytes.to_le_bytes());
        head[4..].copy_from_slice(&key.to_le_bytes());
        rest[..body.len()].copy_from_slice(body);
        self.length += RECORD_HEADER_BYTES + body.len();
        self.count += 1;
        true
    }

    /// Bytes on disk.
    pub(crate) fn padded(&self) -> u64 {
        padded(self.length) as u64
    }

    /// Fills in the header for this place and gives the blocks to write.
    pub(crate) fn seal(&mut self, life: Life, position: u64, base: Offset) -> &[u8] {
        let (length, count) = (self.length, self.count);
        let block = (position / BLOCK_BYTES as u64) as u32;
        let bytes = self.buf.bytes_mut();
        bytes[..4].copy_from_slice(&BATCH_MAGIC);
        bytes[4..8].copy_from_slice(&(length as u32).to_le_bytes());
        bytes[16..24].copy_from_slice(&life.epoch.to_le_bytes());
        bytes[24..32].copy_from_slice(&base.0.to_le_bytes());
        bytes[32..36].copy_from_slice(&count.to_le_bytes());
        bytes[36..40].copy_from_slice(&block.to_le_bytes());
        let sum = xxh3_64_with_seed(&bytes[16..length], life.log_id);
        bytes[8..16].copy_from_slice(&sum.to_le_bytes());
        let padded = padded(length);
        // The buffer's former content is not ours to leave on disk.
        bytes[length..padded].fill(0);
        &bytes[..padded]
    }
}

#[cfg(test)]
mod tests;
