//! What a run of `cargo xtask performance` measured.

use std::time::Duration;

use serde::Serialize;

use super::kafka::Produced;
use super::load::Loaded;
use super::search::Tried;
use super::server::Form;

/// Of the messages asked for, so many must have arrived in time: a run of seconds ends in the middle of a
/// batch.
const KEEPS_UP_MIN: f64 = 0.98;
/// After the last message everything is stored within this time, Kafka's own program that asks included.
pub(super) const LEVEL_MAX: Duration = Duration::from_secs(12);

/// A rate that a server was given.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Point {
    pub(super) loaded: Loaded,
    /// From the load generator's end until the store had everything, s; absent where it was still behind
    /// after [`LEVEL_MAX`], and for the embedded form, which tells nobody.
    pub(super) level_s: Option<f64>,
    /// Whether anybody was asked about the store.
    pub(super) asked_store: bool,
}

impl Tried for Point {
    fn keeps_up(&self) -> bool {
        let flock = &self.loaded.flock;
        let all = flock.unsent == 0 && flock.acked >= flock.sent && flock.delivered >= flock.sent;
        let in_time = flock.rate_done >= KEEPS_UP_MIN * f64::from(flock.rate_asked);
        all && in_time && flock.lost == 0 && (self.level_s.is_some() || !self.asked_store)
    }
}

/// One form of the server.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measured {
    pub(super) form: Form,
    /// At the steady rate.
    pub(super) steady: Point,
    /// At the rate of a busy host.
    pub(super) busy: Point,
    /// Rates, in the order in which they were tried.
    pub(super) climb: Vec<Point>,
}

impl Measured {
    /// The highest rate that it kept up with.
    pub(super) fn sustained(&self) -> Option<&Point> {
        let kept = self.climb.iter().filter(|point| point.keeps_up());
        kept.max_by_key(|point| point.loaded.flock.rate_asked)
    }

    /// Messages per second at it.
    pub(super) fn sustained_per_second(&self) -> Option<f64> {
        Some(self.sustained()?.loaded.flock.rate_done)
    }
}

/// The producer alone.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Producer {
    /// As fast as it goes.
    pub(super) fastest: Produced,
    /// At the steady rate.
    pub(super) steady: Produced,
}

/// Everything, as it is written down.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Performance {
    pub(super) date: String,
    pub(super) commit: String,
    pub(super) kernel: String,
    pub(super) cpu: String,
    pub(super) cores: usize,
    pub(super) command: Vec<String>,
    pub(super) seconds: f64,
    /// Bytes of a record's value, and of the payload in it.
    pub(super) record_bytes: u32,
    pub(super) payload_bytes: u32,
    pub(super) steady_rate: u32,
    pub(super) busy_rate: u32,
    pub(super) producer: Producer,
    pub(super) distributed: Measured,
    pub(super) embedded: Measured,
    /// The steady rate among many connections, distributed.
    pub(super) many: Point,
}

impl Performance {
    /// Processor time of the host for each record of the producer alone, as fast as it goes, us: it and the
    /// brokers, who have nothing else to do.
    pub(super) fn producer_us(&self) -> f64 {
        self.cores as f64 * 1e6 / self.producer.fastest.per_second
    }
}
