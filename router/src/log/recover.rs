//! What is on disk when a log is opened: its end, or the reason why it must not be opened.
//!
//! A batch is written only after the one before it is durable, so a crash can tear the last batch
//! and no other. Hence an unsound place is the clean end of the log only where nothing later is
//! known: no sound batch of the same life after it, no later segment that continues beyond it, and
//! no durable end above it in the control file. Anything else is damage, and refused.
//!
//! Reads only. The one thing it asks of the disk besides is a sync of what it found sound.

use std::io;
use std::sync::Arc;

use super::api::{LogError, Offset};
use super::disk::{Disk, ReadAt};
use super::format::{
    Block, CONTROL_BYTES, CONTROL_NAME, Control, Life, SegmentHeader, VERSION, segment_name,
    segment_slot,
};
use super::options::BLOCK_BYTES;
use super::scan::Scan;

/// A segment whose records count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) slot: u32,
    pub(crate) epoch: u64,
    pub(crate) base: Offset,
}

/// A log as it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) control: Control,
    /// Oldest first, epochs without a gap; the last one may go on at `position`.
    pub(crate) live: Vec<Segment>,
    /// Slots free to be written over.
    pub(crate) spares: Vec<u32>,
    pub(crate) end: Offset,
    pub(crate) position: u64,
    /// The last commit was cut off.
    pub(crate) torn: bool,
}

const RESTORE: &str = "Restore the directory from a copy, or move it away to begin an empty log: \
                       what it held above the store's watermark is then lost";
const FOREIGN: &str = "Move the file out of the directory if it does not belong there";

struct Slot {
    slot: u32,
    header: Block<SegmentHeader>,
}

/// Finds the log, or `None` where the directory holds none.
pub(crate) fn recover(disk: &Arc<dyn Disk>) -> Result<Option<Found>, LogError> {
    Recovery {
        disk: disk.as_ref(),
    }
    .run()
}

struct Recovery<'a> {
    disk: &'a dyn Disk,
}

