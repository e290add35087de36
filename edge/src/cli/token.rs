//! `rookery token`: a login token, on stdout.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Failure;
use crate::auth::{DevKey, KeyError, Minter, USER_ID_MAX};
use crate::config::{Algorithm, Environment};

const EXAMPLES: &str = "\
Examples:
  rookery token --user 7 --device 1
  rookery token --user 7 --ttl 30d --data /var/lib/rookery
  rookery token --user 7 --key login-private.pem --kid 2026-11 --issuer https://id.example

Without --key it is signed with the data directory's development key, which a server without
configured keys makes at its first start, and accepts.";

/// The options of `token`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The user's id, `sub`
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u64).range(1..=USER_ID_MAX))]
    pub user: u64,
    /// The user's device, `device`
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub device: u32,
    /// How long it is good for: 90s, 15m, 12h, 30d
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = ttl)]
    pub ttl: Duration,
    /// The server's data directory, with its development key [default: rookery-data] [env: ROOKERY_DATA]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Sign with this key instead: raw bytes for HS256, else a private key in PEM (PKCS #8)
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// The key's algorithm [default: the one that the key is of]
    #[arg(long, value_name = "ALG", requires = "key")]
    pub alg: Option<Algorithm>,
    /// The key's id, `kid`
    #[arg(long, value_name = "ID")]
    pub kid: Option<String>,
    /// The issuer, `iss`
    #[arg(long, value_name = "TEXT")]
    pub issuer: Option<String>,
    /// The audience, `aud`
    #[arg(long, value_name = "TEXT")]
    pub audience: Option<String>,
}

/// Mints the token.
pub(super) fn run(args: &Args, env: &Environment) -> Result<(), Failure> {
    env.check()?;
    let mut minter = match &args.key {
        Some(path) => Minter::load(args.alg, path)?,
        None => development(&env.data(args.data.as_deref()))?,
    };
    // As in the configuration: an empty one is none.
    let text = |given: &Option<String>| given.clone().filter(|text| !text.is_empty());
    minter.key_id = text(&args.kid);
    minter.issuer = text(&args.issuer);
    minter.audience = text(&args.audience);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let token = minter
        .mint(args.user, args.device, now.as_secs(), args.ttl.as_secs())
        .map_err(Failure::usage)?;
    super::output::print(format!("{token}\n").as_bytes())
}

/// The minter of a data directory's development key, which the server there has made.
pub(crate) fn development(data: &Path) -> Result<Minter, Failure> {
    match DevKey::open(data) {
        Ok(key) => Ok(Minter::development(&key)),
        Err(KeyError::Io { path, error, .. }) if error.kind() == ErrorKind::NotFound => {
            let data = data.display();
            Err(Failure::usage(format!(
                "there is no development key {}: `rookery serve --data {data}` makes one at its first start, \
                 unless it is configured with keys of its own",
                path.display()
            )))
        }
        Err(error) => Err(error.into()),
    }
}

/// A time of at least a second, as tokens count it: one that is over at once logs nobody in.
fn ttl(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(ttl) if ttl.as_secs() == 0 => Err("must be at least 1s".to_owned()),
        parsed => parsed.map_err(|error| error.to_string()),
    }
}
