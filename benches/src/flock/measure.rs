//! Memory at one moment: the server's and our own resident bytes, the kernel's caches, the host's.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rookery_tuning::memory::Memory;
use rookery_tuning::process::rss_bytes;
use rookery_tuning::slab::Snapshot;
use serde::{Deserialize, Serialize};

/// How often a process is looked at while it comes to rest.
const LOOK: Duration = Duration::from_millis(500);
/// Looks over which the resident bytes may not change for it to count as rest. An allocator gives
/// memory back over some ten seconds, in steps that are seconds apart.
const STEADY_LOOKS: usize = 12;
/// ... and where the figures mean nothing anyway.
const HASTY_LOOKS: usize = 2;
/// Fewer connections need less memory than the allocator and the kernel take at once.
pub(super) const CONNECTIONS_MIN: u32 = 1_000;
/// Changes below this part of the whole are noise.
const STEADY_PART: u64 = 400;
/// ... or below these bytes.
const STEADY_BYTES: u64 = 128 << 10;
/// Longer than an allocator's decay of 10 s.
const REST_MAX: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// Connections that are ready.
    pub(super) connections: u64,
    /// The server's process, where it is on this host.
    pub(super) server_rss: Option<u64>,
    /// This process.
    pub(super) own_rss: u64,
    /// The kernel's caches, where they may be read.
    pub(super) slab: Option<Snapshot>,
    /// The host's memory.
    pub(super) memory: Option<Memory>,
}

impl Sample {
    pub(super) fn take(server: Option<u32>, connections: u64) -> Self {
        Self {
            connections,
            server_rss: server.and_then(|pid| rss_bytes(pid).ok()),
            own_rss: rss_bytes(std::process::id()).unwrap_or_default(),
            slab: Snapshot::read().ok(),
            memory: Memory::read().ok(),
        }
    }

    /// Waits until the server's (else our own) memory changes no more, but at least for this time, and
    /// looks; where the figures will mean nothing, not for long.
    pub(super) fn at_rest(
        server: Option<u32>,
        connections: u64,
        hasty: bool,
        least: Duration,
        stop: &AtomicBool,
        mut look: impl FnMut(u64),
    ) -> Self {
        let looks = if hasty { HASTY_LOOKS } else { STEADY_LOOKS };
        let pid = server.unwrap_or_else(std::process::id);
        let mut seen: Vec<u64> = Vec::new();
        let began = Instant::now();
        let is_settled =
            |seen: &[u64], elapsed: Duration| is_steady(seen, looks) && (hasty || elapsed >= least);
        while began.elapsed() < REST_MAX
            && !stop.load(Relaxed)
            && !is_settled(&seen, began.elapsed())
        {
            std::thread::sleep(LOOK);
            let rss = rss_bytes(pid).unwrap_or_default();
            seen.push(rss);
            look(rss);
        }
        Self::take(server, connections)
    }
}

/// Whether the last looks saw the same.
fn is_steady(seen: &[u64], looks: usize) -> bool {
    let Some(from) = seen.len().checked_sub(looks) else {
        return false;
    };
    let last = &seen[from..];
    let (least, most) = (last.iter().min(), last.iter().max());
    least.zip(most).is_some_and(|(least, most)| {
        most - least <= (most / STEADY_PART).clamp(STEADY_BYTES, 8 * STEADY_BYTES)
    })
}

/// What one connection costs, from two samples; none where either lacks it or no connection came.
pub(super) fn user_bytes(before: &Sample, after: &Sample) -> Option<f64> {
    per(before, after, |sample| sample.server_rss)
}

/// By what MemFree shrank, everything included: both ends, both processes.
pub(super) fn host_bytes(before: &Sample, after: &Sample) -> Option<f64> {
    per(before, after, |sample| {
        sample.memory.map(|memory| memory.free)
    })
    .map(|bytes| -bytes)
}

/// By what all slabs grew, with their free objects and whatever else the host did meanwhile.
pub(super) fn slab_bytes(before: &Sample, after: &Sample) -> Option<f64> {
    per(before, after, |sample| {
        sample.memory.map(|memory| memory.slab)
    })
}

