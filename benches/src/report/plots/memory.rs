//! Memory: what a connection costs at each size, in stacked bars by layer and by the kernel's objects, and
//! the host's memory against connections as they came.

use plotters::prelude::*;

use super::lines::{self, Axis, Line};
use super::{FONT, GRID, INK, Plot, colour, svg};
use crate::flock::Report as Flock;
use crate::flock::record::Stage;
use crate::report::figures::short;

/// Kernel objects that have a colour of their own; the rest are summed.
const OBJECTS_MAX: usize = 7;

/// One part of all bars.
struct Layer {
    name: String,
    /// Bytes per connection, one for each stage.
    bytes: Vec<f64>,
}

pub(super) fn plots(flock: &Flock) -> anyhow::Result<Vec<Plot>> {
    let stages = &flock.stages;
    let sizes: Vec<String> = stages
        .iter()
        .map(|stage| short(stage.connections as f64))
        .collect();
    let mut plots = Vec::new();
    if !stages.is_empty() {
        plots.push(Plot {
            title: "Memory of a connection by layer, both ends".to_owned(),
            about: "What stands between two rests, divided by the connections that came. Slab slack is \
                    pages of the kernel's caches that hold no object of a connection; the rest is what \
                    MemFree lost beyond all of these.",
            svg: bars(&sizes, &layers(stages))?,
        });
        plots.push(Plot {
            title: "Memory of a connection by object, server's user space and the kernel's pair".to_owned(),
            about: "Objects in use of the kernel's caches that grew with the connections: two sockets, two \
                    files, two of everything, since both ends are on this host.",
            svg: bars(&sizes, &objects(stages))?,
        });
    }
    plots.extend(host(flock)?);
    Ok(plots)
}

