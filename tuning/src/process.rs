//! One process: its resident memory and its limits.

use std::path::{Path, PathBuf};

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
