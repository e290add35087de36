//! The storm over time: reconnects, and what the established ones feel.

use super::Plot;
use super::lines::{self, Axis, Line};
use crate::flock::Report as Flock;
use crate::flock::record::Slice;
use crate::report::figures::short;

pub(super) fn plots(flock: &Flock) -> anyhow::Result<Vec<Plot>> {
    let Some(storm) = &flock.storm else {
        return Ok(Vec::new());
    };
    let slices: Vec<&Slice> = storm
        .slices
        .iter()
        .filter(|slice| slice.seconds > 0.2)
        .collect();
    let seconds = || {
        Axis::around(
            "seconds",
            false,
            short,
            slices.iter().map(|slice| slice.at_s),
        )
    };
    let of = |value: &dyn Fn(&Slice) -> Option<f64>| {
        let points = slices
            .iter()
            .filter_map(|slice| Some((slice.at_s, value(slice)?)));
        points.collect::<Vec<_>>()
    };
    let rate = of(&|slice| Some(slice.reconnects as f64 / slice.seconds));
    let y = Axis::around(
        "reconnects per second",
        false,
        short,
        rate.iter().map(|point| point.1),
    );
    let line = |name: &str, points, colour| Line {
        name: name.to_owned(),
        points,
        colour,
        dashed: false,
    };
    let reconnects = Plot {
        title: "The storm: reconnects per second".to_owned(),
        about: "All connections but the established ones are cut off without a goodbye, then come back as \
                fast as they can.",
        svg: lines::draw(&seconds(), &y, &[line("reconnects", rate, 0)])?,
    };
    let ms = |us: Option<u64>| Some(us?.max(1) as f64 / 1e3);
    let percentiles = [
        line("max", of(&|slice| ms(slice.max_us)), 6),
        line("p99", of(&|slice| ms(slice.p99_us)), 3),
        line("p50", of(&|slice| ms(slice.p50_us)), 0),
    ];
    let values = percentiles
        .iter()
        .flat_map(|line| &line.points)
        .map(|point| point.1);
    let y = Axis::around("milliseconds", true, |ms| format!("{ms}"), values);
    let felt = Plot {
        title: "The storm: round trip of the established connections".to_owned(),
        about: "Each second by itself, by when the message arrived: before the cut, while the server learns \
                of it, while everybody comes back, and after.",
        svg: lines::draw(&seconds(), &y, &bands(&slices, percentiles, y.from, y.to))?,
    };
    Ok(vec![reconnects, felt])
}

/// The same lines, with one upright line where each part begins.
fn bands(slices: &[&Slice], lines: [Line; 3], from: f64, to: f64) -> Vec<Line> {
    let begins = slices.windows(2).filter(|two| two[0].phase != two[1].phase);
    let marks = begins.enumerate().map(|(nth, two)| Line {
        name: two[1].phase.clone() + " begins",
        points: vec![(two[0].at_s, from), (two[0].at_s, to)],
        colour: [5, 2, 7][nth % 3],
        dashed: true,
    });
    marks.chain(lines).collect()
}
