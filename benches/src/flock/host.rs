//! What a report says about the host, so that its figures can be judged elsewhere.

use std::collections::BTreeMap;
use std::path::Path;

use rookery_tuning::sysctl;

/// Parameters that decide how many connections fit and how they behave.
const SYSCTLS: [&str; 8] = [
    "net.ipv4.ip_local_port_range",
    "net.core.somaxconn",
    "net.ipv4.tcp_max_syn_backlog",
    "net.core.netdev_max_backlog",
    "net.ipv4.tcp_mem",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "fs.file-max",
];

/// Their values, where this kernel has them.
pub(super) fn sysctls() -> BTreeMap<&'static str, String> {
    let value = |key| Some((key, sysctl::read(Path::new(sysctl::ROOT), key).ok()?));
    SYSCTLS.into_iter().filter_map(value).collect()
}

/// The kernel's release.
pub(super) fn kernel() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Cores that this process may use.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}