impl Recovery<'_> {
    fn run(&self) -> Result<Option<Found>, LogError> {
        let names = self.disk.list().map_err(|e| self.io("listing", "", e))?;
        let slots: Vec<u32> = names.iter().filter_map(|name| segment_slot(name)).collect();
        let Some(control) = self.control(&names, &slots)? else {
            return Ok(None);
        };
        let slots = self.slots(&slots, &control)?;
        let live = self.live(&slots, &control)?;
        let (end, position, torn) = self.scan(&live, &control)?;
        let spares = slots
            .iter()
            .map(|slot| slot.slot)
            .filter(|slot| !live.iter().any(|segment| segment.slot == *slot))
            .collect();
        self.settle(live.last())?;
        Ok(Some(Found {
            control,
            live,
            spares,
            end,
            position,
            torn,
        }))
    }

    /// After a kill what was read may be in the page cache or the device's cache only. It is about
    /// to be acted upon, so it is made durable first.
    fn settle(&self, last: Option<&Segment>) -> Result<(), LogError> {
        let names = [
            Some(CONTROL_NAME.to_owned()),
            last.map(|last| segment_name(last.slot)),
        ];
        for name in names.into_iter().flatten() {
            self.disk
                .sync(&name)
                .map_err(|e| self.io("syncing", &name, e))?;
        }
        Ok(())
    }

    fn control(&self, names: &[String], slots: &[u32]) -> Result<Option<Control>, LogError> {
        let damaged = |what: &str| self.damaged(CONTROL_NAME, 0, what.into(), RESTORE);
        if !names.iter().any(|name| name == CONTROL_NAME) {
            return match slots.is_empty() {
                true => Ok(None),
                false => Err(damaged("the file is missing, yet there are segments")),
            };
        }
        self.check_length(CONTROL_NAME, CONTROL_BYTES)?;
        let file = self.open(CONTROL_NAME)?;
        let mut best: Option<Control> = None;
        let mut zero = 0;
        for position in [0, BLOCK_BYTES as u64] {
            match Control::decode(&self.block(&*file, CONTROL_NAME, position)?) {
                Block::Valid(found) if found.position() == position => {
                    best = best
                        .into_iter()
                        .chain([found])
                        .max_by_key(|control| control.generation);
                }
                Block::Version(found) => return Err(self.version(CONTROL_NAME, found)),
                Block::Zero => zero += 1,
                Block::Valid(_) | Block::Invalid => {}
            }
        }
        match best {
            Some(control) => Ok(Some(control)),
            // The crash came between making the file and writing it: nothing was ever acked. The
            // first write may be torn, but it goes to the second slot, so the first is zero.
            None if zero > 0 && slots.is_empty() => Ok(None),
            None => Err(damaged("neither of its two slots is sound")),
        }
    }

    fn slots(&self, slots: &[u32], control: &Control) -> Result<Vec<Slot>, LogError> {
        let read = |&slot: &u32| {
            let name = segment_name(slot);
            self.check_length(&name, control.segment_bytes)?;
            let file = self.open(&name)?;
            let header = SegmentHeader::decode(&self.block(&*file, &name, 0)?);
            match header {
                Block::Version(found) => return Err(self.version(&name, found)),
                Block::Valid(found) if found.log_id != control.log_id => {
                    let what = format!(
                        "the segment belongs to log {:016x}, not to {:016x}",
                        found.log_id, control.log_id
                    );
                    return Err(self.damaged(&name, 0, what, FOREIGN));
                }
                _ => {}
            }
            Ok(Slot { slot, header })
        };
        slots.iter().map(read).collect()
    }

    /// The segments from the oldest on, none missing.
    fn live(&self, slots: &[Slot], control: &Control) -> Result<Vec<Segment>, LogError> {
        let mut live: Vec<Segment> = slots
            .iter()
            .filter_map(|Slot { slot, header }| match header {
                Block::Valid(header) => Some(Segment {
                    slot: *slot,
                    epoch: header.epoch,
                    base: header.base,
                }),
                _ => None,
            })
            .filter(|segment| segment.epoch >= control.oldest)
            .collect();
        live.sort_unstable_by_key(|segment| segment.epoch);
        for (epoch, segment) in (control.oldest..).zip(&live) {
            if segment.epoch < epoch {
                let what = format!("a second segment with epoch {}", segment.epoch);
                return Err(self.damaged(&segment_name(segment.slot), 0, what, FOREIGN));
            }
            if segment.epoch > epoch {
                return Err(self.missing(slots, epoch));
            }
        }
        let next = control.oldest + live.len() as u64;
        if next <= control.newest {
            return Err(self.missing(slots, next));
        }
        self.check_unreadable(slots, next, control)?;
        Ok(live)
    }

    /// Blames a file with an unsound header, where there is one, for the missing segment.
    fn missing(&self, slots: &[Slot], epoch: u64) -> LogError {
        match slots.iter().find(|slot| slot.header == Block::Invalid) {
            Some(slot) => {
                let what =
                    format!("the header is damaged, and the segment of epoch {epoch} is missing");
                self.damaged(&segment_name(slot.slot), 0, what, RESTORE)
            }
            None => {
                let what = format!("the segment of epoch {epoch} is missing");
                self.damaged("", 0, what, RESTORE)
            }
        }
    }

    /// A header that is not sound was cut off while its segment was taken into use, and then no
    /// batch follows; or it was damaged later, and then batches of that life do.
    fn check_unreadable(
        &self,
        slots: &[Slot],
        next: u64,
        control: &Control,
    ) -> Result<(), LogError> {
        for slot in slots.iter().filter(|slot| slot.header == Block::Invalid) {
            let name = segment_name(slot.slot);
            let life = Life {
                log_id: control.log_id,
                epoch: next,
            };
            let mut scan = Scan::new(self.open(&name)?, life, control.segment_bytes);
            let found = scan
                .find_from(BLOCK_BYTES as u64)
                .map_err(|e| self.io("reading", &name, e))?;
            if let Some(position) = found {
                let what = format!(
                    "the header is damaged, and a sound batch of the segment follows at byte {position}"
                );
                return Err(self.damaged(&name, 0, what, RESTORE));
            }
        }
        Ok(())
    }

    /// Checks every live batch; gives the end, where it is, and whether a commit was cut off.
    fn scan(&self, live: &[Segment], control: &Control) -> Result<(Offset, u64, bool), LogError> {
        let mut end = live.first().map_or(control.end, |first| first.base);
        let mut position = BLOCK_BYTES as u64;
        let mut torn = false;
        for (index, segment) in live.iter().enumerate() {
            let name = segment_name(segment.slot);
            let io = |e| self.io("reading", &name, e);
            let life = Life {
                log_id: control.log_id,
                epoch: segment.epoch,
            };
            let mut scan = Scan::new(self.open(&name)?, life, control.segment_bytes);
            let next = live.get(index + 1).map(|next| next.base);
            // Beyond the next segment's base lies a commit that failed, and was told so.
            while next.is_none_or(|next| end < next)
                && let Some((header, _)) = scan.next_batch(end).map_err(io)?
            {
                end = header.end();
            }
            position = scan.position();
            let known = next.map_or(control.end, |next| next);
            if end < known || next.is_some_and(|next| end > next) {
                let what = format!(
                    "no sound batch with the record at offset {end}, though all below {known} were acked"
                );
                return Err(self.damaged(&name, position, what, RESTORE));
            }
            if next.is_none() {
                torn = scan.claimed().map_err(io)?;
                if let Some(later) = scan.find_from(position + BLOCK_BYTES as u64).map_err(io)? {
                    let what = format!(
                        "no sound batch with the record at offset {end}, though a sound batch follows at byte {later}"
                    );
                    return Err(self.damaged(&name, position, what, RESTORE));
                }
            }
        }
        Ok((end, position, torn))
    }

    fn check_length(&self, name: &str, expected: u64) -> Result<(), LogError> {
        let bytes = self
            .disk
            .bytes(name)
            .map_err(|e| self.io("reading the length of", name, e))?;
        if bytes == expected {
            return Ok(());
        }
        let what = format!("the file is {bytes} bytes long; it was made with {expected}");
        Err(self.damaged(name, bytes.min(expected), what, RESTORE))
    }

    fn open(&self, name: &str) -> Result<Box<dyn ReadAt>, LogError> {
        self.disk
            .open(name)
            .map_err(|e| self.io("opening", name, e))
    }

    fn block(&self, file: &dyn ReadAt, name: &str, position: u64) -> Result<Vec<u8>, LogError> {
        let mut block = vec![0; BLOCK_BYTES];
        file.read_exact_at(&mut block, position)
            .map_err(|e| self.io("reading", name, e))?;
        Ok(block)
    }

    fn io(&self, doing: &'static str, name: &str, source: io::Error) -> LogError {
        LogError::Io {
            doing,
            file: self.disk.path(name),
            source,
        }
    }

    fn version(&self, name: &str, found: u32) -> LogError {
        LogError::Version {
            file: self.disk.path(name),
            found,
            known: VERSION,
        }
    }

    fn damaged(&self, name: &str, position: u64, what: String, advice: &'static str) -> LogError {
        LogError::Damaged {
            file: self.disk.path(name),
            position,
            what,
            advice,
        }
    }
}
