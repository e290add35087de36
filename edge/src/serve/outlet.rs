//! The router's way back: events into the shards' mailboxes.

use rookery_router::{Event, Outlet};
use rookery_shard::Postboxes;

use crate::session::{self, Mail};

/// See the module.
pub(super) struct Mailboxes(Postboxes<Mail>);

impl Mailboxes {
    pub(super) fn new(postboxes: Postboxes<Mail>) -> Self {
        Self(postboxes)
    }
}

impl Outlet for Mailboxes {
    fn shards(&self) -> u16 {
        self.0.shards()
    }

    fn owner(&self, user_id: u64) -> u16 {
        session::owner(user_id, self.0.shards())
    }

    fn post(&self, shard: u16, event: Event) -> Result<(), Event> {
        match self.0.post(shard, Mail::Router(event)) {
            Err(Mail::Router(event)) => Err(event),
            _ => Ok(()),
        }
    }
}
