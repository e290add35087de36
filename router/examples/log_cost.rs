//! What a durable append costs: `cargo run --release -p rookery-router --example log_cost -- DIR`.
//!
//! Each writer in turn, three rounds: open loop at a fixed rate, latency from the intended send to
//! the durable answer, and then as fast as the queue takes. CPU is the whole process's.

#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rookery_router::log::{
    self, AppendError, CommitLog, Log, Options, Partition, Record, Replayed, Sink, Ticket,
    WriterKind,
};

const BODY_BYTES: usize = 300;
const RATES: [u64; 2] = [10_000, 200_000];
const SECONDS: f64 = 1.5;

type Latencies = Arc<Mutex<Vec<u32>>>;

/// A ticket is the intended send time, in nanoseconds from the start.
struct Measure {
    start: Instant,
    latencies: Latencies,
    batch: Vec<u32>,
}

impl Sink for Measure {
    fn durable(&mut self, _record: Record, ticket: Ticket) {
        let now = self.start.elapsed().as_nanos() as u64;
        self.batch.push((now.saturating_sub(ticket) / 1000) as u32);
    }

    fn failed(&mut self, ticket: Ticket, error: &AppendError) {
        eprintln!("ticket {ticket}: {error}");
    }

    fn end_of_batch(&mut self) {
        if let Ok(mut latencies) = self.latencies.lock() {
            latencies.append(&mut self.batch);
        }
    }
}

fn append(log: &CommitLog, at: Duration) -> Result<(), AppendError> {
    loop {
        match log.append(
            Partition::ONLY,
            7,
            vec![1; BODY_BYTES],
            at.as_nanos() as u64,
        ) {
            Err(AppendError::Full) => std::thread::sleep(Duration::from_micros(50)),
            other => return other,
        }
    }
}

/// User and system time of this process.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

fn run(
    dir: &Path,
    writer: WriterKind,
    rate: Option<u64>,
) -> Result<String, Box<dyn std::error::Error>> {
    let (start, latencies) = (Instant::now(), Latencies::default());
    let sink = Measure {
        start,
        latencies: latencies.clone(),
        batch: Vec::new(),
    };
    let options = Options {
        writer,
        segments_spare: 4,
        ..Options::default()
    };
    let (log, _) = log::open(dir, &options, Box::new(sink), &mut |_| ())?;
    let (begun, cpu_before) = (start.elapsed(), cpu());
    let mut sent = 0;
    while (start.elapsed() - begun).as_secs_f64() < SECONDS {
        let passed = start.elapsed() - begun;
        let due = rate.map_or(sent + 64, |rate| {
            (passed.as_secs_f64() * rate as f64) as u64
        });
        while sent < due {
            let intended = rate.map_or(start.elapsed(), |rate| {
                begun + Duration::from_secs_f64(sent as f64 / rate as f64)
            });
            append(&log, intended)?;
            sent += 1;
        }
        log.set_watermark(Partition::ONLY, log.end());
        if rate.is_some() {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    log.close()?;
    let (took, spent) = (start.elapsed() - begun, cpu() - cpu_before);
    let mut sorted = latencies.lock().map_err(|_| "poisoned")?.clone();
    sorted.sort_unstable();
    let rank = |part: f64| {
        sorted
            .get((sorted.len() as f64 * part) as usize)
            .copied()
            .unwrap_or(0)
    };
    Ok(format!(
        "{:8} {:>9} {:9.0}/s  p50 {:6} p99 {:6} p99.9 {:6} us  cpu {:6.2} us/record  {} of {sent} durable",
        format!("{writer:?}"),
        rate.map_or("most".into(), |rate| rate.to_string()),
        sorted.len() as f64 / took.as_secs_f64(),
        rank(0.5),
        rank(0.99),
        rank(0.999),
        spent.as_secs_f64() * 1e6 / sorted.len().max(1) as f64,
        sorted.len(),
    ))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args()
        .nth(1)
        .ok_or("usage: log_cost DIR (an empty one, on a real disk)")?;
    for round in 1..=3 {
        for rate in RATES.into_iter().map(Some).chain([None]) {
            for writer in [WriterKind::Plain, WriterKind::Glommio] {
                let line = run(&Path::new(&dir).join(format!("{writer:?}")), writer, rate)?;
                println!("round {round}  {line}");
            }
        }
    }
    Ok(())
}
