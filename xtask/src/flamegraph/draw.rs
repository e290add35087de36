//! From a profile to folded stacks, and from them to an SVG.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use inferno::collapse::Collapse as _;
use inferno::collapse::perf::{Folder, Options as FolderOptions};
use inferno::flamegraph::color::{MultiPalette, Palette};
use inferno::flamegraph::{self, Options, TextTruncateDirection};

use super::scenario::Scenario;
use crate::checkout::Checkout;

/// Marks a function of the kernel.
pub(super) const KERNEL: &str = "_[k]";
/// What every thread starts with: it tells nothing and makes the graph taller.
const BASE: [&str; 6] = [
    "start_thread",
    "clone3",
    "thread_start",
    "FnOnce::call_once",
    "__rust_begin_short_backtrace",
    "[unknown]",
];
/// Frames of less than this share of the width are left out: nobody can read them, and they are most of
/// the file.
const SHARE_MIN_PERCENT: f64 = 0.12;

/// Stacks, the thread first, and the nanoseconds of CPU that each was seen for.
pub(super) struct Stacks(Vec<(Vec<String>, u64)>);

impl Stacks {
    /// Reads what perf recorded.
    pub(super) fn read(checkout: &Checkout, profile: &Path) -> Result<Self> {
        let text = profile.with_extension("script");
        let file = File::create(&text).with_context(|| format!("write {}", text.display()))?;
        let status = checkout
            .command("perf")
            .args(["script", "--no-inline", "--force", "--input"])
            .arg(profile)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(Stdio::null())
            .status()
            .context("perf script")?;
        ensure!(
            status.success(),
            "perf script cannot read {}",
            profile.display()
        );
        let mut options = FolderOptions::default();
        options.annotate_kernel = true;
        let mut folded = Vec::new();
        let text = BufReader::new(File::open(&text)?);
        Folder::from(options)
            .collapse(text, &mut folded)
            .context("fold the stacks")?;
        let folded = String::from_utf8(folded).context("a function's name")?;
        let stacks = Self::parse(&folded);
        ensure!(
            stacks.cpu_ns() > 0,
            "nothing was sampled: was the server at work?"
        );
        Ok(stacks)
    }

    /// From lines like `thread;outer;inner 12`.
    pub(super) fn parse(folded: &str) -> Self {
        let stack = |line: &str| {
            let (frames, seen) = line.rsplit_once(' ')?;
            let frames = frames.split(';').filter(|frame| !is_base(frame));
            Some((frames.map(str::to_owned).collect(), seen.parse().ok()?))
        };
        Self(folded.lines().filter_map(stack).collect())
    }

    /// Each stack and its nanoseconds.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[String], u64)> {
        self.0.iter().map(|(frames, seen)| (&frames[..], *seen))
    }

    pub(super) fn cpu_ns(&self) -> u64 {
        self.0.iter().map(|(_, seen)| seen).sum()
    }

    /// Writes the SVG; its size in bytes.
    pub(super) fn draw(&self, scenario: &Scenario, path: &Path) -> Result<u64> {
        let mut lines: Vec<String> = self
            .iter()
            .map(|(frames, seen)| format!("{} {seen}", frames.join(";")))
            .collect();
        lines.sort();
        let mut options = Options::default();
        options.title = scenario.title.to_owned();
        options.subtitle = Some(self.subtitle(scenario));
        options.colors = Palette::Multi(MultiPalette::Rust);
        options.text_truncate_direction = TextTruncateDirection::Right;
        options.count_name = "ns of CPU".to_owned();
        // The same samples make the same file.
        options.deterministic = true;
        options.hash = true;
        options.min_width = SHARE_MIN_PERCENT;
        let file = File::create(path).with_context(|| format!("write {}", path.display()))?;
        let lines = lines.iter().map(String::as_str);
        flamegraph::from_lines(&mut options, lines, BufWriter::new(file)).context("draw")?;
        Ok(std::fs::metadata(path)?.len())
    }

    fn subtitle(&self, scenario: &Scenario) -> String {
        let Scenario {
            name,
            connections,
            rate,
            ..
        } = scenario;
        let cpu_s = self.cpu_ns() as f64 / 1e9;
        let load = match rate {
            0 => format!("{connections} connections"),
            rate => format!("{connections} connections, {rate} messages/s"),
        };
        format!(
            "cargo xtask flamegraph {name}: {load}, one shard; {cpu_s:.2} s of CPU; orange: kernel"
        )
    }
}

fn is_base(frame: &str) -> bool {
    BASE.iter().any(|base| frame.contains(base))
}

/// The function, without the mark.
pub(super) fn name_of(frame: &str) -> &str {
    frame.strip_suffix(KERNEL).unwrap_or(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folded_lines_are_read_without_their_base() {
        let stacks = Stacks::parse(
            "shard-0;start_thread;a::b;syscall;io_send_[k] 3\nshard-0;[unknown];c 4\nno count\n",
        );
        assert_eq!(stacks.cpu_ns(), 7);
        let stacks: Vec<_> = stacks.iter().collect();
        assert_eq!(stacks.len(), 2);
        assert_eq!(stacks[0].0, ["shard-0", "a::b", "syscall", "io_send_[k]"]);
        assert_eq!(stacks[1], (&["shard-0".to_owned(), "c".to_owned()][..], 4));
    }

    #[test]
    fn the_kernels_mark_is_taken_off() {
        assert_eq!(name_of("io_send_[k]"), "io_send");
        assert_eq!(name_of("a::b"), "a::b");
    }
}
