//! The shards of a run: started, told what to do, ticked while they do it, and stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rookery_shard::mailbox::{self, Capacity};
use rookery_shard::{Postboxes, Running};

use super::clients::{Clients, Mail};
use super::plan::Plan;
use super::share::Share;

/// Orders and ticks that may wait for a shard; a tick that finds no room is not missed.
const MAILBOX: usize = 64;
/// A message is sent at most this late by our own doing.
const TICK: Duration = Duration::from_micros(200);
/// How often somebody looks while nothing is due.
const LOOK: Duration = Duration::from_millis(50);

/// See the module.
pub(super) struct Shards {
    post: Postboxes<Mail>,
    engine: Running<()>,
    stop: Arc<AtomicBool>,
}

impl Shards {
    /// Starts them, with room for `connections`. `stop` ends every wait.
    pub(super) fn start(
        plan: &Arc<Plan>,
        shards: u16,
        connections: u32,
        stop: Arc<AtomicBool>,
    ) -> anyhow::Result<Self> {
        let (post, inboxes) = mailbox::channel(shards, Capacity::messages(MAILBOX))
            .context("cannot make the shards' mailboxes")?;
        rookery_shard::limits::raise_open_files()
            .context("cannot raise the limit of open files")?;
        let config = rookery_shard::Config {
            stop_grace_ms: 2_000,
            ..rookery_shard::Config::for_connections(u64::from(connections), shards)
        };
        let plan = Arc::clone(plan);
        let engine = rookery_shard::start(config, inboxes, move |shard| {
            Clients::new(Arc::clone(&plan), Share { shard, shards })
        })?;
        Ok(Self { post, engine, stop })
    }

    /// The number of shards.
    pub(super) fn count(&self) -> u16 {
        self.post.shards()
    }

    /// Gives each shard an order, however busy it is.
    pub(super) fn tell(&self, order: impl Fn(u16) -> Mail) {
        for shard in 0..self.count() {
            let mut mail = order(shard);
            while let Err(refused) = self.post.post(shard, mail) {
                if self.engine.has_ended() {
                    return;
                }
                mail = refused;
                std::thread::sleep(TICK);
            }
        }
    }

    /// Gives each shard an order whose end it tells; ticks until all have told. Whether they did.
    pub(super) fn carry_out<T>(
        &self,
        order: impl Fn(u16, Sender<T>) -> Mail,
        limit: Duration,
        mut look: impl FnMut(),
    ) -> Option<Vec<T>> {
        let (tell, told): (Sender<T>, Receiver<T>) = mpsc::channel();
        self.tell(|shard| order(shard, tell.clone()));
        drop(tell);
        let mut all = Vec::new();
        self.tick_until(limit, || {
            all.extend(told.try_iter());
            look();
            all.len() == usize::from(self.count())
        })
        .then_some(all)
    }

    /// Ticks until `done`, the limit or a stop. Whether it is done.
    pub(super) fn tick_until(&self, limit: Duration, mut done: impl FnMut() -> bool) -> bool {
        let end = Instant::now() + limit;
        while Instant::now() < end && !self.is_over() {
            self.tick();
            if done() {
                return true;
            }
            std::thread::sleep(TICK);
        }
        done()
    }

    /// Has every shard look at what is due.
    pub(super) fn tick(&self) {
        for shard in 0..self.count() {
            // A full mailbox holds a tick already.
            let _ = self.post.post(shard, Mail::Tick);
        }
    }

    /// Waits without ticks until `done`, the limit or a stop. Whether it is done.
    pub(super) fn wait_until(&self, limit: Duration, mut done: impl FnMut() -> bool) -> bool {
        let end = Instant::now() + limit;
        while Instant::now() < end && !self.is_over() {
            if done() {
                return true;
            }
            std::thread::sleep(LOOK);
        }
        done()
    }

    /// Whether the run is to end now.
    pub(super) fn is_over(&self) -> bool {
        self.stop.load(Relaxed) || self.engine.has_ended()
    }

    /// Cuts off what is left and joins the threads.
    pub(super) fn end(self) -> anyhow::Result<()> {
        self.engine.stopper().stop();
        self.engine.join().context("the load generator's engine")
    }
}
