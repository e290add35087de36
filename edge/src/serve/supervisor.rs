//! What `serve` tells the service manager that started it, over the socket that `NOTIFY_SOCKET` names (sd_notify(3),
//! sd_watchdog_enabled(3)): ready, reloading, stopping, how it is, and that it lives. Nothing where there is no
//! such variable.
//!
//! Invariant: a manager that reads nothing holds up the main thread for [`PATIENCE`] a message at most.

mod beat;
mod socket;

use std::time::{Duration, Instant};

use beat::Beat;
use socket::Socket;

/// How long a message may wait for room in the manager's queue.
const PATIENCE: Duration = Duration::from_millis(250);

/// Between two accounts of how the server is.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// While it stops, the manager is asked for this much more time, again and again.
const STOP_EXTENSION: Duration = Duration::from_secs(15);

/// Between two such requests.
const STOP_EXTENSION_EVERY: Duration = Duration::from_secs(1);

/// What closing the router may take once the connections are gone: what was accepted is finished.
const CLOSE_EXTENSION: Duration = Duration::from_secs(60);

/// What the main thread sees of the engine when it looks.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    /// Turns of each shard since its start; `None`: it has ended.
    pub(super) turns: Vec<Option<u64>>,
    /// Open connections.
    pub(super) live: u64,
}

/// The service manager, systemd or one that speaks like it; or nobody.
pub(super) struct Supervisor {
    socket: Option<Socket>,
    watchdog: Option<Beat>,
    /// Asks for more time, once it stops.
    extension: Option<Beat>,
    /// `READY=1` was not taken yet.
    owes_ready: bool,
    reload_failed: bool,
    told_status: Instant,
}

impl Supervisor {
    /// The one that the environment names. A variable that cannot be used is told in the log: the manager would
    /// wait for a message that cannot come.
    pub(super) fn of_environment(now: Instant) -> Self {
        let socket = Socket::open(std::env::var_os("NOTIFY_SOCKET"), PATIENCE);
        let socket = socket.unwrap_or_else(|error| {
            tracing::warn!(%error, "the service manager cannot be told that the server is ready");
            None
        });
        let interval = beat::interval(
            std::env::var("WATCHDOG_USEC").ok().as_deref(),
            std::env::var("WATCHDOG_PID").ok().as_deref(),
            std::process::id(),
        );
        if interval.is_some_and(|interval| interval < beat::INTERVAL_MIN) {
            tracing::warn!(
                ?interval,
                least = ?beat::INTERVAL_MIN,
                "the service manager expects signs of life more often than an idle shard gives them: raise \
                 WatchdogSec="
            );
        }
        Self {
            socket,
            watchdog: interval.map(|interval| Beat::new(interval / 2, now)),
            extension: None,
            owes_ready: false,
            reload_failed: false,
            told_status: now,
        }
    }

    /// It serves.
    pub(super) fn ready(&mut self, sight: &Sight) {
        let status = self.status(sight);
        self.owes_ready = !self.tell(&format!("READY=1\n{status}"));
    }

    /// It begins to read files again.
    pub(super) fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let usec = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={usec}"));
    }

    /// It has read them; where one could not be used, what was used before still is.
    pub(super) fn reloaded(&mut self, success: bool, sight: &Sight) {
        self.reload_failed = !success;
        self.ready(sight);
    }

    /// It stops: clients are told first. Said once.
    pub(super) fn stopping(&mut self, now: Instant, sight: &Sight) {
        if self.extension.is_some() {
            return;
        }
        self.extension = Some(Beat::new(STOP_EXTENSION_EVERY, now));
        self.owes_ready = false;
        let status = self.status(sight);
        self.tell(&format!(
            "STOPPING=1\n{status}\n{}",
            more_time(STOP_EXTENSION)
        ));
    }

    /// The connections are gone, and what was accepted is finished.
    pub(super) fn closing(&self) {
        self.tell(&format!(
            "STATUS=stopping: what was accepted is being finished\n{}",
            more_time(CLOSE_EXTENSION)
        ));
    }

    /// Called a few times a second, once the router's threads were seen to live: tells what is due.
    pub(super) fn look(&mut self, now: Instant, sight: &Sight) {
        if self.owes_ready {
            self.ready(sight);
        }
        // Neither without progress: a shard that hangs must meet the manager's limits.
        let is_due = |beat: &mut Option<Beat>| {
            beat.as_mut()
                .is_some_and(|beat| beat.is_due(now, &sight.turns))
        };
        if is_due(&mut self.watchdog) {
            self.tell("WATCHDOG=1");
        }
        if is_due(&mut self.extension) {
            self.tell(&more_time(STOP_EXTENSION));
        }
        if now.duration_since(self.told_status) >= STATUS_EVERY {
            self.told_status = now;
            let status = self.status(sight);
            self.tell(&status);
        }
    }

    fn status(&self, sight: &Sight) -> String {
        let live = sight.live;
        if self.extension.is_some() {
            format!("STATUS=stopping: {live} connections are left")
        } else if self.reload_failed {
            format!(
                "STATUS=serving {live} connections; the last reload failed, and what was used before still is: \
                 see the log"
            )
        } else {
            format!("STATUS=serving {live} connections")
        }
    }

    /// False: it was not taken.
    fn tell(&self, message: &str) -> bool {
        self.socket
            .as_ref()
            .is_none_or(|socket| socket.send(message))
    }
}

/// Extends the manager's limit for stopping: from here on it waits at least so much longer.
fn more_time(extension: Duration) -> String {
    format!("EXTEND_TIMEOUT_USEC={}", extension.as_micros())
}
