//! One process: its resident memory, its processor time and its limits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{PAGE_BYTES, ReadError, form, read};

/// Resident bytes of a process: `smaps_rollup`, which counts exactly, or where it may not be read
/// `status`, whose counters may lag by some pages per thread.
pub fn rss_bytes(pid: u32) -> Result<u64, ReadError> {
    let exact = PathBuf::from(format!("/proc/{pid}/smaps_rollup"));
    if let Ok(text) = read(&exact)
        && let Some(bytes) = field_bytes(&text, "Rss")
    {
        return Ok(bytes);
    }
    let path = PathBuf::from(format!("/proc/{pid}/status"));
    field_bytes(&read(&path)?, "VmRSS")
        .ok_or_else(|| form(&path, "has no VmRSS: a kernel thread or a zombie"))
}

/// Resident bytes of a process from the kernel's counters, which may lag by some pages per thread: cheap
/// however large the process is, where [`rss_bytes`] walks its page tables.
pub fn rss_bytes_roughly(pid: u32) -> Result<u64, ReadError> {
    let path = PathBuf::from(format!("/proc/{pid}/status"));
    field_bytes(&read(&path)?, "VmRSS")
        .ok_or_else(|| form(&path, "has no VmRSS: a kernel thread or a zombie"))
}

/// Processor time used since the start, in steps of 10 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// In user space.
    pub user: Duration,
    /// In the kernel.
    pub system: Duration,
}

/// Processor time of a process, those of its threads that have ended included.
pub fn cpu_time(pid: u32) -> Result<CpuTime, ReadError> {
    cpu_time_in(&PathBuf::from(format!("/proc/{pid}/stat"))).map(|(_, time)| time)
}

/// Processor time of a process by the names of its threads; threads of one name are summed, and those
/// that have ended are not there.
pub fn cpu_time_by_thread(pid: u32) -> Result<BTreeMap<String, CpuTime>, ReadError> {
    let folder = PathBuf::from(format!("/proc/{pid}/task"));
    let threads = std::fs::read_dir(&folder).map_err(|error| ReadError::Io {
        path: folder,
        error,
    })?;
    let mut times: BTreeMap<String, CpuTime> = BTreeMap::new();
    for thread in threads.flatten() {
        // A thread that has ended meanwhile is no error.
        if let Ok((name, time)) = cpu_time_in(&thread.path().join("stat")) {
            let sum = times.entry(name).or_default();
            sum.user += time.user;
            sum.system += time.system;
        }
    }
    Ok(times)
}

fn cpu_time_in(path: &Path) -> Result<(String, CpuTime), ReadError> {
    parse_stat(&read(path)?).ok_or_else(|| form(path, "is no proc_pid_stat(5) line"))
}

/// The name and the times of a `stat` line. A name may hold spaces and parentheses: the last one ends it.
fn parse_stat(text: &str) -> Option<(String, CpuTime)> {
    let (_, rest) = text.split_once('(')?;
    let (name, rest) = rest.rsplit_once(')')?;
    // utime and stime are the fields 14 and 15; the first after the name is 3.
    let mut words = rest.split_whitespace().skip(11);
    // USER_HZ is 100 on every architecture that Linux has io_uring on.
    let mut ticks = || {
        let ticks: u64 = words.next()?.parse().ok()?;
        Some(Duration::from_millis(ticks.checked_mul(10)?))
    };
    let (user, system) = (ticks()?, ticks()?);
    Some((name.to_owned(), CpuTime { user, system }))
}

/// Resident bytes of this process, `/proc/self/statm`: cheap at any size, where [`rss_bytes`] walks the
/// page tables.
pub fn own_resident_bytes() -> Result<u64, ReadError> {
    let path = Path::new("/proc/self/statm");
    let pages = resident_pages(&read(path)?);
    pages
        .map(|pages| pages.saturating_mul(PAGE_BYTES))
        .ok_or_else(|| form(path, "has no second number"))
}

