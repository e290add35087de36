//! `cargo xtask tidy`: the house rules that no compiler checks. A rule is a pure function from text to
//! findings, so that each is tested on a few lines; every finding says what to do.

mod arrows;
mod clauses;
mod links;
mod protocol;
mod shape;
mod source;
mod sysctl;
mod test_targets;
mod unsafe_address;
mod words;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::checkout::Checkout;
use crate::screen::{Screen, duration};

/// Something that a rule does not like.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// From 1; 0 where it is about the whole file.
    line: usize,
    message: String,
}

impl Finding {
    fn new(line: usize, message: impl Into<String>) -> Self {
        Self {
            line,
            message: message.into(),
        }
    }

    fn whole(message: impl Into<String>) -> Self {
        Self::new(0, message)
    }
}

/// A file of the checkout.
struct File<'a> {
    /// From the root.
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn is(&self, extension: &str) -> bool {
        self.path
            .extension()
            .is_some_and(|found| found == extension)
    }
}

/// Checks every text file of the project; true where nothing was found.
pub(crate) fn run(checkout: &Checkout, screen: &Screen) -> Result<bool> {
    let start = Instant::now();
    let mut checked = 0;
    let mut found = 0;
    let mut clauses = clauses::Clauses::default();
    let mut tell = |path: &Path, Finding { line, message }: Finding| {
        found += 1;
        match line {
            0 => println!("{}: {message}", path.display()),
            line => println!("{}:{line}: {message}", path.display()),
        }
    };
    for path in checkout.files()? {
        let bytes = std::fs::read(checkout.root().join(&path))
            .with_context(|| format!("read {}", path.display()))?;
        let Ok(text) = std::str::from_utf8(&bytes) else {
            continue;
        };
        let file = File { path: &path, text };
        checked += 1;
        let mut findings = check(checkout, &file)?;
        findings.extend(clauses.read(&file));
        for finding in findings {
            tell(&path, finding);
        }
    }
    for (path, finding) in clauses.settle() {
        tell(&path, finding);
    }
    let verdict = if found == 0 {
        "clean".to_owned()
    } else {
        format!("{found} findings")
    };
    screen.line(&format!(
        "tidy: {verdict}, {checked} files, {}",
        duration(start.elapsed())
    ));
    Ok(found == 0)
}

/// All rules that apply to the file.
fn check(checkout: &Checkout, file: &File<'_>) -> Result<Vec<Finding>> {
    let mut findings = shape::check(file);
    findings.extend(words::check(file));
    if file.is("rs") {
        findings.extend(unsafe_address::check(file));
    }
    if file.is("md") {
        findings.extend(links::check(checkout.root(), file));
    }
    if file.path.starts_with("sysctl") && file.is("conf") {
        findings.extend(sysctl::check(file.text));
    }
    if file.path.ends_with("Cargo.toml") {
        findings.extend(arrows::check(file));
        findings.extend(test_targets::check(file));
    }
    if file.path == Path::new(protocol::DOCUMENT) {
        let kinds = checkout.root().join(protocol::KINDS);
        let kinds =
            std::fs::read_to_string(&kinds).with_context(|| format!("read {}", kinds.display()))?;
        findings.extend(protocol::check(file.text, &kinds));
    }
    Ok(findings)
}
