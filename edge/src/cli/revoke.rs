//! `rookery revoke`: takes tokens of a user back, on a running server.

use std::path::PathBuf;
use std::time::SystemTime;

use rookery_benches::report::count;
use url::form_urlencoded::Serializer;

use super::Failure;
use super::output::print;
use crate::admin::{Client, ClientError, socket_path};
use crate::config::Environment;
use crate::unix_time::unix_s;

const EXAMPLES: &str = "\
Examples:
  rookery revoke --user 7                                   every token that user 7 has
  rookery revoke --user 7 --device 2                        those of a lost device
  rookery revoke --user 7 --token-id 5f0c --expires 2026-12-01T00:00:00Z
  rookery revoke --user 7 --before 2026-11-30T12:00:00Z     those that were issued before

Connections of the user (or of the device) are closed and may come again, with a token that is not
revoked. It is in force when this returns, and lasts over a restart, until no such token can be
valid. Each server is told by itself: where there are several, run it on each.";

/// The options of `revoke`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Whose tokens
    #[arg(long, value_name = "ID")]
    pub user: u64,
    /// Of this device only
    #[arg(long, value_name = "N")]
    pub device: Option<u32>,
    /// The one with this `jti`
    #[arg(long, value_name = "JTI", conflicts_with = "before")]
    pub token_id: Option<String>,
    /// Those that were issued before [default: now]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_rfc3339_weak)]
    pub before: Option<SystemTime>,
    /// When they expire [default: as late as tokens may]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_rfc3339_weak)]
    pub expires: Option<SystemTime>,
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

impl Args {
    fn path(&self) -> String {
        let mut query = Serializer::new(String::new());
        let seconds = |time: SystemTime| unix_s(time).to_string();
        for (name, value) in [
            ("device", self.device.map(|device| device.to_string())),
            ("token_id", self.token_id.clone()),
            ("before", self.before.map(seconds)),
            ("expires", self.expires.map(seconds)),
        ] {
            if let Some(value) = value {
                query.append_pair(name, &value);
            }
        }
        format!("/users/{}/revoke?{}", self.user, query.finish())
    }
}

/// Asks, and prints what was done.
pub(super) fn run(args: &Args, env: &Environment) -> Result<(), Failure> {
    env.check()?;
    let socket = socket_path(args.socket.as_deref(), &env.data(args.data.as_deref()));
    let client = Client::new(socket).map_err(Failure::running)?;
    let answer = client.post(&args.path())?;
    if args.json {
        return print(&answer);
    }
    let told: serde_json::Value =
        serde_json::from_slice(&answer).map_err(|error| ClientError::Broken(error.to_string()))?;
    let closed = told["closed"].as_u64().unwrap_or(0);
    print(format!("revoked, and {} connections closed\n", count(closed)).as_bytes())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Verb};

    fn path(options: &[&str]) -> String {
        let line = ["rookery", "revoke", "--user", "7"];
        match Cli::try_parse_from(line.iter().chain(options))
            .unwrap()
            .verb
        {
            Verb::Revoke(args) => args.path(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_asked() {
        assert_eq!(path(&[]), "/users/7/revoke?");
        assert_eq!(
            path(&["--device", "2", "--token-id", "a&b=c d"]),
            "/users/7/revoke?device=2&token_id=a%26b%3Dc+d"
        );
        let times = [
            "--before",
            "1970-01-01T00:01:00Z",
            "--expires",
            "1970-01-02 00:00:00",
        ];
        assert_eq!(path(&times), "/users/7/revoke?before=60&expires=86400");
    }
}
