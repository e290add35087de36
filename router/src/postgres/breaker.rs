//! Whether PostgreSQL is asked at all: a server that hangs costs one call its time, not every call.
//!
//! A call that had no answer in time opens the breaker, and calls fail at once from then on. A task of its
//! own asks the server, on a connection beside the pool, at once and then every second; its first answer
//! closes the breaker. So nobody who has something to do is the one that tries. Any answer will do, an error
//! too: a server that answers fails calls by itself, and fast. A connection that is refused opens nothing
//! for the same reason.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_postgres::Config;

use super::connect::connect;
use super::error;
use crate::store::StoreError;
use crate::tls::Tls;

/// From one attempt that failed to the next.
const RETRY: Duration = Duration::from_secs(1);

/// See the module. Its task ends with it.
pub(super) struct Breaker {
    is_open: AtomicBool,
    config: Config,
    tls: Option<Tls>,
    timeout: Duration,
}

impl Breaker {
    pub(super) fn new(config: Config, tls: Option<Tls>, timeout: Duration) -> Arc<Breaker> {
        Arc::new(Breaker {
            is_open: AtomicBool::new(false),
            config,
            tls,
            timeout,
        })
    }

    /// An error while the server is not asked.
    pub(super) fn pass(&self) -> Result<(), StoreError> {
        if self.is_open.load(Ordering::Acquire) {
            return Err(error::away(
                "it did not answer a call in time, and is not asked until it answers again",
            ));
        }
        Ok(())
    }

    /// A call had no answer in time. True for the first of many.
    pub(super) fn trip(self: &Arc<Self>) -> bool {
        let is_first = !self.is_open.swap(true, Ordering::AcqRel);
        if is_first {
            tracing::warn!("postgres does not answer; calls fail at once until it does");
            tokio::spawn(ask(Arc::downgrade(self)));
        }
        is_first
    }

    async fn answers(&self) -> bool {
        let asking = async {
            match connect(&self.config, self.tls.as_ref()).await {
                Ok(client) => client.simple_query("").await.map(drop),
                Err(error) => Err(error),
            }
        };
        match timeout(self.timeout, asking).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => error.as_db_error().is_some(),
            Err(_) => false,
        }
    }
}

/// Until the server answers, or nobody asks any more.
async fn ask(breaker: Weak<Breaker>) {
    while let Some(breaker) = breaker.upgrade() {
        if breaker.answers().await {
            breaker.is_open.store(false, Ordering::Release);
            tracing::info!("postgres answers again");
            return;
        }
        drop(breaker);
        sleep(RETRY).await;
    }
}
