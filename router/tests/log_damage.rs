//! Damaged files: a cut-off last commit is the clean end, anything else is refused, and the refusal
//! says where. The bytes are changed at the places that `docs/commit-log.md` gives.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod log_support;

use std::fs;
use std::path::{Path, PathBuf};

use log_support::*;
use rookery_router::log::{self, Log, LogError, Offset, Recovered, WriterKind};

const BLOCK: usize = 4096;

/// A closed log of several segments with 600 records; gives the directory.
fn closed_log() -> tempfile::TempDir {
    log_of(600, true)
}

/// A log as a kill leaves it: the control file does not know the end. Made by putting back the
/// control file of a moment before.
fn log_of(records: u64, closed: bool) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (log, _, outcomes) = open(dir.path(), &small(WriterKind::Plain));
    append_and_wait(&log, &outcomes, 0..records - 1);
    let control = fs::read(dir.path().join("control")).unwrap();
    append_and_wait(&log, &outcomes, records - 1..records);
    log.close().unwrap();
    if !closed {
        fs::write(dir.path().join("control"), control).unwrap();
    }
    dir
}

fn reopen(dir: &Path) -> Result<Recovered, LogError> {
    let (sink, _outcomes) = gather();
    log::open(dir, &small(WriterKind::Plain), sink, &mut |_| ()).map(|(_, recovered)| recovered)
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Segment files in use by epoch: path and content.
fn segments(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = paths
        .filter(|path| path.to_string_lossy().contains("segment-"))
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .filter(|(_, bytes)| bytes.starts_with(b"RKRYSEGM"))
        .collect();
    found.sort_by_key(|(_, bytes)| word(bytes, 32));
    found
}

/// Where the batches of a segment begin, and their lengths.
fn batches(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = BLOCK;
    while at < bytes.len() && bytes[at..].starts_with(b"RKBA") {
        let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        found.push((at, length));
        at += length.next_multiple_of(BLOCK);
    }
    found
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// The refusal names this file and byte, and leaves every file as it was.
fn refused_at(dir: &Path, file: &Path, position: u64) {
    let before = snapshot(dir);
    let error = reopen(dir).unwrap_err();
    println!("{error}");
    let LogError::Damaged {
        file: blamed,
        position: at,
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!((blamed.as_path(), *at), (file, position), "{error}");
    assert_eq!(snapshot(dir), before, "a refusal changes nothing");
}

fn snapshot(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn a_last_commit_cut_off_is_the_clean_end() {
    let dir = log_of(600, false);
    let (path, bytes) = segments(dir.path()).pop().unwrap();
    let (at, length) = *batches(&bytes).last().unwrap();
    for cut in [at + 8, at + 20, at + length - 1] {
        let mut torn = bytes.clone();
        torn[cut] ^= 1;
        fs::write(&path, &torn).unwrap();
        let control = fs::read(dir.path().join("control")).unwrap();
        let recovered = reopen(dir.path()).unwrap();
        assert_eq!(recovered.end, Offset(599));
        fs::write(dir.path().join("control"), control).unwrap();
    }
    let (log, recovered, outcomes) = open(dir.path(), &small(WriterKind::Plain));
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(recovered.torn, Some((name, at as u64)));
    append_and_wait(&log, &outcomes, 599..700);
    check_replay(&log, 0, 700);
}

#[test]
fn a_lost_tail_that_the_control_file_knows_is_refused() {
    let dir = closed_log();
    let (path, bytes) = segments(dir.path()).pop().unwrap();
    let (at, length) = *batches(&bytes).last().unwrap();
    flip(&path, at + length - 1);
    refused_at(dir.path(), &path, at as u64);
}

#[test]
fn a_damaged_middle_is_refused_wherever_it_is() {
    let dir = log_of(600, false);
    let mut refused = 0;
    for (path, bytes) in segments(dir.path()) {
        let all = batches(&bytes);
        let last_of_log = path == segments(dir.path()).last().unwrap().0;
        for (at, length) in &all[..all.len() - usize::from(last_of_log)] {
            for byte in [at + 1, at + 9, at + 30, at + length / 2, at + length - 1] {
                flip(&path, byte);
                refused_at(dir.path(), &path, *at as u64);
                flip(&path, byte);
                refused += 1;
            }
        }
    }
    assert_eq!(reopen(dir.path()).unwrap().end, Offset(600), "whole again");
    println!("{refused} damages refused");
    assert!(
        refused > 60,
        "a log of 600 records has more batches than that"
    );
}

#[test]
fn a_damaged_header_is_refused() {
    let dir = log_of(600, false);
    for (path, _) in segments(dir.path()) {
        for byte in [0, 17, 40] {
            flip(&path, byte);
            refused_at(dir.path(), &path, 0);
            flip(&path, byte);
        }
    }
    reopen(dir.path()).unwrap();
}

#[test]
fn a_missing_or_truncated_segment_is_refused() {
    let dir = log_of(600, false);
    for (path, bytes) in segments(dir.path()) {
        let away = dir.path().join("away");
        fs::rename(&path, &away).unwrap();
        refused_at(dir.path(), &dir.path().join(""), 0);
        fs::rename(&away, &path).unwrap();
        for length in [0, 100, BLOCK, bytes.len() - 1] {
            fs::write(&path, &bytes[..length]).unwrap();
            refused_at(dir.path(), &path, length as u64);
        }
        fs::write(&path, &bytes).unwrap();
    }
    reopen(dir.path()).unwrap();
}

#[test]
fn a_copy_or_another_logs_segment_is_refused() {
    let (dir, other) = (log_of(600, false), closed_log());
    let (path, _) = segments(dir.path()).pop().unwrap();
    let copy = dir.path().join("segment-000900");
    fs::copy(&path, &copy).unwrap();
    let error = reopen(dir.path()).unwrap_err();
    assert!(
        error.to_string().contains("a second segment with epoch"),
        "{error}"
    );
    fs::copy(&segments(other.path())[0].0, &copy).unwrap();
    refused_at(dir.path(), &copy, 0);
    fs::remove_file(copy).unwrap();
    reopen(dir.path()).unwrap();
}

/// A sound block of a version to come: only the version and the checksum differ.
fn of_version(mut block: Vec<u8>, version: u32, seed: u64) -> Vec<u8> {
    block[8..12].copy_from_slice(&version.to_le_bytes());
    let mut hash = xxhash_rust::xxh3::Xxh3::with_seed(seed);
    hash.update(&block[..16]);
    hash.update(&block[24..BLOCK]);
    let sum = hash.digest().to_le_bytes();
    block[16..24].copy_from_slice(&sum);
    block
}

#[test]
fn another_version_is_named() {
    let dir = closed_log();
    let (path, bytes) = segments(dir.path()).swap_remove(0);
    let mut newer = of_version(bytes[..BLOCK].to_vec(), 9, word(&bytes, 24));
    newer.extend(&bytes[BLOCK..]);
    fs::write(&path, newer).unwrap();
    let error = reopen(dir.path()).unwrap_err();
    assert!(
        matches!(
            error,
            LogError::Version {
                found: 9,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
    fs::write(&path, bytes).unwrap();

    let control = dir.path().join("control");
    let bytes = fs::read(&control).unwrap();
    let newer = [
        of_version(bytes[..BLOCK].to_vec(), 2, 0),
        bytes[BLOCK..].to_vec(),
    ]
    .concat();
    fs::write(&control, newer).unwrap();
    let error = reopen(dir.path()).unwrap_err();
    assert!(
        matches!(
            error,
            LogError::Version {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn one_slot_of_the_control_file_is_enough_and_none_is_not() {
    let dir = closed_log();
    let control = dir.path().join("control");
    let whole = fs::read(&control).unwrap();
    for slot in 0..2 {
        flip(&control, slot * BLOCK + 40);
        assert_eq!(reopen(dir.path()).unwrap().end, Offset(600));
        fs::write(&control, &whole).unwrap();
    }
    flip(&control, 40);
    flip(&control, BLOCK + 40);
    refused_at(dir.path(), &control, 0);
    fs::write(&control, &whole[..BLOCK]).unwrap();
    refused_at(dir.path(), &control, BLOCK as u64);
    fs::remove_file(&control).unwrap();
    refused_at(dir.path(), &control, 0);
}

#[test]
fn a_fill_that_was_cut_off_leaves_nothing() {
    let dir = closed_log();
    let unfinished = dir.path().join("segment-000055.new");
    fs::write(&unfinished, [0; 100]).unwrap();
    assert_eq!(reopen(dir.path()).unwrap().end, Offset(600));
    assert!(!unfinished.exists());
}
