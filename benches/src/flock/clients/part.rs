//! The end of a run: every client closes as RFC 6455 section 7 wants it, some hundred at a time.

use std::sync::mpsc::Sender;

use rookery_shard::Shard;
use rookery_wire::proto::CloseCode;

use super::Clients;
use super::conn::Phase;

/// Closes under way at one time: a hundred thousand at once would overflow every queue on the way.
const PARTING_MAX: u32 = 512;

/// How far the goodbyes have come.
#[derive(Debug, Default)]
pub(super) struct Parting {
    /// The next client, by local number; none while nobody leaves.
    next: Option<u32>,
    under_way: u32,
    done: Option<Sender<()>>,
}

impl Clients {
    pub(super) fn begin_parting(&mut self, shard: &mut Shard<Self>, done: Sender<()>) {
        self.parting = Parting {
            next: Some(0),
            under_way: 0,
            done: Some(done),
        };
        self.part_more(shard);
    }

    /// Fills the window.
    pub(super) fn part_more(&mut self, shard: &mut Shard<Self>) {
        while let Some(next) = self.parting.next
            && self.parting.under_way < PARTING_MAX
        {
            let more = (next as usize) < self.roster.len();
            self.parting.next = more.then_some(next + 1);
            let Some((conn, tls)) = self
                .live(shard, next)
                .map(|(conn, state)| (conn, state.tls))
            else {
                continue;
            };
            if let Some(state) = shard.conn(conn) {
                state.phase = Phase::Parting;
            }
            self.parting.under_way += 1;
            self.say(shard, conn, tls, |to| to.close(CloseCode::NORMAL, ""));
        }
        if self.parting.next.is_none()
            && self.parting.under_way == 0
            && let Some(done) = self.parting.done.take()
        {
            // The phases may have given up.
            let _ = done.send(());
        }
    }

    /// A client that said goodbye is gone.
    pub(super) fn parted(&mut self) {
        self.parting.under_way = self.parting.under_way.saturating_sub(1);
        self.plan.counts.parted.add_one();
    }
}
