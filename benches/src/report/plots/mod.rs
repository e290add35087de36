//! The plots of a report, each an inline SVG: colours, fonts and axes are here, what is drawn in a file
//! for each subject.

mod connect;
mod latency;
mod lines;
mod memory;
mod message;
mod storm;

use plotters::prelude::*;

use crate::flock::Report as Flock;

/// A plot with its heading and what to see in it.
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) about: &'static str,
    pub(super) svg: String,
}

/// Every plot that the run has figures for.
pub(super) fn all(flock: &Flock) -> anyhow::Result<Vec<Plot>> {
    let mut plots = memory::plots(flock)?;
    plots.extend(connect::plots(flock)?);
    plots.extend(latency::plots(flock)?);
    plots.extend(message::plots(flock)?);
    plots.extend(storm::plots(flock)?);
    Ok(plots)
}

/// Pixels of a plot; the page scales it.
const SIZE: (u32, u32) = (900, 400);
const FONT: (&str, u32) = ("sans-serif", 14);
const INK: RGBColor = RGBColor(60, 60, 60);
const GRID: RGBColor = RGBColor(228, 228, 228);

/// Colours that are told apart by colour-blind people too (Okabe and Ito), and two greys.
const COLOURS: [RGBColor; 9] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(86, 180, 233),
    RGBColor(204, 121, 167),
    RGBColor(120, 120, 120),
    RGBColor(150, 130, 40),
    RGBColor(190, 190, 190),
];

fn colour(nth: usize) -> RGBColor {
    COLOURS[nth % COLOURS.len()]
}

/// Draws into an SVG that scales with the page.
fn svg(
    draw: impl FnOnce(&DrawingArea<SVGBackend<'_>, plotters::coord::Shift>) -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        draw(&area)?;
        area.present()?;
    }
    let (width, height) = SIZE;
    let fixed = format!("<svg width=\"{width}\" height=\"{height}\"");
    anyhow::ensure!(
        text.contains(&fixed),
        "the SVG has no size of the expected form"
    );
    Ok(text.replacen(&fixed, "<svg", 1))
}
