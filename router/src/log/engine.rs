//! The log's decisions about its files: where a batch goes, when a segment is taken into use, when
//! one is free again, and what a failed write means. No thread and no queue: `service` drives it,
//! and so do the tests, on a disk that loses power.
//!
//! Invariant: whatever the next write leaves behind, torn or whole, `recover` finds every record
//! below `end`, and nothing that was never appended.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::api::{AppendError, LogError, Offset};
use super::disk::Disk;
use super::format::{
    Batch, CONTROL_BYTES, CONTROL_NAME, Control, Life, SegmentHeader, segment_name,
};
use super::options::BLOCK_BYTES;
use super::recover::{Found, Segment, recover};
use super::writer::Writer;

/// Why a batch was not committed.
#[derive(Debug)]
pub(crate) enum CommitError {
    /// It needs a fresh segment and there is none yet. Nothing was written: try the same batch
    /// again after [`Engine::add_spare`].
    NoSpare,
    /// The write failed. The batch may be on disk, in part or whole, and is not part of the log.
    Failed(AppendError),
}

/// Makes the files of an empty log: the control file alone, its segments come after it.
pub(crate) fn create(
    disk: &Arc<dyn Disk>,
    log_id: u64,
    segment_bytes: u64,
) -> Result<Found, LogError> {
    let control = Control {
        log_id,
        generation: 1,
        oldest: 1,
        segment_bytes,
        ..Control::default()
    };
    let io = |source| LogError::Io {
        doing: "making the control file",
        file: disk.path(CONTROL_NAME),
        source,
    };
    disk.create_zeroed(CONTROL_NAME, CONTROL_BYTES, &mut |_| {
        ControlFlow::Continue(())
    })
    .map_err(io)?;
    disk.write(CONTROL_NAME, control.position(), control.encode().bytes())
        .map_err(io)?;
    Ok(Found {
        control,
        position: BLOCK_BYTES as u64,
        ..Found::default()
    })
}

/// What `recover` found, or a new log; true where it is new.
pub(crate) fn find_or_create(
    disk: &Arc<dyn Disk>,
    log_id: u64,
    segment_bytes: u64,
) -> Result<(Found, bool), LogError> {
    match recover(disk)? {
        Some(found) => Ok((found, false)),
        None => Ok((create(disk, log_id, segment_bytes)?, true)),
    }
}

/// The files of an open log.
pub(crate) struct Engine {
    disk: Arc<dyn Disk>,
    writer: Box<dyn Writer>,
    control: Control,
    live: Vec<Segment>,
    /// Where the next batch goes in the last live segment.
    position: u64,
    /// The last live segment takes no more: a write to it failed, or there is none.
    sealed: bool,
    spares: Vec<u32>,
    /// A slot whose header failed and whose file could not be removed: it may hold the next epoch,
    /// so no other may take that.
    stuck: Option<u32>,
    /// Segment files on disk, spares and live.
    files: u32,
    slot_next: u32,
    end: Offset,
}

