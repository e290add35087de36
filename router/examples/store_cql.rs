//! What writing to the CQL store costs, by how many requests are in flight:
//! `ROOKERY_TEST_CQL=host:port cargo run --release -p rookery-router --example store_cql`.
//!
//! Batches as the applier makes them: 1,000 messages of 300 bytes over 500 conversations. Each bound has a keyspace of its own, which stays; rows are per second, of all
//! tables together.

#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::error::Error;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rookery_router::ids::Snowflake;
use rookery_router::store::cql::{self, Cql, Options, Replication};
use rookery_router::store::{Batch, StoredMessage};
use rookery_wire::proto::Deliver;

const BOUNDS: [usize; 5] = [8, 32, 128, 256, 512];
const BATCHES: u64 = 8;
const MESSAGES: u64 = 1_000;
const CONVERSATIONS: u64 = 500;
const PAYLOAD_BYTES: usize = 300;

fn message(ids: &mut Snowflake, now_ms: u64, number: u64) -> StoredMessage {
    let (round, conversation_id) = (number / CONVERSATIONS, number % CONVERSATIONS);
    StoredMessage {
        deliver: Deliver {
            conversation_id,
            seq: round + 1,
            message_id: ids.next_id(now_ms),
            sender_user_id: conversation_id,
            sender_device_id: 1,
            client_msg_id: u128::from(number).to_le_bytes(),
            hlc: now_ms << 16,
            payload: vec![7; PAYLOAD_BYTES],
        },
        payload_hash: number,
        log_offset: number,
        at_ms: now_ms,
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let node = std::env::var("ROOKERY_TEST_CQL")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let now_ms = u64::try_from(now.as_millis())?;
    println!("in flight  messages/s  median apply  worst apply");
    for bound in BOUNDS {
        let options = Options {
            nodes: vec![node.clone()],
            username: "rookery".to_owned(),
            password: "rookery-test".to_owned(),
            keyspace: format!("store_cql_{now_ms}_{bound}"),
            replication: Replication {
                class: "SimpleStrategy".to_owned(),
                factor: 1,
            },
            request_timeout: Duration::from_secs(10),
            in_flight_max: bound,
            ..Options::default()
        };
        let measured = runtime.block_on(measure(&options, now_ms))?;
        println!("{measured}");
    }
    Ok(())
}

async fn measure(options: &Options, now_ms: u64) -> Result<String, Box<dyn Error>> {
    cql::migrate(options).await?;
    let cql = Cql::connect(options).await?;
    let mut ids = Snowflake::new(1, 0);
    let mut applies = Vec::new();
    for i in 0..BATCHES {
        let numbers = i * MESSAGES..(i + 1) * MESSAGES;
        let batch = Batch {
            messages: numbers
                .map(|number| message(&mut ids, now_ms, number))
                .collect(),
            ..Batch::default()
        };
        let began = Instant::now();
        cql.apply(&batch).await?;
        applies.push(began.elapsed());
    }
    // The first one compiles on the server's side.
    let mut applies = applies.split_off(1);
    let whole: Duration = applies.iter().sum();
    applies.sort_unstable();
    Ok(format!(
        "{:9}  {:10.0}  {:9.1} ms  {:8.1} ms",
        options.in_flight_max,
        ((BATCHES - 1) * MESSAGES) as f64 / whole.as_secs_f64(),
        millis(applies[applies.len() / 2]),
        millis(applies[applies.len() - 1]),
    ))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
