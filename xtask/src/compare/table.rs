//! The comparison as the section of `docs/density.md` that it is.

use std::fmt::Write as _;

use super::figures::{Comparison, Duel, Figures, Row};
use super::launch::Transport;

/// Of the markers.
pub(super) const NAME: &str = "compare";

/// A column: its heading, and its figure, of which less is better.
struct Column {
    heading: &'static str,
    of: fn(&Figures) -> Option<f64>,
    digits: usize,
}

const COLUMNS: [Column; 8] = [
    column("user space, B", |it| it.user_bytes, 0),
    column("kernel, B", |it| it.kernel_bytes, 0),
    column("both, B", Figures::bytes, 0),
    column("CPU, us/message", Figures::cpu_us, 1),
    column("of it user space", |it| it.cpu_user_us, 1),
    column("p50, us", |it| it.p50_us.map(|us| us as f64), 0),
    column("p99, us", |it| it.p99_us.map(|us| us as f64), 0),
    column("p99.9, us", |it| it.p999_us.map(|us| us as f64), 0),
];

const fn column(heading: &'static str, of: fn(&Figures) -> Option<f64>, digits: usize) -> Column {
    Column {
        heading,
        of,
        digits,
    }
}

/// Everything between the markers.
pub(super) fn markdown(comparison: &Comparison) -> String {
    let mut text = String::new();
    let gib = comparison.memory_bytes.unwrap_or_default() as f64 / f64::from(1 << 30);
    let _ = writeln!(
        text,
        "Commit {}, Linux {}, {} cores ({}), {gib:.0} GiB. Server on core {}, load on core {}, {} B \
         messages. `{}`\n",
        comparison.commit,
        comparison.kernel,
        comparison.cores,
        comparison.cpu,
        comparison.server_core,
        comparison.load_core,
        comparison.payload_bytes,
        comparison.command.join(" "),
    );
    duels(&mut text, &comparison.duels);
    for transport in Transport::ALL {
        let rows: Vec<&Row> = rows_of(comparison, transport).collect();
        if !rows.is_empty() {
            let _ = writeln!(text, "### {}\n", transport.name());
            table(&mut text, &rows);
        }
    }
    remarks(&mut text, &comparison.rows);
    text
}

fn rows_of(comparison: &Comparison, transport: Transport) -> impl Iterator<Item = &Row> {
    comparison
        .rows
        .iter()
        .filter(move |row| row.transport == transport.name())
}

fn duels(text: &mut String, duels: &[Duel]) {
    if duels.is_empty() {
        return;
    }
    text.push_str("### Goals\n\nAlternating rounds; median (least to most).\n\n");
    text.push_str("| figure | against | Rookery, us | peer, us | ratio | goal | |\n");
    text.push_str("| --- | --- | --- | --- | --- | --- | --- |\n");
    for duel in duels {
        let spread = |of: &super::figures::Spread| {
            format!("{:.2} ({:.2} to {:.2})", of.median, of.min, of.max)
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | **{}** | at most {} | {} |",
            duel.goal,
            duel.peer,
            spread(&duel.ours_us),
            spread(&duel.theirs_us),
            spread(&duel.ratio),
            duel.at_most,
            if duel.met { "met" } else { "not met" }
        );
    }
    text.push('\n');
}

fn table(text: &mut String, rows: &[&Row]) {
    let headings: Vec<&str> = COLUMNS.iter().map(|column| column.heading).collect();
    let _ = writeln!(
        text,
        "| peer | connections | {} | rate/s |",
        headings.join(" | ")
    );
    let _ = writeln!(text, "|{}", " --- |".repeat(COLUMNS.len() + 3));
    for row in rows {
        let _ = write!(text, "| {} |", row.what);
        let Some(figures) = &row.figures else {
            let _ = writeln!(text, " none |{} |", " |".repeat(COLUMNS.len()));
            continue;
        };
        let _ = write!(text, " {} |", figures.connections);
        for column in &COLUMNS {
            let _ = write!(text, " {} |", cell(column, figures, rows));
        }
        match figures.rate_asked {
            0 => text.push_str(" idle |\n"),
            _ => {
                let _ = writeln!(text, " {:.0} |", figures.rate_done);
            }
        }
    }
    text.push('\n');
}

/// The best of a column is bold, whoever's it is.
fn cell(column: &Column, figures: &Figures, rows: &[&Row]) -> String {
    let Some(value) = (column.of)(figures) else {
        return String::new();
    };
    let all = rows
        .iter()
        .filter_map(|row| (column.of)(row.figures.as_ref()?));
    let best = all.fold(f64::INFINITY, f64::min);
    let shown = format!("{value:.*}", column.digits);
    if value <= best {
        format!("**{shown}**")
    } else {
        shown
    }
}

/// Versions, and why something is not there.
fn remarks(text: &mut String, rows: &[Row]) {
    text.push_str("Versions: ");
    let mut told: Vec<String> = Vec::new();
    for row in rows {
        let version = format!("{}: {}", row.name, row.version);
        if !row.version.is_empty() && !told.contains(&version) {
            told.push(version);
        }
    }
    let _ = writeln!(text, "{}.\n", told.join("; "));
    for row in rows {
        if let Some(reason) = &row.reason {
            let line = reason.lines().next().unwrap_or_default();
            let _ = writeln!(text, "- {}, {}: {line}", row.what, row.transport);
        }
        if let Some(figures) = row.figures.as_ref().filter(|it| it.failed + it.lost > 0) {
            let (failed, lost) = (figures.failed, figures.lost);
            let _ = writeln!(
                text,
                "- {}, {}: {failed} connections failed, {lost} were lost",
                row.what, row.transport
            );
        }
        let untold = |it: &&Figures| it.kernel_bytes_all_ends.is_none();
        if let Some(figures) = row.figures.as_ref().filter(untold) {
            let sockets = figures.sockets.unwrap_or_default();
            let _ = writeln!(
                text,
                "- {}, {}: the kernel's part is not told: {sockets:.2} sockets came per connection, so \
                 that others than the connections' came or went",
                row.what, row.transport
            );
        }
        if let Some(figures) = row.figures.as_ref().filter(|it| it.delivered < it.sent) {
            let (delivered, sent) = (figures.delivered, figures.sent);
            let _ = writeln!(
                text,
                "- {}, {}: {delivered} of {sent} messages came back within 10 s of the last",
                row.what, row.transport
            );
        }
    }
}
