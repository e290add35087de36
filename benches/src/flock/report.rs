//! What a run found: JSON for programs, a table for people, and whether it is a success.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::measure::{CONNECTIONS_MIN, Part};

/// See the module. Latencies are in microseconds from the moment at which a message was due.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) version: &'static str,
    pub(super) command: Vec<String>,
    pub(super) url: String,
    pub(super) mode: &'static str,
    /// What `rtt` and `ack` are in this mode.
    pub(super) rtt_is: &'static str,
    pub(super) kernel: String,
    pub(super) cores: usize,
    pub(super) sysctls: BTreeMap<&'static str, String>,
    pub(super) interrupted: bool,

    pub(super) connections: u32,
    pub(super) established: u64,
    pub(super) failed: u64,
    pub(super) lost: u64,
    pub(super) connect_seconds: f64,
    pub(super) connects_per_second: f64,
    pub(super) errors: BTreeMap<String, u64>,

    pub(super) talkers: u64,
    pub(super) payload_bytes: u32,
    pub(super) rate_asked: u32,
    /// Messages that arrived, per second of the time asked for, or of the time that they took where it is
    /// longer.
    pub(super) rate_done: f64,
    pub(super) traffic_seconds: f64,
    pub(super) sent: u64,
    pub(super) unsent: u64,
    pub(super) acked: u64,
    pub(super) delivered: u64,
    pub(super) rtt_p50_us: Option<u64>,
    pub(super) rtt_p99_us: Option<u64>,
    pub(super) rtt_p999_us: Option<u64>,
    pub(super) rtt_max_us: Option<u64>,
    pub(super) ack_p50_us: Option<u64>,
    pub(super) ack_p99_us: Option<u64>,
    pub(super) ack_max_us: Option<u64>,

    pub(super) server_pid: Option<u32>,
    /// The memory figures are differences between this many connections and all.
    pub(super) warm_up_connections: u64,
    pub(super) server_rss_before_bytes: Option<u64>,
    pub(super) server_rss_at_rest_bytes: Option<u64>,
    pub(super) server_rss_after_traffic_bytes: Option<u64>,
    pub(super) server_rss_after_goodbye_bytes: Option<u64>,
    pub(super) server_user_bytes_per_connection: Option<f64>,
    /// With what the messages left in the server's store.
    pub(super) user_bytes_per_connection_after_traffic: Option<f64>,
    /// Without it: what the server's memory shrank by when the connections went.
    pub(super) user_bytes_per_connection_given_back: Option<f64>,
    pub(super) client_user_bytes_per_connection: Option<f64>,
    /// Objects in use of the caches that grew with the connections: both ends.
    pub(super) kernel_bytes_per_pair: Option<f64>,
    pub(super) kernel_bytes_per_pair_after_traffic: Option<f64>,
    pub(super) kernel_parts: Vec<Part>,
    /// All slab pages, half-empty ones and the host's other work included.
    pub(super) kernel_slab_pages_bytes_per_pair: Option<f64>,
    /// By what MemFree shrank: both ends, kernel and user space, and the host's other work.
    pub(super) host_free_bytes_per_pair: Option<f64>,
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
        faults
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
        for (error, times) in &self.errors {
            row("error", format!("{times} x {error}"));
        }
        table
    }
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
