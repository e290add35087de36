//! `rookery drain`: empties a running server without a lost message, or says how far it is.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Subcommand;
use rookery_benches::report::count;

use super::Failure;
use super::output::print;
use crate::admin::{Client, ClientError, socket_path};
use crate::config::Environment;
use crate::serve::{DrainState, DrainStatus};
use crate::unix_time::unix_ms;

const EXAMPLES: &str = "\
Examples:
  rookery drain start                      within drain.window_ms of the configuration
  rookery drain start --window 10m         slower, for others that take fewer logins a second
  rookery drain status --json
  rookery drain stop                       let clients in again; who is still here stays

A drained server runs on, empty: `systemctl stop rookery` ends it. SIGTERM is a drain that ends in the stop.";

/// The options of `drain`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub what: What,
}

/// Which server.
#[derive(clap::Args, Clone, Debug)]
pub struct Server {
    /// The data directory of the server [default: rookery-data] [env: ROOKERY_DATA]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The server's admin socket, where it is not in its data directory
    #[arg(long, value_name = "FILE")]
    pub socket: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What to do.
#[derive(Subcommand, Clone, Debug)]
pub enum What {
    /// Tell every client to reconnect, each at a moment of its own, and let nobody in
    Start {
        /// Which server
        #[command(flatten)]
        server: Server,
        /// In how much time [default: drain.window_ms of the server]
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        window: Option<Duration>,
    },
    /// Say how far it is
    Status(Server),
    /// Call it off
    Stop(Server),
}

/// Asks, and prints how far the drain is.
pub(super) fn run(args: &Args, env: &Environment) -> Result<(), Failure> {
    env.check()?;
    let (What::Start { server, .. } | What::Status(server) | What::Stop(server)) = &args.what;
    let socket = socket_path(server.socket.as_deref(), &env.data(server.data.as_deref()));
    let client = Client::new(socket).map_err(Failure::running)?;
    let answer = match &args.what {
        What::Start { window: None, .. } => client.post("/drain"),
        What::Start {
            window: Some(window),
            ..
        } => client.post(&format!("/drain?window_ms={}", window.as_millis())),
        What::Status(_) => client.get("/drain"),
        What::Stop(_) => client.delete("/drain"),
    }?;
    if server.json {
        return print(&answer);
    }
    let status =
        serde_json::from_slice(&answer).map_err(|error| ClientError::Broken(error.to_string()))?;
    print(format!("{}\n", told(&status)).as_bytes())
}

fn told(status: &DrainStatus) -> String {
    let state = match status.state {
        DrainState::Serving => return format!("serving {} connections", count(status.remaining)),
        DrainState::Unready => "not ready, clients are not told yet",
        DrainState::Draining => "draining",
        DrainState::Empty => return "empty: nobody is here, and nobody is let in".to_owned(),
    };
    let now_ms = unix_ms(SystemTime::now());
    let left = status.ends.map_or(0, |ends| ends.saturating_sub(now_ms)) / 1_000;
    format!(
        "{state}: {} of {} connections are left, {} were told, {} closed, {} cut off before their login; {}",
        count(status.remaining),
        count(status.connections_total_at_start),
        count(status.told),
        count(status.closed),
        count(status.cut_off),
        match status.stops {
            true => format!("the server stops within {left} s"),
            false => format!("over within {left} s"),
        }
    )
}
