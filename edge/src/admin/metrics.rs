//! The metrics page: everything that the server counts, in OpenMetrics text. No label has a user in it.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;
use rookery_metrics::{BOUNDS, Reading, Snapshot, Value};
use rookery_wire::proto::{CloseCode, ErrorCode, Kind};

use super::view::View;
use crate::unix_time::unix_s;

/// What the page's bytes are.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The page of this moment.
pub(super) fn page(view: &Arc<View>, is_ready: bool) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("rookery");
    registry.register_collector(Box::new(Page {
        view: Arc::clone(view),
        is_ready,
    }));
    let mut text = String::with_capacity(64 << 10);
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

struct Page {
    view: Arc<View>,
    is_ready: bool,
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page").finish_non_exhaustive()
    }
}

type Labels<'a> = [(&'static str, &'a str)];

fn counter(encoder: &mut MetricEncoder<'_>, value: u64) -> fmt::Result {
    encoder.encode_counter(&value, None::<&Exemplar<[(&str, &str); 0], f64>>)
}

fn histogram(encoder: &mut MetricEncoder<'_>, snapshot: &Snapshot) -> fmt::Result {
    let buckets: Vec<(f64, u64)> = (0..=BOUNDS)
        .map(|bucket| (Snapshot::bound_s(bucket), snapshot.buckets[bucket]))
        .collect();
    let sum_s = snapshot.sum_ns as f64 / 1e9;
    encoder.encode_histogram::<[(&str, &str); 0]>(sum_s, snapshot.count(), &buckets, None)
}

fn value(encoder: &mut MetricEncoder<'_>, value: &Value) -> fmt::Result {
    match value {
        Value::Counter(number) => counter(encoder, *number),
        Value::Gauge(number) => encoder.encode_gauge(number),
        Value::Histogram(snapshot) => histogram(encoder, snapshot),
    }
}

fn kind(value: &Value) -> MetricType {
    match value {
        Value::Counter(_) => MetricType::Counter,
        Value::Gauge(_) => MetricType::Gauge,
        Value::Histogram(_) => MetricType::Histogram,
    }
}

fn help(reading: &Reading) -> &'static str {
    reading.help.trim_end_matches('.')
}

/// Readings without a label.
fn alone(
    encoder: &mut DescriptorEncoder<'_>,
    of: &str,
    readings: impl Iterator<Item = Reading>,
) -> fmt::Result {
    for reading in readings {
        let name = format!("{of}_{}", reading.name);
        let mut metric =
            encoder.encode_descriptor(&name, help(&reading), None, kind(&reading.value))?;
        value(&mut metric, &reading.value)?;
    }
    Ok(())
}

/// The same readings of each shard: numbers with the shard as their label, histograms added up.
fn by_shard(encoder: &mut DescriptorEncoder<'_>, of: &str, shards: &[Vec<Reading>]) -> fmt::Result {
    for (at, reading) in shards.first().into_iter().flatten().enumerate() {
        let name = format!("{of}_{}", reading.name);
        let mut metric =
            encoder.encode_descriptor(&name, help(reading), None, kind(&reading.value))?;
        let of_all = shards.iter().filter_map(|readings| readings.get(at));
        if let Value::Histogram(_) = reading.value {
            histogram(&mut metric, &sum(of_all))?;
            continue;
        }
        for (shard, reading) in of_all.enumerate() {
            let label = shard.to_string();
            let labels: &Labels<'_> = &[("shard", &label)];
            value(&mut metric.encode_family(&labels)?, &reading.value)?;
        }
    }
    Ok(())
}

fn sum<'a>(readings: impl Iterator<Item = &'a Reading>) -> Snapshot {
    let mut sum = Snapshot::default();
    for reading in readings {
        if let Value::Histogram(snapshot) = &reading.value {
            sum.add(snapshot);
        }
    }
    sum
}

/// A counter with a series for each of some names.
fn family<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    series: impl Iterator<Item = (Vec<(&'static str, &'a str)>, u64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, number) in series {
        let labels: &Labels<'_> = &labels;
        counter(&mut metric.encode_family(&labels)?, number)?;
    }
    Ok(())
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, number: u64) -> fmt::Result {
    encoder
        .encode_descriptor(name, help, None, MetricType::Gauge)?
        .encode_gauge(&number)
}

