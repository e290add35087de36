//! Looks, while the server runs, whether log and store are still each other's, and learns of partitions
//! that were added. On a thread of its own, since services may be slow.
//!
//! The invariant: whatever is found, nothing is acked from then on that the store would not take; and an
//! epoch is learnt before any conversation of it is appended to.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rookery_router::identity::{First, Identity, Mismatch, compare};
use rookery_router::log::kafka::{Beginnings, KafkaLog};
use rookery_router::placement::SharedPlacement;
use rookery_router::store::cluster::ClusterStore;

use crate::services::Services;

/// How often all is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How often the epochs are asked for where a conversation of an unknown one was met.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// See the module. Ends when it is dropped.
pub(super) struct Watch {
    thread: Option<JoinHandle<()>>,
    stop: Option<Sender<()>>,
}

/// What it looks at.
pub(super) struct Looking {
    pub(super) log: Arc<KafkaLog>,
    pub(super) store: Arc<ClusterStore>,
    pub(super) placement: Arc<SharedPlacement>,
    pub(super) beginnings: Beginnings,
    pub(super) topic: String,
    pub(super) keyspace: String,
    /// What the start found.
    pub(super) identity: Identity,
    /// The last warning, said once.
    pub(super) warned: Option<Mismatch>,
}

impl Looking {
    /// At what a start found.
    pub(super) fn new(
        services: &Services,
        found: (Identity, Option<Mismatch>),
        log: Arc<KafkaLog>,
        store: Arc<ClusterStore>,
        placement: Arc<SharedPlacement>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            log,
            store,
            placement,
            beginnings: Beginnings::new(&services.kafka)?,
            topic: services.kafka.messages(),
            keyspace: services.cql.keyspace.clone(),
            identity: found.0,
            warned: found.1,
        })
    }

    fn run(mut self, stopped: &mpsc::Receiver<()>) {
        let mut looked = Instant::now();
        while stopped.recv_timeout(ASK_EVERY) == Err(RecvTimeoutError::Timeout) {
            let all = looked.elapsed() >= LOOK_EVERY;
            if !all && !self.placement.take_unknown_met() {
                continue;
            }
            let outcome = self.learn().and_then(|()| match all {
                true => self.compare(),
                false => Ok(()),
            });
            if let Err(mismatch) = outcome {
                self.log.end(&mismatch);
                return;
            }
            if all {
                looked = Instant::now();
            }
        }
    }

    /// Reads what the store knows. One that cannot be asked is asked again.
    fn learn(&mut self) -> Result<(), Mismatch> {
        let stored = match self.store.identity() {
            Ok(Some(stored)) => stored,
            // A keyspace that was dropped has no identity until it is made anew, and is another then.
            Ok(None) => return Ok(()),
            Err(error) => {
                tracing::debug!(%error, "the store's identity cannot be read");
                return Ok(());
            }
        };
        if stored == self.identity {
            return Ok(());
        }
        let same =
            (stored.log_id, stored.store_id) == (self.identity.log_id, self.identity.store_id);
        if !same {
            let what = format!(
                "the keyspace {} is another one than at the start: it was dropped and made anew",
                self.keyspace
            );
            let advice = "Start this process again: it fills the keyspace from the log";
            return Err(Mismatch { what, advice });
        }
        // The producer knows the new partitions before anything is put there.
        if let Err(error) = self.log.refresh() {
            tracing::debug!(%error, "the topic's partitions cannot be asked for");
            return Ok(());
        }
        if !self.placement.learn(stored.placement.clone()) {
            let what = format!(
                "the keyspace {} tells of other partitions than at the start: {:?} by epoch, {:?} before",
                self.keyspace,
                stored.placement.counts(),
                self.identity.placement.counts()
            );
            let advice =
                "Was it restored from a backup? Run `rookery migrate` and start this process again";
            return Err(Mismatch { what, advice });
        }
        let partitions = stored.placement.partitions();
        tracing::info!(
            partitions,
            "partitions were added: conversations are opened on all of them"
        );
        self.identity = stored;
        Ok(())
    }

    fn compare(&mut self) -> Result<(), Mismatch> {
        let found = self.beginnings.partitions().and_then(|partitions| {
            // One tells whether the topic was made anew; all were read at the start.
            let first = self.beginnings.of(0..1)?;
            let mut firsts = vec![First::Gone; partitions as usize];
            firsts[..1].copy_from_slice(&first);
            Ok(firsts)
        });
        let firsts = match found {
            Ok(firsts) => firsts,
            Err(error) => {
                tracing::debug!(%error, "the log's beginning cannot be read");
                return Ok(());
            }
        };
        let warning = compare(&self.topic, &firsts, &self.keyspace, Some(&self.identity))?;
        if let Some(warning) = &warning
            && self.warned != Some(warning.clone())
        {
            tracing::warn!("{warning}");
        }
        self.warned = warning;
        Ok(())
    }
}

impl Watch {
    /// Begins to look.
    pub(super) fn start(looking: Looking) -> std::io::Result<Self> {
        if let Some(warning) = &looking.warned {
            tracing::warn!("{warning}");
        }
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("identity-watch".into())
            .spawn(move || looking.run(&stopped))?;
        Ok(Self {
            thread: Some(thread),
            stop: Some(stop),
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the watch over log and store panicked");
        }
    }
}
