//! What a person sees meanwhile: a bar per phase on a terminal, a line now and then elsewhere. All of it
//! on stderr.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a line is printed where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// One phase.
pub(super) struct Progress {
    name: &'static str,
    total: u64,
    bar: Option<ProgressBar>,
    began: Instant,
    said: Instant,
}

impl Progress {
    /// Begins a phase of so many steps; 0 where it only takes its time.
    pub(super) fn begin(name: &'static str, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let form = "{prefix:>10} [{bar:32}] {pos}/{len} {per_sec} ETA {eta} {msg}";
            let style = ProgressStyle::with_template(form)
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("=> ");
            ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr())
                .with_style(style)
                .with_prefix(name)
        });
        let now = Instant::now();
        Self {
            name,
            total,
            bar,
            began: now,
            said: now,
        }
    }

    /// So far, with what else there is to say.
    pub(super) fn at(&mut self, done: u64, more: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(done);
                bar.set_message(more.to_owned());
            }
            None if self.said.elapsed() >= LINE_EVERY => {
                self.said = Instant::now();
                self.line(done, more);
            }
            None => {}
        }
    }

    /// Ends the phase; how long it took.
    pub(super) fn end(self, done: u64, more: &str) -> Duration {
        let took = self.began.elapsed();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.line(done, more);
        took
    }

    fn line(&self, done: u64, more: &str) {
        let seconds = self.began.elapsed().as_secs_f64();
        let rate = done as f64 / seconds.max(0.001);
        let Self { name, total, .. } = self;
        let mut stderr = std::io::stderr();
        // Who no longer reads it misses nothing that the report does not say.
        let _ = match total {
            0 => writeln!(stderr, "{name:>10} {seconds:.1} s {more}"),
            _ => writeln!(
                stderr,
                "{name:>10} {done}/{total} in {seconds:.1} s ({rate:.0}/s) {more}"
            ),
        };
    }
}
