//! Claims of `(sender, client_msg_id)`, in front of the store of messages.
//!
//! One pipeline per batch. Redis may be away, may have lost its last seconds, or everything; what a
//! missing key means then is told by two more keys that the same pipeline reads, after its claims:
//! `dedup:complete_since` and `dedup:suspect`. The invariant: [`Taken::New`] is said only where every
//! claim of the last 7 days is there.
//!
//! A task of its own keeps the connection: a claim never waits for reconnecting, and waits for an
//! answer at most [`Options::claim_timeout`](super::Options::claim_timeout), once; from then on claims are [`Taken::Away`] at once
//! until the task has a connection again and has written what was claimed meanwhile.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, pipe};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::Options;
use super::connect::{Server, within};
use super::keys::{Keys, claim_value, known};
use super::recent::Recent;
use super::restore;
use crate::Clock;
use crate::admission::{DEDUP_TTL_MS, Known};
use crate::store::{Claim, StoreError};

/// How long after a failure until the next attempt.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// What Redis says to a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Nobody claimed the id before; it is claimed now.
    New,
    /// It was claimed, and stands for this.
    Has(Known),
    /// It is claimed now. Whether it was before, Redis cannot tell.
    Forgot,
    /// Redis did not answer. The claim may have been taken.
    Away,
}

/// See the module.
pub struct Claims {
    shared: Arc<Shared>,
    keeper: AbortHandle,
}

pub(super) struct Shared {
    pub(super) server: Server,
    pub(super) keys: Keys,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) timeout: Duration,
    claim_timeout: Duration,
    pub(super) link: Mutex<Link>,
    /// Told when there is something for the keeper to do.
    pub(super) broken: Notify,
}

/// The connection, and what it lacks.
#[derive(Default)]
pub(super) struct Link {
    /// None while Redis is away.
    pub(super) connection: Option<MultiplexedConnection>,
    /// Grows with every connection, so that the failure of an old one does not end a new one.
    pub(super) epoch: u64,
    pub(super) recent: Recent,
    /// The last instance that was spoken to.
    pub(super) run_id: Option<String>,
}

impl Claims {
    /// Begins to connect, on `runtime`. Errors are of the options only.
    pub fn start(
        options: &Options,
        clock: Arc<dyn Clock>,
        runtime: &Handle,
    ) -> Result<Claims, StoreError> {
        let shared = Arc::new(Shared {
            server: options.server()?,
            keys: options.keys(),
            clock,
            timeout: options.timeout,
            claim_timeout: options.claim_timeout,
            link: Mutex::default(),
            broken: Notify::new(),
        });
        let keeper = runtime.spawn(restore::keep(Arc::clone(&shared)));
        Ok(Claims {
            shared,
            keeper: keeper.abort_handle(),
        })
    }

    /// Takes ids, each with what it will stand for where it is new; answers in order. One pipeline.
    /// Whoever goes on with a claim that was answered [`Taken::Away`] tells it to
    /// [`keep_for_later`](Self::keep_for_later).
    pub async fn take(&self, claims: &[Claim]) -> Vec<Taken> {
        let away = || vec![Taken::Away; claims.len()];
        let Some((mut connection, epoch)) = self.shared.trusted() else {
            return away();
        };
        let pipeline = self.shared.pipeline(claims);
        let asked = pipeline.query_async::<Vec<Option<Vec<u8>>>>(&mut connection);
        let mut values = match within(self.shared.claim_timeout, asked).await {
            Ok(values) if values.len() == claims.len() + 2 => values,
            Ok(values) => {
                let reason = format!("{} answers to {} claims", values.len(), claims.len());
                self.shared.trip(epoch, &reason);
                return away();
            }
            Err(error) => {
                self.shared.trip(epoch, &error.to_string());
                return away();
            }
        };
        let now_ms = self.shared.clock.now_ms();
        let suspect = values.pop().flatten().is_some();
        let complete_since = values.pop().flatten().and_then(|value| number(&value));
        let complete = !suspect && complete_since.is_some_and(|since| covers(since, now_ms));
        let taken: Vec<Taken> = values
            .iter()
            .map(|value| match value.as_deref().map(known) {
                Some(Some(known)) => Taken::Has(known),
                None if complete => Taken::New,
                // No claim of ours stands there, so it tells nothing.
                Some(None) | None => Taken::Forgot,
            })
            .collect();
        let mut link = self.shared.link();
        for (claim, taken) in claims.iter().zip(&taken) {
            if matches!(taken, Taken::New | Taken::Forgot) {
                link.recent.keep(*claim, true, now_ms);
            }
        }
        drop(link);
        if complete_since.is_none() {
            self.shared.lost_its_data(epoch);
        }
        taken
    }

