//! Arrows point down: which of our packages a package may depend on.

use super::{File, Finding};

/// Package folder and what it may depend on; `edge` and `xtask` stand on top and are not listed.
const FLOORS: [(&str, &[&str]); 7] = [
    (
        "benches",
        &["rookery-shard", "rookery-tuning", "rookery-wire"],
    ),
    ("metrics", &[]),
    ("quic", &[]),
    ("router", &["rookery-metrics", "rookery-wire"]),
    ("shard", &["rookery-metrics"]),
    ("tuning", &[]),
    ("wire", &[]),
];

pub(super) fn check(file: &File<'_>) -> Vec<Finding> {
    let Some((folder, allowed)) = FLOORS
        .iter()
        .find(|(folder, _)| file.path.starts_with(folder))
    else {
        return Vec::new();
    };
    let mut section = "";
    let mut findings = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        if line.starts_with('[') {
            section = line;
        }
        let name = line.split([' ', '.', '=']).next().unwrap_or_default();
        let ours = section.contains("dependencies") && name.starts_with("rookery-");
        if ours && !allowed.contains(&name) {
            let message = format!(
                "{folder} may not depend on {name}: arrows point down (docs/ARCHITECTURE.md)"
            );
            findings.push(Finding::new(number + 1, message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn upward_and_sideways_arrows_are_found() {
        let text = "[package]\nname = \"rookery-router\"\n[dependencies]\nrookery-wire.workspace = true\n\
                    [dev-dependencies]\nrookery-shard = { workspace = true }\n";
        let lines = |path: &str| -> Vec<usize> {
            check(&File {
                path: Path::new(path),
                text,
            })
            .iter()
            .map(|finding| finding.line)
            .collect()
        };
        assert_eq!(lines("router/Cargo.toml"), [6]);
        assert_eq!(lines("wire/Cargo.toml"), [4, 6]);
        assert!(lines("edge/Cargo.toml").is_empty());
    }
}
