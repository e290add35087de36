//! What a run found: JSON for programs, a table for people, and whether it is a success.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::measure::{CONNECTIONS_MIN, Part};
use super::record::{Drain, Point, Stage, Storm, Traffic};

/// See the module. Latencies are in microseconds from the moment at which a message was due.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) version: String,
    pub(crate) command: Vec<String>,
    pub(crate) url: String,
    pub(crate) mode: String,
    /// What `rtt` and `ack` are in this mode.
    pub(crate) rtt_is: String,
    pub(crate) kernel: String,
    pub(crate) cores: usize,
    pub(crate) sysctls: BTreeMap<String, String>,
    pub(crate) interrupted: bool,

    pub(crate) connections: u32,
    pub(crate) established: u64,
    pub(crate) failed: u64,
    pub(crate) lost: u64,
    pub(crate) connect_seconds: f64,
    pub(crate) connects_per_second: f64,
    pub(crate) errors: BTreeMap<String, u64>,

    pub(crate) talkers: u64,
    pub(crate) payload_bytes: u32,
    pub(crate) rate_asked: u32,
    /// Messages that arrived, per second of the time asked for, or of the time that they took where it is
    /// longer.
    pub(crate) rate_done: f64,
    pub(crate) traffic_seconds: f64,
    pub(crate) sent: u64,
    pub(crate) unsent: u64,
    pub(crate) acked: u64,
    pub(crate) delivered: u64,
    pub(crate) rtt_p50_us: Option<u64>,
    pub(crate) rtt_p99_us: Option<u64>,
    pub(crate) rtt_p999_us: Option<u64>,
    pub(crate) rtt_max_us: Option<u64>,
    pub(crate) ack_p50_us: Option<u64>,
    pub(crate) ack_p99_us: Option<u64>,
    pub(crate) ack_max_us: Option<u64>,

    pub(crate) server_pid: Option<u32>,
    /// The memory figures are differences between this many connections and all.
    pub(crate) warm_up_connections: u64,
    pub(crate) server_rss_before_bytes: Option<u64>,
    pub(crate) server_rss_at_rest_bytes: Option<u64>,
    pub(crate) server_rss_after_traffic_bytes: Option<u64>,
    pub(crate) server_rss_after_storm_bytes: Option<u64>,
    pub(crate) server_rss_after_goodbye_bytes: Option<u64>,
    /// Over all ramps, or over the last one where it took more.
    pub(crate) server_user_bytes_per_connection: Option<f64>,
    /// With what the messages left in the server's store.
    pub(crate) user_bytes_per_connection_after_traffic: Option<f64>,
    pub(crate) user_bytes_per_connection_after_storm: Option<f64>,
    /// Without it: what the server's memory shrank by when the connections went.
    pub(crate) user_bytes_per_connection_given_back: Option<f64>,
    pub(crate) client_user_bytes_per_connection: Option<f64>,
    /// Objects in use of the caches that grew with the connections: both ends.
    pub(crate) kernel_bytes_per_pair: Option<f64>,
    pub(crate) kernel_bytes_per_pair_after_traffic: Option<f64>,
    pub(crate) kernel_parts: Vec<Part>,
    /// All slab pages, half-empty ones and the host's other work included.
    pub(crate) kernel_slab_pages_bytes_per_pair: Option<f64>,
    /// By what MemFree shrank: both ends, kernel and user space, and the host's other work.
    pub(crate) host_free_bytes_per_pair: Option<f64>,

    /// One for each size at which was measured, the full one last.
    pub(crate) stages: Vec<Stage>,
    /// The traffic whose main figures stand above.
    pub(crate) traffic: Traffic,
    pub(crate) storm: Option<Storm>,
    pub(crate) drain: Option<Drain>,
    pub(crate) time_line: Vec<Point>,
}

impl Report {
    /// What is wrong, if anything.
    pub(super) fn faults(&self) -> Vec<String> {
        let wanted = u64::from(self.connections);
        let mut faults = Vec::new();
        if self.established < wanted {
            faults.push(format!(
                "{} of {wanted} connections were made",
                self.established
            ));
        }
        if self.lost > 0 {
            faults.push(format!("{} connections were lost", self.lost));
        }
        if self.unsent > 0 {
            faults.push(format!(
                "{} messages had no connection to be sent on",
                self.unsent
            ));
        }
        if self.delivered < self.sent {
            faults.push(format!(
                "{} of {} messages arrived",
                self.delivered, self.sent
            ));
        }
        faults.extend(self.stage_faults());
        faults.extend(self.storm.iter().flat_map(storm_faults));
        faults.extend(self.drain.iter().flat_map(drain_faults));
        faults
    }

