//! The decision whether a connection is let in, one for the host.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use ipnet::IpNet;

use super::addresses::{Addresses, Counted};
use super::counters::add_one;
use super::memory::Sample;
use super::rates::{Rated, Rates};
use super::{Counters, Seat};

/// What the operator allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of the host.
    pub connections_max: u32,
    /// Bytes, as [`Sample`] counts them.
    pub memory_max_bytes: u64,
    /// Connections of a source address; 0: any number.
    pub connections_per_address_max: u32,
    /// Handshakes that a source address may begin in a second; 0: any number.
    pub handshakes_per_address_per_second_max: u32,
    /// Whose addresses these two do not count.
    pub exempt_networks: Vec<IpNet>,
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
    limits: ArcSwap<Limits>,
    /// Those that it began with: tables and slots are for so many.
    room: u32,
    is_closed: AtomicBool,
    connections: AtomicU64,
    /// With those that have said nothing, and those that are refused.
    sockets: AtomicU64,
    resident_bytes: AtomicU64,
    socket_bytes: AtomicU64,
    sampled_connections: AtomicU64,
    /// Made when there is a limit: who came before it is not counted.
    addresses: OnceLock<Addresses>,
    rates: OnceLock<Rates>,
    /// Keyed at random: nobody can choose addresses that share an entry.
    hasher: RandomState,
    counters: Counters,
}

impl Gate {
    /// A gate through which nobody has gone.
    pub fn new(limits: Limits) -> Self {
        let gate = Self {
            is_closed: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            sockets: AtomicU64::new(0),
            resident_bytes: AtomicU64::new(0),
            socket_bytes: AtomicU64::new(0),
            sampled_connections: AtomicU64::new(0),
            addresses: OnceLock::new(),
            rates: OnceLock::new(),
            hasher: RandomState::new(),
            counters: Counters::default(),
            room: limits.connections_max,
            limits: ArcSwap::from_pointee(limits),
        };
        gate.make_tables();
        gate
    }

    fn make_tables(&self) {
        let limits = self.limits.load();
        if limits.connections_per_address_max > 0 {
            self.addresses.get_or_init(|| Addresses::new(self.room));
        }
        if limits.handshakes_per_address_per_second_max > 0 {
            self.rates.get_or_init(Rates::new);
        }
    }

    /// Other limits, for whoever comes from now on; there is room for no more connections than at the start.
    pub fn set_limits(&self, limits: Limits) {
        let connections_max = limits.connections_max.min(self.room);
        self.limits.store(Arc::new(Limits {
            connections_max,
            ..limits
        }));
        self.make_tables();
    }

    /// Lets a client's connection in, or says why not. What is let in is counted until [`Gate::leave`].
    ///
    /// # Errors
    /// The first of the limits that is reached.
    pub fn enter(&self, client: IpAddr) -> Result<Seat, Refusal> {
        self.take_place()?;
        self.seat_of_address(self.counted(client))
    }

    /// Somebody has connected: it takes memory from now on, whatever becomes of it.
    pub fn connect(&self) {
        self.sockets.fetch_add(1, Relaxed);
    }

    /// One that connected is gone.
    pub fn disconnect(&self) {
        self.sockets.fetch_sub(1, Relaxed);
    }

    /// Everybody who is connected.
    pub fn sockets(&self) -> u64 {
        self.sockets.load(Relaxed)
    }

    /// Counts a handshake that an address begins.
    ///
    /// # Errors
    /// [`Refusal::Rate`] where it begins too many.
    pub fn count_handshake(&self, client: IpAddr, now_s: u64) -> Result<(), Refusal> {
        self.count_handshake_of(self.counted(client), now_s)
    }

    /// Lets the connection of a proxy in that has not said yet who its client is: it is one of the host's
    /// until [`Gate::leave`], and of no address.
    ///
    /// # Errors
    /// The first of the host's limits that is reached.
    pub fn enter_unannounced(&self) -> Result<Seat, Refusal> {
        self.take_place()?;
        Ok(Seat::counted(None))
    }

