//! The comparison as one picture: memory per idle connection and processor time per message.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::figures::{Comparison, Figures, Row};
use super::launch::Transport;

const WIDTH: u32 = 1_000;
const ROW: u32 = 26;
const HEAD: u32 = 110;
/// Left free on top of the bars.
const LEGEND_ROWS: usize = 1;

const USER: RGBColor = RGBColor(31, 119, 180);
const KERNEL: RGBColor = RGBColor(174, 199, 232);

/// One half of the picture: two values per row, stacked.
struct Panel {
    title: &'static str,
    axis: &'static str,
    /// In user space, in the kernel.
    of: fn(&Figures) -> Option<(f64, f64)>,
    digits: usize,
}

const PANELS: [Panel; 2] = [
    Panel {
        title: "Memory per idle TLS connection",
        axis: "KB (thousand bytes), user space and kernel",
        of: |it| {
            Some((
                it.user_bytes?.max(0.0) / 1e3,
                it.kernel_bytes?.max(0.0) / 1e3,
            ))
        },
        digits: 1,
    },
    Panel {
        title: "Processor time per 64 B TLS message",
        axis: "us, user space and kernel",
        of: |it| Some((it.cpu_user_us?, it.cpu_system_us?)),
        digits: 1,
    },
];

/// Writes the SVG.
pub(super) fn draw(comparison: &Comparison, path: &Path) -> Result<()> {
    let is_tls = |row: &&Row| row.transport == Transport::Tls.name();
    let rows: Vec<&Row> = comparison.rows.iter().filter(is_tls).collect();
    let height = |rows: usize| HEAD + ROW * (rows + LEGEND_ROWS) as u32;
    let bars: Vec<Vec<(&str, (f64, f64))>> =
        PANELS.iter().map(|panel| bars(panel, &rows)).collect();
    let heights: Vec<u32> = bars.iter().map(|bars| height(bars.len())).collect();
    let area = SVGBackend::new(path, (WIDTH, heights.iter().sum())).into_drawing_area();
    let draw = || -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
        area.fill(&WHITE)?;
        let halves = area.split_by_breakpoints([] as [u32; 0], [heights[0]]);
        for ((panel, bars), half) in PANELS.iter().zip(&bars).zip(&halves) {
            if !bars.is_empty() {
                draw_panel(panel, bars, half)?;
            }
        }
        area.present()
    };
    draw().map_err(|error| anyhow!("draw {}: {error}", path.display()))
}

/// Name and values of each row that has both, the least on top.
fn bars<'a>(panel: &Panel, rows: &[&'a Row]) -> Vec<(&'a str, (f64, f64))> {
    let bar = |row: &&'a Row| Some((row.name, (panel.of)(row.figures.as_ref()?)?));
    let mut bars: Vec<_> = rows.iter().filter_map(bar).collect();
    bars.sort_by(|(_, (a, b)), (_, (c, d))| (c + d).total_cmp(&(a + b)));
    bars
}

fn draw_panel(
    panel: &Panel,
    bars: &[(&str, (f64, f64))],
    area: &DrawingArea<SVGBackend<'_>, Shift>,
) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
    let most = bars
        .iter()
        .map(|(_, (user, kernel))| user + kernel)
        .fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(panel.title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(140)
        .build_cartesian_2d(
            0.0..most * 1.12,
            (0..bars.len() + LEGEND_ROWS).into_segmented(),
        )?;
    let name = |at: &SegmentValue<usize>| match at {
        SegmentValue::CenterOf(nth) => bars.get(*nth).map_or("", |bar| bar.0).to_owned(),
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc(panel.axis)
        .y_labels(bars.len() + LEGEND_ROWS)
        .x_label_formatter(&|value| format!("{value:.0}"))
        .y_label_formatter(&name)
        .label_style(("sans-serif", 14))
        .draw()?;
    let bar = |nth: usize, from: f64, to: f64, colour: RGBColor| {
        let corners = [
            (from, SegmentValue::Exact(nth)),
            (to, SegmentValue::Exact(nth + 1)),
        ];
        let mut bar = Rectangle::new(corners, colour.filled());
        bar.set_margin(4, 4, 0, 0);
        bar
    };
    let user = bars
        .iter()
        .enumerate()
        .map(|(nth, &(_, (user, _)))| bar(nth, 0.0, user, USER));
    chart
        .draw_series(user)?
        .label("user space")
        .legend(|at| swatch(at, USER));
    let kernel = bars.iter().enumerate();
    let kernel = kernel.map(|(nth, &(_, (user, kernel)))| bar(nth, user, user + kernel, KERNEL));
    chart
        .draw_series(kernel)?
        .label("kernel")
        .legend(|at| swatch(at, KERNEL));
    chart.draw_series(bars.iter().enumerate().map(|(nth, &(_, (user, kernel)))| {
        let text = format!("{:.*} + {:.*}", panel.digits, user, panel.digits, kernel);
        let at = (user + kernel, SegmentValue::CenterOf(nth));
        EmptyElement::at(at) + Text::new(text, (6, -6), ("sans-serif", 13))
    }))?;
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 14))
        .draw()
}

fn swatch((x, y): (i32, i32), colour: RGBColor) -> Rectangle<(i32, i32)> {
    Rectangle::new([(x, y - 5), (x + 14, y + 5)], colour.filled())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &'static str, user_bytes: f64, kernel_bytes: Option<f64>, cpu_us: f64) -> Row {
        Row {
            name,
            transport: Transport::Tls.name(),
            figures: Some(Figures {
                user_bytes: Some(user_bytes),
                kernel_bytes,
                cpu_user_us: Some(cpu_us),
                cpu_system_us: Some(10.0),
                ..Figures::default()
            }),
            ..Row::default()
        }
    }

    #[test]
    fn every_row_with_figures_is_a_bar() {
        let path = std::env::temp_dir().join(format!("xtask-plot-{}.svg", std::process::id()));
        let without = Row {
            name: "missing",
            transport: Transport::Tls.name(),
            ..Row::default()
        };
        let comparison = Comparison {
            rows: vec![
                row("large", 36_900.0, Some(4_100.0), 15.2),
                row("middle", 9_400.0, Some(4_100.0), 8.0),
                row("small", 310.0, Some(4_100.0), 3.1),
                row("half", 310.0, None, 77.7),
                without,
            ],
            ..Comparison::default()
        };
        draw(&comparison, &path).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).ok();
        for text in [
            "large",
            "36.9 + 4.1",
            "0.3 + 4.1",
            "15.2 + 10.0",
            "77.7 + 10.0",
            "user space",
        ] {
            assert!(svg.contains(text), "{text}");
        }
        assert_eq!(
            svg.matches("\nhalf\n").count(),
            1,
            "no kernel figure, no bar of memory"
        );
        assert!(!svg.contains("missing"));
    }

    #[test]
    fn a_comparison_without_figures_can_be_drawn() {
        let path = std::env::temp_dir().join(format!("xtask-empty-{}.svg", std::process::id()));
        draw(&Comparison::default(), &path).unwrap();
        std::fs::remove_file(&path).unwrap();
    }
}
