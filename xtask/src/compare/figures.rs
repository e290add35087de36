//! What was measured, as it stands in the JSON.

use std::collections::BTreeMap;

use rookery_tuning::cpu::CpuTime;
use serde::Serialize;

use super::load::{Loaded, Part};

/// A comparison: where and how, and everything that was found.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Comparison {
    pub(super) commit: String,
    pub(super) kernel: String,
    pub(super) cpu: String,
    pub(super) cores: usize,
    pub(super) memory_bytes: Option<u64>,
    pub(super) open_files_max: u64,
    pub(super) sysctls: BTreeMap<&'static str, String>,
    pub(super) command: Vec<String>,
    pub(super) server_core: usize,
    pub(super) load_core: usize,
    pub(super) payload_bytes: u32,
    pub(super) seconds: f64,
    pub(super) rows: Vec<Row>,
    pub(super) duels: Vec<Duel>,
}

/// One peer over one transport.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) version: String,
    pub(super) transport: &'static str,
    /// It also holds a connection to a backend for each.
    pub(super) is_proxy: bool,
    pub(super) figures: Option<Figures>,
    /// Why there are none, or why there are none of messages.
    pub(super) reason: Option<String>,
}

/// What one run found.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Figures {
    /// flock's command line.
    pub(super) command: Vec<String>,
    pub(super) connections: u64,
    pub(super) failed: u64,
    pub(super) lost: u64,
    /// Resident bytes of the server's process per idle connection.
    pub(super) user_bytes: Option<f64>,
    /// The kernel's objects per idle connection, by cache, of all ends.
    pub(super) kernel_parts: BTreeMap<String, f64>,
    /// TCP sockets that came, per connection.
    pub(super) sockets: Option<f64>,
    /// The sum of the parts without [`OTHERS`] and without what readers of /proc/PID/fd left behind; none
    /// where other sockets came or went meanwhile than the connections'.
    pub(super) kernel_bytes_all_ends: Option<f64>,
    /// The server's own part of it.
    pub(super) kernel_bytes: Option<f64>,
    pub(super) rate_asked: u32,
    pub(super) rate_done: f64,
    pub(super) sent: u64,
    pub(super) delivered: u64,
    pub(super) cpu_user_us: Option<f64>,
    pub(super) cpu_system_us: Option<f64>,
    pub(super) p50_us: Option<u64>,
    pub(super) p99_us: Option<u64>,
    pub(super) p999_us: Option<u64>,
}

impl Figures {
    /// From a run at `rate_asked` in which a connection is so many `sockets`. The server's own part of the
    /// kernel's bytes is found later, see [`Figures::split`].
    pub(super) fn new(rate_asked: u32, sockets: f64, loaded: Loaded) -> Self {
        let Loaded { flock, cpu } = loaded;
        let came = flock.kernel_parts.iter().find(|part| part.cache == "TCP");
        let came = came.map(|part| part.objects);
        let alone = came.is_some_and(|came| (came / sockets - 1.0).abs() <= SOCKETS_TOLERANCE);
        let messages = flock.delivered.max(1) as f64;
        let per_message = |of: fn(CpuTime) -> u64| cpu.map(|cpu| of(cpu) as f64 / messages);
        Self {
            connections: flock.established,
            failed: flock.failed,
            lost: flock.lost,
            user_bytes: flock.server_user_bytes_per_connection,
            kernel_bytes_all_ends: alone.then(|| of_ends(&flock.kernel_parts)),
            sockets: came,
            kernel_parts: flock
                .kernel_parts
                .into_iter()
                .map(|part| (part.cache, part.bytes))
                .collect(),
            kernel_bytes: None,
            rate_asked,
            rate_done: flock.rate_done,
            sent: flock.sent,
            delivered: flock.delivered,
            cpu_user_us: per_message(|cpu| cpu.user_us),
            cpu_system_us: per_message(|cpu| cpu.system_us),
            p50_us: flock.rtt_p50_us,
            p99_us: flock.rtt_p99_us,
            p999_us: flock.rtt_p999_us,
            command: flock.command,
        }
    }

