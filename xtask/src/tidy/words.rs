//! Words that mean "not done". What is not done is not committed; an open question is an issue.

use super::source::has_word;
use super::{File, Finding};

/// Looked for as whole words. Written in halves here, since this file is checked too.
const WORDS: [&str; 7] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
    concat!("place", "holder"),
    concat!("for", " now"),
    concat!("(to be ", "written)"),
];

/// Looked for in Rust as they stand.
const CODE: [&str; 3] = [
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("#[ig", "nore"),
];

pub(super) fn check(file: &File<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if file.path.extension().is_some_and(|extension| {
        // Made by programs, scripts and all.
        extension == "lock" || extension == "json" || extension == "svg"
    }) {
        return findings;
    }
    for (number, line) in file.text.lines().enumerate() {
        let words = WORDS.iter().filter(|word| has_word(line, word));
        let code = CODE
            .iter()
            .filter(|code| file.is("rs") && line.contains(**code));
        for word in words.chain(code) {
            findings.push(Finding::new(
                number + 1,
                format!("`{word}`: finish it or file an issue"),
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn whole_words_only() {
        let check = |text: &str| {
            check(&File {
                path: Path::new("a.rs"),
                text,
            })
            .len()
        };
        assert_eq!(check(concat!("// TO", "DO: later\n#[ig", "nore]\n")), 2);
        assert_eq!(check("// the todos of a list, ignored by all\n"), 0);
        assert_eq!(check(concat!("#[ig", "nore = \"flaky\"]\n")), 1);
    }
}
