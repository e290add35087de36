//! A network in virtual time between two ends, with an application on each: one talks, the other one says everything
//! back. Loss, delay, duplication, a NAT that forgets, key updates and rests come from a seed.

#![allow(dead_code, reason = "each test uses a part of it")]

mod ours;
mod quinn;
mod talk;

pub(crate) use ours::Ours;
pub(crate) use quinn::Quinn;
pub(crate) use talk::{Echo, Talk};

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;

/// Microseconds.
pub(crate) const SECOND: u64 = 1_000_000;

/// splitmix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// Whether something of this probability happens.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// One end of a connection.
pub(crate) trait End {
    fn receive(&mut self, now: u64, from: SocketAddr, bytes: &[u8]);
    fn transmit(&mut self, now: u64) -> Vec<(SocketAddr, Vec<u8>)>;
    fn timeout(&mut self) -> Option<u64>;
    fn handle_timeout(&mut self, now: u64);
    fn is_connected(&self) -> bool;
    /// Streams on which something came since.
    fn readable(&mut self) -> Vec<u64>;
    fn open(&mut self) -> Option<u64>;
    fn write(&mut self, id: u64, bytes: &[u8]) -> usize;
    fn finish(&mut self, id: u64);
    /// True where the stream has ended.
    fn read(&mut self, id: u64, out: &mut Vec<u8>) -> bool;
    fn update_keys(&mut self);
    fn ping(&mut self);
    /// Goes to rest where it can.
    fn rest(&mut self);
    fn close(&mut self, now: u64);
    /// Why it is closed.
    fn closed(&self) -> Option<String>;
}

/// What the network does to datagrams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    pub(crate) loss_percent: u64,
    pub(crate) duplicate_percent: u64,
    pub(crate) delay_us: u64,
    pub(crate) jitter_us: u64,
}

/// What happens beside the application.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trouble {
    /// The client's address changes, each time with this probability.
    pub(crate) rebinding_percent: u64,
    pub(crate) key_update_percent: u64,
    pub(crate) client_updates_keys: bool,
    pub(crate) rest_percent: u64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Flying {
    at: u64,
    order: u64,
    to_server: bool,
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

pub(crate) const SERVER: &str = "192.0.2.1:443";

/// The network and both ends.
pub(crate) struct World<'a> {
    pub(crate) now: u64,
    pub(crate) random: Random,
    faults: Faults,
    trouble: Trouble,
    client: &'a mut dyn End,
    server: &'a mut dyn End,
    server_addr: SocketAddr,
    /// As the server sees the client; what is sent to a former one is lost.
    nat: SocketAddr,
    flying: BinaryHeap<Reverse<Flying>>,
    order: u64,
    pub(crate) rebindings: u32,
}

impl<'a> World<'a> {
    pub(crate) fn new(
        seed: u64,
        faults: Faults,
        trouble: Trouble,
        client: &'a mut dyn End,
        server: &'a mut dyn End,
    ) -> Self {
        Self {
            now: SECOND,
            random: Random(seed),
            faults,
            trouble,
            client,
            server,
            server_addr: SERVER.parse().unwrap(),
            nat: "198.51.100.7:1000".parse().unwrap(),
            flying: BinaryHeap::new(),
            order: 0,
            rebindings: 0,
        }
    }

    /// Lets both talk until all is said and heard, and closes. What went wrong otherwise.
    pub(crate) fn run(&mut self, talk: &mut Talk, echo: &mut Echo) -> Result<(), String> {
        let limit = self.now + 900 * SECOND;
        let mut next_trouble = self.now;
        let mut closing = false;
        let mut stuck = (0, 0);
        while self.now < limit {
            stuck = if stuck.0 == self.now {
                (self.now, stuck.1 + 1)
            } else {
                (self.now, 0)
            };
            if stuck.1 > 10_000 {
                let timeouts = (self.client.timeout(), self.server.timeout());
                return Err(format!("the clock stands at {}: {timeouts:?}", self.now));
            }
            self.pump(talk, echo);
            if talk.is_done() && !closing {
                closing = true;
                self.client.close(self.now);
                self.pump(talk, echo);
            }
            match (self.client.closed(), self.server.closed()) {
                (Some(_), Some(_)) if closing => return Ok(()),
                (Some(why), _) if !closing => return Err(format!("client: {why}")),
                (_, Some(why)) if !closing => return Err(format!("server: {why}")),
                _ => {}
            }
            self.step(&mut next_trouble, talk);
        }
        Err(format!("not done after {} s: {talk:?}", self.now / SECOND))
    }