/// The second number of `/proc/PID/statm`.
fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_whitespace().nth(1)?.parse().ok()
}

/// Open files that this process may have: the soft and the hard RLIMIT_NOFILE.
pub fn open_files_limit() -> Result<(u64, u64), ReadError> {
    let path = PathBuf::from("/proc/self/limits");
    parse_limit(&read(&path)?, "Max open files")
        .ok_or_else(|| form(&path, "has no line for open files"))
}

/// A line `Name:   123 kB`, in bytes.
pub(crate) fn field_bytes(text: &str, name: &str) -> Option<u64> {
    let rest = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let mut words = rest.split_whitespace();
    let number: u64 = words.next()?.parse().ok()?;
    match words.next() {
        Some("kB") => number.checked_mul(1_024),
        _ => None,
    }
}

/// A line of `/proc/PID/limits`: name, soft, hard, unit.
fn parse_limit(text: &str, name: &str) -> Option<(u64, u64)> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    let mut words = rest.split_whitespace();
    let mut limit = || match words.next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    };
    Some((limit()?, limit()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_pages_are_the_second_number() {
        assert_eq!(resident_pages("9001 512 300 1 0 400 0\n"), Some(512));
        for nonsense in ["", "9001", "9001 x"] {
            assert_eq!(resident_pages(nonsense), None);
        }
        assert!(own_resident_bytes().unwrap() > 1 << 20);
    }

    #[test]
    fn fields_and_limits_are_parsed() {
        let rollup =
            "55d8-7ffc ---p 00000000 00:00 0 [rollup]\nRss:                1234 kB\nPss:  1 kB\n";
        assert_eq!(field_bytes(rollup, "Rss"), Some(1234 * 1024));
        for text in [
            "",
            "Rss: x kB",
            "Rss: 12",
            "Rss: 99999999999999999999 kB",
            "Rss: 18446744073709551615 kB",
            "RssAnon: 5 kB",
        ] {
            assert_eq!(field_bytes(text, "Rss"), None, "{text}");
        }
        let limits = "Limit    Soft Limit   Hard Limit   Units\nMax open files            20000                unlimited            files\n";
        assert_eq!(
            parse_limit(limits, "Max open files"),
            Some((20_000, u64::MAX))
        );
        assert_eq!(parse_limit("Max open files  20000", "Max open files"), None);
    }

    #[test]
    fn times_are_parsed_whatever_the_name() {
        let line = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 123 45 0 0 20 0\n";
        let (name, time) = parse_stat(line).unwrap();
        assert_eq!(name, "a) b (c");
        assert_eq!(time.user, Duration::from_millis(1_230));
        assert_eq!(time.system, Duration::from_millis(450));
        for odd in [
            "",
            "7 a S 1",
            "7 (a) S 1 2 3 4 5 6 7 8 9 10 x 45",
            "7 (a) S 1 2 3",
        ] {
            assert_eq!(parse_stat(odd), None, "{odd}");
        }
    }

    #[test]
    fn this_process_uses_time_that_its_threads_sum_up_to() {
        let own = std::process::id();
        let began = std::time::Instant::now();
        let mut sum = 0u64;
        while began.elapsed() < Duration::from_millis(60) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let all = cpu_time(own).unwrap();
        let threads = cpu_time_by_thread(own).unwrap();
        assert!(all.user + all.system > Duration::ZERO, "after {sum} steps");
        assert!(
            threads
                .values()
                .any(|time| time.user + time.system > Duration::ZERO)
        );
        assert!(rss_bytes_roughly(own).unwrap() > 100 * 1024);
    }

    #[test]
    fn this_process_has_memory_and_limits() {
        assert!(rss_bytes(std::process::id()).unwrap() > 100 * 1024);
        let (soft, hard) = open_files_limit().unwrap();
        assert!(soft > 0 && hard >= soft);
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(
            rss_bytes(u32::MAX)
                .unwrap_err()
                .to_string()
                .contains("/proc/4294967295/status")
        );
    }
}
