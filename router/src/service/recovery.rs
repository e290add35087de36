//! Brings the store up to the log before anybody is served.
//!
//! What the store says of itself may be ahead of what survived in it (see `store::fjall`), never
//! behind what it synced. So the replay starts at the watermark or the store's position, whichever
//! is lower, and writes every row again; only the seqs need care, and `sequencer` takes it.

use std::path::Path;
use std::sync::Arc;

use super::apply::{Applier, ApplyError};
use super::error::StartError;
use crate::log::{LogError, Offset, Partition, Record, Recovered, Replay, Replayed};
use crate::record;
use crate::store::{Position, Store, StoreError};

/// Records written at once.
const BATCH_RECORDS: usize = 1_024;

/// Replays, syncs, and moves the watermark to the log's end. Gives the position to serve from.
pub(crate) fn recover(
    log: &dyn Replayed,
    recovered: &Recovered,
    store: &Arc<dyn Store>,
    store_dir: &Path,
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
    let from = Offset(stored.next_offset.min(recovered.watermark.0));
    // The ids of the position count even where its offset does not: they only grow.
    let mut applier = Applier::new(Arc::clone(store), stored);
    count_again(log, from, &mut applier, store.as_ref(), store_dir)?;
    replay_all(log, from, &mut applier, store_dir)?;
    applier.position.next_offset = end.0;
    store.persist().map_err(|e| store_error(store_dir, &e))?;
    log.set_watermark(Partition::ONLY, end);
    Ok(applier.position)
}

/// First pass: what the heads count already and the second pass will bring again.
fn count_again(
    log: &dyn Replayed,
    from: Offset,
    applier: &mut Applier,
    store: &dyn Store,
    store_dir: &Path,
) -> Result<(), StartError> {
    for entry in replay(log, from, store_dir)? {
        let entry = entry.map_err(log_error)?;
        if let Ok(record::Record::Message(message)) = record::decode(&entry.body) {
            let id = message.conversation_id;
            applier
                .sequencer
                .observe(id, entry.offset.0, || store.head(id))
                .map_err(|e| store_error(store_dir, &e))?;
        }
    }
    applier
        .sequencer
        .rewind()
        .map_err(|e| store_damaged(store_dir, e.to_string()))
}

/// Second pass: every row again.
fn replay_all(
    log: &dyn Replayed,
    from: Offset,
    applier: &mut Applier,
    store_dir: &Path,
) -> Result<(), StartError> {
    let mut batch: Vec<Record> = Vec::with_capacity(BATCH_RECORDS);
    let mut entries = replay(log, from, store_dir)?;
    loop {
        batch.clear();
        for entry in entries.by_ref().take(BATCH_RECORDS) {
            batch.push(entry.map_err(log_error)?);
        }
        if batch.is_empty() {
            return Ok(());
        }
        applier.replay(&batch).map_err(|error| match error {
            ApplyError::Store(error) => store_error(store_dir, &error),
            ApplyError::Record { .. } => StartError::Log(error.to_string()),
            ApplyError::NoConversation { .. } => store_damaged(store_dir, error.to_string()),
        })?;
    }
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
