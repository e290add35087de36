//! What a run writes down of each part: plain figures, kept as JSON and read again by `report`.
//!
//! Times are seconds and latencies microseconds unless a name says otherwise; bytes are bytes. A figure
//! that could not be had is absent, never zero.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::measure::{Part, Sample};

/// Points of a latency curve: from the median on, each as far from 1 as half the last.
const CURVE_POINTS: u32 = 24;

/// Processor time of a process over some time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cpu {
    /// The time over which it was measured.
    pub(crate) seconds: f64,
    pub(crate) user_s: f64,
    pub(crate) system_s: f64,
    /// User and system together, by the thread's name.
    pub(crate) threads_s: BTreeMap<String, f64>,
}

impl Cpu {
    /// User and system.
    pub(crate) fn total_s(&self) -> f64 {
        self.user_s + self.system_s
    }

    /// Cores in use on the average.
    pub(crate) fn cores(&self) -> f64 {
        self.total_s() / self.seconds.max(0.001)
    }
}

/// A ramp: connections made, from nothing to Welcome.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ramp {
    /// Connections that were there before, and afterwards.
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) seconds: f64,
    pub(crate) server_cpu: Option<Cpu>,
    pub(crate) own_cpu: Option<Cpu>,
}

impl Ramp {
    /// Connections made per second.
    pub(crate) fn per_second(&self) -> f64 {
        self.to.saturating_sub(self.from) as f64 / self.seconds.max(0.001)
    }

    /// What one connection cost the server, in microseconds of processor time.
    pub(crate) fn server_us_each(&self) -> Option<f64> {
        let came = self.to.checked_sub(self.from).filter(|&came| came > 0)?;
        Some(self.server_cpu.as_ref()?.total_s() * 1e6 / came as f64)
    }
}

/// Latencies from the moment at which each message was due.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) messages: u64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p999_us: u64,
    pub(crate) max_us: u64,
    /// (part of all messages, microseconds within which so many were there), ascending.
    pub(crate) curve: Vec<(f64, u64)>,
}

impl Latency {
    /// None where nothing was measured.
    pub(super) fn of(histogram: &Histogram<u64>) -> Option<Self> {
        if histogram.is_empty() {
            return None;
        }
        let at = |part| histogram.value_at_quantile(part);
        let curve = (0..CURVE_POINTS)
            .map(|n| 1.0 - 0.5_f64.powf(1.0 + f64::from(n) / 2.0))
            // Finer than one message there is nothing to see.
            .take_while(|part| (1.0 - part) * histogram.len() as f64 >= 1.0)
            .map(|part| (part, at(part)))
            .chain([(1.0, histogram.max())]);
        Some(Self {
            messages: histogram.len(),
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: histogram.max(),
            curve: curve.collect(),
        })
    }
}

/// Messages at one rate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Traffic {
    pub(crate) rate_asked: u32,
    /// Messages that arrived, per second of the time asked for, or of the time that they took where it is
    /// longer.
    pub(crate) rate_done: f64,
    pub(crate) seconds: f64,
    /// Connections that sent and received.
    pub(crate) talkers: u64,
    pub(crate) sent: u64,
    pub(crate) unsent: u64,
    pub(crate) acked: u64,
    pub(crate) delivered: u64,
    pub(crate) rtt: Option<Latency>,
    pub(crate) ack: Option<Latency>,
    pub(crate) server_cpu: Option<Cpu>,
    pub(crate) own_cpu: Option<Cpu>,
}

impl Traffic {
    /// What one message cost the server, in microseconds, everything that it did meanwhile included.
    pub(crate) fn gross_us(&self) -> Option<f64> {
        let messages = Some(self.delivered).filter(|&messages| messages > 0)?;
        Some(self.server_cpu.as_ref()?.total_s() * 1e6 / messages as f64)
    }

