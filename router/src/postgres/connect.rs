//! Connections, encrypted where the options say so: those of the pool, and single ones beside it.

use deadpool_postgres::{Manager, ManagerConfig, RecyclingMethod};
use rustls::ClientConfig;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Error, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Options, SERVICE};
use crate::store::StoreError;
use crate::tls::Tls;

/// For the pool.
pub(super) fn manager(options: &Options) -> Result<Manager, StoreError> {
    // Fast: a connection that the driver knows to be closed is not handed out. Asking the server
    // each time would double the round trips, and a call that fails is Away either way.
    let recycling = ManagerConfig {
        recycling_method: RecyclingMethod::Fast,
    };
    let config = options.config()?;
    Ok(match &options.tls {
        None => Manager::from_config(config, NoTls, recycling),
        Some(tls) => Manager::from_config(config, connector(tls), recycling),
    })
}

/// A connection of its own, which ends with the client.
pub(super) async fn connect(config: &Config, tls: Option<&Tls>) -> Result<Client, Error> {
    match tls {
        None => connect_with(config, NoTls).await,
        Some(tls) => connect_with(config, connector(tls)).await,
    }
}

fn connector(tls: &Tls) -> MakeRustlsConnect {
    MakeRustlsConnect::new(ClientConfig::clone(&tls.config()))
}

async fn connect_with<T>(config: &Config, tls: T) -> Result<Client, Error>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
{
    let (client, connection) = config.connect(tls).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::warn!(service = SERVICE, %error, "a connection ended");
        }
    });
    Ok(client)
}
