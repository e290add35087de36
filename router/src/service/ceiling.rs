//! The ceiling: a time, durable in the data directory, below which this node gives ids and stamps.
//!
//! A node must not give an id twice, also where it crashed and the clock was set back by that very moment.
//! An embedded log has every id that was given in it. Of a log that others consume this node sees a part; so
//! what it may give is reserved ahead, and a start goes on above all of it. The invariant: whatever was given
//! is of a time below the ceiling that the file has, or else the one that the store has of this node.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use xxhash_rust::xxh3::xxh3_64;

use super::error::StartError;
use super::skew::SKEW_MS_MAX;
use crate::ids;
use crate::repetitions::{NEAR_MS, STALE_MS};
use crate::store::Position;

/// How far ahead of the clock it is raised.
const AHEAD_MS: u64 = 15_000;
/// With less than this left it is raised again, ahead of need.
const LEFT_MS_MIN: u64 = 10_000;
/// What is left to what is given in one go, where ids run ahead of the clock: of ids, 4,096 in a ms; of
/// conversations' ids, 256.
const STEP_MS: u64 = 20;
/// How far ahead of the last one it is raised where ids run ahead of the clock. Little, so that a process
/// that crashes at every start does not get away from the clock.
const SPARE_MS: u64 = 200;
/// A stamp has 48 bits of time.
const MS_MAX: u64 = (1 << 48) - 1;
/// More than the file has.
const FILE_BYTES_MAX: u64 = 128;

// After a crash ids are so far ahead of their time. A record that was overtaken by its retry is known all the
// same: it is near where it does not look stale.
const _: () = assert!(AHEAD_MS + SKEW_MS_MAX + STALE_MS <= NEAR_MS);

/// See the module.
#[derive(Debug)]
pub(super) struct Ceiling {
    path: PathBuf,
    /// As the file has it, Unix ms.
    durable_ms: AtomicU64,
    /// The time of the last id or stamp that was given; at first, of what may have been before.
    given_ms: AtomicU64,
    raising: Mutex<()>,
}

impl Ceiling {
    /// Of a data directory, and of the node that the store knows. The caller holds the directory's lock.
    pub(super) fn open(dir: &Path, stored: Position) -> Result<Ceiling, StartError> {
        let path = dir.join("ceiling");
        let of_store = ids::unix_ms(stored.last_id).max(stored.last_hlc >> 16) + 1;
        let known_ms = of_store.max(read(&path)?).min(MS_MAX);
        Ok(Ceiling {
            path,
            durable_ms: AtomicU64::new(known_ms),
            given_ms: AtomicU64::new(known_ms),
            raising: Mutex::default(),
        })
    }

    /// As the store keeps it: no id or stamp of this or a later time was given.
    pub(super) fn position(&self) -> Position {
        let ms = self.durable_ms.load(Ordering::Relaxed);
        Position {
            next_offset: 0,
            last_id: ids::least_at(ms),
            last_hlc: ms << 16,
        }
    }

    /// Something of this time is given.
    pub(super) fn give(&self, ms: u64) {
        self.given_ms.fetch_max(ms, Ordering::Relaxed);
    }

    /// Whether the next ones may be given now.
    pub(super) fn is_above(&self, now_ms: u64) -> bool {
        self.left_ms(now_ms) > STEP_MS
    }

    /// Whether it is time to raise it, so that nobody waits for that later.
    pub(super) fn is_low(&self, now_ms: u64) -> bool {
        let ahead = self.given_ms.load(Ordering::Relaxed) > now_ms;
        let left_ms = self.left_ms(now_ms);
        left_ms < if ahead { SPARE_MS / 2 } else { LEFT_MS_MIN }
    }

    fn left_ms(&self, now_ms: u64) -> u64 {
        let next_ms = now_ms.max(self.given_ms.load(Ordering::Relaxed));
        self.durable_ms
            .load(Ordering::Relaxed)
            .saturating_sub(next_ms)
    }

