//! Making a connection, encrypted or not, and telling what its errors mean.
//!
//! One multiplexed connection per use, made again by whoever uses it. The driver's own connection
//! manager is not used: it reconnects out of sight, and every new connection has to be looked at
//! (`restore`) before a claim may trust it. It also keeps a connection whose answers do not come.
//!
//! TLS is made here and not by the driver, which would take only the name that the server is reached by.

use std::io;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, RedisError};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::SERVICE;
use crate::store::StoreError;
use crate::tls::Tls;

/// Where Redis is, and how it is spoken to.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) client: Client,
    pub(super) tls: Option<Tls>,
}

impl Server {
    /// A connection, logged in, whose answers are waited for no longer than `limit` each.
    pub(super) async fn open(&self, limit: Duration) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(limit))
            .set_response_timeout(Some(limit));
        let Some(tls) = &self.tls else {
            let opening = self
                .client
                .get_multiplexed_async_connection_with_config(&config);
            return opening.await;
        };
        let info = self.client.get_connection_info();
        let stream = encrypted(info.addr(), tls).await?;
        let opening = MultiplexedConnection::new_with_config(info.redis_settings(), stream, config);
        let (connection, driver) = opening.await?;
        // It ends with the last clone of the connection.
        tokio::spawn(driver);
        Ok(connection)
    }
}

async fn encrypted(address: &ConnectionAddr, tls: &Tls) -> io::Result<TlsStream<TcpStream>> {
    let ConnectionAddr::Tcp(host, port) = address else {
        return Err(io::Error::other("TLS is for a host and its port"));
    };
    let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
    let stream = TcpStream::connect((host.as_str(), *port)).await?;
    // Many small requests; none waits for the next.
    stream.set_nodelay(true)?;
    TlsConnector::from(tls.config()).connect(name, stream).await
}

/// A connection, logged in. Never takes much longer than `limit`, which also bounds each later answer.
pub(super) async fn connect(
    server: &Server,
    limit: Duration,
) -> Result<MultiplexedConnection, StoreError> {
    within(limit, server.open(limit)).await
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
