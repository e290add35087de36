//! The loop of one shard, generic over the kernel.

use std::sync::Arc;

use crate::driver::Driver;
use crate::{Config, Fabric, Handler, Inbox};

/// Whether a shard goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It goes on.
    Running,
    /// It was stopped and has ended: drop it.
    Stopped,
}

/// One shard: a kernel, a handler, and the loop between them.
pub struct Engine<D: Driver, H: Handler> {
    driver: D,
    handler: H,
    inbox: Inbox<H::Mail>,
    fabric: Arc<Fabric<H::Parcel>>,
}

impl<D: Driver, H: Handler> Engine<D, H> {
    /// The shard that owns `inbox`. `fabric` is shared by all shards; the driver must have
    /// `config.rings_per_shard` rings of `config.ring_slots` slots.
    pub fn new(
        driver: D,
        handler: H,
        _config: &Config,
        inbox: Inbox<H::Mail>,
        fabric: Arc<Fabric<H::Parcel>>,
    ) -> Self {
        Engine {
            driver,
            handler,
            inbox,
            fabric,
        }
    }

    /// One bounded turn: submit, wait if there is nothing to do, reap, run the handlers.
    pub fn turn(&mut self) -> Progress {
        Progress::Stopped
    }

    /// The handler, for inspection between turns.
    pub fn handler(&self) -> &H {
        &self.handler
    }

    /// The handler, between turns.
    pub fn handler_mut(&mut self) -> &mut H {
        &mut self.handler
    }

    /// The driver, between turns.
    pub fn driver_mut(&mut self) -> &mut D {
        &mut self.driver
    }

    /// The shard's number.
    pub fn id(&self) -> u16 {
        self.inbox.shard()
    }

    /// What it shares with the other shards.
    pub fn fabric(&self) -> &Arc<Fabric<H::Parcel>> {
        &self.fabric
    }
}
