//! The shape of a file: its size, its name, and that a Rust module begins by saying what it is.

use super::{File, Finding};

/// Where one file usually does two things is earlier; here it is certain.
const LINES_MAX: usize = 500;

/// Names that say nothing.
const EMPTY_NAMES: [&str; 6] = ["utils", "util", "common", "helpers", "manager", "misc"];

const SOURCES: [&str; 6] = ["rs", "py", "cjs", "js", "ts", "sh"];

pub(super) fn check(file: &File<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !SOURCES.iter().any(|extension| file.is(extension)) {
        return findings;
    }
    let lines = file.text.lines().count();
    if lines > LINES_MAX {
        let message =
            format!("{lines} lines, at most {LINES_MAX}: a second thing hides in this file");
        findings.push(Finding::whole(message));
    }
    let stem = file
        .path
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default();
    let folders = file
        .path
        .parent()
        .into_iter()
        .flat_map(|parent| parent.iter());
    let names = folders
        .map(|name| name.to_string_lossy().into_owned())
        .chain([stem]);
    for name in names.filter(|name| EMPTY_NAMES.contains(&name.as_str())) {
        findings.push(Finding::whole(format!(
            "the name `{name}` says nothing: name what it holds"
        )));
    }
    if file.is("rs") && !file.text.starts_with("//!") && !file.text.starts_with("#![no_main]") {
        findings.push(Finding::new(
            1,
            "a module begins with a //! paragraph: what it is, what it is not",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&File {
            path: Path::new(path),
            text,
        })
        .len()
    }

    #[test]
    fn sizes_names_and_heads() {
        assert_eq!(count("wire/src/ws/parser.rs", "//! The parser.\n"), 0);
        assert_eq!(count("wire/src/ws/parser.rs", "fn f() {}\n"), 1);
        assert_eq!(count("wire/src/utils.rs", "//! Things.\n"), 1);
        assert_eq!(count("wire/src/common/mod.rs", "//! Things.\n"), 1);
        assert_eq!(count("tests/long.py", &"pass\n".repeat(501)), 1);
        assert_eq!(count("docs/long.md", &"words\n".repeat(501)), 0);
    }
}