    /// The stages and the storm, where there were any.
    fn more_rows(&self, row: &mut impl FnMut(&str, String)) {
        for stage in self.stages.iter().filter(|stage| !stage.traffic.is_empty()) {
            for traffic in &stage.traffic {
                let us = traffic.rtt.as_ref().map(|rtt| (rtt.p50_us, rtt.p99_us));
                let (p50, p99) = us.unwrap_or_default();
                let cpu = stage
                    .idle_cpu
                    .as_ref()
                    .and_then(|idle| traffic.net_us(idle));
                let cpu = cpu.map_or("-".to_owned(), |us| format!("{us:.1} us"));
                row(
                    &format!("at {}", stage.connections),
                    format!(
                        "{:.0}/s: p50 {p50} us  p99 {p99} us, server {cpu} of processor each",
                        traffic.rate_done
                    ),
                );
            }
        }
        if let Some(drain) = &self.drain {
            row(
                "drain",
                format!(
                    "{} of {} told, at most {} in a second, {} are in elsewhere after {:.1} s, {} tries more; \
                     {} sent, {} acked",
                    drain.told,
                    drain.connections,
                    drain.told_per_second.iter().max().unwrap_or(&0),
                    drain.moved,
                    drain.seconds,
                    drain.tried_again,
                    drain.sent,
                    drain.acked
                ),
            );
        }
        let Some(storm) = &self.storm else { return };
        row(
            "storm",
            format!(
                "{} cut off, {} came back ({:.0}/s), {} tries more, {} of {} established lost",
                storm.cut,
                storm.reconnected,
                storm.per_second().unwrap_or_default(),
                storm.tried_again,
                storm.lost,
                storm.established
            ),
        );
        for phase in &storm.phases {
            let us = phase
                .rtt
                .as_ref()
                .map(|rtt| (rtt.p50_us, rtt.p99_us, rtt.max_us));
            let (p50, p99, max) = us.unwrap_or_default();
            row(
                &format!("  {}", phase.name),
                format!(
                    "{:.1} s: p50 {p50} us  p99 {p99} us  max {max} us",
                    phase.seconds
                ),
            );
        }
    }

    fn stage_faults(&self) -> Vec<String> {
        let traffic = |stage: &Stage| {
            let at = stage.connections;
            let missing = |traffic: &&Traffic| traffic.delivered < traffic.sent + traffic.unsent;
            let told = |traffic: &Traffic| {
                format!(
                    "{} of {} messages arrived at {at} connections and {}/s",
                    traffic.delivered,
                    traffic.sent + traffic.unsent,
                    traffic.rate_asked
                )
            };
            let faults = stage.traffic.iter().filter(missing).map(told);
            faults.collect::<Vec<_>>()
        };
        self.stages.iter().flat_map(traffic).collect()
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let mut table = String::new();
        let mut row = |name: &str, value: String| {
            let _ = writeln!(table, "{name:<22} {value}");
        };
        row(
            "connections",
            format!(
                "{} in {:.1} s ({:.0}/s), {} failed, {} lost",
                self.established,
                self.connect_seconds,
                self.connects_per_second,
                self.failed,
                self.lost
            ),
        );
        if self.rate_asked > 0 {
            row(
                "messages",
                format!(
                    "{} sent, {} acked, {} arrived: {:.0}/s of {}/s",
                    self.sent, self.acked, self.delivered, self.rate_done, self.rate_asked
                ),
            );
            let us = |us: Option<u64>| us.map_or("-".to_owned(), |us| us.to_string());
            row(
                "rtt (us)",
                format!(
                    "p50 {}  p99 {}  p99.9 {}  max {}  ({})",
                    us(self.rtt_p50_us),
                    us(self.rtt_p99_us),
                    us(self.rtt_p999_us),
                    us(self.rtt_max_us),
                    self.rtt_is
                ),
            );
            if self.acked > 0 {
                let (p50, p99, max) = (self.ack_p50_us, self.ack_p99_us, self.ack_max_us);
                row(
                    "ack (us)",
                    format!("p50 {}  p99 {}  max {}", us(p50), us(p99), us(max)),
                );
            }
        }
        let bytes =
            |bytes: Option<f64>| bytes.map_or("-".to_owned(), |bytes| format!("{bytes:.0} B"));
        let user = (
            bytes(self.server_user_bytes_per_connection),
            bytes(self.user_bytes_per_connection_after_traffic),
            bytes(self.user_bytes_per_connection_given_back),
        );
        row(
            "server, per connection",
            format!(
                "{} at rest, {} after traffic, {} given back at the end",
                user.0, user.1, user.2
            ),
        );
        row(
            "client, per connection",
            bytes(self.client_user_bytes_per_connection),
        );
        let kernel = (
            self.kernel_bytes_per_pair,
            self.kernel_bytes_per_pair_after_traffic,
        );
        row(
            "kernel, both ends",
            format!(
                "{} at rest, {} after traffic",
                bytes(kernel.0),
                bytes(kernel.1)
            ),
        );
        for part in &self.kernel_parts {
            row(
                "",
                format!("{:>7.0} B  {:.2} {}", part.bytes, part.objects, part.cache),
            );
        }
        row("slab pages", bytes(self.kernel_slab_pages_bytes_per_pair));
        row("MemFree, everything", bytes(self.host_free_bytes_per_pair));
        if self.connections < CONNECTIONS_MIN {
            row(
                "",
                format!("(fewer than {CONNECTIONS_MIN} connections: the bytes mean little)"),
            );
        }
        self.more_rows(&mut row);
        for (error, times) in &self.errors {
            row("error", format!("{times} x {error}"));
        }
        table
    }
}

