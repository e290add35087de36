//! `rookery top`: the live view of a running server in the terminal.
//!
//! Two samples make rates; a table is made of them once, and drawn on the screen or printed.

mod sample;
mod screen;
mod table;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use crate::admin::{Client, ClientError, socket_path};
use crate::cli::Failure;
use crate::cli::output::print;
use crate::config::Environment;
use sample::{Interval, Sample, Sort};

const EXAMPLES: &str = "\
Examples:
  rookery top                              a server with its data in ./rookery-data
  rookery top --data /var/lib/rookery      another one
  rookery top --once                       one table, for a mail or a ticket
  rookery top --once --json | jq .shards   the same for a program

Keys: q ends, s sorts the connections by queue, idle time or round trip time.";

/// The options of `top`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The data directory of the server [default: rookery-data] [env: ROOKERY_DATA]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The server's admin socket, where it is not in its data directory
    #[arg(long, value_name = "FILE")]
    pub socket: Option<PathBuf>,
    /// The time between two looks, which the rates are of
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    pub every: Duration,
    /// Sort connections by what
    #[arg(long, value_enum, default_value = "queue")]
    pub sort: Sort,
    /// Print one table and end
    #[arg(long)]
    pub once: bool,
    /// Print JSON, with rates per second; needs --once
    #[arg(long, requires = "once")]
    pub json: bool,
}

fn interval(text: &str) -> Result<Duration, String> {
    let parsed = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let most = Duration::from_secs(3_600);
    if (Duration::from_millis(100)..=most).contains(&parsed) {
        Ok(parsed)
    } else {
        Err("it may be 100ms to 1h".into())
    }
}

/// Shows it until the user has seen enough.
pub fn run(args: &Args, env: &Environment) -> Result<(), Failure> {
    env.check()?;
    let socket = socket_path(args.socket.as_deref(), &env.data(args.data.as_deref()));
    let client = Client::new(socket).map_err(Failure::running)?;
    let mut before = Sample::take(&client, args.sort)?;
    if !args.once && std::io::stdout().is_terminal() {
        return screen::show(&client, args, before);
    }
    loop {
        sleep(args.every);
        let now = Sample::take(&client, args.sort)?;
        let seen = Interval::between(&before, &now);
        if args.json {
            let mut text = serde_json::to_vec_pretty(&seen).map_err(Failure::running)?;
            text.push(b'\n');
            print(&text)?;
        } else {
            print(table::text(&seen).as_bytes())?;
        }
        if args.once {
            return Ok(());
        }
        before = now;
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::running(error)
    }
}
