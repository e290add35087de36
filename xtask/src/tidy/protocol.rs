//! The protocol's page names every message kind with its number.

use super::Finding;
use super::source::has_word;

pub(super) const DOCUMENT: &str = "docs/protocol.md";
pub(super) const KINDS: &str = "wire/src/proto/kind.rs";

/// `document` is the page, `kinds` the source that declares `Name(ArchivedName) = 0x01,` one a line.
pub(super) fn check(document: &str, kinds: &str) -> Vec<Finding> {
    let declared: Vec<_> = kinds.lines().filter_map(declaration).collect();
    if declared.is_empty() {
        return vec![Finding::whole(format!(
            "no message kind was found in {KINDS}: has its form changed?"
        ))];
    }
    declared
        .into_iter()
        .filter(|(name, number)| {
            !document
                .lines()
                .any(|line| has_word(line, name) && has_word(line, number))
        })
        .map(|(name, number)| Finding::whole(format!("no line says that {name} is kind {number}")))
        .collect()
}

fn declaration(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.trim().split_once("(Archived")?;
    let (archived, number) = rest.split_once(") = ")?;
    let number = number.trim_end_matches(',');
    (name == archived && number.starts_with("0x")).then_some((name, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_kind_is_named() {
        let kinds = "    Login(ArchivedLogin) = 0x01,\n    Send(ArchivedSend) = 0x02,\n";
        let findings = check("| Login | 0x01 |\n| Sender | 0x02 |\n", kinds);
        assert_eq!(
            findings,
            [Finding::whole("no line says that Send is kind 0x02")]
        );
        assert_eq!(check("", "").len(), 1);
    }
}
