//! `rookery check-config`: what a configuration comes to, or everything that is wrong with it.

use std::path::PathBuf;

use super::Failure;
use crate::auth::VerifyingKey;
use crate::certificate;
use crate::config::{Config, Overrides};

const EXAMPLES: &str = "\
Examples:
  rookery check-config /etc/rookery.toml && systemctl restart rookery
  rookery check-config                     the defaults and the environment only

Prints TOML that says the same, with every key. Nothing in it is secret: keys are named by file. The
files of configured keys and certificates are read too. Exit code 2: something is wrong.";

/// The options of `check-config`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The configuration file, TOML
    #[arg(value_name = "FILE", env = "ROOKERY_CONFIG")]
    file: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let config = Config::load(
        args.file.as_deref(),
        super::environment(),
        &Overrides::default(),
    )?;
    let mut wrong = Vec::new();
    for key in &config.auth.keys {
        wrong.extend(VerifyingKey::load(key).err().map(|error| error.to_string()));
    }
    // Without files a check would make a certificate, and a check writes nothing.
    if config.tls.certificate.is_some() {
        wrong.extend(
            certificate::load(&config.tls, &config.data)
                .err()
                .map(|error| error.to_string()),
        );
    }
    if !wrong.is_empty() {
        return Err(Failure::usage(wrong.join("\n")));
    }
    super::print(config.to_toml().as_bytes())
}
