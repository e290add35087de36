//! What one message costs the server, against connections held.

use super::Plot;
use super::lines::{self, Axis, Line};
use crate::flock::Report as Flock;
use crate::flock::record::{Stage, Traffic};
use crate::report::figures::{count, short};

/// Marks of 1, 2 and 5 only: between them there is no room on a logarithmic axis.
fn sparse(value: f64) -> String {
    let leading = value / 10_f64.powf(value.log10().floor());
    match leading.round() as u32 {
        1 | 2 | 5 => short(value),
        _ => String::new(),
    }
}

pub(super) fn plots(flock: &Flock) -> anyhow::Result<Option<Plot>> {
    let mut rates: Vec<u32> = flock
        .stages
        .iter()
        .flat_map(|stage| &stage.traffic)
        .map(|traffic| traffic.rate_asked)
        .collect();
    rates.sort_unstable();
    rates.dedup();
    let mut lines = Vec::new();
    for (nth, rate) in rates.into_iter().enumerate() {
        let line = |kind: &str, dashed, of: fn(&Stage, &Traffic) -> Option<f64>| Line {
            name: format!("{}/s, {kind}", count(u64::from(rate))),
            points: flock
                .stages
                .iter()
                .filter_map(|stage| {
                    let traffic = stage
                        .traffic
                        .iter()
                        .find(|traffic| traffic.rate_asked == rate)?;
                    Some((stage.connections as f64, of(stage, traffic)?))
                })
                .collect(),
            colour: nth,
            dashed,
        };
        lines.push(line("net", false, |stage, traffic| {
            traffic.net_us(stage.idle_cpu.as_ref()?)
        }));
        lines.push(line("gross", true, |_, traffic| traffic.gross_us()));
    }
    if lines.iter().all(|line| line.points.is_empty()) {
        return Ok(None);
    }
    let values = || lines.iter().flat_map(|line| &line.points);
    let x = Axis::around(
        "connections held",
        true,
        sparse,
        values().map(|point| point.0),
    );
    let y = Axis::around(
        "microseconds of server CPU",
        false,
        short,
        values().map(|point| point.1),
    );
    Ok(Some(Plot {
        title: "Processor time per message".to_owned(),
        about: "User and system time of the whole server process, the commit log and the store included, \
                divided by the messages that arrived. Net: without what the server does at rest in the \
                same time, which is heartbeats. At a low rate a message bears the cost of its own wake-ups.",
        svg: lines::draw(&x, &y, &lines)?,
    }))
}
