//! `rookery chat`: one user's side of a direct conversation, in a terminal.
//!
//! It is a client like any other, on tokio and tungstenite, and shares with the server only the
//! protocol's frames. `dialog` decides what to send and show and does no I/O, with `timeline` for what comes
//! in, `outgoing` for what goes out, `patience` for refusals and `text` for what people write. `link`
//! connects, and connects again, `heartbeat` tells it when, `leave` when the server wants it to; `connect` is TCP, TLS and the upgrade;
//! `terminal` is lines in and lines out.

mod connect;
mod dialog;
mod heartbeat;
mod leave;
mod link;
mod outgoing;
mod patience;
mod terminal;
mod text;
mod timeline;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use uuid::Uuid;

use crate::auth::{TOKEN_BYTES_MAX, USER_ID_MAX};
use crate::cli::{Failure, token};
use crate::config::Environment;
use crate::unix_time::{unix_ms, unix_s};

const EXAMPLES: &str = "\
Examples:
  rookery chat --user 7 --to 8                     in the directory in which `rookery serve` runs
  rookery chat --user 8 --to 7                     the other side, in another terminal
  printf 'hello\\n' | rookery chat --user 7 --to 8 --linger 2s
  ROOKERY_TOKEN=$(cat token) rookery chat --to 8 --url wss://chat.example:443

Commands within: /history shows older messages, /quit leaves, /help. A message that the server has made
durable is marked with ✓. The token is --token FILE, or ROOKERY_TOKEN, or one minted with the
development key in --data. The server's certificate must be signed by --ca, or be the self-signed one
in --data, or be signed by one of the system's authorities.";

/// How long a token minted with the development key is good for.
const TOKEN_TTL: Duration = Duration::from_secs(86_400);

/// The options of `chat`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Who you are; not needed with a token of your own
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u64).range(1..=USER_ID_MAX))]
    pub user: Option<u64>,
    /// Which of your devices this is
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub device: u32,
    /// Whom to talk to
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u64).range(1..=USER_ID_MAX))]
    pub to: u64,
    /// The server [default: wss://127.0.0.1:8443] [env: ROOKERY_URL]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The server's data directory, with its development key and self-signed certificate
    /// [default: rookery-data] [env: ROOKERY_DATA]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// A file with the login token [env: ROOKERY_TOKEN, the token itself]
    #[arg(long, value_name = "FILE")]
    pub token: Option<PathBuf>,
    /// Trust certificates signed by these authorities only (or this very certificate), PEM
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub ca: Option<PathBuf>,
    /// Trust any certificate: everybody on the way can read and change everything
    #[arg(long)]
    pub insecure: bool,
    /// When the input is no terminal and has ended: wait this long for what still comes
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub linger: Duration,
}

/// Talks until the input ends or the server says that it is of no use.
pub fn run(args: &Args, env: &Environment) -> Result<(), Failure> {
    env.check()?;
    let target = connect::Target::new(args, env)?;
    let login = login(args, env)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::running)?;
    let (input, lines, printer) = terminal::open();
    let options = link::Options {
        target,
        token: login.into_bytes(),
        peer_user_id: args.to,
        linger: args.linger,
        first_message_id: first_message_id()?,
    };
    let link = std::thread::Builder::new()
        .name("chat-link".to_owned())
        .spawn(move || runtime.block_on(link::run(options, lines, printer)))
        .map_err(Failure::running)?;
    if input.is_editor() {
        input.pump();
    } else {
        // Ends with the process: a pipe may stay open, with nothing in it, when the link has ended.
        std::thread::Builder::new()
            .name("chat-input".to_owned())
            .spawn(move || input.pump())
            .map_err(Failure::running)?;
    }
    match link.join() {
        Ok(result) => Ok(result?),
        Err(_) => Err(Failure::running(anyhow::anyhow!(
            "the connection's thread has failed: a fault of this program"
        ))),
    }
}

/// The token: a file's, the environment's, or one of the development key.
fn login(args: &Args, env: &Environment) -> Result<String, Failure> {
    let given = match &args.token {
        Some(path) => Some(std::fs::read_to_string(path).map_err(|error| {
            Failure::usage(format!(
                "cannot read the token file {}: {error}",
                path.display()
            ))
        })?),
        None => env.token().map(str::to_owned),
    };
    if let Some(token) = given {
        let token = token.trim().to_owned();
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return Err(Failure::usage(format!(
                "the given token is empty or longer than {TOKEN_BYTES_MAX} bytes: it is no login token"
            )));
        }
        return Ok(token);
    }
    let Some(user) = args.user else {
        return Err(Failure::usage(
            "say who you are: --user ID (or give a token: --token FILE, ROOKERY_TOKEN)",
        ));
    };
    let now = unix_s(SystemTime::now());
    let minted = token::development(&env.data(args.data.as_deref()))?.mint(
        user,
        args.device,
        now,
        TOKEN_TTL.as_secs(),
    );
    minted.map_err(Failure::running)
}

/// What the first message is called, a UUIDv7. Those behind it count its random bits up (RFC 9562, 6.2,
/// method 2), so that two runs of one user do not meet.
fn first_message_id() -> Result<Uuid, Failure> {
    let mut random = [0; 10];
    aws_lc_rs::rand::fill(&mut random)
        .ok()
        .context("the system gives no random bytes")?;
    let now_ms = unix_ms(SystemTime::now());
    Ok(uuid::Builder::from_unix_timestamp_millis(now_ms, &random).into_uuid())
}