/// The values of all shards, added up.
fn added<const N: usize>(
    view: &View,
    of: impl Fn(&crate::session::Telemetry) -> &crate::session::Named<N>,
) -> Vec<u64> {
    let mut all = vec![0; N];
    for telemetry in &*view.telemetry {
        for (sum, value) in all.iter_mut().zip(of(telemetry).values()) {
            *sum += value;
        }
    }
    all
}

impl Page {
    fn labelled(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, frames) in [
            (
                "frames_received",
                "Frames of clients that could be read, by kind",
                added(&self.view, |it| &it.received),
            ),
            (
                "frames_sent",
                "Frames to clients, by kind",
                added(&self.view, |it| &it.sent),
            ),
        ] {
            let series = Kind::ALL.iter().map(|kind| {
                (
                    vec![("kind", kind.name())],
                    frames[usize::from(*kind as u8)],
                )
            });
            family(encoder, (name, help), series)?;
        }
        let errors = added(&self.view, |it| &it.errors);
        let codes: Vec<String> = ErrorCode::ALL
            .iter()
            .map(|code| code.code().to_string())
            .collect();
        let series = ErrorCode::ALL.iter().enumerate();
        let series = series.map(|(at, code)| {
            (
                vec![("code", &codes[at][..]), ("name", code.name())],
                errors[at],
            )
        });
        family(
            encoder,
            ("errors", "Error frames to clients, by code"),
            series,
        )?;
        let closes = added(&self.view, |it| &it.closes);
        let mut names: Vec<(String, &str)> = CloseCode::ALL
            .iter()
            .map(|code| (code.0.to_string(), code.name()))
            .collect();
        names.push(("other".into(), "other"));
        names.push(("none".into(), "none"));
        let series = names
            .iter()
            .zip(&closes)
            .map(|((code, name), number)| (vec![("code", &code[..]), ("name", *name)], *number));
        let help = "Connections that ended, by the close code that was said last";
        family(encoder, ("closes", help), series)
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (encoder, view) = (&mut encoder, &self.view);
        let mut build = encoder.encode_descriptor("build", "What runs", None, MetricType::Info)?;
        build.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        for (name, help, number) in [
            (
                "ready",
                "1 while new clients may be sent here",
                u64::from(self.is_ready),
            ),
            (
                "started_timestamp_seconds",
                "When the server started",
                unix_s(view.started),
            ),
            (
                "connections",
                "Connections that were let in and have not ended",
                view.gate.connections(),
            ),
            (
                "connections_max",
                "limits.connections_max",
                view.gate.limits().connections_max.into(),
            ),
            (
                "memory_used_bytes",
                "Memory as admission counts it",
                view.gate.used_bytes(),
            ),
            (
                "memory_max_bytes",
                "Above it nobody is let in",
                view.gate.limits().memory_max_bytes,
            ),
            (
                "certificate_expires_timestamp_seconds",
                "When the certificate ends",
                view.certificate_expires_s(),
            ),
            (
                "login_keys_fetched_timestamp_seconds",
                "When the login keys in use were asked for; 0 where they are not fetched",
                view.keys_fetched_s(),
            ),
            (
                "revocations",
                "Revocations that are kept",
                view.revocations.count() as u64,
            ),
        ] {
            gauge(encoder, name, help, number)?;
        }
        let shards: Vec<Vec<Reading>> = view
            .fabric
            .counters()
            .iter()
            .map(|it| it.readings().collect())
            .collect();
        by_shard(encoder, "shard", &shards)?;
        let turns = Reading {
            name: "turn_seconds",
            help: "Turns of the shards, without the time in which they sleep",
            value: Value::Histogram(Box::new(view.fabric.turns())),
        };
        alone(encoder, "shard", [turns].into_iter())?;
        let sessions: Vec<Vec<Reading>> = view
            .telemetry
            .iter()
            .map(|it| it.counters.readings().collect())
            .collect();
        by_shard(encoder, "session", &sessions)?;
        self.labelled(encoder)?;
        alone(encoder, "admission", view.gate.counters().readings())?;
        let router = view.router();
        alone(encoder, "router", router.counters().readings())?;
        let commits = Reading {
            name: "commit_seconds",
            help: "Group commits of the embedded log",
            value: Value::Histogram(Box::new(router.commits())),
        };
        alone(encoder, "router", [commits].into_iter())
    }
}
