//! Which process a service is, so that no other one is ever signalled: a pid is used again after its
//! process ended, a pid with its start time is not.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process that we started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) pid: i32,
    /// In clock ticks since the host's boot (proc(5), field 22 of `stat`).
    started: u64,
}

/// What `/proc/PID/stat` says.
struct Stat {
    /// Ended, and its parent has not asked yet how.
    is_dead: bool,
    parent: i32,
    started: u64,
}

impl Identity {
    /// The process that has this pid now.
    pub(super) fn of(pid: i32) -> Option<Self> {
        let stat = Stat::read(pid)?;
        (!stat.is_dead).then_some(Self {
            pid,
            started: stat.started,
        })
    }

    /// The process in the file, where it still runs. A file of before the host's last boot names none.
    pub(super) fn read(file: &Path) -> Option<Self> {
        let text = fs::read_to_string(file).ok()?;
        let mut words = text.split_whitespace();
        let identity = Self {
            pid: words.next()?.parse().ok()?,
            started: words.next()?.parse().ok()?,
        };
        (words.next()? == boot()).then_some(())?;
        identity.is_alive().then_some(identity)
    }

    pub(super) fn write(self, file: &Path) -> Result<()> {
        let text = format!("{} {} {}\n", self.pid, self.started, boot());
        fs::write(file, text).with_context(|| format!("write {}", file.display()))
    }

    pub(super) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Whether it runs, or ended and its parent has not asked how: its pid is not free.
    pub(super) fn has_trace(self) -> bool {
        Stat::read(self.pid).is_some_and(|stat| stat.started == self.started)
    }

    /// The process and its descendants, parents first.
    pub(super) fn family(self) -> Vec<Self> {
        let processes: Vec<(Self, i32)> = all()
            .filter_map(|pid| Some((Self::of(pid)?, Stat::read(pid)?.parent)))
            .collect();
        let mut family = vec![self];
        let mut at = 0;
        while let Some(parent) = family.get(at).copied() {
            let children = processes.iter().filter(|(_, of)| *of == parent.pid);
            family.extend(children.map(|(child, _)| *child));
            at += 1;
        }
        family
    }

    /// Sends a signal, unless the process has ended: then there is nothing to signal.
    pub(super) fn signal(self, signal: Signal) -> Result<()> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(());
        };
        // The descriptor holds on to whoever has the pid now; only then is it looked at who that is.
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
            return Ok(());
        };
        if !self.is_alive() {
            return Ok(());
        }
        match pidfd_send_signal(process, signal) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            sent => sent.with_context(|| format!("signal process {}", self.pid)),
        }
    }

    /// Its share of the memory in use, in bytes: pages that several processes map are divided among them.
    pub(super) fn memory(self) -> u64 {
        let path = format!("/proc/{}/smaps_rollup", self.pid);
        let text = fs::read_to_string(path).unwrap_or_default();
        let share = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kibibytes = share.and_then(|value| value.trim().strip_suffix(" kB")?.parse().ok());
        kibibytes.unwrap_or(0) * 1024
    }

    /// For how many seconds it has run.
    pub(super) fn age_s(self) -> f64 {
        let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
        let now: Option<f64> = uptime
            .split_whitespace()
            .next()
            .and_then(|word| word.parse().ok());
        let ticks_per_s = rustix::param::clock_ticks_per_second();
        now.map_or(0.0, |now| now - self.started as f64 / ticks_per_s as f64)
    }
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The second field is the program's name in parentheses and may hold anything.
    fn parse(text: &str) -> Option<Self> {
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        Some(Self {
            is_dead: matches!(*fields.first()?, "Z" | "X"),
            parent: fields.get(1)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }
}

/// This boot of the host.
fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// The pids of all processes.
fn all() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn reads_a_name_with_spaces_and_parentheses() {
        let text = "7 (a) b (c)) S 3 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.is_dead, stat.parent, stat.started), (false, 3, 4711));
    }

    #[test]
    fn a_process_that_ended_is_nobody() {
        let folder = std::env::temp_dir().join(format!("xtask-identity-{}", std::process::id()));
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let identity = Identity::of(child.id() as i32).unwrap();
        identity.write(&folder).unwrap();
        assert_eq!(Identity::read(&folder), Some(identity));
        // The pid of another life of it.
        let other = Identity {
            started: identity.started + 1,
            ..identity
        };
        other.signal(Signal::KILL).unwrap();
        assert!(identity.is_alive());
        identity.signal(Signal::KILL).unwrap();
        child.wait().unwrap();
        assert_eq!(Identity::read(&folder), None);
        fs::remove_file(folder).unwrap();
    }

    #[test]
    fn a_family_is_the_process_and_those_below_it() {
        let mut shell = Command::new("sh")
            .args(["-c", "sleep 600 & wait"])
            .spawn()
            .unwrap();
        let identity = Identity::of(shell.id() as i32).unwrap();
        let family = loop {
            let family = identity.family();
            if family.len() == 2 {
                break family;
            }
            std::thread::yield_now();
        };
        assert_eq!(family[0], identity);
        for process in family {
            process.signal(Signal::KILL).unwrap();
        }
        shell.wait().unwrap();
    }
}
