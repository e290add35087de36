//! What is done with every connection of the shard, so many in a turn: nobody waits for it.

use rookery_shard::{ConnId, Shard, Sweep};

use super::Sessions;
use super::input::Held;

/// Slots that a sweep looks at in a turn: some 20 us where there is nothing to do for any of them.
pub(super) const TURN_LOOKS: u32 = 4_096;

/// Connections that a sweep does something for in a turn. A close costs some 16 us: a millisecond.
pub(super) const TURN_ACTS: u64 = 64;

/// Those that are under way.
#[derive(Debug, Default)]
pub(super) struct Sweeps {
    /// There is another router: what the one before has not answered it never will.
    pub(super) router: Option<Sweep>,
    /// A drain was called off.
    pub(super) stay: Option<Sweep>,
    /// The server stops.
    pub(super) stop: Option<Sweep>,
}

impl Sessions {
    /// The end of a turn: a part of each sweep.
    pub(super) fn sweep_on(&mut self, shard: &mut Shard<Self>) {
        self.sweeps.router = self.part_of(self.sweeps.router, shard, Self::forget_old_router);
        self.sweeps.stay = self.part_of(self.sweeps.stay, shard, |sessions, shard, conn| {
            sessions.let_stay(shard, conn);
            true
        });
        if self.sweeps.stop.is_some() {
            // The grace counts from the last that is told.
            shard.begin_stop_grace();
            self.sweeps.stop = self.part_of(self.sweeps.stop, shard, |sessions, shard, conn| {
                sessions.dismiss(shard, conn);
                true
            });
        }
    }

    /// A turn's part of a sweep; what is left of it. `act` says whether it did anything.
    fn part_of(
        &mut self,
        sweep: Option<Sweep>,
        shard: &mut Shard<Self>,
        act: impl Fn(&mut Self, &mut Shard<Self>, ConnId) -> bool,
    ) -> Option<Sweep> {
        let mut sweep = sweep?;
        let (mut looks, mut acts) = (TURN_LOOKS, TURN_ACTS);
        while acts > 0
            && let Some(conn) = shard.sweep(&mut sweep, &mut looks)
        {
            acts -= u64::from(act(self, shard, conn));
        }
        if sweep.is_over() {
            return None;
        }
        shard.turn_again();
        Some(sweep)
    }

    fn forget_old_router(&mut self, shard: &mut Shard<Self>, conn: ConnId) -> bool {
        let Some(&mut state) = shard.conn(conn) else {
            return false;
        };
        let Some(mut work) = state.work.index().and_then(|at| self.work.lend(at)) else {
            return false;
        };
        work.under_way.forget_all_but(self.router_number);
        self.put_back(shard, conn, Held { tls: None, work });
        self.look_on(shard, conn);
        true
    }
}
