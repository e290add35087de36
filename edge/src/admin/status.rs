//! Everything that is counted, as one JSON object: what `rookery top` draws. Names are those of the metrics
//! page; a histogram is `{"buckets": [...], "sum_s": ...}`, of which bucket n is for 2^n us and less.

use rookery_metrics::{Reading, Value};
use serde_json::{Map, json};

use super::health::Health;
use super::view::View;
use crate::unix_time::unix_s;

/// Of this moment.
pub(super) fn status(view: &View, health: &Health) -> serde_json::Value {
    let counters = view.fabric.counters();
    let shards: Vec<_> = counters
        .iter()
        .zip(&*view.telemetry)
        .map(|(shard, telemetry)| {
            let mut all = map(shard.readings());
            all.append(&mut map(telemetry.counters.readings()));
            all
        })
        .collect();
    let router = view.router();
    let mut behind = map(router.counters().readings());
    behind.insert(
        "commit_seconds".into(),
        value(&Value::Histogram(Box::new(router.commits()))),
    );
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "started_s": unix_s(view.started),
        "health": health,
        "connections": view.gate.connections(),
        "connections_max": view.gate.limits().connections_max,
        "memory_used_bytes": view.gate.used_bytes(),
        "memory_max_bytes": view.gate.limits().memory_max_bytes,
        "turn_seconds": value(&Value::Histogram(Box::new(view.fabric.turns()))),
        "shards": shards,
        "admission": map(view.gate.counters().readings()),
        "router": behind,
    })
}

fn map(readings: impl Iterator<Item = Reading>) -> Map<String, serde_json::Value> {
    readings
        .map(|reading| (reading.name.to_owned(), value(&reading.value)))
        .collect()
}

fn value(value: &Value) -> serde_json::Value {
    match value {
        Value::Counter(number) | Value::Gauge(number) => json!(number),
        Value::Histogram(snapshot) => json!({
            "buckets": snapshot.buckets,
            "sum_s": snapshot.sum_ns as f64 / 1e9,
        }),
    }
}
