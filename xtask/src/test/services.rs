//! The groups that need services. They are started once, before the first such group, and ended after the
//! last such group; what ran before or was named in the environment stays as it is.

use anyhow::{Context, Result};

use super::group::Group;
use super::tally::Tally;
use super::{cargo, pytest};
use crate::checkout::Checkout;
use crate::screen::Screen;
use crate::services::{Given, Up, up};

/// The services of one run of groups.
#[derive(Default)]
pub(super) struct Services {
    up: Option<Up>,
}

impl Services {
    /// The group `cluster`: our own tests in Rust, then those that drive the built server.
    pub(super) fn cluster(&mut self, checkout: &Checkout, screen: &Screen) -> Result<Tally> {
        let up = self.start(checkout, screen)?;
        let environment = up.addresses.environment();
        let mut tally = cargo::run_with_services(checkout, screen, &environment)?;
        tally.add(python(checkout, screen, up, Group::Cluster)?);
        Ok(tally)
    }

    /// The group `faults`.
    pub(super) fn faults(&mut self, checkout: &Checkout, screen: &Screen) -> Result<Tally> {
        let up = self.start(checkout, screen)?;
        python(checkout, screen, up, Group::Faults)
    }

    fn start(&mut self, checkout: &Checkout, screen: &Screen) -> Result<&Up> {
        // A group before this one may have left one of them down.
        let started = up(checkout, screen, &Given::from_environment())?;
        Ok(match &mut self.up {
            Some(first) => {
                first.add(started);
                first
            }
            none => none.insert(started),
        })
    }

    /// Ends what was started here, once.
    pub(super) fn stop(&mut self, checkout: &Checkout) -> Result<()> {
        self.up.take().map_or(Ok(()), |up| up.stop(checkout))
    }
}

/// The tests in the folder of the group's name. They kill, pause and start services through this very
/// program.
fn python(checkout: &Checkout, screen: &Screen, up: &Up, group: Group) -> Result<Tally> {
    let xtask = std::env::current_exe().context("where this program is")?;
    let xtask = xtask.to_string_lossy();
    let mut environment = up.addresses.environment().to_vec();
    environment.push(("ROOKERY_XTASK", &xtask));
    pytest::run_with(checkout, screen, group, &[group.name()], &environment)
}