    /// Raises it; durable when this returns. Only with a clock that is known to be right.
    pub(super) fn raise(&self, now_ms: u64) -> io::Result<()> {
        let _raising = self.raising.lock().unwrap_or_else(PoisonError::into_inner);
        let given_ms = self.given_ms.load(Ordering::Relaxed);
        let ms = (now_ms.saturating_add(AHEAD_MS)).max(given_ms.saturating_add(SPARE_MS));
        let ms = ms.min(MS_MAX);
        if ms > self.durable_ms.load(Ordering::Relaxed) {
            write(&self.path, ms)?;
            self.durable_ms.store(ms, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The time, and what tells whether it is whole.
fn line(ms: u64) -> String {
    format!("{ms} {:016x}\n", xxh3_64(&ms.to_be_bytes()))
}

/// 0 where there is none.
fn read(path: &Path) -> Result<u64, StartError> {
    let mut found = Vec::new();
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        file => file,
    };
    file.and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut found))
        .map_err(|source| StartError::DataDir {
            path: path.to_owned(),
            source,
        })?;
    let text = str::from_utf8(&found).unwrap_or_default();
    let ms = text.split(' ').next().and_then(|ms| ms.parse().ok());
    ms.filter(|ms| line(*ms) == text)
        .ok_or_else(|| StartError::Ceiling {
            path: path.to_owned(),
        })
}

fn write(path: &Path, ms: u64) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(line(ms).as_bytes())?;
    file.sync_data()?;
    fs::rename(&new, path)?;
    path.parent()
        .map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_790_000_000_000;

    fn open(dir: &Path) -> Ceiling {
        Ceiling::open(dir, Position::default()).unwrap()
    }

    fn durable_ms(ceiling: &Ceiling) -> u64 {
        ceiling.position().last_hlc >> 16
    }

    #[test]
    fn nothing_is_given_before_it_is_raised_and_it_is_raised_before_that_is_urgent() {
        let dir = tempfile::tempdir().unwrap();
        let ceiling = open(dir.path());
        assert!(!ceiling.is_above(NOW_MS) && ceiling.is_low(NOW_MS));
        ceiling.raise(NOW_MS).unwrap();
        assert!(ceiling.is_above(NOW_MS) && !ceiling.is_low(NOW_MS));
        let later_ms = NOW_MS + AHEAD_MS - LEFT_MS_MIN + 1;
        assert!(ceiling.is_above(later_ms) && ceiling.is_low(later_ms));
        assert!(!ceiling.is_above(NOW_MS + AHEAD_MS), "a clock that jumped");
        // As a start finds it, in the file or, where that is lost, in the store.
        let next = open(dir.path());
        assert_eq!(durable_ms(&next), NOW_MS + AHEAD_MS);
        assert!(!next.is_above(NOW_MS));
        let fresh = tempfile::tempdir().unwrap();
        let next = Ceiling::open(fresh.path(), ceiling.position()).unwrap();
        assert_eq!(durable_ms(&next), NOW_MS + AHEAD_MS + 1);
    }

    #[test]
    fn whoever_crashes_at_every_start_stays_near_the_clock() {
        let dir = tempfile::tempdir().unwrap();
        let mut now_ms = NOW_MS;
        for _ in 0..1_000 {
            let ceiling = open(dir.path());
            ceiling.raise(now_ms).unwrap();
            assert!(ceiling.is_above(now_ms) && !ceiling.is_low(now_ms));
            ceiling.give(durable_ms(&ceiling) - 1);
            now_ms += 2 * SPARE_MS;
        }
        let ahead_ms = durable_ms(&open(dir.path())) - now_ms;
        assert!(ahead_ms < AHEAD_MS + SPARE_MS, "{ahead_ms} ms ahead");
    }

    #[test]
    fn a_file_that_is_damaged_is_refused_with_a_sentence() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).raise(NOW_MS).unwrap();
        let path = dir.path().join("ceiling");
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[4] ^= 1;
        let long = [&whole[..], &[b' '; 200]].concat();
        for damaged in [b"", &whole[..9], &flipped, &long, b"\xff\xfe"] {
            fs::write(&path, damaged).unwrap();
            let said = Ceiling::open(dir.path(), Position::default())
                .unwrap_err()
                .to_string();
            assert!(said.contains("ceiling is damaged"), "{said}");
        }
        fs::write(&path, whole).unwrap();
        open(dir.path());
    }

    #[test]
    fn what_cannot_be_made_durable_is_not_given() {
        let dir = tempfile::tempdir().unwrap();
        let ceiling = open(dir.path());
        fs::create_dir(dir.path().join("ceiling.new")).unwrap();
        ceiling.raise(NOW_MS).unwrap_err();
        assert!(!ceiling.is_above(NOW_MS));
    }
}
