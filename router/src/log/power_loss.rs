//! The power is cut at every write that the log makes, whole or torn at sectors, life after life:
//! what was acked is there, in order, and nothing is there that was not appended.

#![expect(
    clippy::disallowed_methods,
    reason = "a test that waits for room looks again now and then"
)]

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::api::{AppendError, Log, Offset, Partition, Record, Replayed, Sink, Ticket};
use super::disk::Disk;
use super::engine::{CommitError, Engine, find_or_create};
use super::format::{Batch, segment_name};
use super::options::Options;
use super::recover::{Found, recover};
use super::replay::Reader;
use super::service::Shared;
use super::sim::{Image, SimDisk, SimWriter};
use super::writer::Writer as _;
use super::{CommitLog, LogError, open_on};

const SEGMENT_BYTES: u64 = 64 << 10;
const BATCH_BYTES: usize = 16 << 10;

/// SplitMix64: the whole run follows from its seed.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

type Body = Vec<u8>;

/// One life of the log, from an image until the power goes.
struct Life {
    disk: SimDisk,
    before: Image,
    /// What each offset held when the life began.
    truth: Vec<Body>,
    /// In time order: at this number of changes, these bodies were handed over for this offset.
    attempts: Vec<(usize, u64, Vec<Body>)>,
    /// At this number of changes, all below this offset was acked: the bodies of that time.
    acks: Vec<(usize, Vec<Body>)>,
    /// At this number of changes the watermark was asked for, or was known to be durable.
    asked: Vec<(usize, u64)>,
    settled: Vec<(usize, u64)>,
}

#[derive(Debug, Default)]
struct Checked {
    images: u64,
    torn_tails: u64,
    records: u64,
    survivors: u64,
    recycled: u64,
}

fn run_life(rng: &mut Rng, tag: u64, before: Image, truth: Vec<Body>, lies: bool) -> Life {
    let disk = SimDisk::with(before.clone());
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (found, _) = find_or_create(&shared, 77, SEGMENT_BYTES).unwrap();
    assert_eq!(found.end.0, truth.len() as u64);
    let mut life = Life {
        disk: disk.clone(),
        before,
        acks: vec![(0, truth.clone())],
        asked: vec![(0, found.control.watermark.0)],
        settled: vec![(0, found.control.watermark.0)],
        truth,
        attempts: Vec::new(),
    };
    let mut engine = Engine::new(
        shared.clone(),
        Box::new(SimWriter::new(disk.clone())),
        found,
    )
    .unwrap();
    disk.state(|state| state.lies = lies);
    let mut batch = Batch::new(BATCH_BYTES);
    let mut acked = life.truth.clone();
    for step in 0..14 + rng.below(14) {
        if rng.below(12) == 0 && !lies {
            disk.state(|state| state.failing.push(rng.next()));
        }
        batch.clear();
        let bodies: Vec<Body> = (0..1 + rng.below(20))
            .map(|n| {
                let mut body = format!("{tag} {step} {n} ").into_bytes();
                body.resize(body.len() + rng.below(1200) as usize, n as u8);
                body
            })
            .filter(|body| batch.push(body.len() as u64, body))
            .collect();
        let changes = disk.state(|state| state.ops.len());
        life.attempts
            .push((changes, acked.len() as u64, bodies.clone()));
        match commit(&mut engine, &shared, &mut batch) {
            Ok(base) => {
                assert_eq!(base.0, acked.len() as u64);
                acked.extend(bodies);
            }
            Err(error) => assert!(matches!(error, AppendError::Failed { .. })),
        }
        life.acks
            .push((disk.state(|state| state.ops.len()), acked.clone()));
        if rng.below(4) == 0 {
            let to = rng.below(acked.len() as u64 + 1).max(engine.watermark().0);
            life.asked.push((disk.state(|state| state.ops.len()), to));
            assert!(engine.advance(Offset(to)));
            life.settled.push((disk.state(|state| state.ops.len()), to));
        }
    }
    life
}

/// As the service does it, on one thread.
fn commit(
    engine: &mut Engine,
    disk: &Arc<dyn Disk>,
    batch: &mut Batch,
) -> Result<Offset, AppendError> {
    loop {
        match engine.commit(batch) {
            Ok(base) => return Ok(base),
            Err(CommitError::Failed(error)) => return Err(error),
            Err(CommitError::NoSpare) => {
                let slot = engine.slot_next();
                let go_on = &mut |_| std::ops::ControlFlow::Continue(());
                disk.create_zeroed(&segment_name(slot), SEGMENT_BYTES, go_on)
                    .unwrap();
                engine.add_spare(slot);
            }
        }
    }
}

fn at<T>(events: &[(usize, T)], changes: usize) -> Option<&T> {
    events
        .iter()
        .take_while(|(when, _)| *when <= changes)
        .last()
        .map(|(_, what)| what)
}

