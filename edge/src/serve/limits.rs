//! Limits that a reload takes, told to those who keep them: admission, the shards' sessions and the router.
//!
//! What memory was taken for at the start, or what clients were told, is for the next start: how many connections at
//! most, sizes of messages, pages and queues, and heartbeats.

use std::sync::Arc;

use crossbeam::atomic::AtomicCell;
use rookery_router::admission::RateLimits;
use rookery_shard::Postboxes;

use super::compose;
use super::keeper::tell;
use crate::admission::{self, Gate};
use crate::config::{self, Config};
use crate::session::{self, Mail};

/// See the module.
pub(super) struct LimitsKept {
    pub(super) gate: Arc<Gate>,
    pub(super) rates: Arc<AtomicCell<RateLimits>>,
    pub(super) postboxes: Postboxes<Mail>,
    /// Connections for which there is room since the start.
    pub(super) room: u32,
}

/// What is to be told.
pub(super) struct LimitsRead {
    admission: admission::Limits,
    sessions: session::Limits,
    rates: RateLimits,
}

impl LimitsKept {
    /// Of limits that were `used`, and those of a configuration that was read again: what is in use from then on.
    pub(super) fn in_use(&self, used: &config::Limits, read: &config::Limits) -> config::Limits {
        let connections_max = match read.connections_max <= self.room {
            true => read.connections_max,
            false => used.connections_max,
        };
        config::Limits {
            connections_max,
            payload_bytes_max: used.payload_bytes_max,
            page_messages_max: used.page_messages_max,
            heartbeat_interval_ms: used.heartbeat_interval_ms,
            idle_timeout_ms: used.idle_timeout_ms,
            pings_per_second_max: used.pings_per_second_max,
            send_queue_bytes_max: used.send_queue_bytes_max,
            buffer_bytes_max: used.buffer_bytes_max,
            conversations_opened_per_user_max: used.conversations_opened_per_user_max,
            conversations_per_user_max: used.conversations_per_user_max,
            ..read.clone()
        }
    }

    /// Tells them.
    pub(super) fn take(&self, read: LimitsRead) {
        self.gate.set_limits(read.admission);
        self.rates.store(read.rates);
        tell(&self.postboxes, || Mail::Limits(read.sessions));
    }
}

impl LimitsRead {
    /// # Errors
    /// The host's memory cannot be read.
    pub(super) fn of(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            admission: compose::admission(config)?,
            sessions: compose::limits(config),
            rates: compose::rates(&config.limits),
        })
    }
}