    /// Keeps claims that Redis did not take, until it can be told.
    pub fn keep_for_later(&self, claims: impl IntoIterator<Item = Claim>) {
        let now_ms = self.shared.clock.now_ms();
        let mut link = self.shared.link();
        for claim in claims {
            link.recent.keep(claim, false, now_ms);
        }
        drop(link);
        self.shared.broken.notify_one();
    }

    /// Keeps claims that others took, of records that came here. Redis has them, unless it loses them; then
    /// it is told them from here too, since whoever took them may be gone.
    pub fn keep_applied(&self, claims: impl IntoIterator<Item = Claim>) {
        let now_ms = self.shared.clock.now_ms();
        let mut link = self.shared.link();
        for claim in claims {
            link.recent.keep(claim, true, now_ms);
        }
    }

    /// Puts right what ids stand for, where [`take`](Self::take) claimed ids that stood for something
    /// already. Not done where Redis does not answer: the store of messages goes before it anyway.
    pub async fn correct(&self, claims: &[Claim]) {
        let Some((mut connection, epoch)) = self.shared.trusted() else {
            return;
        };
        if claims.is_empty() {
            return;
        }
        let mut pipeline = pipe();
        for claim in claims {
            let key = self.shared.keys.claim(claim.name());
            let value = claim_value(claim);
            let set = pipeline.cmd("SET").arg(key).arg(&value[..]).arg("XX");
            set.arg("PX").arg(DEDUP_TTL_MS).ignore();
        }
        let asked = pipeline.query_async::<()>(&mut connection);
        if let Err(error) = within(self.shared.claim_timeout, asked).await {
            self.shared.trip(epoch, &error.to_string());
        }
    }

    /// Says that the log is empty at this moment, so that nothing was ever claimed and Redis knows
    /// everything. Without it a new Redis asks the store of messages about every id for 7 days.
    pub async fn note_empty_log(&self) -> Result<(), StoreError> {
        let mut connection =
            super::connect::connect(&self.shared.server, self.shared.timeout).await?;
        let mut set = redis::cmd("SET");
        set.arg(self.shared.keys.complete_since()).arg(0);
        within(self.shared.timeout, set.query_async(&mut connection)).await
    }

    /// Waits until claims are taken by Redis, at most about `limit`; whether they are.
    pub async fn wait_connected(&self, limit: Duration) -> bool {
        const LOOK: Duration = Duration::from_millis(10);
        let looking = async {
            while !self.is_connected() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(limit, looking).await.is_ok()
    }

    /// Whether claims are taken by Redis at the moment.
    pub fn is_connected(&self) -> bool {
        self.shared.trusted().is_some()
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Shared {
    pub(super) fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection, where Redis has all that this process claimed.
    fn trusted(&self) -> Option<(MultiplexedConnection, u64)> {
        let link = self.link();
        let connection = link.connection.clone()?;
        link.recent.is_written().then_some((connection, link.epoch))
    }

    /// Claims first, then what they are worth: data that were lost in between are noticed.
    fn pipeline(&self, claims: &[Claim]) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(claims.len() + 2);
        for claim in claims {
            let key = self.keys.claim(claim.name());
            let value = claim_value(claim);
            let set = pipeline.cmd("SET").arg(key).arg(&value[..]);
            set.arg("NX").arg("GET").arg("PX").arg(DEDUP_TTL_MS);
        }
        pipeline.cmd("GET").arg(self.keys.complete_since());
        pipeline.cmd("GET").arg(self.keys.suspect());
        pipeline
    }

    /// A connection failed: none is used until the keeper has another.
    pub(super) fn trip(&self, epoch: u64, reason: &str) {
        let mut link = self.link();
        if link.epoch == epoch && link.connection.take().is_some() {
            tracing::warn!(
                reason,
                "redis is away: the store of messages recognises retries"
            );
            drop(link);
            self.broken.notify_one();
        }
    }

    /// The marker is gone, and with it who knows what: the keeper sets it, and writes again.
    fn lost_its_data(&self, epoch: u64) {
        self.link().recent.write_again();
        self.trip(epoch, "it lost its data");
        // Also where that connection was replaced meanwhile: the new one has to be told all again.
        self.broken.notify_one();
    }
}

/// Whether claims that are complete since then are complete for as long as they count.
fn covers(since_ms: u64, now_ms: u64) -> bool {
    since_ms.saturating_add(DEDUP_TTL_MS) <= now_ms
}

fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_redis_knows_nothing_for_seven_days() {
        assert!(!covers(1_000, 1_000 + DEDUP_TTL_MS - 1));
        assert!(covers(1_000, 1_000 + DEDUP_TTL_MS));
        assert!(covers(0, DEDUP_TTL_MS));
        assert_eq!(number(b"17"), Some(17));
        assert_eq!(number(b"-1"), None);
    }
}