    /// The same without what the server does at rest in the same time (heartbeats above all).
    pub(crate) fn net_us(&self, idle: &Cpu) -> Option<f64> {
        let messages = Some(self.delivered).filter(|&messages| messages > 0)?;
        let cpu = self.server_cpu.as_ref()?;
        Some((cpu.total_s() - idle.cores() * cpu.seconds) * 1e6 / messages as f64)
    }
}

/// Memory at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) connections: u64,
    pub(crate) server_rss: Option<u64>,
    pub(crate) own_rss: u64,
    /// All slab pages.
    pub(crate) slab: Option<u64>,
    pub(crate) page_tables: Option<u64>,
    pub(crate) vmalloc: Option<u64>,
    pub(crate) free: Option<u64>,
}

impl Memory {
    pub(super) fn of(sample: &Sample) -> Self {
        let memory = sample.memory;
        Self {
            connections: sample.connections,
            server_rss: sample.server_rss,
            own_rss: sample.own_rss,
            slab: memory.map(|memory| memory.slab),
            page_tables: memory.map(|memory| memory.page_tables),
            vmalloc: memory.map(|memory| memory.vmalloc),
            free: memory.map(|memory| memory.free),
        }
    }
}

/// One size: the ramp to it, its memory at rest, and messages at several rates.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stage {
    pub(crate) connections: u64,
    pub(crate) ramp: Ramp,
    /// At rest before the ramp and after it.
    pub(crate) before: Memory,
    pub(crate) rest: Memory,
    /// Per connection held, the warm-up's not counted: by what the server's resident memory grew over all
    /// ramps so far, without what messages between them left behind.
    pub(crate) server_user_bytes: Option<f64>,
    pub(crate) client_user_bytes: Option<f64>,
    /// The same of this ramp alone.
    pub(crate) ramp_user_bytes: Option<f64>,
    /// Objects of the kernel's caches for both ends.
    pub(crate) kernel_parts: Vec<Part>,
    pub(crate) page_table_bytes: Option<f64>,
    pub(crate) vmalloc_bytes: Option<f64>,
    pub(crate) slab_page_bytes: Option<f64>,
    /// By what MemFree shrank.
    pub(crate) host_free_bytes: Option<f64>,
    /// The server with nothing to do but heartbeats.
    pub(crate) idle_cpu: Option<Cpu>,
    pub(crate) traffic: Vec<Traffic>,
}

/// All clients are cut off and connect again, while established ones beside them go on talking.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Storm {
    pub(crate) established: u64,
    pub(crate) rate_asked: u32,
    /// Handshakes and logins under way at one time.
    pub(crate) window: u32,
    pub(crate) cut: u64,
    pub(crate) reconnected: u64,
    /// Attempts that were refused or broke off, and were made again.
    pub(crate) tried_again: u64,
    /// Of the established, those that did not live to see the end.
    pub(crate) lost: u64,
    pub(crate) sent: u64,
    pub(crate) unsent: u64,
    pub(crate) delivered: u64,
    pub(crate) phases: Vec<StormPhase>,
    pub(crate) slices: Vec<Slice>,
}

/// A part of the storm: "before", "disconnect", "reconnect", "after".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct StormPhase {
    pub(crate) name: String,
    pub(crate) seconds: f64,
    /// Of the established, by when the message arrived.
    pub(crate) rtt: Option<Latency>,
    pub(crate) ack: Option<Latency>,
    pub(crate) server_cpu: Option<Cpu>,
    pub(crate) own_cpu: Option<Cpu>,
}

impl Storm {
    /// A part by its name.
    pub(crate) fn phase(&self, name: &str) -> Option<&StormPhase> {
        self.phases.iter().find(|phase| phase.name == name)
    }

    /// Reconnects per second, over the whole of them.
    pub(crate) fn per_second(&self) -> Option<f64> {
        let seconds = self.phase("reconnect")?.seconds;
        Some(self.reconnected as f64 / seconds.max(0.001))
    }