/// Reads all that a start would replay.
fn read(disk: &Arc<dyn Disk>, found: &Found, from: Offset) -> Result<Vec<Record>, LogError> {
    let shared = Shared::new(&Options::default(), found.end, &found.live);
    let reader = Reader {
        disk: disk.clone(),
        shared: Arc::new(shared),
        log_id: found.control.log_id,
        segment_bytes: found.control.segment_bytes,
        segments: found.live.clone().into(),
        next: from,
        end: found.end,
        scan: None,
        records: Default::default(),
    };
    reader.collect()
}

/// Checks the image that a cut after `changes` whole changes left; gives what each offset holds.
fn check(
    life: &Life,
    image: &Image,
    changes: usize,
    sum: &mut Checked,
) -> Result<Vec<Body>, String> {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::with(image.clone()));
    let acked = at(&life.acks, changes).map_or(&[][..], Vec::as_slice);
    sum.images += 1;
    let Some(found) = recover(&disk).map_err(|error| error.to_string())? else {
        return if acked.is_empty() {
            Ok(Vec::new())
        } else {
            Err("the log is gone".into())
        };
    };
    let end = found.end.0 as usize;
    if end < acked.len() {
        return Err(format!("the log ends at {end}, acked were {}", acked.len()));
    }
    let watermark = found.control.watermark;
    let settled = at(&life.settled, changes).copied().unwrap_or(0);
    let asked = at(&life.asked, changes).copied().unwrap_or(0);
    if watermark.0 < settled || watermark.0 > asked {
        return Err(format!(
            "watermark {watermark}, settled {settled}, asked {asked}"
        ));
    }
    let records = read(&disk, &found, watermark).map_err(|error| error.to_string())?;
    if records.len() as u64 != found.end.0 - watermark.0 {
        return Err(format!(
            "{} records from {watermark} to {end}",
            records.len()
        ));
    }
    let mut truth = acked.to_vec();
    for (n, record) in (watermark.0..).zip(records) {
        if record.offset.0 != n || record.key != record.body.len() as u64 {
            return Err(format!(
                "record {n} has offset {} and key {}",
                record.offset, record.key
            ));
        }
        sum.records += 1;
        match acked.get(n as usize) {
            Some(body) if *body == record.body => {}
            Some(_) => return Err(format!("record {n} is not the one that was acked")),
            None if attempted(life, changes, n, &record.body) => {
                sum.survivors += 1;
                truth.push(record.body);
            }
            None => return Err(format!("record {n} was never appended")),
        }
    }
    sum.torn_tails += u64::from(found.torn);
    sum.recycled += u64::from(found.control.oldest > 1);
    Ok(truth)
}

fn attempted(life: &Life, changes: usize, n: u64, body: &Body) -> bool {
    let begun = life
        .attempts
        .iter()
        .take_while(|(when, ..)| *when <= changes);
    begun.into_iter().any(|(_, base, bodies)| {
        n.checked_sub(*base)
            .is_some_and(|index| bodies.get(index as usize) == Some(body))
    })
}

/// Cuts the power before, within and after every change of a life; gives one of the images.
fn cut_everywhere(
    rng: &mut Rng,
    life: &Life,
    sum: &mut Checked,
) -> Result<(Image, Vec<Body>), String> {
    let ops = life.disk.state(|state| state.ops.clone());
    let keep = rng.below(ops.len() as u64) as usize;
    let mut whole = life.before.clone();
    let mut kept = None;
    for (changes, op) in ops.iter().enumerate() {
        for tear in 0..5 {
            let mask = match tear {
                0 => 0,
                1 => 1,
                2 => !1,
                _ => rng.next(),
            };
            let mut image = whole.clone();
            op.apply_part(&mut image, |sector| mask >> (sector % 64) & 1 == 1);
            let truth = check(life, &image, changes, sum)
                .map_err(|error| format!("change {changes}, sectors {mask:#x}: {error}"))?;
            if changes == keep && tear == 3 {
                kept = Some((image, truth));
            }
        }
        op.apply(&mut whole);
    }
    let truth = check(life, &whole, ops.len(), sum)?;
    Ok(kept.unwrap_or((whole, truth)))
}

fn lives(seed: u64, count: u64, lies: bool, sum: &mut Checked) -> Result<(), String> {
    let mut rng = Rng(seed);
    let (mut image, mut truth) = (Image::new(), Vec::new());
    for tag in 0..count {
        let life = run_life(&mut rng, tag, image, truth, lies);
        (image, truth) = cut_everywhere(&mut rng, &life, sum)
            .map_err(|error| format!("seed {seed}, life {tag}: {error}"))?;
    }
    Ok(())
}

