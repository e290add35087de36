//! Whether the server lives, and whether new clients should be sent to it.
//!
//! It lives while every shard turns: one that sleeps still turns once a second. It is ready while it lives,
//! can make messages durable, has memory for newcomers and is not about to stop.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::view::View;
use crate::pulse::Pulse;

/// A shard that has not turned for so long hangs.
const HANGS_AFTER: Duration = Duration::from_secs(5);

/// What is wrong; empty where all is well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Why the process should be started again.
    pub dead: Vec<String>,
    /// Why no new clients should be sent here.
    pub unready: Vec<String>,
}

impl Health {
    /// Whether the process is well.
    pub fn is_live(&self) -> bool {
        self.dead.is_empty()
    }

    /// Whether new clients may come.
    pub fn is_ready(&self) -> bool {
        self.is_live() && self.unready.is_empty()
    }
}

/// What is wrong now. Called at least once a second.
pub(super) fn judge(view: &View, pulse: &mut Pulse, now: Instant) -> Health {
    let counters = view.fabric.counters();
    pulse.look(counters.iter().map(|shard| Some(shard.turns)), now);
    let mut health = Health::default();
    for shard in pulse.still_for(HANGS_AFTER, now) {
        health.dead.push(format!("shard {shard} hangs"));
    }
    let router = view.router();
    health.dead.extend(router.ended());
    match router.health() {
        rookery_router::Health::Serving => {}
        rookery_router::Health::StorageFull => {
            health
                .unready
                .push("no room on the disk for messages".into());
        }
        rookery_router::Health::StoreFailed => {
            health
                .unready
                .push("the store failed and is opened again".into());
        }
    }
    if !view.drain.is_ready() {
        health.unready.push("it is drained".into());
    }
    if router.counters().clock_off.value() > 0 {
        health
            .unready
            .push("the clock is off: nothing is stamped".into());
    }
    if view.gate.is_short_of_memory() {
        health.unready.push("no memory for more connections".into());
    }
    if view.gate.connections() >= u64::from(view.gate.limits().connections_max) {
        health
            .unready
            .push("as many connections as limits.connections_max".into());
    }
    health
}
