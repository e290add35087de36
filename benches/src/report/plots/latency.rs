//! Latency: for each rate the curve of percentiles at each size, and at the rate of the hold.

use super::Plot;
use super::lines::{self, Axis, Line};
use crate::flock::Report as Flock;
use crate::flock::record::Latency;
use crate::report::figures::{count, short};

pub(super) fn plots(flock: &Flock) -> anyhow::Result<Vec<Plot>> {
    let mut rates: Vec<u32> = flock
        .stages
        .iter()
        .flat_map(|stage| &stage.traffic)
        .map(|traffic| traffic.rate_asked)
        .collect();
    rates.sort_unstable();
    rates.dedup();
    let mut plots = Vec::new();
    for rate in rates {
        let curves = flock.stages.iter().filter_map(|stage| {
            let traffic = stage
                .traffic
                .iter()
                .find(|traffic| traffic.rate_asked == rate)?;
            let name = format!("{} connections", short(stage.connections as f64));
            Some((name, traffic.rtt.as_ref()?))
        });
        let title = format!(
            "Round trip at {} messages per second",
            count(u64::from(rate))
        );
        plots.extend(plot(title, curves.collect())?);
    }
    let hold = &flock.traffic;
    let both = [
        ("until it is there", &hold.rtt),
        ("until its ack", &hold.ack),
    ];
    let curves = both
        .into_iter()
        .filter_map(|(name, latency)| Some((name.to_owned(), latency.as_ref()?)));
    let title = format!(
        "The hold: {} connections, {} messages per second, {:.0} s",
        count(flock.established),
        count(u64::from(hold.rate_asked)),
        hold.seconds
    );
    plots.extend(plot(title, curves.collect())?);
    Ok(plots)
}

fn plot(title: String, curves: Vec<(String, &Latency)>) -> anyhow::Result<Option<Plot>> {
    if curves.is_empty() {
        return Ok(None);
    }
    let lines: Vec<Line> = curves
        .into_iter()
        .enumerate()
        .map(|(nth, (name, latency))| Line {
            name,
            points: points(latency),
            colour: nth,
            dashed: false,
        })
        .collect();
    let values = || lines.iter().flat_map(|line| &line.points);
    let x = Axis {
        from: 0.25,
        ..Axis::around(
            "percentile",
            false,
            percentile,
            values().map(|point| point.0),
        )
    };
    let y = Axis::around(
        "milliseconds",
        true,
        |ms| format!("{ms}"),
        values().map(|point| point.1),
    );
    Ok(Some(Plot {
        title,
        about: "A chat message from the moment at which it was due until the other client has it, durable \
                in between. Open loop: a stall is counted to every message that it delays. The axis \
                stretches the rare end: each mark is ten times rarer than the last.",
        svg: lines::draw(&x, &y, &lines)?,
    }))
}

/// (how many nines, milliseconds). The longest of n messages stands at 1 of n.
fn points(latency: &Latency) -> Vec<(f64, f64)> {
    let rarest = 1.0 / latency.messages.max(1) as f64;
    latency
        .curve
        .iter()
        .map(|&(part, us)| (-(1.0 - part).max(rarest).log10(), us.max(1) as f64 / 1e3))
        .collect()
}

/// 0 is 0 %, 1 is 90 %, 2 is 99 %; between two whole ones there is no mark.
fn percentile(nines: f64) -> String {
    if (nines - nines.round()).abs() > 0.01 {
        return String::new();
    }
    match nines.round() as usize {
        0 => "0 %".to_owned(),
        1 => "90 %".to_owned(),
        2 => "99 %".to_owned(),
        more => format!("99.{} %", "9".repeat(more - 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_counts_nines() {
        assert_eq!(percentile(1.0), "90 %");
        assert_eq!(percentile(4.0), "99.99 %");
        assert_eq!(percentile(1.5), "");
        let latency = Latency {
            messages: 1_000,
            curve: vec![(0.5, 10), (0.99, 2_000), (1.0, 5_000)],
            ..Latency::default()
        };
        let points = points(&latency);
        assert!(
            (points[1].0 - 2.0).abs() < 1e-9 && (points[2].0 - 3.0).abs() < 1e-9,
            "{points:?}"
        );
        assert!((points[1].1 - 2.0).abs() < 1e-9);
    }
}
