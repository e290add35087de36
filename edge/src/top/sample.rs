//! What a server says of itself, and what two of its answers make.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::admin::{Client, ClientError, Health};

/// What connections are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    /// Bytes that wait for the client.
    #[default]
    Queue,
    /// Time without a sign of life.
    Idle,
    /// Round trip time: a look at a million takes ten seconds.
    Rtt,
}

impl Sort {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Idle => "idle",
            Self::Rtt => "rtt",
        }
    }

    pub(super) fn next(self) -> Self {
        match self {
            Self::Queue => Self::Idle,
            Self::Idle => Self::Rtt,
            Self::Rtt => Self::Queue,
        }
    }
}

/// Connections that are shown.
const CONNECTIONS: usize = 20;

type Numbers = BTreeMap<String, Value>;

#[derive(Deserialize)]
struct Status {
    version: String,
    started_s: u64,
    health: Health,
    connections: u64,
    connections_max: u64,
    memory_used_bytes: u64,
    memory_max_bytes: u64,
    turn_seconds: Value,
    shards: Vec<Numbers>,
    router: Numbers,
}

/// One of the connections at the top.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Connection {
    pub(super) user_id: u64,
    pub(super) device_id: u32,
    pub(super) shard: u16,
    pub(super) phase: String,
    pub(super) queue_bytes: u64,
    pub(super) idle_s: u64,
    pub(super) peer: Option<SocketAddr>,
    pub(super) rtt_us: Option<u32>,
    pub(super) retransmits: Option<u32>,
}

/// One answer.
pub(super) struct Sample {
    at: Instant,
    status: Status,
    top: Vec<Connection>,
}

impl Sample {
    pub(super) fn take(client: &Client, sort: Sort) -> Result<Self, ClientError> {
        let of = |error: serde_json::Error| ClientError::Broken(error.to_string());
        let status = serde_json::from_slice(&client.get("/status")?).map_err(of)?;
        let path = format!("/connections?sort={}&limit={CONNECTIONS}", sort.name());
        let top = serde_json::from_slice(&client.get_walk(&path)?).map_err(of)?;
        Ok(Self {
            at: Instant::now(),
            status,
            top,
        })
    }
}

/// Half and 99 of 100 took at most so long, seconds; none where nothing was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Times {
    pub(super) p50_s: f64,
    pub(super) p99_s: f64,
}

/// One shard over an interval; rates are per second.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Shard {
    pub(super) live: u64,
    pub(super) accepted: f64,
    pub(super) logins: f64,
    pub(super) opening: u64,
    pub(super) lobby: u64,
    pub(super) received_bytes: f64,
    pub(super) sent_bytes: f64,
    pub(super) queued_bytes: u64,
    pub(super) skipped: f64,
    pub(super) turns: f64,
    pub(super) stalls: f64,
}

/// The router over an interval; rates are per second.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Router {
    pub(super) appended: f64,
    pub(super) acked: f64,
    pub(super) fanned_out: f64,
    pub(super) reads: f64,
    pub(super) refused: f64,
    pub(super) intake_queue: u64,
    pub(super) applier_lag: u64,
    pub(super) inbox_gathering: u64,
    pub(super) ack: Option<Times>,
    pub(super) deliver: Option<Times>,
    pub(super) commit: Option<Times>,
}

/// See the module.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Interval {
    pub(super) version: String,
    pub(super) started_s: u64,
    pub(super) ready: bool,
    pub(super) why_not: Vec<String>,
    pub(super) connections: u64,
    pub(super) connections_max: u64,
    pub(super) memory_used_bytes: u64,
    pub(super) memory_max_bytes: u64,
    pub(super) seconds: f64,
    pub(super) turn: Option<Times>,
    pub(super) shards: Vec<Shard>,
    pub(super) router: Router,
    pub(super) top: Vec<Connection>,
}

struct Pair<'a> {
    before: Option<&'a Numbers>,
    now: &'a Numbers,
    seconds: f64,
}

impl Pair<'_> {
    fn gauge(&self, name: &str) -> u64 {
        self.now.get(name).and_then(Value::as_u64).unwrap_or(0)
    }

    fn rate(&self, name: &str) -> f64 {
        let before = self
            .before
            .and_then(|it| it.get(name))
            .and_then(Value::as_u64);
        // A server that was started anew begins at 0.
        let more = self.gauge(name).saturating_sub(before.unwrap_or(0));
        more as f64 / self.seconds
    }

    fn times(&self, name: &str) -> Option<Times> {
        times(self.before.and_then(|it| it.get(name)), self.now.get(name)?)
    }
}

