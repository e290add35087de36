//! What exactly was measured: each peer's version, asked from it or read from the lock file that pins it.

use std::path::Path;

use super::install;
use super::launch::says;
use super::peers::{Peer, Program};
use crate::checkout::Checkout;

/// The version of a peer and of what it stands on; empty where it does not say.
pub(super) fn version(checkout: &Checkout, peer: &Peer) -> String {
    let told = |program: &str, argument: &str| says(Path::new(program), argument);
    let told = match peer.program {
        Program::Rookery => says(&checkout.rookery(), "--version"),
        Program::Engine(..) => Some(crates(checkout, peer.what)),
        Program::Nginx => told("nginx", "-v"),
        Program::HaProxy => told("haproxy", "-v"),
        Program::Nats => told("nats-server", "--version"),
        Program::Ejabberd => install::ejabberd_libraries().and_then(|it| install::ejabberd(&it)),
        Program::Bun => says(&install::bun(checkout), "--version"),
        Program::Node => {
            let ws = install::node_modules(checkout).join("ws/package.json");
            let text = std::fs::read_to_string(ws).unwrap_or_default();
            let package: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            let ws = package["version"].as_str().unwrap_or_default();
            told("node", "--version").map(|node| format!("{node}, ws {ws}"))
        }
        Program::Python => {
            let pinned = checkout
                .root()
                .join("benches/peers/servers/requirements.txt");
            let pinned = std::fs::read_to_string(pinned).unwrap_or_default();
            let pinned: Vec<_> = pinned.lines().filter(|line| line.contains("==")).collect();
            let python = says(&install::python(checkout), "--version").unwrap_or_default();
            Some(format!(
                "{python}, {}",
                pinned.join(", ").replace("==", " ")
            ))
        }
    };
    numbers(&told.unwrap_or_default())
}

/// The versions of the crates that a text names, from the peers' lock file.
fn crates(checkout: &Checkout, names: &str) -> String {
    let lock = checkout.root().join("benches/peers/Cargo.lock");
    let lock = std::fs::read_to_string(lock).unwrap_or_default();
    let version = |name: &str| {
        let after = lock
            .split_once(&format!("name = \"{name}\"\nversion = \""))?
            .1;
        Some(format!("{name} {}", after.split_once('"')?.0))
    };
    let found: Vec<String> = names.split(", ").filter_map(version).collect();
    found.join(", ")
}

/// Without what stands around the numbers: "nginx version: nginx/1.22.1".
fn numbers(told: &str) -> String {
    let told = told.trim_start_matches("nginx version: ");
    let told = told.split(" - ").next().unwrap_or_default();
    told.replace("nats-server: ", "")
        .replace("HAProxy version ", "")
        .replace('/', " ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_numbers_are_kept() {
        let cases = [
            ("nginx version: nginx/1.22.1", "nginx 1.22.1"),
            (
                "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/",
                "2.6.12-1+deb12u4 2026 10 17",
            ),
            ("nats-server: v2.9.10", "v2.9.10"),
            ("", ""),
        ];
        for (told, kept) in cases {
            assert_eq!(super::numbers(told), kept);
        }
    }
}
