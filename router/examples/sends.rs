//! How many sends a second become durable, acked, stored and fanned out, and what one costs in CPU:
//! the router alone, with an outlet that drops what it is given.
//!
//! `cargo run --release -p rookery-router --example sends -- [plain|glommio] [seconds] [window]`

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rookery_router::log::WriterKind;
use rookery_router::{Caller, Clock, Config, Event, Outlet, Request, SystemClock, start};
use rookery_wire::proto::{self, Limits, ServerFrame};

const USERS: u64 = 1_000;
const PAYLOAD_BYTES: usize = 300;

/// Counts acks and live frames; remembers the conversations that were opened.
#[derive(Default)]
struct Drain {
    acks: AtomicU64,
    live: AtomicU64,
    opened: std::sync::Mutex<Vec<u64>>,
}

impl Outlet for Drain {
    fn shards(&self) -> u16 {
        2
    }

    fn owner(&self, user_id: u64) -> u16 {
        (user_id % 2) as u16
    }

    fn post(&self, _: u16, event: Event) -> Result<(), Event> {
        match event {
            Event::Fanout { users, .. } => {
                self.live.fetch_add(users.len() as u64, Ordering::Relaxed);
            }
            Event::Answer { frames, .. } => {
                for frame in frames {
                    match ServerFrame::parse(&frame, &Limits::SERVER_FRAMES) {
                        Ok(ServerFrame::SendAck(_)) => {
                            self.acks.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(ServerFrame::ConversationOpened(opened)) => {
                            let id = opened.conversation_id.to_native();
                            self.opened
                                .lock()
                                .map(|mut all| all.push(id))
                                .unwrap_or_default();
                        }
                        other => println!("unexpected: {other:?}"),
                    }
                }
            }
        }
        Ok(())
    }
}

fn caller(user_id: u64) -> Caller {
    Caller {
        user_id,
        device_id: 1,
        shard: (user_id % 2) as u16,
        conn: user_id,
    }
}

/// User and system time of this process, in us.
fn cpu_us() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split(' ')
        .collect();
    let ticks = |at: usize| {
        fields
            .get(at)
            .and_then(|f| f.parse::<u64>().ok())
            .unwrap_or(0)
    };
    (ticks(12) + ticks(13)) * 10_000
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, or: u64| args.get(at).and_then(|a| a.parse().ok()).unwrap_or(or);
    let (seconds, window) = (number(1, 3), number(2, 4_096));
    let dir = Path::new("target").join(format!("sends-{}", std::process::id()));
    let mut config = Config::new(&dir);
    if args.first().is_some_and(|writer| writer == "glommio") {
        config.log.writer = WriterKind::Glommio;
    }
    let drain = Arc::new(Drain::default());
    let router = start(config, drain.clone())?;
    for user_id in 1..=USERS {
        let open = proto::OpenDirect {
            request_id: 1,
            peer_user_id: user_id + USERS,
        };
        while router
            .submit(caller(user_id), Request::OpenDirect(open.clone()))
            .is_err()
        {}
    }
    let opened = || {
        drain
            .opened
            .lock()
            .map(|all| all.clone())
            .unwrap_or_default()
    };
    while (opened().len() as u64) < USERS {
        std::thread::yield_now();
    }
    let mut ids = opened();
    ids.sort_unstable();

    let (begin, cpu) = (SystemClock.now_ms(), cpu_us());
    let mut sent = 0;
    while SystemClock.now_ms() < begin + seconds * 1_000 {
        if sent - drain.acks.load(Ordering::Relaxed) >= window {
            std::thread::park_timeout(std::time::Duration::from_micros(50));
            continue;
        }
        // Ids ascend in the order of the users, for they were opened one after the other.
        let user = sent % USERS;
        let request = proto::Send {
            client_msg_id: u128::from(sent).to_le_bytes(),
            conversation_id: ids[user as usize],
            payload: vec![7; PAYLOAD_BYTES],
        };
        if router
            .submit(caller(user + 1), Request::Send(request))
            .is_ok()
        {
            sent += 1;
        }
    }
    while drain.acks.load(Ordering::Relaxed) < sent {
        std::thread::yield_now();
    }
    let took_ms = SystemClock.now_ms() - begin;
    router.close();
    let cpu = cpu_us() - cpu;
    println!(
        "{sent} sends of {PAYLOAD_BYTES} B in {took_ms} ms: {} per s, {:.1} us CPU each (all threads, \
         the feeder included); {} live frames",
        sent * 1_000 / took_ms.max(1),
        cpu as f64 / sent as f64,
        drain.live.load(Ordering::Relaxed),
    );
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
