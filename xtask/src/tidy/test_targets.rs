//! A test target that a plain `cargo test` leaves out is run by the group `cluster`, which looks for names.

use super::{File, Finding};
use crate::cargo::SERVICES;

pub(super) fn check(file: &File<'_>) -> Vec<Finding> {
    let prefix = SERVICES.trim_end_matches('*');
    let mut findings = Vec::new();
    let mut section = "";
    let mut name = "";
    for (number, line) in file.text.lines().enumerate() {
        if line.starts_with('[') {
            (section, name) = (line, "");
        }
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        match (key.trim(), value.trim()) {
            ("name", value) => name = value.trim_matches('"'),
            ("test", "false") if section == "[[test]]" && !name.starts_with(prefix) => {
                findings.push(Finding::new(
                    number + 1,
                    format!(
                        "no group runs this target: only one named `{SERVICES}` may say \
                         `test = false`, after its name"
                    ),
                ));
            }
            _ => {}
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_nobody_runs_is_found() {
        let text = "[[bin]]\ntest = false\n[[test]]\nname = \"services_log\"\ntest = false\n\
                    [[test]]\nname = \"slow\"\ntest = false\n[[test]]\ntest = false\n";
        let file = File {
            path: Path::new("router/Cargo.toml"),
            text,
        };
        let lines: Vec<_> = check(&file).iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [8, 10]);
    }
}
