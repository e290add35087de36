//! The kernel parameters of a run: set from `sysctl/`, and put back.

use std::path::Path;

use anyhow::{Context, Result};
use rookery_benches::report::Sysctl;
use rookery_tuning::profile::{self, Setting};
use rookery_tuning::sysctl::{Applied, ROOT};

use crate::checkout::Checkout;

const PROFILE: &str = "sysctl/90-rookery-density.conf";

/// In force until they are put back, at the latest when this is dropped.
pub(crate) struct Parameters {
    settings: Vec<Setting>,
    applied: Applied,
}

impl Parameters {
    /// Sets them, or says which may not be set.
    pub(crate) fn set(checkout: &Checkout) -> Result<Self> {
        let text = std::fs::read_to_string(checkout.root().join(PROFILE)).context(PROFILE)?;
        let settings = profile::parse(&text).context(PROFILE)?;
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
