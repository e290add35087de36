//! How fast connections are made, against how many are held already.

use super::Plot;
use super::lines::{self, Axis, Line};
use crate::flock::Report as Flock;
use crate::flock::record::Point;
use crate::report::figures::short;

pub(super) fn plots(flock: &Flock) -> anyhow::Result<Option<Plot>> {
    let first = rates(&flock.time_line, "connect");
    let again: Vec<(f64, f64)> = flock
        .storm
        .iter()
        .flat_map(|storm| &storm.slices)
        .filter(|slice| slice.phase == "reconnect" && slice.seconds > 0.5)
        .map(|slice| (slice.live as f64, slice.reconnects as f64 / slice.seconds))
        .collect();
    if first.is_empty() && again.is_empty() {
        return Ok(None);
    }
    let values = || first.iter().chain(&again);
    let x = Axis::around(
        "connections held",
        false,
        short,
        values().map(|point| point.0),
    );
    let y = Axis::around(
        "connections per second",
        false,
        short,
        values().map(|point| point.1),
    );
    let mut lines = vec![Line {
        name: "first ramp".to_owned(),
        points: first,
        colour: 0,
        dashed: false,
    }];
    if !again.is_empty() {
        lines.push(Line {
            name: "after the storm's cut".to_owned(),
            points: again,
            colour: 3,
            dashed: true,
        });
    }
    Ok(Some(Plot {
        title: "Connections made per second".to_owned(),
        about: "From TCP to Welcome: TLS handshake, upgrade, verified login. Both ends, each with a \
                handshake of its own, share the cores.",
        svg: lines::draw(&x, &y, &lines)?,
    }))
}

/// (connections held, made per second) between two points of one phase. Where a ramp ended and the next
/// began later, nothing was made: no rate.
fn rates(points: &[Point], phase: &str) -> Vec<(f64, f64)> {
    let pairs = points
        .windows(2)
        .filter(|two| two.iter().all(|point| point.phase == phase));
    pairs
        .filter_map(|two| {
            let made = two[1]
                .connections
                .checked_sub(two[0].connections)
                .filter(|&made| made > 0)?;
            let seconds = two[1].at_s - two[0].at_s;
            // The last look of a ramp may follow another at once.
            (seconds > 0.2).then(|| (two[1].connections as f64, made as f64 / seconds))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_one_ramp() {
        let point = |at_s, phase: &str, connections| Point {
            at_s,
            phase: phase.to_owned(),
            connections,
            ..Point::default()
        };
        let points = [
            point(0.0, "warm-up", 0),
            point(1.0, "warm-up", 50),
            point(5.0, "connect", 50),
            point(6.0, "connect", 250),
            point(6.01, "connect", 260),
            point(30.0, "connect", 260),
            point(32.0, "connect", 660),
        ];
        assert_eq!(rates(&points, "connect"), [(250.0, 200.0), (660.0, 200.0)]);
    }
}