    /// The server's part of the kernel's bytes: all without the `ends` that are our engine's (flock's, and
    /// behind a proxy the backend's), each of `end_bytes`.
    pub(super) fn split(&mut self, end_bytes: f64, ends: f64) {
        self.kernel_bytes = self.kernel_bytes_all_ends.map(|all| all - ends * end_bytes);
    }

    /// User space and kernel.
    pub(super) fn bytes(&self) -> Option<f64> {
        Some(self.user_bytes? + self.kernel_bytes?)
    }

    /// Processor time per message.
    pub(super) fn cpu_us(&self) -> Option<f64> {
        Some(self.cpu_user_us? + self.cpu_system_us?)
    }
}

/// Sockets that other programs of the host may open meanwhile, as a part of the connections'.
const SOCKETS_TOLERANCE: f64 = 0.03;

/// Caches that change while connections are made and are no part of one: files that are written, memory
/// that is mapped, ends of former runs' connections.
const OTHERS: [&str; 12] = [
    "anon_vma",
    "anon_vma_chain",
    "buffer_head",
    "ext4_inode_cache",
    "extent_status",
    "maple_node",
    "proc_inode_cache",
    "radix_tree_node",
    "request_sock_TCP",
    "task_struct",
    "tw_sock_TCP",
    "vm_area_struct",
];

/// Caches of which an open file has an object, beside the inode's own.
const OF_A_FILE: [&str; 2] = ["dentry", "lsm_inode_cache"];

/// The bytes of the connections' ends. Who lists `/proc/PID/fd` leaves an inode of `proc_inode_cache`
/// and its dentry per descriptor, which the kernel drops when it needs the memory: no part of an end.
fn of_ends(parts: &[Part]) -> f64 {
    let mut left_behind = 0.0;
    for part in parts {
        if part.cache == "proc_inode_cache" {
            left_behind = f64::max(part.objects, 0.0);
        }
    }
    let bytes = |part: &Part| match part.cache.as_str() {
        cache if OTHERS.contains(&cache) => 0.0,
        cache if OF_A_FILE.contains(&cache) && part.objects > 0.0 => {
            part.bytes - left_behind.min(part.objects) * part.bytes / part.objects
        }
        _ => part.bytes,
    };
    parts.iter().map(bytes).sum()
}

/// Two servers in alternating rounds, and a goal.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Duel {
    pub(super) goal: String,
    pub(super) peer: &'static str,
    pub(super) at_most: f64,
    pub(super) ours_us: Spread,
    pub(super) theirs_us: Spread,
    /// Of the rounds' own ratios.
    pub(super) ratio: Spread,
    pub(super) met: bool,
}

/// Over rounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) rounds: Vec<f64>,
}

impl Spread {
    /// None without rounds.
    pub(super) fn of(rounds: Vec<f64>) -> Option<Self> {
        let mut sorted = rounds.clone();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            (sorted[middle - 1] + sorted[middle]) / 2.0
        };
        Some(Self {
            median,
            min,
            max,
            rounds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(cache: &str, objects: f64, bytes: f64) -> Part {
        Part {
            cache: cache.into(),
            objects,
            bytes,
        }
    }

    #[test]
    fn what_readers_left_is_no_part_of_an_end() {
        let parts = [
            part("TCP", 2.0, 5_000.0),
            part("dentry", 3.0, 600.0),
            part("lsm_inode_cache", 3.0, 150.0),
            part("proc_inode_cache", 1.0, 700.0),
            part("tw_sock_TCP", -1.0, -250.0),
        ];
        assert_eq!(of_ends(&parts), 5_000.0 + 400.0 + 100.0);
        assert_eq!(of_ends(&parts[..3]), 5_750.0);
        let shrunk = [
            part("dentry", 2.0, 400.0),
            part("proc_inode_cache", -1.0, -700.0),
        ];
        assert_eq!(of_ends(&shrunk), 400.0, "no gift to anybody");
    }

    #[test]
    fn spreads() {
        assert_eq!(Spread::of(Vec::new()), None);
        let odd = Spread::of(vec![3.0, 1.0, 2.0]).unwrap();
        assert_eq!((odd.median, odd.min, odd.max), (2.0, 1.0, 3.0));
        assert_eq!(Spread::of(vec![4.0, 2.0]).unwrap().median, 3.0);
    }
}
