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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::super::{Options, Postgres};
    use super::*;

    /// "the database system is starting up": code 57P03 in an ErrorResponse.
    const STARTING: &[u8] = b"E\0\0\0\x1dSFATAL\0C57P03\0Mstarting\0\0";

    #[test]
    fn a_server_that_hangs_is_asked_by_nobody_until_it_says_something() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("postgres://a@{}/d", listener.local_addr().unwrap());
        let speaks = Arc::new(AtomicBool::new(false));
        let server = Arc::clone(&speaks);
        std::thread::spawn(move || {
            let mut silent = Vec::new();
            for mut socket in listener.incoming().flatten() {
                if server.load(Ordering::Relaxed) {
                    // Whoever gave up meanwhile hears nothing.
                    let _ = socket.read(&mut [0; 1024]);
                    let _ = socket.write_all(STARTING);
                } else {
                    silent.push(socket);
                }
            }
        });
        let mut options = Options::new(url);
        options.timeout = Duration::from_millis(200);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let postgres = Postgres::new(&options).unwrap();
            let reason = async || match postgres.members(1).await {
                Err(StoreError::Away { reason, .. }) => reason,
                other => panic!("{other:?}"),
            };
            assert!(reason().await.contains("no answer within 200 ms"));
            for _ in 0..100 {
                assert!(reason().await.contains("is not asked until"));
            }
            speaks.store(true, Ordering::Relaxed);
            // An error is an answer: the server's own words reach the caller again.
            while !reason().await.contains("starting") {
                sleep(Duration::from_millis(10)).await;
            }
        });
    }
}
