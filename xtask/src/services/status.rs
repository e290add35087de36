//! The table of `cargo xtask services status`.

use std::time::Duration;

use super::address::Addresses;
use super::daemon::Daemon;
use super::service::Service;
use crate::checkout::Checkout;
use crate::screen::{Screen, duration};

const MIB: u64 = 1 << 20;

/// One line per service and the sum of their memory; true where every one runs or was given.
pub(super) fn show(checkout: &Checkout, screen: &Screen, addresses: &Addresses) -> bool {
    screen.line(&row("service", "pid", "port", "memory", "up for"));
    let mut sum = 0;
    let mut all_run = true;
    for service in Service::ALL {
        let port = service.port().to_string();
        let name = service.name();
        let line = if !addresses.is_ours(service) {
            row(name, "given", "-", "-", "-")
        } else if let Some(identity) = Daemon::of(checkout, service).identity() {
            let memory: u64 = identity.family().iter().map(|one| one.memory()).sum();
            sum += memory;
            let age = Duration::try_from_secs_f64(identity.age_s()).unwrap_or_default();
            row(
                name,
                &identity.pid.to_string(),
                &port,
                &mebibytes(memory),
                &duration(age),
            )
        } else {
            all_run = false;
            row(name, "-", &port, "-", "not running")
        };
        screen.line(&line);
    }
    screen.line(&row("all", "", "", &mebibytes(sum), ""));
    all_run
}

/// "1,234 MiB" would be read as a sum of two; a service has fewer than ten thousand.
fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes / MIB)
}

fn row(name: &str, pid: &str, port: &str, memory: &str, age: &str) -> String {
    format!("{name:<10} {pid:>8} {port:>6} {memory:>9}  {age}")
        .trim_end()
        .to_owned()
}
