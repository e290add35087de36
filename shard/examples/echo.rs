//! An echo server or its idle clients, to measure the engine by itself.
//!
//! `echo serve ADDR CONNECTIONS`, then `echo hold ADDR CONNECTIONS` in another terminal: the clients
//! connect and rest. Each prints its own memory per connection, and the kernel's for both ends.

use std::net::SocketAddr;
use std::time::Duration;

use rookery_shard::mailbox::{self, Capacity};
use rookery_shard::{Cause, Config, ConnId, Handler, Origin, Shard, start};

struct Echo;

impl Handler for Echo {
    type Conn = ();
    type Parcel = ();
    type Mail = (SocketAddr, u64);

    fn on_open(&mut self, _: &mut Shard<Self>, _: ConnId, _: Origin) {}

    fn on_connect_failed(&mut self, _: &mut Shard<Self>, token: u64, errno: i32) {
        eprintln!("connect {token}: errno {errno}");
    }

    fn on_bytes(&mut self, shard: &mut Shard<Self>, conn: ConnId, bytes: &mut [u8]) {
        let mut answer = shard.spare_buffer();
        answer.extend_from_slice(bytes);
        // A client that does not read loses what it cannot hold.
        let _ = shard.send(conn, answer);
    }

    fn on_drained(&mut self, _: &mut Shard<Self>, _: ConnId) {}

    fn on_deadline(&mut self, _: &mut Shard<Self>, _: ConnId) {}

    /// So many connections to there.
    fn on_mail(&mut self, shard: &mut Shard<Self>, (addr, count): (SocketAddr, u64)) {
        (0..count).for_each(|token| shard.connect(addr, token));
    }

    fn on_depart(&mut self, _: &mut Shard<Self>, _: ConnId, _: ()) {}

    fn on_arrive(&mut self, _: &mut Shard<Self>, _: ConnId, _: ()) {}

    fn on_move_failed(&mut self, _: &mut Shard<Self>, _: ConnId, _: i32) {}

    fn on_closed(&mut self, _: &mut Shard<Self>, _: ConnId, _: (), _: Cause) {}

    fn on_turn_end(&mut self, _: &mut Shard<Self>) {}

    fn on_stop(&mut self, _: &mut Shard<Self>) {}
}

/// Resident bytes of this process.
fn rss() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|n| n.parse().ok());
    pages.unwrap_or(0) * 4_096
}

/// Bytes of all slab objects in use (needs root).
fn slab() -> u64 {
    let text = std::fs::read_to_string("/proc/slabinfo").unwrap_or_default();
    let of = |line: &str| -> Option<u64> {
        let mut columns = line.split_whitespace().skip(1);
        let active: u64 = columns.next()?.parse().ok()?;
        let bytes: u64 = columns.nth(1)?.parse().ok()?;
        Some(active * bytes)
    };
    text.lines().filter_map(of).sum()
}

fn usage() -> ! {
    eprintln!("echo serve|hold ADDR:PORT CONNECTIONS");
    std::process::exit(2);
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [role, addr, count] = &args[..] else {
        usage();
    };
    let (Ok(addr), Ok(count)) = (addr.parse::<SocketAddr>(), count.parse::<u64>()) else {
        usage();
    };
    let mut config = Config::for_connections(count, 1);
    if role == "serve" {
        config.listeners.push(addr);
    }
    let (postboxes, inboxes) =
        mailbox::channel(1, Capacity::messages(1_024)).expect("an eventfd can be had");
    let running = match start(config, inboxes, |_| Echo) {
        Ok(running) => running,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    };
    println!("{role} {:?}", running.local_addrs());
    let (rss_before, slab_before) = (rss(), slab());
    for second in 0u64.. {
        if role == "hold" && second * 2_000 < count {
            let batch = 2_000.min(count - second * 2_000);
            let _ = postboxes.post(0, (addr, batch));
        }
        std::thread::sleep(Duration::from_secs(1));
        let counters = running.counters()[0];
        let live = counters.live.max(1);
        println!(
            "live {} free {:?} rss +{} B each, slab +{} B each (both ends), recv {} send {} longest turn {} us",
            counters.live,
            running.fabric().free_slots(),
            rss().saturating_sub(rss_before) / live,
            slab().saturating_sub(slab_before) / live,
            counters.recv_ops,
            counters.send_ops,
            counters.longest_turn_ns / 1_000,
        );
    }
}
