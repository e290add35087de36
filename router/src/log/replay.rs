//! Reads the log back from an offset, each batch checked again on the way.

use std::collections::VecDeque;
use std::sync::Arc;

use super::api::{LogError, Offset, Partition, Record};
use super::disk::Disk;
use super::format::{Life, Records, segment_name};
use super::recover::Segment;
use super::scan::Scan;
use super::service::Shared;

const RETRY: &str = "Stop the server and start it again: the start checks the whole log";

/// The records from an offset to the end of the moment it was made.
pub(crate) struct Reader {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) log_id: u64,
    pub(crate) segment_bytes: u64,
    /// The segments to read, the one with `next` first.
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) next: Offset,
    pub(crate) end: Offset,
    pub(crate) scan: Option<Scan>,
    pub(crate) records: VecDeque<Record>,
}

impl Reader {
    /// Reads the next batch into `records`.
    fn load(&mut self) -> Result<(), LogError> {
        while self
            .segments
            .get(1)
            .is_some_and(|second| second.base <= self.next)
        {
            self.segments.pop_front();
            self.scan = None;
        }
        let Some(segment) = self.segments.front().copied() else {
            return Err(self.unreadable(None, 0));
        };
        let name = segment_name(segment.slot);
        let io = |source| LogError::Io {
            doing: "reading",
            file: self.disk.path(&name),
            source,
        };
        let mut expected = Some(self.next);
        let scan = match &mut self.scan {
            Some(scan) => scan,
            None => {
                let file = self.disk.open(&name).map_err(io)?;
                let life = Life {
                    log_id: self.log_id,
                    epoch: segment.epoch,
                };
                let scan = self.scan.insert(Scan::new(file, life, self.segment_bytes));
                expected = scan.skip_to(self.next).map_err(io)?;
                scan
            }
        };
        let position = scan.position();
        let batch = match expected {
            Some(expected) => scan.next_batch(expected).map_err(io)?,
            None => None,
        };
        let Some((header, bytes)) = batch else {
            return Err(self.unreadable(Some(segment), position));
        };
        let records = (header.base.0..).map(Offset).zip(Records::of(bytes));
        self.records = records
            .filter(|(offset, _)| *offset >= self.next && *offset < self.end)
            .map(|(offset, (key, body))| Record {
                partition: Partition::ONLY,
                offset,
                at_ms: 0,
                key,
                body: body.to_vec(),
            })
            .collect();
        self.next = header.end();
        Ok(())
    }

    /// The segment was recycled under the reader, or else damaged since the start.
    fn unreadable(&self, segment: Option<Segment>, position: u64) -> LogError {
        let oldest = self.shared.live().first().copied();
        match (segment, oldest) {
            (Some(segment), Some(oldest)) if segment.epoch >= oldest.epoch => LogError::Damaged {
                file: self.disk.path(&segment_name(segment.slot)),
                position,
                what: format!("no sound batch with the record at offset {}", self.next),
                advice: RETRY,
            },
            _ => LogError::Gone {
                asked: self.next,
                oldest: oldest.map_or(self.end, |oldest| oldest.base),
            },
        }
    }
}

impl Iterator for Reader {
    type Item = Result<Record, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.records.is_empty() && self.next < self.end {
            if let Err(error) = self.load() {
                self.next = self.end;
                return Some(Err(error));
            }
        }
        self.records.pop_front().map(Ok)
    }
}
