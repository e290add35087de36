//! `rookery serve`: its options, and the configuration that they come to.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::Failure;
use crate::admin::TokenError;
use crate::auth::KeyError;
use crate::certificate::CertificateError;
use crate::config::{Config, ConfigError, Environment, Overrides, listen_address};
use crate::services::FileError;
use crate::session::Mode;

const EXAMPLES: &str = "\
Examples:
  rookery serve
  rookery serve --data /var/lib/rookery --listen 0.0.0.0:8443 --config /etc/rookery.toml
  rookery serve --listen 127.0.0.1:9443 --listen-plain 127.0.0.1:9080 --shards 2
  ROOKERY_LIMITS_DEVICES_PER_USER_MAX=3 rookery serve

Values: the command line over ROOKERY_SECTION_KEY over the file over the defaults; docs/rookery.toml
has every key. The first start makes in --data what is not configured: a self-signed certificate and a
development key for tokens. SIGHUP reads the configuration again, with
the certificate and the login keys. SIGTERM tells clients to
reconnect over [drain] window_ms and then stops the server; SIGINT, or a second SIGTERM, stops it at once.";

/// The options of `serve`.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The configuration file, TOML [env: ROOKERY_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The directory that holds everything the server writes [default: rookery-data] [env: ROOKERY_DATA]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Await TLS connections here; may be given several times [default: 127.0.0.1:8443] [env: ROOKERY_LISTEN_TLS]
    #[arg(long, value_name = "ADDR:PORT", value_parser = listen_address)]
    pub listen: Vec<SocketAddr>,
    /// Await plain connections here; may be given several times [default: none] [env: ROOKERY_LISTEN_PLAIN]
    #[arg(long, value_name = "ADDR:PORT", value_parser = listen_address)]
    pub listen_plain: Vec<SocketAddr>,
    /// Shards, one thread each [default: one per core] [env: ROOKERY_ENGINE_SHARDS]
    #[arg(long, value_name = "N")]
    pub shards: Option<u16>,
    /// Answer every WebSocket message with itself, without login (conformance tests, benchmarks)
    #[arg(long)]
    pub echo: bool,
}

impl Args {
    /// The effective configuration: file, environment and these options.
    pub fn configuration(&self, env: &Environment) -> Result<Config, ConfigError> {
        let overrides = Overrides {
            data: self.data.clone(),
            listen_tls: self.listen.clone(),
            listen_plain: self.listen_plain.clone(),
            shards: self.shards,
        };
        Config::load(self.config.as_deref(), env, &overrides)
    }
}

/// Reads the configuration, sets up logging, and serves.
pub(super) fn run(args: &Args, env: &Environment) -> Result<(), Failure> {
    let config = args.configuration(env)?;
    let filter = crate::logging::init(&config.log)?;
    if let Some(note) = env.note() {
        tracing::warn!("{note}");
    }
    for warning in super::preflight::warnings(&config) {
        tracing::warn!("{warning}");
    }
    for key in config.unused() {
        tracing::info!(
            "`{key}` is set and not used: {}",
            super::check_config::why_unused(&config)
        );
    }
    let mode = if args.echo { Mode::Echo } else { Mode::Chat };
    let (given, env) = (args.clone(), env.clone());
    let reread = Arc::new(move || given.configuration(&env));
    crate::serve::serve(&config, reread, mode, filter).map_err(|error| {
        // Files that the configuration names are the operator's to mend, as `check-config` says too.
        if error.is::<KeyError>()
            || error.is::<CertificateError>()
            || error.is::<FileError>()
            || error.is::<TokenError>()
        {
            Failure::usage(super::causes(&error))
        } else {
            Failure::Running(error)
        }
    })
}