/// By what the page tables of all processes grew.
pub(super) fn page_table_bytes(before: &Sample, after: &Sample) -> Option<f64> {
    per(before, after, |sample| {
        sample.memory.map(|memory| memory.page_tables)
    })
}

/// By what the kernel's vmalloc areas grew; file tables are there before the connections.
pub(super) fn vmalloc_bytes(before: &Sample, after: &Sample) -> Option<f64> {
    per(before, after, |sample| {
        sample.memory.map(|memory| memory.vmalloc)
    })
}

fn per(before: &Sample, after: &Sample, of: impl Fn(&Sample) -> Option<u64>) -> Option<f64> {
    let connections = after
        .connections
        .checked_sub(before.connections)
        .filter(|&n| n > 0)?;
    Some((of(after)? as f64 - of(before)? as f64) / connections as f64)
}

/// One kernel cache's part of a connection (both ends, where both are on this host).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// The cache.
    pub(crate) cache: String,
    /// Its objects per connection.
    pub(crate) objects: f64,
    /// Their bytes per connection.
    pub(crate) bytes: f64,
}

/// Caches that gained fewer objects per connection are the host's other work.
const PART_OBJECTS_MIN: f64 = 0.1;

/// The caches that grew with the connections, the largest first; none where they cannot be read.
pub(super) fn kernel_parts(before: &Sample, after: &Sample) -> Option<Vec<Part>> {
    let connections = after
        .connections
        .checked_sub(before.connections)
        .filter(|&n| n > 0)? as f64;
    let (then, now) = (before.slab.as_ref()?, after.slab.as_ref()?);
    let mut parts: Vec<Part> = Vec::new();
    for (name, cache) in &now.caches {
        let was = then.caches.get(name).copied().unwrap_or_default();
        let objects = cache.objects_active as f64 - was.objects_active as f64;
        let bytes = cache.active_bytes() as f64 - was.active_bytes() as f64;
        if objects.abs() / connections >= PART_OBJECTS_MIN {
            parts.push(Part {
                cache: name.clone(),
                objects: objects / connections,
                bytes: bytes / connections,
            });
        }
    }
    parts.sort_by(|a, b| b.bytes.total_cmp(&a.bytes));
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(connections: u64, rss: u64, tcp: u64, other: u64) -> Sample {
        let text = format!(
            "slabinfo - version: 2.1\nTCP {tcp} {tcp} 2000 1 1 : x\ndentry {other} {other} 200 1 1 : x\n"
        );
        Sample {
            connections,
            server_rss: Some(rss),
            own_rss: 5,
            slab: Snapshot::parse(&text),
            memory: None,
        }
    }

    #[test]
    fn parts_leave_the_hosts_other_work_out() {
        let (before, after) = (
            sample(100, 10_000, 10, 500),
            sample(1_100, 310_000, 2_010, 550),
        );
        assert_eq!(user_bytes(&before, &after), Some(300.0));
        let parts = kernel_parts(&before, &after).unwrap();
        let expected = Part {
            cache: "TCP".into(),
            objects: 2.0,
            bytes: 4_000.0,
        };
        assert_eq!(parts, [expected]);
        assert_eq!(host_bytes(&before, &after), None);
        assert_eq!(user_bytes(&after, &after), None, "no connection came");
        assert_eq!(user_bytes(&after, &before), None, "connections went");
    }

    #[test]
    fn rest_is_when_nothing_changes() {
        let still = [100 << 20; STEADY_LOOKS];
        assert!(is_steady(&still, STEADY_LOOKS));
        assert!(!is_steady(&still[1..], STEADY_LOOKS));
        let falling: Vec<u64> = (0..20).map(|n| (100 - n) << 20).collect();
        assert!(!is_steady(&falling, STEADY_LOOKS));
        let settled = [&falling[..], &still].concat();
        assert!(is_steady(&settled, STEADY_LOOKS));
    }
}