    /// The proxy has said who its client is (none: itself). Where the connection was let in, this is where
    /// it is counted from now on; where it was not, only the client's handshakes are counted.
    ///
    /// # Errors
    /// The first of the limits of the client's address that is reached. After [`Refusal::Address`] the
    /// connection is not counted any more.
    pub fn announce(
        &self,
        seat: Seat,
        client: Option<IpAddr>,
        now_s: u64,
    ) -> Result<Seat, Refusal> {
        let hash = client.and_then(|client| self.counted(client));
        self.count_handshake_of(hash, now_s)?;
        match seat.is_counted() {
            true => self.seat_of_address(hash),
            false => Ok(seat),
        }
    }

    /// What an address is counted by, where it is.
    fn counted(&self, client: IpAddr) -> Option<u64> {
        let client = client.to_canonical();
        let limits = self.limits.load();
        let mut exempt = limits.exempt_networks.iter();
        let is_exempt = exempt.any(|network| network.contains(&client));
        (!is_exempt).then(|| self.hasher.hash_one(source(client)))
    }

    fn count_handshake_of(&self, hash: Option<u64>, now_s: u64) -> Result<(), Refusal> {
        let limit = self.limits.load().handshakes_per_address_per_second_max;
        let hash = hash.filter(|_| limit > 0);
        let rated = hash.map(|hash| {
            let rates = self.rates.get();
            rates.map_or(Rated::Within, |rates| rates.count(hash, now_s, limit))
        });
        match rated {
            Some(Rated::Over) => return Err(self.refuse(Refusal::Rate)),
            Some(Rated::Untracked) => add_one(&self.counters.untracked),
            Some(Rated::Within) | None => {}
        }
        Ok(())
    }

    /// One of the host's connections.
    fn take_place(&self) -> Result<(), Refusal> {
        if self.is_closed.load(Relaxed) {
            return Err(self.refuse(Refusal::Drained));
        }
        if self.is_short_of_memory() {
            return Err(self.refuse(Refusal::Memory));
        }
        let before = self.connections.fetch_add(1, Relaxed);
        if before >= u64::from(self.limits.load().connections_max) {
            self.connections.fetch_sub(1, Relaxed);
            return Err(self.refuse(Refusal::Full));
        }
        Ok(())
    }

