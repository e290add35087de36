//! What a person sees while a chore runs: headings, one line that moves, and what is worth keeping.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The terminal, or a log file: then nothing moves and only headings and results are printed.
pub(crate) struct Screen {
    /// A line for each step that runs.
    steps: MultiProgress,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            steps: MultiProgress::with_draw_target(target),
        }
    }

    /// A heading on a line of its own.
    pub(crate) fn heading(&self, text: &str) {
        println!("\n== {text}");
    }

    /// A line under a heading.
    pub(crate) fn line(&self, text: &str) {
        println!("   {text}");
    }

    /// A step that takes a while. Its line shows the last thing that the step said.
    pub(crate) fn step(&self, name: &str) -> Step {
        let bar = self.steps.add(ProgressBar::new_spinner());
        if let Ok(style) =
            ProgressStyle::with_template("   {spinner} {prefix} {elapsed} {wide_msg}")
        {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        Step { bar }
    }
}

/// A running step.
#[derive(Clone)]
pub(crate) struct Step {
    bar: ProgressBar,
}

impl Step {
    /// Shows a line of the step's output.
    pub(crate) fn says(&self, line: &str) {
        self.bar.set_message(line.trim().to_owned());
    }

    /// Takes the line off the screen.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// "7.4 s" or "3 min 05 s".
pub(crate) fn duration(took: Duration) -> String {
    let seconds = took.as_secs();
    if seconds < 60 {
        format!("{:.1} s", took.as_secs_f64())
    } else {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}