    /// What a reconnect cost the server in microseconds, without what the established cost before.
    pub(crate) fn server_us_each(&self) -> Option<f64> {
        let reconnects = Some(self.reconnected).filter(|&reconnects| reconnects > 0)?;
        let before = self.phase("before")?.server_cpu.as_ref()?;
        let storm = self.phase("reconnect")?.server_cpu.as_ref()?;
        let own = storm.total_s() - before.cores() * storm.seconds;
        Some(own * 1e6 / reconnects as f64)
    }
}

/// The server is drained: every client is told to reconnect, and comes back elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Drain {
    pub(crate) connections: u64,
    pub(crate) seconds: f64,
    /// Clients that were told.
    pub(crate) told: u64,
    /// The same by the seconds of the server's clock.
    pub(crate) told_per_second: Vec<u64>,
    /// Clients that have gone since.
    pub(crate) left: u64,
    /// Of these, clients that are in elsewhere.
    pub(crate) moved: u64,
    /// Attempts that were refused or broke off, and were made again.
    pub(crate) tried_again: u64,
    pub(crate) sent: u64,
    pub(crate) acked: u64,
    pub(crate) delivered: u64,
}

/// About a second of the storm.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Slice {
    /// Since the storm's beginning, at the slice's end.
    pub(crate) at_s: f64,
    pub(crate) seconds: f64,
    pub(crate) phase: String,
    /// Connections at its end.
    pub(crate) live: u64,
    /// Connected again within it.
    pub(crate) reconnects: u64,
    /// Messages that arrived within it.
    pub(crate) messages: u64,
    pub(crate) p50_us: Option<u64>,
    pub(crate) p99_us: Option<u64>,
    pub(crate) max_us: Option<u64>,
}

/// A moment of a ramp or a storm.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    /// Since the run's beginning.
    pub(crate) at_s: f64,
    pub(crate) phase: String,
    pub(crate) connections: u64,
    pub(crate) server_rss: Option<u64>,
    pub(crate) free: Option<u64>,
    /// Processor seconds since the server's start.
    pub(crate) server_cpu_s: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_rises_to_the_longest() {
        let mut histogram = Histogram::new_with_bounds(1, 1_000_000, 3).unwrap();
        (1..=1_000).for_each(|us| histogram.record(us).unwrap());
        let latency = Latency::of(&histogram).unwrap();
        assert_eq!((latency.p50_us, latency.max_us), (500, 1_000));
        assert!(
            latency.curve.windows(2).all(|two| two[0] < two[1]),
            "{latency:?}"
        );
        assert_eq!(latency.curve.last(), Some(&(1.0, 1_000)));
        assert!((8..=CURVE_POINTS as usize).contains(&latency.curve.len()));
        histogram.reset();
        assert_eq!(Latency::of(&histogram), None);
    }

    #[test]
    fn a_message_is_charged_without_the_heartbeats() {
        let cpu = |seconds, user_s| {
            Some(Cpu {
                seconds,
                user_s,
                ..Cpu::default()
            })
        };
        let traffic = Traffic {
            delivered: 1_000,
            server_cpu: cpu(10.0, 1.5),
            ..Traffic::default()
        };
        let idle = cpu(5.0, 0.25).unwrap();
        assert!((traffic.gross_us().unwrap() - 1_500.0).abs() < 1e-6);
        assert!((traffic.net_us(&idle).unwrap() - 1_000.0).abs() < 1e-6);
        assert_eq!(Traffic::default().gross_us(), None);
    }

    #[test]
    fn a_reconnect_is_charged_without_the_talk() {
        let phase = |name: &str, user_s| StormPhase {
            name: name.to_owned(),
            seconds: 10.0,
            server_cpu: Some(Cpu {
                seconds: 10.0,
                user_s,
                ..Cpu::default()
            }),
            ..StormPhase::default()
        };
        let storm = Storm {
            reconnected: 1_000,
            phases: vec![phase("before", 1.0), phase("reconnect", 3.0)],
            ..Storm::default()
        };
        assert!((storm.server_us_each().unwrap() - 2_000.0).abs() < 1e-6);
        assert!((storm.per_second().unwrap() - 100.0).abs() < 1e-6);
        assert_eq!(Storm::default().server_us_each(), None);
    }
}
