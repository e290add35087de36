//! The group `density`: 100,000 connections need kernel parameters that a fresh host does not have.
//! They are set from `sysctl/` for as long as the group runs, and put back.

use std::path::Path;

use anyhow::{Context, Result};
use rookery_tuning::profile;
use rookery_tuning::sysctl::{Applied, ROOT};

use super::group::Group;
use super::pytest;
use super::tally::Tally;
use crate::checkout::Checkout;
use crate::screen::Screen;

const PROFILE: &str = "sysctl/90-rookery-density.conf";

pub(super) fn run(checkout: &Checkout, screen: &Screen) -> Result<Tally> {
    let text = std::fs::read_to_string(checkout.root().join(PROFILE)).context(PROFILE)?;
    let settings = profile::parse(&text).context(PROFILE)?;
    let applied =
        Applied::apply(Path::new(ROOT), &settings).context("set the kernel parameters")?;
    let changed = applied.changed().len();
    let tally = pytest::run(checkout, screen, Group::Density, &["test_density.py"]);
    applied
        .restore()
        .context("put the kernel parameters back")?;
    let mut tally = tally?;
    tally.notes.push(format!(
        "{changed} kernel parameters were set for it ({PROFILE}) and are put back"
    ));
    Ok(tally)
}
