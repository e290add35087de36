//! The decision whether a connection is let in, one for the host.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::addresses::{Addresses, Counted};
use super::counters::add_one;
use super::memory::Sample;
use super::rates::{Rated, Rates};
use super::{Counters, Seat};

/// What the operator allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of the host.
    pub connections_max: u32,
    /// Bytes, as [`Sample`] counts them.
    pub memory_max_bytes: u64,
    /// Connections of a source address; 0: any number.
    pub connections_per_address_max: u32,
    /// Handshakes that a source address may begin in a second; 0: any number.
    pub handshakes_per_address_per_second_max: u32,
}

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There are as many connections as allowed.
    Full,
    /// There is no memory for more.
    Memory,
    /// Its address has as many connections as allowed.
    Address,
    /// Its address begins handshakes too fast: not worth one more.
    Rate,
    /// The server is drained: nobody is let in.
    Drained,
}

/// See the module.
pub struct Gate {
    limits: Limits,
    is_closed: AtomicBool,
    connections: AtomicU64,
    resident_bytes: AtomicU64,
    socket_bytes: AtomicU64,
    sampled_connections: AtomicU64,
    addresses: Option<Addresses>,
    rates: Option<Rates>,
    /// Keyed at random: nobody can choose addresses that share an entry.
    hasher: RandomState,
    counters: Counters,
}

impl Gate {
    /// A gate through which nobody has gone.
    pub fn new(limits: Limits) -> Self {
        let some = |limit: u32| (limit > 0).then_some(limit);
        Self {
            limits,
            is_closed: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            resident_bytes: AtomicU64::new(0),
            socket_bytes: AtomicU64::new(0),
            sampled_connections: AtomicU64::new(0),
            addresses: some(limits.connections_per_address_max)
                .map(|limit| Addresses::new(limits.connections_max, limit)),
            rates: some(limits.handshakes_per_address_per_second_max).map(Rates::new),
            hasher: RandomState::new(),
            counters: Counters::default(),
        }
    }

    /// Lets a connection in, or says why not. What is let in is counted until [`Gate::leave`].
    ///
    /// # Errors
    /// The first of the limits that is reached.
    pub fn enter(&self, peer: IpAddr, now_s: u64) -> Result<Seat, Refusal> {
        let hash = self.hasher.hash_one(source(peer));
        let rated = self.rates.as_ref().map(|rates| rates.count(hash, now_s));
        match rated {
            Some(Rated::Over) => return Err(self.refuse(Refusal::Rate)),
            Some(Rated::Untracked) => add_one(&self.counters.untracked),
            Some(Rated::Within) | None => {}
        }
        if self.is_closed.load(Relaxed) {
            return Err(self.refuse(Refusal::Drained));
        }
        if self.is_short_of_memory() {
            return Err(self.refuse(Refusal::Memory));
        }
        let before = self.connections.fetch_add(1, Relaxed);
        if before >= u64::from(self.limits.connections_max) {
            self.connections.fetch_sub(1, Relaxed);
            return Err(self.refuse(Refusal::Full));
        }
        let entry = match self.addresses.as_ref().map(|table| table.enter(hash)) {
            Some(Counted::Over) => {
                self.connections.fetch_sub(1, Relaxed);
                return Err(self.refuse(Refusal::Address));
            }
            Some(Counted::At(entry)) => Some(entry),
            Some(Counted::Untracked) => {
                add_one(&self.counters.untracked);
                None
            }
            None => None,
        };
        add_one(&self.counters.admitted);
        Ok(Seat::counted(entry))
    }

    fn refuse(&self, refusal: Refusal) -> Refusal {
        add_one(match refusal {
            Refusal::Full => &self.counters.refused_full,
            Refusal::Memory => &self.counters.refused_memory,
            Refusal::Address => &self.counters.refused_address,
            Refusal::Rate => &self.counters.cut_off_rate,
            Refusal::Drained => &self.counters.refused_drained,
        });
        refusal
    }

    /// From here on nobody is let in, or everybody within the limits again.
    pub fn set_closed(&self, is_closed: bool) {
        self.is_closed.store(is_closed, Relaxed);
    }

    /// One that [`left`](Self::leave) and is still here counts again, whatever the limits; its address is
    /// known to nobody any more.
    pub fn come_back(&self) -> Seat {
        self.connections.fetch_add(1, Relaxed);
        Seat::counted(None)
    }

    /// A connection is gone.
    pub fn leave(&self, seat: Seat) {
        if !seat.is_counted() {
            return;
        }
        self.connections.fetch_sub(1, Relaxed);
        if let (Some(table), Some(entry)) = (&self.addresses, seat.entry()) {
            table.leave(entry);
        }
    }

    /// Connections that are let in now.
    pub fn connections(&self) -> u64 {
        self.connections.load(Relaxed)
    }

