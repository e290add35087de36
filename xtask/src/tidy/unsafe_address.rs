//! Unsafe has an address: `shard/src/sys/`. Elsewhere neither the keyword nor a waiver of the lint.

use super::source::{code_only, has_word};
use super::{File, Finding};

const ADDRESS: &str = "shard/src/sys";

pub(super) fn check(file: &File<'_>) -> Vec<Finding> {
    // The module above declares `sys` and waives the lint for it alone.
    if file.path.starts_with(ADDRESS) {
        return Vec::new();
    }
    let declares_sys = file.path.starts_with("shard/src");
    let code = code_only(file.text);
    let mut findings = Vec::new();
    for (number, line) in code.lines().enumerate() {
        if has_word(line, "unsafe") {
            findings.push(Finding::new(
                number + 1,
                format!("unsafe code lives under {ADDRESS}/ only: call a safe function from there"),
            ));
        }
        if has_word(line, "unsafe_code") && !declares_sys {
            findings.push(Finding::new(
                number + 1,
                "the lint unsafe_code is not waived here",
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        let file = File {
            path: Path::new(path),
            text,
        };
        check(&file).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn only_the_engine_has_an_address() {
        let text = "// unsafe in words\nunsafe { f() }\n#[allow(unsafe_code)]\nlet a = \"unsafe\";";
        assert_eq!(lines("wire/src/lib.rs", text), [2, 3]);
        assert_eq!(lines("shard/src/lib.rs", text), [2]);
        assert!(lines("shard/src/sys/uring.rs", text).is_empty());
    }
}