impl Engine {
    /// Goes on where the log was found.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        mut writer: Box<dyn Writer>,
        found: Found,
    ) -> Result<Self, LogError> {
        if let Some(last) = found.live.last() {
            let name = segment_name(last.slot);
            writer.open(&name).map_err(|source| LogError::Io {
                doing: "opening for writing",
                file: disk.path(&name),
                source,
            })?;
        }
        let slots = found
            .live
            .iter()
            .map(|segment| segment.slot)
            .chain(found.spares.iter().copied());
        Ok(Self {
            slot_next: slots.max().map_or(0, |slot| slot + 1),
            files: (found.live.len() + found.spares.len()) as u32,
            disk,
            writer,
            control: found.control,
            sealed: found.live.is_empty(),
            live: found.live,
            position: found.position,
            spares: found.spares,
            stuck: None,
            end: found.end,
        })
    }

    /// The first offset that is not durable.
    pub(crate) fn end(&self) -> Offset {
        self.end
    }

    pub(crate) fn watermark(&self) -> Offset {
        self.control.watermark
    }

    pub(crate) fn segment_bytes(&self) -> u64 {
        self.control.segment_bytes
    }

    /// The segments that hold records, oldest first.
    pub(crate) fn live(&self) -> &[Segment] {
        &self.live
    }

    pub(crate) fn spares(&self) -> u32 {
        self.spares.len() as u32
    }

    /// Segment files on disk.
    pub(crate) fn files(&self) -> u32 {
        self.files
    }

    /// The slot that a new segment file is to get.
    pub(crate) fn slot_next(&self) -> u32 {
        self.slot_next
    }

    /// A file for [`slot_next`](Self::slot_next) was made.
    pub(crate) fn add_spare(&mut self, slot: u32) {
        self.slot_next = self.slot_next.max(slot + 1);
        self.files += 1;
        self.spares.push(slot);
    }

    /// Writes a batch durably behind the last one; gives the offset of its first record.
    pub(crate) fn commit(&mut self, batch: &mut Batch) -> Result<Offset, CommitError> {
        let full = self.position + batch.padded() > self.control.segment_bytes;
        if self.sealed || full {
            self.roll()?;
        }
        let Some(last) = self.live.last() else {
            return Err(CommitError::NoSpare);
        };
        let life = Life {
            log_id: self.control.log_id,
            epoch: last.epoch,
        };
        let base = self.end;
        let blocks = batch.seal(life, self.position, base);
        if let Err(error) = self.writer.write(self.position, blocks) {
            // What the segment holds here is unknown from now on. The next one's header says where
            // this one ends, so that the remains are never read.
            self.sealed = true;
            tracing::error!(file = %self.disk.path(&segment_name(last.slot)).display(),
                position = self.position, %error, "a commit failed; the segment is closed");
            return Err(CommitError::Failed(blame(&error)));
        }
        self.position += batch.padded();
        self.end = base.plus(u64::from(batch.count()));
        Ok(base)
    }

    /// Takes a spare segment into use, its header first.
    fn roll(&mut self) -> Result<(), CommitError> {
        let slot = self
            .stuck
            .take()
            .or_else(|| self.spares.pop())
            .ok_or(CommitError::NoSpare)?;
        let epoch = self
            .live
            .last()
            .map_or(self.control.oldest, |last| last.epoch + 1);
        let header = SegmentHeader {
            log_id: self.control.log_id,
            epoch,
            base: self.end,
            segment_bytes: self.control.segment_bytes,
        };
        let name = segment_name(slot);
        let begun = self
            .writer
            .open(&name)
            .and_then(|()| self.writer.write(0, header.encode().bytes()));
        if let Err(error) = begun {
            self.sealed = true;
            return Err(CommitError::Failed(self.discard(slot, &error)));
        }
        self.live.push(Segment {
            slot,
            epoch,
            base: self.end,
        });
        self.position = BLOCK_BYTES as u64;
        self.sealed = false;
        self.save(self.control);
        Ok(())
    }

    /// Gets rid of a segment whose header could not be written. Its epoch goes to another file, so
    /// this one must be gone first; if it cannot be removed it is tried again itself.
    fn discard(&mut self, slot: u32, error: &io::Error) -> AppendError {
        let name = segment_name(slot);
        tracing::error!(file = %self.disk.path(&name).display(), %error, "a segment could not be begun");
        match self.disk.remove(&name) {
            Ok(()) => self.files -= 1,
            Err(_) => self.stuck = Some(slot),
        }
        blame(error)
    }

    /// The store is durable below `offset`: says so in the control file and then frees the segments
    /// wholly below. False where the control file could not be written: nothing has changed.
    pub(crate) fn advance(&mut self, offset: Offset) -> bool {
        let watermark = offset.min(self.end);
        if watermark <= self.control.watermark {
            return true;
        }
        // A segment ends where the next begins; the last one stays.
        let ends = self.live.iter().skip(1).map(|next| next.base);
        let free = ends.take_while(|end| *end <= watermark).count();
        let oldest = self
            .live
            .get(free)
            .map_or(self.control.oldest, |segment| segment.epoch);
        if !self.save(Control {
            watermark,
            oldest,
            ..self.control
        }) {
            return false;
        }
        self.spares
            .extend(self.live.drain(..free).map(|segment| segment.slot));
        true
    }

    /// Lets go of everything but the writer, which panicked: it is not even dropped.
    pub(crate) fn abandon(self) {
        std::mem::forget(self.writer);
    }

    /// Records the durable end, so that the next start can tell a lost tail from a torn one.
    pub(crate) fn settle(&mut self) -> bool {
        self.control.end == self.end || self.save(self.control)
    }

    /// Writes the control file's other slot. A failure leaves the present one, which says less but
    /// nothing untrue; the next attempt goes to the same slot again.
    fn save(&mut self, control: Control) -> bool {
        let next = Control {
            generation: self.control.generation + 1,
            newest: self.live.last().map_or(control.newest, |last| last.epoch),
            end: self.end,
            ..control
        };
        match self
            .disk
            .write(CONTROL_NAME, next.position(), next.encode().bytes())
        {
            Ok(()) => {
                self.control = next;
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the log's control file could not be written");
                false
            }
        }
    }
}

/// Tells a full disk from a broken one.
pub(crate) fn blame(error: &io::Error) -> AppendError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => AppendError::StorageFull,
        _ => AppendError::Failed {
            reason: error.to_string(),
        },
    }
}
