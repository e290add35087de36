//! A sweep that never ends: every connection that is there all the while is met once in each round.

use std::collections::BTreeSet;

use super::account::Account;
use super::checks::Check;
use super::workload::Echo;
use crate::{ConnId, Shard, Sweep};

/// Slots of a turn: so few that most connections come and go during a round.
const LOOKS: u32 = 40;

/// The round under way.
#[derive(Default)]
pub(super) struct Walk {
    sweep: Sweep,
    /// Live when it began, and not met yet.
    owed: BTreeSet<ConnId>,
    met: BTreeSet<ConnId>,
}

impl Walk {
    /// A turn of it.
    pub(super) fn step(&mut self, shard: &Shard<Echo>, account: &Account) {
        let mut looks = LOOKS;
        while let Some(conn) = shard.sweep(&mut self.sweep, &mut looks) {
            self.owed.remove(&conn);
            if !self.met.insert(conn) {
                account.fail(Check::Lifecycle, format!("{conn:?} was met twice"));
            }
        }
        if !self.sweep.is_over() {
            return;
        }
        let live = account.live();
        let missed: Vec<_> = live.iter().filter(|it| self.owed.contains(it)).collect();
        if !missed.is_empty() {
            account.fail(Check::Lifecycle, format!("{missed:?} were never met"));
        }
        *self = Self {
            owed: live.into_iter().collect(),
            ..Self::default()
        };
    }
}
