//! Reads what the process and the host use, for admission's account (see `admission::Sample`).

use std::fs;

use crate::admission::Sample;

/// A page of the kernel, as /proc counts them. Rookery runs on x86-64 and on arm64 with 4 KiB pages.
const PAGE_BYTES: u64 = 4_096;

/// What is used now, with so many connections. What cannot be read counts as nothing.
pub(super) fn sample(connections: u64) -> Sample {
    let text = |path| fs::read_to_string(path).unwrap_or_default();
    Sample {
        resident_bytes: resident_pages(&text("/proc/self/statm")) * PAGE_BYTES,
        socket_bytes: tcp_pages(&text("/proc/net/sockstat")) * PAGE_BYTES,
        connections,
    }
}

/// What this process may use: the host's memory, or what its control group leaves of it.
pub(super) fn host_bytes() -> u64 {
    let text = |path| fs::read_to_string(path).unwrap_or_default();
    let host = total_bytes(&text("/proc/meminfo")).unwrap_or(u64::MAX);
    // "max" where nothing is set, and no file outside of a group.
    let group = text("/sys/fs/cgroup/memory.max").trim().parse();
    host.min(group.unwrap_or(u64::MAX))
}

/// The second number of /proc/PID/statm.
fn resident_pages(statm: &str) -> u64 {
    let resident = statm.split_whitespace().nth(1);
    resident.and_then(|pages| pages.parse().ok()).unwrap_or(0)
}

/// `TCP: inuse 9 orphan 0 tw 3 alloc 12 mem 4`
fn tcp_pages(sockstat: &str) -> u64 {
    let line = sockstat.lines().find_map(|line| line.strip_prefix("TCP:"));
    let mut words = line.unwrap_or_default().split_whitespace();
    words
        .find(|word| *word == "mem")
        .and_then(|_| words.next())
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0)
}

/// `MemTotal:       24689764 kB`
fn total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_understood() {
        assert_eq!(resident_pages("9001 512 300 1 0 400 0\n"), 512);
        let sockstat =
            "sockets: used 81\nTCP: inuse 9 orphan 0 tw 3 alloc 12 mem 4\nUDP: inuse 1 mem 9\n";
        assert_eq!(tcp_pages(sockstat), 4);
        let meminfo = "MemTotal:       24689764 kB\nMemFree:        20 kB\n";
        assert_eq!(total_bytes(meminfo), Some(24_689_764 << 10));
        for nonsense in ["", "TCP:", "TCP: mem", "x y", "MemTotal: kB"] {
            let read = (resident_pages(nonsense), tcp_pages(nonsense));
            assert_eq!(
                (read, total_bytes(nonsense)),
                ((0, 0), None),
                "{nonsense:?}"
            );
        }
    }

    #[test]
    fn this_process_uses_something() {
        let now = sample(3);
        assert!(now.resident_bytes > 1 << 20, "{now:?}");
        assert!(host_bytes() > now.resident_bytes);
    }
}
