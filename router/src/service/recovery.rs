//! Brings the store up to the log before anybody is served.
//!
//! What the store says of itself may be ahead of what survived in it (see `store::fjall`), never
//! behind what it synced. So the replay starts at the watermark or the store's position, whichever
//! is lower, and writes every row again, the same ones.

use std::path::Path;
use std::sync::Arc;

use super::apply::{Applier, ApplyError};
use super::config::Config;
use super::entering::Entering;
use super::error::StartError;
use super::inbox::Inboxes;
use crate::log::{LogError, Offset, Partition, Record, Recovered, Replay, Replayed};
use crate::store::{Position, Reached, Store, StoreError};

/// Records written at once.
const BATCH_RECORDS: usize = 1_024;

/// Replays, syncs, and moves the watermark to the log's end. Gives the position to serve from.
pub(crate) fn recover(
    log: &dyn Replayed,
    recovered: &Recovered,
    store: &Arc<dyn Store>,
    store_dir: &Path,
    config: &Config,
) -> Result<Position, StartError> {
    let stored = store.position().map_err(|e| store_error(store_dir, &e))?;
    let end = log.end();
    if stored.next_offset > end.0 {
        return Err(StartError::LogBehindStore {
            path: store_dir.to_owned(),
            applied: stored.next_offset,
            end: end.0,
        });
    }
    let reached = store
        .reached(&[Partition::ONLY])
        .map_err(|e| store_error(store_dir, &e))?;
    let inbox = reached.first().map_or(Offset(0), |reached| reached.inbox);
    let from = Offset(stored.next_offset)
        .min(recovered.watermark)
        .min(inbox);
    // The ids of the position count even where its offset does not: they only grow.
    let inboxes = Arc::new(Inboxes::new(config.inbox_rows_max));
    let mut applier = Applier::new(Arc::clone(store), Arc::clone(&inboxes), stored);
    let (clock, failed) = (&config.clock, |e| store_error(store_dir, &e));
    let entering = Entering::new(Arc::clone(store), Arc::clone(&inboxes), Arc::clone(clock));
    let mut batch: Vec<Record> = Vec::with_capacity(BATCH_RECORDS);
    let mut entries = replay(log, from, store_dir)?;
    while next(&mut entries, &mut batch)? {
        applier
            .replay(&batch, clock.now_ms())
            .map_err(|error| match error {
                ApplyError::Store(error) => failed(error),
                ApplyError::Record { .. } | ApplyError::Key { .. } => {
                    StartError::Log(error.to_string())
                }
                ApplyError::NoConversation { .. } => store_damaged(store_dir, error.to_string()),
            })?;
        if inboxes.is_high() {
            entering.enter(true).map_err(failed)?;
        }
    }
    applier.position.next_offset = end.0;
    let all = Reached {
        next: end,
        inbox: end,
    };
    entering
        .enter(true)
        .and_then(|()| store.reach(&[(Partition::ONLY, all)], &applier.position))
        .map_err(failed)?;
    log.set_watermark(Partition::ONLY, end);
    Ok(applier.position)
}

/// The records that come next; false where there are none.
fn next(entries: &mut Replay, batch: &mut Vec<Record>) -> Result<bool, StartError> {
    batch.clear();
    for entry in entries.take(BATCH_RECORDS) {
        batch.push(entry.map_err(log_error)?);
    }
    Ok(!batch.is_empty())
}

fn replay(log: &dyn Replayed, from: Offset, store_dir: &Path) -> Result<Replay, StartError> {
    log.read_from(from).map_err(|error| match error {
        LogError::Gone { oldest, .. } => StartError::StoreBehindLog {
            path: store_dir.to_owned(),
            applied: from.0,
            oldest: oldest.0,
        },
        other => log_error(other),
    })
}

/// The log's own words say whose turn it is, and where.
pub(crate) fn log_error(error: LogError) -> StartError {
    StartError::Log(error.to_string())
}

/// A store that can't be opened or read.
pub(crate) fn store_error(store_dir: &Path, error: &StoreError) -> StartError {
    match error {
        StoreError::Version { found } => StartError::StoreVersion {
            path: store_dir.to_owned(),
            found: *found,
            expected: crate::store::LAYOUT_VERSION,
        },
        other => store_damaged(store_dir, other.to_string()),
    }
}

fn store_damaged(store_dir: &Path, reason: String) -> StartError {
    StartError::Store {
        path: store_dir.to_owned(),
        reason,
    }
}
