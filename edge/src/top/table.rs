//! An interval as tables of text: the same for the screen and for a pipe.

use std::time::{Duration, SystemTime};

use rookery_benches::report::count;

use super::sample::{Interval, Times};
use crate::unix_time::unix_s;

/// A table: a title, the heads of its columns, and its rows.
pub(super) struct Table {
    pub(super) title: String,
    pub(super) heads: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    /// The width of each column.
    pub(super) fn widths(&self) -> Vec<usize> {
        let heads = self.heads.iter().map(|head| head.len());
        let mut widths: Vec<usize> = heads.collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths
    }
}

/// The line above the tables.
pub(super) fn headline(seen: &Interval) -> String {
    let up = unix_s(SystemTime::now()).saturating_sub(seen.started_s);
    let state = if seen.ready {
        "ready".to_owned()
    } else {
        format!("NOT READY: {}", seen.why_not.join("; "))
    };
    format!(
        "rookery {}, up {}, {state} | {} of {} connections | {} of {} memory",
        seen.version,
        humantime::format_duration(Duration::from_secs(up)),
        count(seen.connections),
        count(seen.connections_max),
        bytes(seen.memory_used_bytes as f64),
        bytes(seen.memory_max_bytes as f64),
    )
}

/// All of it.
pub(super) fn tables(seen: &Interval) -> [Table; 3] {
    let rows = seen.shards.iter().enumerate().map(|(at, shard)| {
        vec![
            at.to_string(),
            count(shard.live),
            rate(shard.accepted),
            rate(shard.logins),
            count(shard.opening),
            count(shard.lobby),
            bytes(shard.received_bytes),
            bytes(shard.sent_bytes),
            bytes(shard.queued_bytes as f64),
            rate(shard.skipped),
            rate(shard.turns),
            rate(shard.stalls),
        ]
    });
    let shards = Table {
        title: format!("shards, turn {}", times(seen.turn)),
        heads: vec![
            "shard",
            "live",
            "accepts/s",
            "logins/s",
            "opening",
            "waiting",
            "in B/s",
            "out B/s",
            "queued",
            "skipped/s",
            "turns/s",
            "stalls/s",
        ],
        rows: rows.collect(),
    };
    let of = &seen.router;
    let router = Table {
        title: format!(
            "router, ack {}, deliver {}, commit {}",
            times(of.ack),
            times(of.deliver),
            times(of.commit)
        ),
        heads: vec![
            "appended/s",
            "acked/s",
            "fan-outs/s",
            "reads/s",
            "refused/s",
            "intake",
            "to store",
            "to inboxes",
        ],
        rows: vec![vec![
            rate(of.appended),
            rate(of.acked),
            rate(of.fanned_out),
            rate(of.reads),
            rate(of.refused),
            count(of.intake_queue),
            count(of.applier_lag),
            count(of.inbox_gathering),
        ]],
    };
    let rows = seen.top.iter().map(|conn| {
        vec![
            conn.user_id.to_string(),
            conn.device_id.to_string(),
            conn.shard.to_string(),
            conn.phase.clone(),
            bytes(conn.queue_bytes as f64),
            format!("{} s", conn.idle_s),
            or_dash(conn.rtt_us.map(|rtt_us| seconds(f64::from(rtt_us) / 1e6))),
            or_dash(conn.retransmits.map(|segments| count(segments.into()))),
            or_dash(conn.peer.map(|peer| peer.to_string())),
        ]
    });
    let top = Table {
        title: "connections".into(),
        heads: vec![
            "user", "device", "shard", "phase", "queue", "idle", "rtt", "resent", "peer",
        ],
        rows: rows.collect(),
    };
    [shards, router, top]
}

/// The whole, for a pipe.
pub(super) fn text(seen: &Interval) -> String {
    let mut text = format!("{}\n", headline(seen));
    for table in tables(seen) {
        let widths = table.widths();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let cells: Vec<String> = cells
                .zip(&widths)
                .map(|(cell, &width)| format!("{cell:>width$}"))
                .collect();
            format!("{}\n", cells.join("  "))
        };
        text += &format!("\n{}\n", table.title);
        text += &line(&mut table.heads.iter().copied());
        for row in &table.rows {
            text += &line(&mut row.iter().map(String::as_str));
        }
    }
    text
}

fn or_dash(known: Option<String>) -> String {
    known.unwrap_or_else(|| "-".into())
}

fn times(times: Option<Times>) -> String {
    or_dash(times.map(|it| format!("p50 {} p99 {}", seconds(it.p50_s), seconds(it.p99_s))))
}

fn seconds(s: f64) -> String {
    match s {
        s if s < 1e-3 => format!("{:.0} us", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s => format!("{s:.1} s"),
    }
}

fn rate(per_second: f64) -> String {
    count(per_second.round() as u64)
}

fn bytes(n: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut n, mut unit) = (n, 0);
    while n >= 1_024.0 && unit + 1 < UNITS.len() {
        n /= 1_024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{n:.0} B"),
        _ => format!("{n:.1} {}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(rate(1_234_567.4), "1,234,567");
        let sizes = [0.0, 1_023.0, 1_024.0, 1.5e9].map(bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.4 GiB"]);
        let lasts = [4e-6, 0.0042, 16.777].map(seconds);
        assert_eq!(lasts, ["4 us", "4.2 ms", "16.8 s"]);
    }
}
