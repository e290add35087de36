//! The options that every peer takes, and the line that it prints when it listens.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Parser;

use crate::tls;

/// Connections that wait to be accepted; the kernel caps it at net.core.somaxconn.
pub const BACKLOG: u32 = 4_096;

/// A WebSocket echo server of one thread, to be measured.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Options {
    /// Await connections here
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: SocketAddr,
    /// TLS 1.3 with this certificate chain (PEM) [default: plain]
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

impl Options {
    /// The TLS configuration, where TLS is asked for.
    ///
    /// # Errors
    /// A file cannot be read, or holds something else.
    pub fn tls(&self) -> anyhow::Result<Option<Arc<rustls::ServerConfig>>> {
        let (cert, key) = match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => (cert, key),
            (None, None) => return Ok(None),
            _ => bail!("--tls-cert and --tls-key belong together"),
        };
        let config = tls::server_config(cert, key)
            .with_context(|| format!("{} and {}", cert.display(), key.display()))?;
        Ok(Some(Arc::new(config)))
    }

    /// Says that connections are taken.
    pub fn ready(&self) {
        println!("ready {}", self.listen);
    }
}
