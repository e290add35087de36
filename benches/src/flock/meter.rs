//! Processor time of the server and of ourselves between two moments.

use std::collections::BTreeMap;
use std::time::Instant;

use rookery_tuning::cpu::{self, CpuTime};

use super::record::Cpu;

/// One process at one moment.
pub(super) struct Meter {
    pid: u32,
    began: Instant,
    whole: CpuTime,
    threads: BTreeMap<String, CpuTime>,
}

impl Meter {
    /// From now on; none where the process cannot be seen.
    pub(super) fn start(pid: u32) -> Option<Self> {
        Some(Self {
            pid,
            began: Instant::now(),
            whole: cpu::of_process(pid).ok()?,
            threads: cpu::by_thread(pid).unwrap_or_default(),
        })
    }

    /// Until now.
    pub(super) fn read(&self) -> Option<Cpu> {
        let whole = cpu::of_process(self.pid).ok()?;
        let threads = cpu::by_thread(self.pid).unwrap_or_default();
        let used = |name: &String, time: &CpuTime| {
            let before = self.threads.get(name).copied().unwrap_or_default();
            seconds((*time - before).total_us())
        };
        let since = whole - self.whole;
        Some(Cpu {
            seconds: self.began.elapsed().as_secs_f64(),
            user_s: seconds(since.user_us),
            system_s: seconds(since.system_us),
            threads_s: threads
                .iter()
                .map(|(name, time)| (name.clone(), used(name, time)))
                .filter(|(_, seconds)| *seconds > 0.0)
                .collect(),
        })
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// Both ends.
pub(super) struct Meters {
    server: Option<Meter>,
    own: Option<Meter>,
}

impl Meters {
    pub(super) fn start(server: Option<u32>) -> Self {
        Self {
            server: server.and_then(Meter::start),
            own: Meter::start(std::process::id()),
        }
    }

    /// The server's and our own.
    pub(super) fn read(&self) -> (Option<Cpu>, Option<Cpu>) {
        let read = |meter: &Option<Meter>| meter.as_ref().and_then(Meter::read);
        (read(&self.server), read(&self.own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_does_is_seen() {
        let meters = Meters::start(None);
        let began = Instant::now();
        let mut sum = 0u64;
        while began.elapsed().as_millis() < 60 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let (server, own) = meters.read();
        assert_eq!(server, None);
        let own = own.unwrap();
        assert!(
            own.total_s() > 0.0 && own.seconds >= 0.06,
            "{own:?} after {sum} steps"
        );
    }
}