#[test]
fn what_was_acked_survives_a_cut_at_every_write() {
    let mut sum = Checked::default();
    for seed in 0..24 {
        lives(seed, 4, false, &mut sum).unwrap();
    }
    println!("{sum:?}");
    assert!(
        sum.images > 10_000 && sum.torn_tails > 100 && sum.survivors > 100 && sum.recycled > 100
    );
}

#[test]
fn a_writer_that_acks_too_early_is_caught() {
    let caught = (0..8).filter_map(|seed| lives(seed, 1, true, &mut Checked::default()).err());
    let caught: Vec<String> = caught.collect();
    println!("{}", caught[0]);
    assert_eq!(caught.len(), 8);
}

struct Gather(std::sync::mpsc::Sender<(Ticket, Result<Record, AppendError>)>);

impl Sink for Gather {
    fn durable(&mut self, record: Record, ticket: Ticket) {
        drop(self.0.send((ticket, Ok(record))));
    }
    fn failed(&mut self, ticket: Ticket, error: &AppendError) {
        drop(self.0.send((ticket, Err(error.clone()))));
    }
}

type Outcomes = Receiver<(Ticket, Result<Record, AppendError>)>;

fn start(disk: &SimDisk) -> (CommitLog, Outcomes) {
    let options = Options {
        segment_bytes: SEGMENT_BYTES,
        batch_bytes_max: BATCH_BYTES,
        record_bytes_max: 8 << 10,
        retry_full: Duration::from_millis(5),
        ..Options::default()
    };
    let (sink, outcomes) = channel();
    let writer = SimWriter::new(disk.clone());
    let (log, _) = open_on(
        Arc::new(disk.clone()),
        &options,
        Box::new(Gather(sink)),
        &mut |_| (),
        Box::new(move || Ok(Box::new(writer))),
    )
    .unwrap();
    (log, outcomes)
}

fn append_and_wait(
    log: &CommitLog,
    outcomes: &Outcomes,
    ticket: Ticket,
) -> Result<Offset, AppendError> {
    log.append(Partition::ONLY, ticket, vec![7; 4000], ticket)?;
    let (answered, outcome) = outcomes.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!(answered, ticket);
    outcome.map(|record| record.offset)
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let disk = SimDisk::default();
    disk.state(|state| state.segments_max = Some(2));
    let (log, outcomes) = start(&disk);
    let mut acked = 0;
    let refused = (0..1000).find_map(|ticket| match append_and_wait(&log, &outcomes, ticket) {
        Ok(offset) => {
            assert_eq!(offset, Offset(acked));
            acked += 1;
            None
        }
        Err(error) => Some(error),
    });
    assert_eq!(refused, Some(AppendError::StorageFull));
    assert_eq!(
        log.append(Partition::ONLY, 1, vec![1], 1),
        Err(AppendError::StorageFull),
        "refused at the door"
    );
    disk.state(|state| state.segments_max = None);
    let mut tries = 0;
    let offset = loop {
        match append_and_wait(&log, &outcomes, 5000) {
            Ok(offset) => break offset,
            Err(error) => assert_eq!(error, AppendError::StorageFull),
        }
        tries += 1;
        assert!(tries < 10_000, "never taken again");
        std::thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(offset, Offset(acked), "no hole");
    assert_eq!(
        log.read_from(Offset(0))
            .unwrap()
            .map(Result::unwrap)
            .count() as u64,
        acked + 1
    );
    println!("refused after {acked} records");
}

#[test]
fn a_failed_write_fails_its_tickets_and_the_log_goes_on() {
    let disk = SimDisk::default();
    let (log, outcomes) = start(&disk);
    let (mut acked, mut failed) = (0, 0);
    for ticket in 0..400 {
        if ticket % 9 == 4 {
            disk.state(|state| state.failing.push(ticket * 0x0123_4567));
        }
        match append_and_wait(&log, &outcomes, ticket) {
            Ok(offset) => {
                assert_eq!(offset, Offset(acked));
                acked += 1;
            }
            Err(error) => {
                assert!(matches!(error, AppendError::Failed { .. }), "{error}");
                failed += 1;
            }
        }
        if ticket % 50 == 49 {
            log.set_watermark(Partition::ONLY, Offset(acked - 10));
        }
    }
    log.close().unwrap();
    drop(log);
    let (log, _outcomes) = start(&disk);
    assert_eq!(log.end(), Offset(acked));
    println!("{acked} acked, {failed} failed");
    assert!(failed > 30);
}

#[test]
fn a_writer_names_a_missing_file() {
    let mut writer = SimWriter::new(SimDisk::default());
    assert_eq!(
        writer.open("segment-000000").unwrap_err().kind(),
        std::io::ErrorKind::NotFound
    );
}
