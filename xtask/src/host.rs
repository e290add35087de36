//! What a run was made on, for its report.

use std::collections::BTreeMap;
use std::path::Path;

use rookery_tuning::sysctl;

use crate::checkout::Checkout;

/// Parameters that decide how connections behave.
const SYSCTLS: [&str; 5] = [
    "net.ipv4.ip_local_port_range",
    "net.core.somaxconn",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "fs.file-max",
];

/// Their values.
pub(crate) fn sysctls() -> BTreeMap<&'static str, String> {
    let value = |key| Some((key, sysctl::read(Path::new(sysctl::ROOT), key).ok()?));
    SYSCTLS.into_iter().filter_map(value).collect()
}

/// The commit that is measured, and whether files differ from it. Documents do not count: reports are
/// among them.
pub(crate) fn commit(checkout: &Checkout) -> String {
    let git = |arguments: &[&str]| {
        let output = checkout.command("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else {
        return "unknown".to_owned();
    };
    let changes = git(&["status", "--porcelain", "--", ".", ":!docs"]);
    match changes {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit} with changes"),
    }
}

/// The kernel's release.
pub(crate) fn kernel() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease");
    release.unwrap_or_default().trim().to_owned()
}

/// The processor's name, from the first that is told.
pub(crate) fn processor() -> String {
    processor_in(&std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default())
}

fn processor_in(cpuinfo: &str) -> String {
    let name = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or("unknown processor", |(_, name)| name.trim())
        .to_owned()
}

/// This program's command line, as a person types it.
pub(crate) fn command() -> Vec<String> {
    let arguments = std::env::args().skip(1);
    ["cargo", "xtask"]
        .map(str::to_owned)
        .into_iter()
        .chain(arguments)
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_processor_has_a_name() {
        let text = "processor\t: 0\nmodel\t\t: 17\nmodel name\t: Some CPU 9\nprocessor\t: 1\n";
        assert_eq!(super::processor_in(text), "Some CPU 9");
        assert_eq!(super::processor_in(""), "unknown processor");
    }
}