fn buckets(histogram: &Value) -> Vec<u64> {
    let buckets = histogram.get("buckets").and_then(Value::as_array);
    buckets
        .into_iter()
        .flatten()
        .filter_map(Value::as_u64)
        .collect()
}

/// Of what was recorded between the two.
fn times(before: Option<&Value>, now: &Value) -> Option<Times> {
    let (before, now) = (before.map_or_else(Vec::new, buckets), buckets(now));
    let more: Vec<u64> = now
        .iter()
        .enumerate()
        .map(|(at, now)| now.saturating_sub(before.get(at).copied().unwrap_or(0)))
        .collect();
    let all: u64 = more.iter().sum();
    let quantile = |share: f64| {
        let rank = ((all as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let bucket = more.iter().position(|&n| {
            seen += n;
            seen >= rank
        });
        2f64.powi(bucket.unwrap_or(0) as i32) / 1e6
    };
    (all > 0).then(|| Times {
        p50_s: quantile(0.5),
        p99_s: quantile(0.99),
    })
}

impl Interval {
    pub(super) fn between(before: &Sample, now: &Sample) -> Self {
        let seconds = now.at.duration_since(before.at).as_secs_f64().max(0.001);
        let (was, is) = (&before.status, &now.status);
        let shards = is.shards.iter().enumerate().map(|(at, now)| {
            let pair = Pair {
                before: was.shards.get(at),
                now,
                seconds,
            };
            Shard {
                live: pair.gauge("live"),
                accepted: pair.rate("accepted"),
                logins: pair.rate("logins"),
                opening: pair.gauge("opening"),
                lobby: pair.gauge("lobby"),
                received_bytes: pair.rate("recv_bytes"),
                sent_bytes: pair.rate("send_bytes"),
                queued_bytes: pair.gauge("queued_bytes"),
                skipped: pair.rate("skipped"),
                turns: pair.rate("turns"),
                stalls: pair.rate("stalls"),
            }
        });
        let router = Pair {
            before: Some(&was.router),
            now: &is.router,
            seconds,
        };
        Self {
            version: is.version.clone(),
            started_s: is.started_s,
            ready: is.health.is_ready(),
            why_not: [&is.health.dead[..], &is.health.unready[..]].concat(),
            connections: is.connections,
            connections_max: is.connections_max,
            memory_used_bytes: is.memory_used_bytes,
            memory_max_bytes: is.memory_max_bytes,
            seconds,
            turn: times(Some(&was.turn_seconds), &is.turn_seconds),
            shards: shards.collect(),
            router: Router {
                appended: router.rate("appended"),
                acked: router.rate("acked"),
                fanned_out: router.rate("fanned_out"),
                reads: router.rate("reads"),
                refused: router.rate("refused"),
                intake_queue: router.gauge("intake_queue"),
                applier_lag: router.gauge("applier_lag"),
                inbox_gathering: router.gauge("inbox_gathering"),
                ack: router.times("ack_seconds"),
                deliver: router.times("deliver_seconds"),
                commit: router.times("commit_seconds"),
            },
            top: now.top.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantiles_are_of_what_was_recorded_in_between() {
        let histogram = |buckets: &[u64]| json!({ "buckets": buckets, "sum_s": 0.0 });
        let before = histogram(&[1_000, 0, 0, 0]);
        let now = histogram(&[1_010, 0, 89, 1]);
        let of = times(Some(&before), &now).unwrap();
        assert_eq!((of.p50_s, of.p99_s), (4e-6, 4e-6));
        let now = histogram(&[1_010, 0, 80, 10]);
        assert_eq!(times(Some(&before), &now).unwrap().p99_s, 8e-6);
        assert_eq!(times(Some(&now), &now), None);
        // A server that was started anew.
        assert_eq!(times(Some(&histogram(&[9, 9])), &histogram(&[1, 0])), None);
    }

    #[test]
    fn rates_are_per_second_and_never_negative() {
        let numbers = |n: u64| Numbers::from([("acked".to_owned(), json!(n))]);
        let (before, now) = (numbers(10), numbers(40));
        let rate = |before, now| {
            let pair = Pair {
                before: Some(before),
                now,
                seconds: 2.0,
            };
            pair.rate("acked")
        };
        assert_eq!((rate(&before, &now), rate(&now, &before)), (15.0, 0.0));
    }
}