/// What is wrong with a drain.
fn drain_faults(drain: &Drain) -> Vec<String> {
    let mut faults = Vec::new();
    if drain.told < drain.connections || drain.moved < drain.connections {
        faults.push(format!(
            "of {} connections {} were told to reconnect and {} came back",
            drain.connections, drain.told, drain.moved
        ));
    }
    if drain.acked < drain.sent {
        faults.push(format!(
            "{} of {} messages were acked in the drain",
            drain.acked, drain.sent
        ));
    }
    faults
}

/// What is wrong with a storm.
fn storm_faults(storm: &Storm) -> Vec<String> {
    let mut faults = Vec::new();
    if storm.reconnected < storm.cut {
        faults.push(format!(
            "{} of {} connections came back from the storm",
            storm.reconnected, storm.cut
        ));
    }
    if storm.delivered < storm.sent + storm.unsent {
        faults.push(format!(
            "{} of {} messages arrived in the storm",
            storm.delivered,
            storm.sent + storm.unsent
        ));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Report {
        Report {
            connections: 10,
            established: 10,
            sent: 5,
            delivered: 5,
            ..Report::default()
        }
    }

    #[test]
    fn each_fault_is_told() {
        assert!(good().faults().is_empty());
        let faults = [
            (
                Report {
                    established: 9,
                    ..good()
                },
                "9 of 10 connections were made",
            ),
            (Report { lost: 2, ..good() }, "2 connections were lost"),
            (
                Report {
                    unsent: 1,
                    ..good()
                },
                "1 messages had no connection to be sent on",
            ),
            (
                Report {
                    delivered: 4,
                    ..good()
                },
                "4 of 5 messages arrived",
            ),
            (
                Report {
                    stages: vec![Stage {
                        connections: 7,
                        traffic: vec![Traffic {
                            rate_asked: 3,
                            sent: 9,
                            delivered: 8,
                            ..Traffic::default()
                        }],
                        ..Stage::default()
                    }],
                    ..good()
                },
                "8 of 9 messages arrived at 7 connections and 3/s",
            ),
            (
                Report {
                    storm: Some(Storm {
                        cut: 3,
                        reconnected: 2,
                        ..Storm::default()
                    }),
                    ..good()
                },
                "2 of 3 connections came back from the storm",
            ),
            (
                Report {
                    storm: Some(Storm {
                        sent: 2,
                        unsent: 1,
                        delivered: 2,
                        ..Storm::default()
                    }),
                    ..good()
                },
                "2 of 3 messages arrived in the storm",
            ),
        ];
        for (report, fault) in faults {
            assert_eq!(report.faults(), [fault]);
        }
    }

    #[test]
    fn the_json_has_what_the_gates_read() {
        let json = serde_json::to_value(good()).unwrap();
        for field in [
            "established",
            "failed",
            "connect_seconds",
            "rate_asked",
            "rate_done",
            "rtt_p50_us",
            "rtt_p99_us",
            "rtt_max_us",
            "server_user_bytes_per_connection",
            "kernel_bytes_per_pair",
        ] {
            assert!(json.get(field).is_some(), "{field}");
        }
        assert!(good().table().contains("10 in 0.0 s"));
    }
}
