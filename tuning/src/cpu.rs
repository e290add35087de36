//! Processor time, of a process, its threads, or it and all that descend from it.

use std::collections::BTreeMap;
use std::ops::{Add, Sub};
use std::path::{Path, PathBuf};

use crate::{ReadError, form, read};

/// What `/proc` counts processor time in: USER_HZ, which is 100 on every architecture that has io_uring
/// (proc_pid_stat(5)).
const TICK_US: u64 = 10_000;

/// Processor time, in microseconds, in steps of 10 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// In user space.
    pub user_us: u64,
    /// In the kernel.
    pub system_us: u64,
}

impl CpuTime {
    /// Both.
    pub fn total_us(self) -> u64 {
        self.user_us.saturating_add(self.system_us)
    }
}

impl Add for CpuTime {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            user_us: self.user_us.saturating_add(other.user_us),
            system_us: self.system_us.saturating_add(other.system_us),
        }
    }
}

impl Sub for CpuTime {
    type Output = Self;

    /// What was used since `earlier`.
    fn sub(self, earlier: Self) -> Self {
        Self {
            user_us: self.user_us.saturating_sub(earlier.user_us),
            system_us: self.system_us.saturating_sub(earlier.system_us),
        }
    }
}

/// A process's own, those of its threads that have ended included.
pub fn of_process(pid: u32) -> Result<CpuTime, ReadError> {
    stat(&PathBuf::from(format!("/proc/{pid}/stat"))).map(|stat| stat.cpu)
}

/// A process's by the names of its threads; threads of one name are summed, and those that have ended
/// are not there.
pub fn by_thread(pid: u32) -> Result<BTreeMap<String, CpuTime>, ReadError> {
    let folder = PathBuf::from(format!("/proc/{pid}/task"));
    let threads = std::fs::read_dir(&folder).map_err(|error| ReadError::Io {
        path: folder,
        error,
    })?;
    let mut times: BTreeMap<String, CpuTime> = BTreeMap::new();
    for thread in threads.flatten() {
        // A thread that has ended meanwhile is no error.
        if let Ok(Stat { name, cpu, .. }) = stat(&thread.path().join("stat")) {
            let sum = times.entry(name).or_default();
            *sum = *sum + cpu;
        }
    }
    Ok(times)
}

/// That of a process and of all that descend from it. Those that have ended are not in it.
///
/// # Errors
/// The process is not there.
pub fn of_tree(pid: u32) -> Result<CpuTime, ReadError> {
    let mut sum = of_process(pid)?;
    for child in descendants(pid, &parents()) {
        // One that has ended meanwhile has used nothing that counts.
        sum = sum + of_process(child).unwrap_or_default();
    }
    Ok(sum)
}

/// Every process's parent.
fn parents() -> BTreeMap<u32, u32> {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return BTreeMap::new();
    };
    let parent = |pid: u32| {
        let stat = stat(&PathBuf::from(format!("/proc/{pid}/stat"))).ok()?;
        Some((pid, stat.parent))
    };
    processes
        .filter_map(|entry| parent(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// All below `root`, which is not among them.
fn descendants(root: u32, parents: &BTreeMap<u32, u32>) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        let children = parents
            .iter()
            .filter(|&(child, of)| *of == parent && !found.contains(child));
        let children: Vec<u32> = children.map(|(child, _)| *child).collect();
        found.extend(children);
        next += 1;
    }
    found.split_off(1)
}

/// What is used of a `stat` line.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    parent: u32,
    cpu: CpuTime,
}

fn stat(path: &Path) -> Result<Stat, ReadError> {
    parse_stat(&read(path)?).ok_or_else(|| form(path, "is no proc_pid_stat(5) line"))
}

/// A name may hold spaces and parentheses: the last one ends it.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.split_once('(')?;
    let (name, rest) = rest.rsplit_once(')')?;
    // The fields 4, 14 and 15; the first after the name is 3.
    let mut words = rest.split_whitespace();
    let parent = words.nth(1)?.parse().ok()?;
    let mut ticks = words.skip(9).map(str::parse::<u64>);
    let mut time = || ticks.next()?.ok()?.checked_mul(TICK_US);
    let (user_us, system_us) = (time()?, time()?);
    Some(Stat {
        name: name.to_owned(),
        parent,
        cpu: CpuTime { user_us, system_us },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_parsed_whatever_the_name() {
        let text = "42 (a) R 7 (b) S 41 42 42 0 -1 4194304 170 0 0 0 12 34 9 9 20 0 1 0 100 0 0";
        let cpu = CpuTime {
            user_us: 120_000,
            system_us: 340_000,
        };
        let stat = parse_stat(text).unwrap();
        assert_eq!((stat.name.as_str(), stat.parent), ("a) R 7 (b", 41));
        assert_eq!(stat.cpu, cpu);
        assert_eq!(cpu.total_us(), 460_000);
        assert_eq!(CpuTime::default() - cpu, CpuTime::default());
        for odd in [
            "",
            "42 (a",
            "42 a S 1",
            "42 (a) S x",
            "42 (a) S 1 2 3",
            "42 (a) S 1 2 3 4 5 6 7 8 9 10 11 -1 2",
        ] {
            assert_eq!(parse_stat(odd), None, "{odd}");
        }
    }

    #[test]
    fn descendants_are_found_at_any_depth() {
        let parents = BTreeMap::from([(1, 0), (2, 1), (3, 2), (4, 9), (5, 3), (9, 0)]);
        assert_eq!(descendants(1, &parents), [2, 3, 5]);
        assert_eq!(descendants(5, &parents), []);
        // A cycle cannot be, and must not hang.
        assert_eq!(descendants(1, &BTreeMap::from([(1, 2), (2, 1)])), [2]);
    }

    #[test]
    fn a_child_counts_to_its_parent_and_threads_to_their_process() {
        let own = std::process::id();
        let before = of_tree(own).unwrap();
        let mut child = std::process::Command::new("sh")
            .args(["-c", "while :; do :; done"])
            .spawn()
            .unwrap();
        let (mut used, began) = (CpuTime::default(), std::time::Instant::now());
        while used.total_us() < 50_000 && began.elapsed().as_secs() < 60 {
            std::thread::sleep(std::time::Duration::from_millis(20));
            used = of_tree(child.id()).unwrap();
        }
        let with_child = of_tree(own).unwrap();
        let threads = by_thread(child.id()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(used.total_us() >= 50_000, "{used:?}");
        assert!((with_child - before).total_us() >= 50_000, "{with_child:?}");
        let of_threads: u64 = threads.values().map(|time| time.total_us()).sum();
        assert!(of_threads >= used.total_us(), "{threads:?}");
        assert!(of_tree(u32::MAX).is_err());
    }
}
