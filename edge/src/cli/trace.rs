//! `rookery trace`: what one user's connections say and are told, as it happens.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use super::Failure;
use super::output;
use crate::admin::{Client, socket_path};
use crate::config::Environment;

const EXAMPLES: &str = "\
Examples:
  rookery trace --user 7                                    for a minute
  rookery trace --user 7 --for 10m | jq -c 'select(.kind == \"Error\")'

A JSON object a line: when, which device, in or out, the kind of frame, its bytes, and the ids in its header.
Never a payload or a token. Four traces at a time; a reader that is too slow loses lines, and is told how
many.";

/// The options of `trace`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Whose connections
    #[arg(long, value_name = "ID")]
    pub user: u64,
    /// For how long, up to ten minutes
    #[arg(long = "for", value_name = "TIME", default_value = "1m", value_parser = lasts)]
    pub lasts: Duration,
    /// The data directory of the server [default: rookery-data] [env: ROOKERY_DATA]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The server's admin socket, where it is not in its data directory
    #[arg(long, value_name = "FILE")]
    pub socket: Option<PathBuf>,
}

fn lasts(text: &str) -> Result<Duration, String> {
    let parsed = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (1..=600).contains(&parsed.as_secs()) {
        Ok(parsed)
    } else {
        Err("it may be 1s to 10m".into())
    }
}

/// Prints lines until the time is over, or nobody reads them.
pub(super) fn run(args: &Args, env: &Environment) -> Result<(), Failure> {
    env.check()?;
    let socket = socket_path(args.socket.as_deref(), &env.data(args.data.as_deref()));
    let client = Client::new(socket).map_err(Failure::running)?;
    let path = format!(
        "/users/{}/trace?seconds={}",
        args.user,
        args.lasts.as_secs()
    );
    let mut out = std::io::stdout().lock();
    let mut written = Ok(());
    client.stream(&path, |bytes| {
        written = out.write_all(bytes).and_then(|()| out.flush());
        written.is_ok()
    })?;
    output::written(written)
}
