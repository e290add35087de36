//! `rookery token`: a login token, on stdout.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Failure;
use crate::auth::{DevKey, Minter, USER_ID_MAX};
use crate::config::{Algorithm, Environment};

const EXAMPLES: &str = "\
Examples:
  rookery token --user 7 --device 1
  rookery token --user 7 --ttl 30d --data /var/lib/rookery
  rookery token --user 7 --key login-private.pem --kid 2026-11 --issuer https://id.example

Without --key it is signed with the data directory's development key, which a server without
configured keys accepts.";

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
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = humantime::parse_duration)]
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
    super::print(format!("{token}\n").as_bytes())
}

/// The development key's minter; a key made just now is said, since no server knows it yet.
pub(crate) fn development(data: &std::path::Path) -> Result<Minter, Failure> {
    let key = DevKey::open(data)?;
    if key.made_now {
        eprintln!(
            "note: made a development key in {}; start the server with --data {} to have it accepted",
            key.path.display(),
            data.display()
        );
    }
    Ok(Minter::development(&key))
}
