//! The kernel parameters of a run: set from `sysctl/`, and put back. Clients may have nearly every port
//! meanwhile, but for those of our own services: a port that a connection has had is closed to a listener for
//! a minute after it.

use std::path::Path;

use anyhow::{Context, Result};
use rookery_benches::report::Sysctl;
use rookery_tuning::profile::{self, Setting};
use rookery_tuning::sysctl::{Applied, ROOT, read};

use crate::checkout::Checkout;
use crate::services::Service;

const PROFILE: &str = "sysctl/90-rookery-density.conf";
/// Ports that are given to no connection, as a list of numbers and ranges.
const RESERVED: &str = "net.ipv4.ip_local_reserved_ports";

/// In force until they are put back, at the latest when this is dropped.
pub(crate) struct Parameters {
    settings: Vec<Setting>,
    applied: Applied,
}

impl Parameters {
    /// Sets them, or says which may not be set.
    pub(crate) fn set(checkout: &Checkout) -> Result<Self> {
        let text = std::fs::read_to_string(checkout.root().join(PROFILE)).context(PROFILE)?;
        let mut settings = profile::parse(&text).context(PROFILE)?;
        let before = read(Path::new(ROOT), RESERVED).context("which ports are reserved")?;
        // First of all: before the range is opened.
        settings.insert(0, reserved(&before));
        let applied = Applied::apply(Path::new(ROOT), &settings)
            .with_context(|| format!("set the kernel parameters of {PROFILE}"))?;
        Ok(Self { settings, applied })
    }

    /// What a report says of them.
    pub(crate) fn told(&self) -> Vec<Sysctl> {
        let before = |key: &str| {
            let mut changed = self.applied.changed().iter();
            changed
                .find(|(name, _)| name == key)
                .map(|(_, value)| value.clone())
        };
        let one = |setting: &Setting| Sysctl {
            key: setting.key.clone(),
            value: setting.value.clone(),
            before: before(&setting.key),
        };
        self.settings.iter().map(one).collect()
    }

    /// A line for a person.
    pub(crate) fn note(&self) -> String {
        let changed = self.applied.changed().len();
        format!("{changed} kernel parameters were set for it ({PROFILE}) and are put back")
    }

    /// Puts them back.
    pub(crate) fn put_back(self) -> Result<()> {
        self.applied
            .restore()
            .context("put the kernel parameters back")
    }
}

/// The ports of our services beside those that the host has reserved.
fn reserved(before: &str) -> Setting {
    let ours = Service::ports().map(|port| port.to_string());
    let hosts = before.split(',').filter(|ports| !ports.is_empty());
    let all: Vec<String> = hosts.map(str::to_owned).chain(ours).collect();
    Setting {
        key: RESERVED.to_owned(),
        value: all.join(","),
        reason: "The ports of `cargo xtask services` stay free for them.".to_owned(),
        line: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_connection_is_given_a_port_of_a_service_nor_one_that_the_host_reserved() {
        let ours = reserved("").value;
        for port in ["19042", "19092", "19194", "17000", "15432", "16379"] {
            assert!(ours.split(',').any(|it| it == port), "{port} in {ours}");
        }
        assert_eq!(reserved("80-90,8443").value, format!("80-90,8443,{ours}"));
    }
}