/// Where the memory of a pair is.
fn layers(stages: &[Stage]) -> Vec<Layer> {
    let objects = |stage: &Stage| {
        stage
            .kernel_parts
            .iter()
            .map(|part| part.bytes)
            .sum::<f64>()
    };
    type Of<'a> = &'a dyn Fn(&Stage) -> Option<f64>;
    let known: [(&str, Of<'_>); 6] = [
        ("server, user space", &|stage| stage.server_user_bytes),
        ("client, user space", &|stage| stage.client_user_bytes),
        ("kernel objects", &|stage| Some(objects(stage))),
        ("slab slack", &|stage| {
            Some(stage.slab_page_bytes? - objects(stage))
        }),
        ("page tables", &|stage| stage.page_table_bytes),
        ("vmalloc", &|stage| stage.vmalloc_bytes),
    ];
    // A layer may have shrunk by what the host did meanwhile: no bar goes below zero.
    let at_least_nothing = |of: Of<'_>, stage: &Stage| of(stage).unwrap_or_default().max(0.0);
    let mut layers: Vec<Layer> = known
        .iter()
        .map(|(name, of)| Layer {
            name: (*name).to_owned(),
            bytes: stages
                .iter()
                .map(|stage| at_least_nothing(of, stage))
                .collect(),
        })
        .collect();
    let rest = |(nth, stage): (usize, &Stage)| {
        let told: f64 = layers.iter().map(|layer| layer.bytes[nth]).sum();
        (stage.host_free_bytes.unwrap_or_default() - told).max(0.0)
    };
    let bytes = stages.iter().enumerate().map(rest).collect();
    layers.push(Layer {
        name: "rest of MemFree".to_owned(),
        bytes,
    });
    layers
}

/// The largest objects of the last stage, and the sum of the others.
fn objects(stages: &[Stage]) -> Vec<Layer> {
    let largest = stages
        .last()
        .map(|stage| stage.kernel_parts.as_slice())
        .unwrap_or_default();
    let named: Vec<&str> = largest
        .iter()
        .take(OBJECTS_MAX)
        .map(|part| part.cache.as_str())
        .collect();
    let of = |stage: &Stage, cache: &str| {
        let part = stage.kernel_parts.iter().find(|part| part.cache == cache);
        part.map_or(0.0, |part| part.bytes.max(0.0))
    };
    let mut layers = vec![Layer {
        name: "server, user space".to_owned(),
        bytes: stages
            .iter()
            .map(|stage| stage.server_user_bytes.unwrap_or_default().max(0.0))
            .collect(),
    }];
    layers.extend(named.iter().map(|cache| Layer {
        name: (*cache).to_owned(),
        bytes: stages.iter().map(|stage| of(stage, cache)).collect(),
    }));
    let others = |stage: &Stage| {
        let others = stage
            .kernel_parts
            .iter()
            .filter(|part| !named.contains(&part.cache.as_str()));
        others.map(|part| part.bytes).sum::<f64>().max(0.0)
    };
    layers.push(Layer {
        name: "other objects".to_owned(),
        bytes: stages.iter().map(others).collect(),
    });
    layers
}

/// Stacked bars, one for each size, with their sum on top.
fn bars(sizes: &[String], layers: &[Layer]) -> anyhow::Result<String> {
    let sum = |nth: usize| layers.iter().map(|layer| layer.bytes[nth]).sum::<f64>();
    let last = sizes.len().saturating_sub(1);
    let most = (0..sizes.len()).map(sum).fold(1.0, f64::max);
    svg(|area| {
        let (plot, legend) = area.split_horizontally(640);
        let mut chart = ChartBuilder::on(&plot)
            .margin(12)
            .x_label_area_size(46)
            .y_label_area_size(72)
            .build_cartesian_2d((0..last).into_segmented(), 0.0..most * 1.12)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(INK)
            .label_style(FONT.into_font().color(&INK))
            .x_desc("connections held")
            .y_desc("bytes per connection")
            .x_label_formatter(&|segment| match segment {
                SegmentValue::CenterOf(nth) => sizes.get(*nth).cloned().unwrap_or_default(),
                _ => String::new(),
            })
            .y_label_formatter(&|bytes| short(*bytes))
            .draw()?;
        for nth in 0..sizes.len() {
            let mut top = 0.0;
            for (which, layer) in layers.iter().enumerate() {
                let corners = [
                    (SegmentValue::Exact(nth), top),
                    (SegmentValue::Exact(nth + 1), top + layer.bytes[nth]),
                ];
                top += layer.bytes[nth];
                let mut bar = Rectangle::new(corners, colour(which).filled());
                let margin = (420 / sizes.len() as u32 / 2).clamp(8, 60);
                bar.set_margin(0, 0, margin, margin);
                chart.draw_series([bar])?;
            }
            let style = FONT
                .into_font()
                .color(&INK)
                .pos(plotters::style::text_anchor::Pos::new(
                    plotters::style::text_anchor::HPos::Center,
                    plotters::style::text_anchor::VPos::Bottom,
                ));
            let label = format!("{top:.0}");
            chart.draw_series([Text::new(
                label,
                (SegmentValue::CenterOf(nth), top + most * 0.01),
                style,
            )])?;
        }
        // As they are stacked: the topmost first.
        let names: Vec<(String, usize)> = layers
            .iter()
            .enumerate()
            .rev()
            .map(|(nth, layer)| (format!("{} ({:.0} B)", layer.name, layer.bytes[last]), nth))
            .collect();
        let rows: Vec<(&str, usize, bool)> = names
            .iter()
            .map(|(name, nth)| (name.as_str(), *nth, false))
            .collect();
        lines::key(&legend, &rows)
    })
}

/// Memory against connections while these came.
fn host(flock: &Flock) -> anyhow::Result<Option<Plot>> {
    let ramp = flock
        .time_line
        .iter()
        .filter(|point| point.phase == "connect");
    let points: Vec<_> = ramp.collect();
    let Some(free) = points.iter().find_map(|point| point.free) else {
        return Ok(None);
    };
    let gib = |bytes: f64| bytes / f64::from(1 << 30);
    let of = |value: &dyn Fn(&crate::flock::record::Point) -> Option<f64>| {
        let both = |point: &&&crate::flock::record::Point| {
            Some((point.connections as f64, gib(value(point)?)))
        };
        points
            .iter()
            .filter_map(|point| both(&point))
            .collect::<Vec<_>>()
    };
    let taken = of(&|point| Some(free as f64 - point.free? as f64));
    let rss = of(&|point| Some(point.server_rss? as f64));
    let values = || taken.iter().chain(&rss);
    let x = Axis::around(
        "connections held",
        false,
        short,
        values().map(|point| point.0),
    );
    let y = Axis::around(
        "GiB",
        false,
        |value| format!("{value:.2}"),
        values().map(|point| point.1),
    );
    let lines = [
        Line {
            name: "taken from MemFree".to_owned(),
            points: taken,
            colour: 0,
            dashed: false,
        },
        Line {
            name: "server, resident".to_owned(),
            points: rss,
            colour: 3,
            dashed: false,
        },
    ];
    Ok(Some(Plot {
        title: "Memory of the host while connections come".to_owned(),
        about: "Each second of the ramps. MemFree holds both ends, kernel and user space, and whatever \
                else the host did. Steps between two ramps are what the messages there left in the store.",
        svg: lines::draw(&x, &y, &lines)?,
    }))
}
