//! Making a connection, and telling what its errors mean.
//!
//! One multiplexed connection per use, made again by whoever uses it. The driver's own connection
//! manager is not used: it reconnects out of sight, and every new connection has to be looked at
//! (`restore`) before a claim may trust it. It also keeps a connection whose answers do not come.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError};
use tokio::time::timeout;

use super::SERVICE;
use crate::store::StoreError;

/// A connection, logged in. Never takes much longer than `limit`, which also bounds each later answer.
pub(super) async fn connect(
    client: &Client,
    limit: Duration,
) -> Result<MultiplexedConnection, StoreError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(limit))
        .set_response_timeout(Some(limit));
    within(
        limit,
        client.get_multiplexed_async_connection_with_config(&config),
    )
    .await
}

/// Waits for a call no longer than `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, StoreError> {
    match timeout(limit, call).await {
        Ok(done) => done.map_err(|error| away(error.to_string())),
        Err(_) => Err(away(format!("no answer within {} ms", limit.as_millis()))),
    }
}

/// Every error of Redis is one that may pass: what is kept there is kept elsewhere too.
pub(super) fn away(reason: impl Into<String>) -> StoreError {
    StoreError::Away {
        service: SERVICE,
        reason: reason.into(),
    }
}