    /// Of a connection that has its place among the host's: it is given back where the address has none.
    fn seat_of_address(&self, hash: Option<u64>) -> Result<Seat, Refusal> {
        let limit = self.limits.load().connections_per_address_max;
        let hash = hash.filter(|_| limit > 0);
        let table = self.addresses.get().zip(hash);
        let counted = table.map(|(table, hash)| table.enter(hash, limit));
        let entry = match counted {
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
        if let (Some(table), Some(entry)) = (self.addresses.get(), seat.entry()) {
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
        sample.used_bytes(self.sockets())
    }

    /// Whether one more connection would be too much.
    pub fn is_short_of_memory(&self) -> bool {
        self.used_bytes() >= self.limits.load().memory_max_bytes
    }

    /// What the operator allows.
    pub fn limits(&self) -> Arc<Limits> {
        self.limits.load_full()
    }

    /// What was done.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// What counts as one source: an IPv4 address; of an IPv6 address the /64, which one customer has all
/// to itself (RFC 6177).
fn source(peer: IpAddr) -> u64 {
    match peer {
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
        exempt_networks: Vec::new(),
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
        let seats: Vec<Seat> = (0..2).map(|_| gate.enter(ip("::1")).unwrap()).collect();
        assert_eq!(gate.enter(ip("::1")), Err(Refusal::Full));
        assert_eq!(gate.connections(), 2);
        gate.leave(seats[0]);
        gate.leave(Seat::default());
        assert_eq!(gate.connections(), 1);
        assert!(gate.enter(ip("::1")).is_ok());
        assert_eq!(gate.counters().refused_full.value(), 1);
    }

    #[test]
    fn nobody_comes_through_a_closed_gate_and_who_comes_back_counts() {
        let gate = Gate::new(OPEN);
        let seat = gate.enter(ip("::1")).unwrap();
        gate.set_closed(true);
        assert_eq!(gate.enter(ip("::1")), Err(Refusal::Drained));
        gate.leave(seat);
        assert_eq!(gate.connections(), 0);
        let again = gate.come_back();
        assert_eq!(gate.connections(), 1);
        gate.leave(again);
        gate.set_closed(false);
        assert!(gate.enter(ip("::1")).is_ok());
        assert_eq!(gate.counters().refused_drained.value(), 1);
    }

    #[test]
    fn an_address_is_an_ipv4_address_or_an_ipv6_network() {
        let gate = Gate::new(Limits {
            connections_per_address_max: 1,
            ..OPEN
        });
        let seat = gate.enter(ip("2001:db8::1")).unwrap();
        let same = gate.enter(ip("2001:db8::ffff:2"));
        assert_eq!(same, Err(Refusal::Address));
        assert!(gate.enter(ip("2001:db8:0:1::1")).is_ok());
        assert!(gate.enter(ip("192.0.2.1")).is_ok());
        assert_eq!(gate.enter(ip("::ffff:192.0.2.1")), Err(Refusal::Address));
        assert_eq!(gate.connections(), 3, "the refused are not counted");
        gate.leave(seat);
        assert!(gate.enter(ip("2001:db8::9")).is_ok());
    }

    #[test]
    fn what_comes_through_a_proxy_counts_for_its_client_from_when_that_is_known() {
        let gate = Gate::new(Limits {
            connections_max: 4,
            connections_per_address_max: 1,
            handshakes_per_address_per_second_max: 2,
            ..OPEN
        });
        let client = Some(ip("192.0.2.1"));
        let seats: Vec<Seat> = (0..4).map(|_| gate.enter_unannounced().unwrap()).collect();
        assert_eq!(gate.enter_unannounced(), Err(Refusal::Full));
        let announced = gate.announce(seats[0], client, 1).unwrap();
        assert_eq!(
            gate.announce(seats[1], client, 1),
            Err(Refusal::Address),
            "its place is free"
        );
        assert_eq!(gate.connections(), 3);
        assert_eq!(gate.announce(seats[2], client, 1), Err(Refusal::Rate));
        assert_eq!(gate.connections(), 3, "until it leaves");
        gate.leave(seats[2]);
        assert_eq!(gate.announce(seats[3], None, 1), Ok(seats[3]), "the proxy");
        // One that was refused before is not counted, but its handshake is.
        let refused = Seat::default();
        assert_eq!(gate.announce(refused, client, 2), Ok(refused));
        assert_eq!(gate.announce(refused, client, 2), Ok(refused));
        assert_eq!(gate.announce(refused, client, 2), Err(Refusal::Rate));
        gate.leave(announced);
        let again = gate.enter_unannounced().unwrap();
        assert!(gate.announce(again, client, 3).is_ok(), "its entry is free");
        assert_eq!(gate.connections(), 2);
        assert_eq!(gate.counters().admitted.value(), 3);
    }

    #[test]
    fn handshakes_per_second() {
        let gate = Gate::new(Limits {
            handshakes_per_address_per_second_max: 3,
            ..OPEN
        });
        let entered = |now_s| {
            (0..5)
                .filter(|_| gate.count_handshake(ip("192.0.2.1"), now_s).is_ok())
                .count()
        };
        assert_eq!((entered(1), entered(1), entered(2)), (3, 0, 3));
        assert_eq!(gate.counters().cut_off_rate.value(), 2 + 5 + 2);
    }

    #[test]
    fn limits_that_change_count_for_who_comes_from_then_on() {
        let gate = Gate::new(Limits {
            connections_max: 3,
            ..OPEN
        });
        let before = gate.enter(ip("192.0.2.1")).unwrap();
        gate.set_limits(Limits {
            connections_max: 1_000_000,
            connections_per_address_max: 1,
            ..OPEN
        });
        assert_eq!(gate.limits().connections_max, 3, "there is no more room");
        assert!(
            gate.enter(ip("192.0.2.1")).is_ok(),
            "the first is not counted"
        );
        assert_eq!(gate.enter(ip("192.0.2.1")), Err(Refusal::Address));
        gate.leave(before);
        gate.set_limits(Limits {
            connections_max: 1,
            ..OPEN
        });
        assert_eq!(gate.enter(ip("192.0.2.2")), Err(Refusal::Full));
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
            .filter(|_| {
                let seat = gate.enter(ip("::1"));
                seat.inspect(|_| gate.connect()).is_ok()
            })
            .count();
        assert_eq!(let_in, 18, "500 kB at 28.7 kB each");
        assert_eq!(gate.counters().refused_memory.value(), 82);
        gate.take_sample(Sample {
            resident_bytes: 9_010_000,
            socket_bytes: 500_000,
            connections: 18,
        });
        assert!(!gate.is_short_of_memory(), "their handshakes are over");
    }
}