    /// Goes on to what is next.
    fn step(&mut self, next_trouble: &mut u64, talk: &mut Talk) {
        let arrival = self.flying.peek().map(|Reverse(flying)| flying.at);
        let timeouts = [self.client.timeout(), self.server.timeout()];
        let next = timeouts
            .into_iter()
            .flatten()
            .chain(arrival)
            .chain([*next_trouble])
            .chain(self.client.is_connected().then(|| talk.next_at()))
            .min()
            .unwrap_or(self.now);
        self.now = self.now.max(next);
        if *next_trouble <= self.now {
            *next_trouble = self.now + 50_000 + self.random.below(400_000);
            self.make_trouble();
        }
        while self
            .flying
            .peek()
            .is_some_and(|Reverse(flying)| flying.at <= self.now)
        {
            let Some(Reverse(flying)) = self.flying.pop() else {
                break;
            };
            if flying.to_server {
                self.server.receive(self.now, flying.from, &flying.bytes);
            } else if flying.to == self.nat {
                self.client.receive(self.now, flying.from, &flying.bytes);
            }
        }
        for end in [&mut *self.client, &mut *self.server] {
            if end.timeout().is_some_and(|at| at <= self.now) {
                end.handle_timeout(self.now);
            }
        }
    }

    fn make_trouble(&mut self) {
        let connected = self.client.is_connected() && self.server.is_connected();
        if !connected {
            return;
        }
        if self.random.percent(self.trouble.rebinding_percent) {
            self.rebindings += 1;
            let port = 1_001 + self.random.below(60_000) as u16;
            self.nat.set_port(port);
            if self.random.percent(30) {
                let ip = [198, 51, 100, self.random.below(250) as u8];
                self.nat.set_ip(ip.into());
            }
            // Who knows of it, pings.
            self.client.ping();
        }
        if self.random.percent(self.trouble.key_update_percent) {
            // Always the same end. quinn-proto takes a packet in the new phase for a confirmation, also where the
            // peer turned by itself and has not heard of its own update; after the next one neither can read the
            // other. Its `force_key_update` is for tests, so only tests have that.
            if self.trouble.client_updates_keys {
                self.client.update_keys();
            } else {
                self.server.update_keys();
            }
        }
        if self.random.percent(self.trouble.rest_percent) {
            self.client.ping();
        }
    }

    fn pump(&mut self, talk: &mut Talk, echo: &mut Echo) {
        if self.client.is_connected() {
            talk.run(self.now, &mut self.random, self.client);
        }
        if self.server.is_connected() {
            echo.run(self.server);
        }
        for (bytes, to) in self
            .client
            .transmit(self.now)
            .into_iter()
            .map(|(to, bytes)| (bytes, to))
        {
            assert_eq!(to, self.server_addr);
            self.send(true, self.nat, to, bytes);
        }
        for (to, bytes) in self.server.transmit(self.now) {
            self.send(false, self.server_addr, to, bytes);
        }
        for is_client in [true, false] {
            if self.random.percent(self.trouble.rest_percent) {
                let end = if is_client {
                    &mut *self.client
                } else {
                    &mut *self.server
                };
                end.rest();
            }
        }
    }

    fn send(&mut self, to_server: bool, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        let copies = 1 + u64::from(self.random.percent(self.faults.duplicate_percent));
        for _ in 0..copies {
            if self.random.percent(self.faults.loss_percent) {
                continue;
            }
            self.order += 1;
            let at = self.now + self.faults.delay_us + self.random.below(self.faults.jitter_us + 1);
            self.flying.push(Reverse(Flying {
                at,
                order: self.order,
                to_server,
                from,
                to,
                bytes: bytes.clone(),
            }));
        }
    }
}
