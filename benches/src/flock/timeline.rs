//! The run over time: a point each second while connections come or go. Bounded: a long run has its
//! points further apart.

use std::time::{Duration, Instant};

use rookery_tuning::cpu;
use rookery_tuning::memory::Memory;
use rookery_tuning::process::rss_bytes_roughly;

use super::record::Point;

/// With more, every second one is dropped and the rest come half as often.
const POINTS_MAX: usize = 1_200;

/// See the module.
pub(super) struct TimeLine {
    server: Option<u32>,
    began: Instant,
    every: Duration,
    last: Option<Instant>,
    points: Vec<Point>,
}

impl TimeLine {
    pub(super) fn begin(server: Option<u32>) -> Self {
        Self {
            server,
            began: Instant::now(),
            every: Duration::from_secs(1),
            last: None,
            points: Vec::new(),
        }
    }

    /// Notes a point where it is time for one.
    pub(super) fn look(&mut self, phase: &str, connections: u64) {
        if self.last.is_none_or(|last| last.elapsed() >= self.every) {
            self.note(phase, connections);
        }
    }

    /// Notes a point.
    pub(super) fn note(&mut self, phase: &str, connections: u64) {
        self.last = Some(Instant::now());
        let cpu = self.server.and_then(|pid| cpu::of_process(pid).ok());
        self.points.push(Point {
            at_s: self.began.elapsed().as_secs_f64(),
            phase: phase.to_owned(),
            connections,
            server_rss: self.server.and_then(|pid| rss_bytes_roughly(pid).ok()),
            free: Memory::read().ok().map(|memory| memory.free),
            server_cpu_s: cpu.map(|time| time.total_us() as f64 / 1e6),
        });
        if self.points.len() > POINTS_MAX {
            let mut nth = 0;
            self.points.retain(|_| {
                nth += 1;
                nth % 2 == 1
            });
            self.every *= 2;
        }
    }

    /// All of them, in order.
    pub(super) fn points(&self) -> Vec<Point> {
        self.points.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_keeps_few_points_over_all_of_it() {
        let mut line = TimeLine::begin(None);
        (0..=2 * POINTS_MAX as u64).for_each(|n| line.note("x", n));
        let points = line.points();
        assert!(
            (POINTS_MAX / 2..=POINTS_MAX).contains(&points.len()),
            "{}",
            points.len()
        );
        assert_eq!(points[0].connections, 0);
        assert!(
            points
                .windows(2)
                .all(|two| two[0].connections < two[1].connections)
        );
        line.look("x", 0);
        assert_eq!(
            line.points().len(),
            points.len(),
            "it is not time for another"
        );
    }
}
