//! Links in documents lead somewhere: a relative one to a file of the checkout, and its fragment to a
//! heading of that file. Addresses of the web are not looked up.

use std::path::{Path, PathBuf};

use super::{File, Finding};

pub(super) fn check(root: &Path, file: &File<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut in_code = false;
    for (number, line) in file.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for link in targets(line) {
            if let Some(message) = broken(root, file, link) {
                findings.push(Finding::new(number + 1, message));
            }
        }
    }
    findings
}

/// The targets of `[text](target)` in a line.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("](").filter_map(|(at, open)| {
        let target = &line[at + open.len()..];
        target.find(')').map(|end| &target[..end])
    })
}

fn broken(root: &Path, file: &File<'_>, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
    let (target, text) = if path.is_empty() {
        (PathBuf::new(), Some(file.text.to_owned()))
    } else {
        let target = root.join(file.path.parent()?).join(path);
        if !target.exists() {
            return Some(format!("the link {link} leads nowhere"));
        }
        let text = std::fs::read_to_string(&target).ok();
        (target, text)
    };
    let is_document = path.is_empty()
        || target
            .extension()
            .is_some_and(|extension| extension == "md");
    if fragment.is_empty() || !is_document {
        return None;
    }
    let has_heading = text?
        .lines()
        .filter(|line| line.starts_with('#'))
        .any(|line| anchor(line) == fragment);
    (!has_heading).then(|| format!("the link {link} names no heading of that page"))
}

/// The anchor that a heading gets: lower case, spaces as hyphens, other punctuation dropped.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_missing_files_and_headings() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = "# The one: head\n[a](Cargo.toml) [b](gone.md) [c](#the-one-head) [d](#other)\n\
                    [e](https://example.org/x)\n```\n[f](code.md)\n```\n";
        let findings = check(
            root,
            &File {
                path: Path::new("page.md"),
                text,
            },
        );
        let messages: Vec<_> = findings
            .iter()
            .map(|finding| (finding.line, finding.message.as_str()))
            .collect();
        assert_eq!(
            messages,
            [
                (2, "the link gone.md leads nowhere"),
                (2, "the link #other names no heading of that page")
            ]
        );
    }
}