    /// Takes the latest account of memory.
    pub fn take_sample(&self, sample: Sample) {
        self.resident_bytes.store(sample.resident_bytes, Relaxed);
        self.socket_bytes.store(sample.socket_bytes, Relaxed);
        self.sampled_connections.store(sample.connections, Relaxed);
    }

    /// Bytes in use.
    pub fn used_bytes(&self) -> u64 {
        let sample = Sample {
            resident_bytes: self.resident_bytes.load(Relaxed),
            socket_bytes: self.socket_bytes.load(Relaxed),
            connections: self.sampled_connections.load(Relaxed),
        };
        sample.used_bytes(self.connections())
    }

    /// Whether one more connection would be too much.
    pub fn is_short_of_memory(&self) -> bool {
        self.used_bytes() >= self.limits.memory_max_bytes
    }

    /// What the operator allows.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What was done.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// What counts as one source: an IPv4 address; of an IPv6 address the /64, which one customer has all
/// to itself (RFC 6177).
fn source(peer: IpAddr) -> u64 {
    match peer.to_canonical() {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Limits = Limits {
        connections_max: 1_000,
        memory_max_bytes: u64::MAX,
        connections_per_address_max: 0,
        handshakes_per_address_per_second_max: 0,
    };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn no_more_than_so_many() {
        let gate = Gate::new(Limits {
            connections_max: 2,
            ..OPEN
        });
        let seats: Vec<Seat> = (0..2).map(|_| gate.enter(ip("::1"), 0).unwrap()).collect();
        assert_eq!(gate.enter(ip("::1"), 0), Err(Refusal::Full));
        assert_eq!(gate.connections(), 2);
        gate.leave(seats[0]);
        gate.leave(Seat::default());
        assert_eq!(gate.connections(), 1);
        assert!(gate.enter(ip("::1"), 0).is_ok());
        assert_eq!(gate.counters().refused_full.value(), 1);
    }

    #[test]
    fn nobody_comes_through_a_closed_gate_and_who_comes_back_counts() {
        let gate = Gate::new(OPEN);
        let seat = gate.enter(ip("::1"), 0).unwrap();
        gate.set_closed(true);
        assert_eq!(gate.enter(ip("::1"), 0), Err(Refusal::Drained));
        gate.leave(seat);
        assert_eq!(gate.connections(), 0);
        let again = gate.come_back();
        assert_eq!(gate.connections(), 1);
        gate.leave(again);
        gate.set_closed(false);
        assert!(gate.enter(ip("::1"), 0).is_ok());
        assert_eq!(gate.counters().refused_drained.load(Relaxed), 1);
    }

    #[test]
    fn an_address_is_an_ipv4_address_or_an_ipv6_network() {
        let gate = Gate::new(Limits {
            connections_per_address_max: 1,
            ..OPEN
        });
        let seat = gate.enter(ip("2001:db8::1"), 0).unwrap();
        let same = gate.enter(ip("2001:db8::ffff:2"), 0);
        assert_eq!(same, Err(Refusal::Address));
        assert!(gate.enter(ip("2001:db8:0:1::1"), 0).is_ok());
        assert!(gate.enter(ip("192.0.2.1"), 0).is_ok());
        assert_eq!(gate.enter(ip("::ffff:192.0.2.1"), 0), Err(Refusal::Address));
        assert_eq!(gate.connections(), 3, "the refused are not counted");
        gate.leave(seat);
        assert!(gate.enter(ip("2001:db8::9"), 0).is_ok());
    }

    #[test]
    fn handshakes_per_second() {
        let gate = Gate::new(Limits {
            handshakes_per_address_per_second_max: 3,
            ..OPEN
        });
        let entered = |now_s| {
            (0..5)
                .filter(|_| gate.enter(ip("192.0.2.1"), now_s).is_ok())
                .count()
        };
        assert_eq!((entered(1), entered(1), entered(2)), (3, 0, 3));
        assert_eq!(gate.counters().cut_off_rate.value(), 2 + 5 + 2);
    }

    #[test]
    fn memory_is_counted_between_samples_too() {
        let gate = Gate::new(Limits {
            memory_max_bytes: 10_000_000,
            ..OPEN
        });
        gate.take_sample(Sample {
            resident_bytes: 9_000_000,
            socket_bytes: 500_000,
            connections: 0,
        });
        let let_in = (0..100)
            .filter(|_| gate.enter(ip("::1"), 0).is_ok())
            .count();
        assert_eq!(let_in, 25, "500 kB at 20.5 kB each");
        assert_eq!(gate.counters().refused_memory.value(), 75);
        gate.take_sample(Sample {
            resident_bytes: 9_010_000,
            socket_bytes: 500_000,
            connections: 25,
        });
        assert!(!gate.is_short_of_memory(), "their handshakes are over");
    }
}
