//! `cargo xtask instructions`: how many instructions the pure paths of a message take, against the
//! committed counts. A change of more than 3 % either way fails until it is accepted and explained.
//!
//! Counted by callgrind, whose processor is an emulated one: counts are the same on every run and nearly
//! every host, where times are not. Why no ready-made harness: the ones that are kept up want a runner of
//! their own of exactly their version installed, and keep no counts that could be committed.

mod baseline;
mod callgrind;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::checkout::Checkout;
use crate::screen::Screen;
use crate::tools::{self, Tool};
use baseline::{Baseline, Baselines, Verdict};

/// The committed counts.
const FILE: &str = "benches/instructions.json";

/// Which paths, and whether their counts are taken as they are.
#[derive(Args)]
pub(crate) struct Options {
    /// Only these paths [default: all]
    #[arg(value_name = "PATH")]
    only: Vec<String>,
    /// Take the counts as the new baseline; the commit that changes the file says why they changed
    #[arg(long, conflicts_with = "only")]
    accept: bool,
}

/// Measures and compares, or accepts; true where every count holds.
pub(crate) fn run(checkout: &Checkout, screen: &Screen, options: &Options) -> Result<bool> {
    screen.heading("instructions");
    tools::ensure(checkout, screen, Tool::Valgrind)?;
    let judged = judge(checkout, screen, &options.only)?;
    if options.accept {
        for verdict in &judged.verdicts {
            screen.line(&verdict.to_string());
        }
        judged.accept(checkout)?;
        screen.line(&format!(
            "accepted: {FILE} has the counts of this processor now; commit it and say why they changed"
        ));
        return Ok(true);
    }
    for verdict in &judged.verdicts {
        screen.line(&verdict.told());
    }
    for remark in &judged.remarks {
        screen.line(remark);
    }
    Ok(judged.verdicts.iter().all(|verdict| verdict.holds()))
}

/// What came out, and what a reader has to know of it.
pub(crate) struct Judged {
    /// One for each path.
    pub(crate) verdicts: Vec<Verdict>,
    /// What to do about those that do not hold.
    pub(crate) remarks: Vec<String>,
    processor: String,
    measured: Baseline,
    baselines: Baselines,
}

impl Judged {
    fn accept(mut self, checkout: &Checkout) -> Result<()> {
        self.baselines.set(self.processor, self.measured);
        let path = checkout.root().join(FILE);
        std::fs::write(&path, self.baselines.text()?)
            .with_context(|| format!("write {}", path.display()))
    }
}

/// Counts the paths (all where `only` is empty) and holds them to the baseline of this processor.
pub(crate) fn judge(checkout: &Checkout, screen: &Screen, only: &[String]) -> Result<Judged> {
    let text = std::fs::read_to_string(checkout.root().join(FILE)).context(FILE)?;
    let baselines = Baselines::parse(&text).context(FILE)?;
    let bench = callgrind::Bench::build(checkout, screen)?;
    let names = bench.paths()?;
    for name in only {
        let known = names.join(", ");
        ensure!(names.contains(name), "no path {name}; there are {known}");
    }
    let mut counts = BTreeMap::new();
    for name in names {
        if only.is_empty() || only.contains(&name) {
            let count = bench.count(checkout, screen, &name)?;
            counts.insert(name, count);
        }
    }
    let processor = bench.processor()?;
    let measured = Baseline::here(checkout, counts)?;
    let mut remarks = Vec::new();
    let verdicts = match baselines.of(&processor) {
        Some(baseline) => {
            remarks.extend(baseline.differences(&measured));
            baseline.judge(&measured, only.is_empty())
        }
        None => {
            remarks.push(format!(
                "no baseline is for this processor ({processor}); {FILE} has {}. Counts of different \
                 processors cannot be compared: count the last accepted commit with --accept here, \
                 then compare this one with it",
                baselines.processors().join("; ")
            ));
            Baseline::default().judge(&measured, false)
        }
    };
    if verdicts.iter().any(|verdict| !verdict.holds()) {
        remarks.push(
            "a change of more than 3 % is explained in the commit: `cargo xtask instructions --accept` \
             takes it over; where it was not meant, `callgrind_annotate` of the files in target/xtask \
             tells what changed"
                .to_owned(),
        );
    }
    Ok(Judged {
        verdicts,
        remarks,
        processor,
        measured,
        baselines,
    })
}
