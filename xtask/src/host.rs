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

/// The commit that is measured, and whether files differ from it.
pub(crate) fn commit(checkout: &Checkout) -> String {
    let git = |arguments: &[&str]| {
        let output = checkout.command("git").args(arguments).output().ok()?;
        String::from_utf8(output.stdout)
            .ok()
            .map(|text| text.trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short", "HEAD"]).unwrap_or_default();
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit} with changes"),
    }
}

/// The kernel's release.
pub(crate) fn kernel() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease");
    release.unwrap_or_default().trim().to_owned()
}

/// The processor's name.
pub(crate) fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':'));
    name.map(|(_, name)| name.trim().to_owned())
        .unwrap_or_default()
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
