//! Each value of a sysctl profile has its reason in the comment right above it.

use super::Finding;

pub(super) fn check(text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut reason = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('#') {
            reason = line.trim_start_matches('#').trim().len() >= 10;
        } else if line.contains('=') {
            if !reason {
                findings.push(Finding::new(
                    number + 1,
                    "a value without its reason: say why in the line above",
                ));
            }
            reason = false;
        } else {
            reason = false;
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_its_own_reason() {
        let text = "# Accept queues as long as a reconnect storm.\nnet.core.somaxconn = 65535\nfs.file-max = 1\n\n# x\na = 1\n";
        let lines: Vec<_> = check(text).iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [3, 6]);
    }
}
