//! The group `instructions`: `cargo xtask instructions`, a case for each path.

use anyhow::Result;

use super::tally::Tally;
use crate::checkout::Checkout;
use crate::instructions;
use crate::screen::Screen;

pub(super) fn run(checkout: &Checkout, screen: &Screen) -> Result<Tally> {
    let judged = instructions::judge(checkout, screen, &[])?;
    let mut tally = Tally::default();
    for verdict in &judged.verdicts {
        if verdict.holds() {
            tally.passed += 1;
            tally.notes.push(verdict.to_string());
        } else {
            tally.add(Tally::failure(verdict.told()));
        }
    }
    tally.notes.extend(judged.remarks);
    Ok(tally.with_verdict(true, ""))
}
