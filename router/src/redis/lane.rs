//! A connection for calls that may wait: made when it is needed, dropped when it fails.
//!
//! Apart from the claims' one, so that a thousand users who are refreshed are not in front of a
//! sender.

use std::sync::Arc;
use std::time::Duration;

use redis::RedisError;
use redis::aio::MultiplexedConnection;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Options;
use super::claims::RETRY;
use super::connect::{Server, away, connect, within};
use crate::store::StoreError;

/// See the module. Clones share the connection.
#[derive(Clone)]
pub(super) struct Lane {
    server: Server,
    timeout: Duration,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    /// Not tried again before: many callers do not each wait for a server that is away.
    not_before: Option<Instant>,
}

impl Lane {
    pub(super) fn new(options: &Options) -> Result<Lane, StoreError> {
        Ok(Lane {
            server: options.server()?,
            timeout: options.timeout,
            state: Arc::default(),
        })
    }

    /// Does one call, of one round trip.
    pub(super) async fn call<T>(
        &self,
        call: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connection().await?;
        let done = within(self.timeout, call(&mut connection)).await;
        if done.is_err() {
            // Whoever shares it makes another; in flight calls of theirs end as they may.
            self.state.lock().await.connection = None;
        }
        done
    }

    async fn connection(&self) -> Result<MultiplexedConnection, StoreError> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            return Ok(connection.clone());
        }
        if state.not_before.is_some_and(|at| Instant::now() < at) {
            return Err(away("it was away a moment ago"));
        }
        match connect(&self.server, self.timeout).await {
            Ok(connection) => {
                state.not_before = None;
                Ok(state.connection.insert(connection).clone())
            }
            Err(error) => {
                state.not_before = Some(Instant::now() + RETRY);
                Err(error)
            }
        }
    }
}
