//! Lines over two axes, the form of most plots: what an axis is called, how it counts, and which lines.

use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::*;

use super::{FONT, GRID, INK, colour, svg};

/// One line.
pub(super) struct Line {
    pub(super) name: String,
    /// Ascending in x. No values that a logarithmic axis could not show.
    pub(super) points: Vec<(f64, f64)>,
    /// Which colour; lines of one group may share it.
    pub(super) colour: usize,
    pub(super) dashed: bool,
}

/// An axis.
pub(super) struct Axis {
    /// With its unit.
    pub(super) name: &'static str,
    pub(super) log: bool,
    pub(super) from: f64,
    pub(super) to: f64,
    /// A value as a mark shows it.
    pub(super) mark: fn(f64) -> String,
}

impl Axis {
    /// Around all values of the lines; a linear one begins at 0.
    pub(super) fn around(
        name: &'static str,
        log: bool,
        mark: fn(f64) -> String,
        values: impl Iterator<Item = f64>,
    ) -> Self {
        let (least, most) = values
            .filter(|value| value.is_finite())
            .fold((f64::MAX, f64::MIN), |(least, most), value| {
                (least.min(value), most.max(value))
            });
        let (from, to) = match (log, least <= most) {
            (true, true) => decades(least.max(1e-3), most.max(1e-3)),
            (false, true) => (0.0, most.max(1e-9) * 1.08),
            (_, false) => (if log { 0.1 } else { 0.0 }, 1.0),
        };
        Self {
            name,
            log,
            from,
            to,
            mark,
        }
    }
}

/// From a round value below to a round one above: 1, 2 or 5 of a decade.
fn decades(least: f64, most: f64) -> (f64, f64) {
    let steps = [1.0, 2.0, 5.0, 10.0];
    let decade = |value: f64| 10_f64.powf(value.log10().floor());
    let below = steps.iter().rev().map(|step| step * decade(least));
    let above = steps.iter().map(|step| step * decade(most));
    let from = below.into_iter().find(|&value| value <= least * 0.95);
    let to = above.into_iter().find(|&value| value >= most * 1.05);
    (
        from.unwrap_or(decade(least) / 2.0),
        to.unwrap_or(decade(most) * 20.0),
    )
}

/// Draws lines with marks on their points where they are few, and a legend on the side.
pub(super) fn draw(x: &Axis, y: &Axis, lines: &[Line]) -> anyhow::Result<String> {
    match (x.log, y.log) {
        (true, true) => over(
            x,
            y,
            lines,
            (x.from..x.to).log_scale(),
            (y.from..y.to).log_scale(),
        ),
        (true, false) => over(x, y, lines, (x.from..x.to).log_scale(), y.from..y.to),
        (false, true) => over(x, y, lines, x.from..x.to, (y.from..y.to).log_scale()),
        (false, false) => over(x, y, lines, x.from..x.to, y.from..y.to),
    }
}

/// A line of more points is drawn without a mark on each.
const MARKED_POINTS_MAX: usize = 30;

fn over<X, Y>(
    x: &Axis,
    y: &Axis,
    lines: &[Line],
    x_range: impl plotters::coord::ranged1d::AsRangedCoord<CoordDescType = X, Value = f64>,
    y_range: impl plotters::coord::ranged1d::AsRangedCoord<CoordDescType = Y, Value = f64>,
) -> anyhow::Result<String>
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    svg(|area| {
        let (plot, legend) = area.split_horizontally(700);
        let mut chart = ChartBuilder::on(&plot)
            .margin(12)
            .x_label_area_size(46)
            .y_label_area_size(72)
            .build_cartesian_2d(x_range, y_range)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(INK)
            .label_style(FONT.into_font().color(&INK))
            .x_desc(x.name)
            .y_desc(y.name)
            .x_label_formatter(&|value| (x.mark)(*value))
            .y_label_formatter(&|value| (y.mark)(*value))
            .draw()?;
        for line in lines {
            let ink = colour(line.colour);
            let style = ink.stroke_width(2);
            match line.dashed {
                true => {
                    chart.draw_series(DashedLineSeries::new(line.points.clone(), 6, 4, style))?
                }
                false => chart.draw_series(LineSeries::new(line.points.clone(), style))?,
            };
            if line.points.len() <= MARKED_POINTS_MAX {
                let dots = line
                    .points
                    .iter()
                    .map(|&point| Circle::new(point, 3, ink.filled()));
                chart.draw_series(dots)?;
            }
        }
        let names: Vec<(&str, usize, bool)> = lines
            .iter()
            .map(|line| (line.name.as_str(), line.colour, line.dashed))
            .collect();
        key(&legend, &names)
    })
}

/// The legend, top down.
pub(super) fn key(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    names: &[(&str, usize, bool)],
) -> anyhow::Result<()> {
    for (row, (name, nth, dashed)) in (0i32..).zip(names) {
        let top = 22 + row * 22;
        let ink = colour(*nth).stroke_width(3);
        let strokes: &[(i32, i32)] = if *dashed {
            &[(0, 8), (12, 20)]
        } else {
            &[(0, 20)]
        };
        for &(from, to) in strokes {
            area.draw(&PathElement::new([(from, top), (to, top)], ink))?;
        }
        let style = FONT.into_font().color(&INK);
        area.draw(&Text::new((*name).to_owned(), (28, top - 8), style))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithmic_axes_end_at_round_values() {
        for (least, most, from, to) in [
            (10_000.0, 2_000_000.0, 5_000.0, 5_000_000.0),
            (3.0, 40.0, 2.0, 50.0),
            (1.1, 9.0, 1.0, 10.0),
        ] {
            let (a, b) = decades(least, most);
            assert!(
                (a / from - 1.0).abs() < 1e-9 && (b / to - 1.0).abs() < 1e-9,
                "{a} {b}"
            );
        }
    }

    #[test]
    fn nothing_and_one_point_are_drawn_too() {
        let mark: fn(f64) -> String = |value| format!("{value}");
        for log in [false, true] {
            for points in [vec![], vec![(5.0, 7.0)]] {
                let x = Axis::around(
                    "x (s)",
                    log,
                    mark,
                    points.iter().map(|point: &(f64, f64)| point.0),
                );
                let y = Axis::around("y (us)", log, mark, points.iter().map(|point| point.1));
                let line = Line {
                    name: "a line".into(),
                    points,
                    colour: 0,
                    dashed: log,
                };
                let drawn = draw(&x, &y, &[line]).unwrap();
                for part in ["<svg", "x (s)", "y (us)", "a line"] {
                    assert!(drawn.contains(part), "{part}");
                }
            }
        }
    }
}
