//! What waiting for company costs and brings: for each linger, the time from append to ack at a fixed
//! rate, and the most records a second. `cargo run --release -p rookery-router --example kafka_linger --
//! host:port[,host:port] [user password]`. Makes topics under a prefix of its own, three rounds.

#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rookery_router::log::kafka::{self, KafkaLog, Options};
use rookery_router::log::{Acks, AppendError, Fed, Feed, Log, Offset, Partition, Ticket};
use rookery_router::placement::partition_of;

const LINGERS_MS: [u32; 5] = [0, 1, 2, 5, 10];
/// Open loop, as senders come; then as fast as the queue takes.
const RATES: [Option<u64>; 3] = [Some(1_000), Some(10_000), None];
const SECONDS: f64 = 3.0;
const ROUNDS: usize = 3;
const BODY_BYTES: usize = 300;
const CONVERSATIONS: u64 = 10_000;

type Latencies = Arc<Mutex<Vec<u32>>>;

/// A ticket is the intended send time, in nanoseconds from the start.
const PARTITIONS: u32 = 12;

struct Measure {
    start: Instant,
    latencies: Latencies,
    batch: Vec<u32>,
}

impl Acks for Measure {
    fn acked(&mut self, ticket: Ticket, _: Partition, _: Offset, _: u64) {
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

/// Consumes from the beginning and forgets.
struct Forget;

impl Feed for Forget {
    fn feed(&mut self, fed: Fed) -> bool {
        match fed {
            Fed::Assigned { partitions, begin } => {
                let begins = partitions.into_iter().map(|it| (it, Offset(0))).collect();
                begin.send(begins).is_ok()
            }
            _ => true,
        }
    }
}

fn append(log: &KafkaLog, n: u64, at: Duration) -> Result<(), AppendError> {
    loop {
        let key = n % CONVERSATIONS;
        let partition = Partition(partition_of(key, PARTITIONS));
        match log.append(partition, key, vec![1; BODY_BYTES], at.as_nanos() as u64) {
            Err(AppendError::Full) => std::thread::sleep(Duration::from_micros(50)),
            other => return other,
        }
    }
}

/// Gives records a second, and the latencies in µs, ascending.
fn run(options: &Options, rate: Option<u64>) -> Result<(f64, Vec<u32>), Box<dyn Error>> {
    let (start, latencies) = (Instant::now(), Latencies::default());
    let acks = Measure {
        start,
        latencies: latencies.clone(),
        batch: Vec::new(),
    };
    let log = kafka::open(options.clone(), Box::new(acks), Box::new(Forget))?;
    // Connections and leaders are found by the first.
    append(&log, 0, start.elapsed())?;
    while latencies.lock().is_ok_and(|acked| acked.is_empty()) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let begin = start.elapsed();
    let mut n = 0;
    while start.elapsed() - begin < Duration::from_secs_f64(SECONDS) {
        let due = rate.map(|rate| begin + Duration::from_nanos(n * 1_000_000_000 / rate));
        if let Some(wait) = due.and_then(|due| due.checked_sub(start.elapsed())) {
            std::thread::sleep(wait);
        }
        append(&log, n, due.unwrap_or_else(|| start.elapsed()))?;
        n += 1;
    }
    while latencies
        .lock()
        .is_ok_and(|acked| (acked.len() as u64) < n + 1)
    {
        std::thread::sleep(Duration::from_millis(1));
    }
    let rate = n as f64 / (start.elapsed() - begin).as_secs_f64();
    log.close()?;
    let mut acked = std::mem::take(&mut *latencies.lock().map_err(|_| "the acks panicked")?);
    acked.remove(0);
    acked.sort_unstable();
    Ok((rate, acked))
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let brokers = arguments
        .first()
        .ok_or("usage: kafka_linger host:port[,host:port] [user password]")?;
    let mut options = Options {
        brokers: brokers.split(',').map(str::to_owned).collect(),
        username: arguments.get(1).cloned(),
        password: arguments.get(2).cloned(),
        topic_prefix: format!("linger-{}", std::process::id()),
        ..Options::default()
    };
    let copies = options.brokers.len().min(3) as u32;
    kafka::ensure(&options, PARTITIONS, copies)?;
    println!(
        "{copies} copies, {PARTITIONS} partitions, {BODY_BYTES} B records, {SECONDS} s each; latency in µs"
    );
    println!("linger ms |   rate |  records/s |    p50 |    p99 |  p99.9");
    for _ in 0..ROUNDS {
        for linger_ms in LINGERS_MS {
            options.linger_ms = linger_ms;
            for rate in RATES {
                let (reached, acked) = run(&options, rate)?;
                let at = |part: f64| {
                    acked
                        .get((acked.len() as f64 * part) as usize)
                        .copied()
                        .unwrap_or(0)
                };
                let asked = rate.map_or("most".to_owned(), |rate| rate.to_string());
                let (p50, p99, p999) = (at(0.5), at(0.99), at(0.999));
                println!(
                    "{linger_ms:>9} | {asked:>6} | {reached:>10.0} | {p50:>6} | {p99:>6} | {p999:>6}"
                );
            }
        }
    }
    Ok(())
}
