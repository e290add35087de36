//! The committed counts and what is made of new ones. Counts are kept for each processor, as it looks to
//! the program: the libraries choose their code by it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::checkout::Checkout;

/// What a count may change by, either way. A gain is to be explained too, and kept.
const PERCENT_MAX: f64 = 3.0;

/// The committed file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Baselines {
    /// For whoever opens the file.
    about: String,
    /// By the processor's features.
    processors: BTreeMap<String, Baseline>,
}

/// The counts of one processor and what they were made with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Baseline {
    rustc: String,
    libc: String,
    valgrind: String,
    /// Instructions of one operation, by path.
    counts: BTreeMap<String, u64>,
}

/// One path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Its name.
    pub(crate) name: String,
    was: Option<u64>,
    is: Option<u64>,
}

impl Baselines {
    pub(super) fn parse(text: &str) -> Result<Self> {
        Ok(serde_json::from_str(text)?)
    }

    pub(super) fn text(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    pub(super) fn of(&self, processor: &str) -> Option<&Baseline> {
        self.processors.get(processor)
    }

    pub(super) fn set(&mut self, processor: String, baseline: Baseline) {
        self.processors.insert(processor, baseline);
    }

    pub(super) fn processors(&self) -> Vec<&str> {
        self.processors.keys().map(String::as_str).collect()
    }
}

impl Baseline {
    /// New counts, with this host's tools.
    pub(super) fn here(checkout: &Checkout, counts: BTreeMap<String, u64>) -> Result<Self> {
        let version = |program: &str, argument: &str| -> Result<String> {
            let mut command = checkout.command(program);
            let output = command
                .arg(argument)
                .output()
                .with_context(|| format!("{program} {argument}"))?;
            ensure!(output.status.success(), "{program} {argument} failed");
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        Ok(Self {
            rustc: version("rustc", "--version")?,
            libc: version("getconf", "GNU_LIBC_VERSION")?,
            valgrind: version("valgrind", "--version")?,
            counts,
        })
    }

    /// Tools of other versions, which alone may change counts.
    pub(super) fn differences(&self, new: &Self) -> Vec<String> {
        let tools = [
            (&self.rustc, &new.rustc),
            (&self.libc, &new.libc),
            (&self.valgrind, &new.valgrind),
        ];
        tools
            .into_iter()
            .filter(|(was, is)| was != is)
            .map(|(was, is)| {
                format!("counted with {is}, the baseline with {was}: that alone can change counts")
            })
            .collect()
    }

    /// A verdict for each path that was measured; where `all` were, also for those that are gone.
    pub(super) fn judge(&self, new: &Self, all: bool) -> Vec<Verdict> {
        let gone = self.counts.keys().filter(|_| all);
        let names: BTreeSet<&String> = new.counts.keys().chain(gone).collect();
        names
            .into_iter()
            .map(|name| Verdict {
                name: name.clone(),
                was: self.counts.get(name).copied(),
                is: new.counts.get(name).copied(),
            })
            .collect()
    }
}

impl Verdict {
    /// The line with its verdict.
    pub(crate) fn told(&self) -> String {
        let failed = if self.holds() { "" } else { ": FAILED" };
        format!("{self}{failed}")
    }

    /// Whether the count is there, was there, and is about the same.
    pub(crate) fn holds(&self) -> bool {
        self.percent()
            .is_some_and(|percent| percent.abs() <= PERCENT_MAX)
    }

    fn percent(&self) -> Option<f64> {
        let (was, is) = (self.was? as f64, self.is? as f64);
        Some((is - was) / was * 100.0)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:24}", self.name)?;
        match (self.was, self.is) {
            (Some(was), Some(is)) => {
                let percent = self.percent().unwrap_or_default();
                write!(f, "{is:>9} instructions, {percent:+.2} % of {was}")
            }
            (None, Some(is)) => write!(f, "{is:>9} instructions, without a baseline"),
            (Some(was), None) => write!(f, "        - gone; the baseline has {was}"),
            (None, None) => write!(f, "        - neither counted nor known"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn baseline(counts: &[(&str, u64)]) -> Baseline {
        Baseline {
            counts: counts
                .iter()
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect(),
            ..Baseline::default()
        }
    }

    #[test]
    fn three_percent_either_way_and_no_more() {
        let old = baseline(&[("a", 1_000), ("b", 1_000), ("c", 1_000), ("d", 1_000)]);
        let new = baseline(&[("a", 1_030), ("b", 1_031), ("c", 970), ("d", 969)]);
        let holds: Vec<bool> = old.judge(&new, true).iter().map(Verdict::holds).collect();
        assert_eq!(holds, [true, false, true, false]);
    }

    #[test]
    fn a_path_that_is_new_or_gone_fails() {
        let (old, new) = (baseline(&[("gone", 5)]), baseline(&[("new", 5)]));
        let verdicts = old.judge(&new, true);
        let told: Vec<String> = verdicts.iter().map(Verdict::told).collect();
        assert!(
            told[0].contains("gone; the baseline has 5: FAILED"),
            "{told:?}"
        );
        assert!(told[1].contains("without a baseline: FAILED"), "{told:?}");
        assert_eq!(old.judge(&new, false).len(), 1);
    }

    #[test]
    fn other_tools_are_named() {
        let other = Baseline {
            libc: "glibc 2.41".to_owned(),
            ..Baseline::default()
        };
        assert!(
            Baseline::default()
                .differences(&Baseline::default())
                .is_empty()
        );
        let differences = Baseline::default().differences(&other);
        assert!(differences[0].contains("glibc 2.41"), "{differences:?}");
    }

    #[test]
    fn the_file_comes_back_as_it_was_written() {
        let mut baselines = Baselines::default();
        baselines.set("x86_64 aes".to_owned(), baseline(&[("a", 7)]));
        let again = Baselines::parse(&baselines.text().unwrap()).unwrap();
        assert_eq!(again.of("x86_64 aes"), Some(&baseline(&[("a", 7)])));
        assert_eq!(again.of("x86_64"), None);
    }
}
