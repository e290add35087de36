//! Standards are cited where they are carried out, in their own words, and each duty has a test that cites it
//! too:
//!
//! ```text
//! code:  //= RFC 6455 section 5.1: The server MUST close the connection upon receiving a frame that is not masked.
//! test:  //= test of RFC 6455 section 5.1: The server MUST close the connection upon receiving ...
//! ```
//!
//! A standard without a number is cited by its name ([`NAMED`]). In Python with `#=`. The words after the colon are what pairs the two, so they are the same in both. A
//! clause without a word of duty (MUST, SHALL, REQUIRED) may be cited without a test.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::source::has_word;
use super::{File, Finding};

/// Standards that are no RFC.
const NAMED: [&str; 1] = ["PROXY protocol"];

const DUTIES: [&str; 3] = ["MUST", "SHALL", "REQUIRED"];

/// All citations of the project.
#[derive(Default)]
pub(super) struct Clauses {
    /// Each with the first place in code and the first in tests.
    cited: BTreeMap<String, [Option<Place>; 2]>,
}

type Place = (PathBuf, usize);

impl Clauses {
    /// Takes in a file's citations.
    pub(super) fn read(&mut self, file: &File<'_>) -> Vec<Finding> {
        let mark = match (file.is("rs"), file.is("py")) {
            (true, _) => "//= ",
            (_, true) => "#= ",
            _ => return Vec::new(),
        };
        let mut findings = Vec::new();
        let mut is_test = is_of_tests(file);
        for (number, line) in file.text.lines().enumerate() {
            is_test |= line.trim() == "#[cfg(test)]";
            let Some(citation) = line.trim().strip_prefix(mark) else {
                continue;
            };
            let (clause, of_test) = match citation.strip_prefix("test of ") {
                Some(clause) => (clause, true),
                None => (citation, false),
            };
            if !is_clause(clause) {
                let form = "a citation is `RFC 6455 section 5.1: its own words`";
                findings.push(Finding::new(number + 1, form));
            } else if of_test && !is_test {
                findings.push(Finding::new(number + 1, "this is no test"));
            } else {
                let places = self.cited.entry(clause.to_owned()).or_default();
                places[usize::from(of_test)].get_or_insert((file.path.to_owned(), number + 1));
            }
        }
        findings
    }

    /// What is cited on one side only.
    pub(super) fn settle(self) -> Vec<(PathBuf, Finding)> {
        let alone = self.cited.into_iter().filter_map(|(clause, places)| {
            let ((path, line), missing) = match places {
                [Some(code), None] if is_duty(&clause) => (code, "no test cites it"),
                [None, Some(test)] => (test, "no code cites it, in these words"),
                _ => return None,
            };
            Some((path, Finding::new(line, format!("{clause}: {missing}"))))
        });
        alone.collect()
    }
}

fn is_of_tests(file: &File<'_>) -> bool {
    let stem = file.path.file_stem().unwrap_or_default().to_string_lossy();
    let mut folders = file
        .path
        .parent()
        .into_iter()
        .flat_map(|folder| folder.iter());
    folders.any(|folder| folder == "tests") || stem == "tests" || stem.ends_with("_tests")
}

/// `RFC 6455 section 5.1: words`.
fn is_clause(clause: &str) -> bool {
    let Some(((standard, section), words)) = clause
        .split_once(": ")
        .and_then(|(place, words)| Some((place.split_once(" section ")?, words)))
    else {
        return false;
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_standard =
        NAMED.contains(&standard) || standard.strip_prefix("RFC ").is_some_and(is_number);
    is_standard && section.split('.').all(is_number) && !words.trim().is_empty()
}

fn is_duty(clause: &str) -> bool {
    DUTIES.iter().any(|duty| has_word(clause, duty))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Findings of the files, those of their lines first.
    fn check(files: &[(&str, &str)]) -> Vec<String> {
        let mut clauses = Clauses::default();
        let mut found = Vec::new();
        for (path, text) in files {
            let path = Path::new(path);
            found.extend(clauses.read(&File { path, text }));
        }
        found.extend(clauses.settle().into_iter().map(|(_, finding)| finding));
        found.into_iter().map(|finding| finding.message).collect()
    }

    const CODE: (&str, &str) = (
        "wire/src/a.rs",
        "    //= RFC 1 section 2.3: It MUST do.\nfn f() {}\n",
    );

    #[test]
    fn a_duty_without_a_test_is_found() {
        assert_eq!(
            check(&[CODE]),
            ["RFC 1 section 2.3: It MUST do.: no test cites it"]
        );
        for test in [
            (
                "wire/tests/a.rs",
                "//= test of RFC 1 section 2.3: It MUST do.\n",
            ),
            (
                "wire/src/a/tests.rs",
                "//= test of RFC 1 section 2.3: It MUST do.\n",
            ),
            (
                "wire/src/b.rs",
                "#[cfg(test)]\n//= test of RFC 1 section 2.3: It MUST do.\n",
            ),
            (
                "tests/bad_input/a.py",
                "#= test of RFC 1 section 2.3: It MUST do.\n",
            ),
        ] {
            assert!(check(&[test, CODE]).is_empty(), "{test:?}");
        }
    }

    #[test]
    fn what_is_no_duty_needs_no_test() {
        for standard in ["RFC 1", "PROXY protocol"] {
            let code = format!("//= {standard} section 2: It SHOULD do.\n");
            assert!(check(&[("wire/src/a.rs", &code)]).is_empty(), "{standard}");
        }
    }

    #[test]
    fn a_test_of_what_nobody_does_and_a_citation_of_another_form_are_found() {
        let stale = (
            "tests/a.py",
            "#= test of RFC 1 section 2.3: It MUST do so.\n",
        );
        assert_eq!(check(&[stale]).len(), 1);
        assert_eq!(
            check(&[(
                "wire/src/a.rs",
                "//= test of RFC 1 section 2.3: It MUST do.\n"
            )]),
            ["this is no test"]
        );
        for wrong in [
            "RFC 1: It MUST.",
            "RFC 1 section: It MUST.",
            "RFC x section 2: It MUST.",
            "RFC 1 section 2 3: It MUST.",
            "Somebody's protocol section 2: It MUST.",
            "RFC 1 section 2: ",
        ] {
            assert_eq!(
                check(&[("wire/src/a.rs", &format!("//= {wrong}\n"))]).len(),
                1,
                "{wrong}"
            );
        }
    }
}
