//! What every shard of a run is told at its start: shared, never changed.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Instant, UNIX_EPOCH};

use anyhow::Context as _;
use rookery_wire::{link, proto, tls, ws};

use super::Args;
use super::counts::Counts;
use super::host;
use super::target::Target;
use super::tokens::Tokens;

/// See the module.
pub(super) struct Plan {
    /// The URL.
    pub(super) target: Target,
    /// Where to connect, in turn.
    pub(super) addresses: Vec<SocketAddr>,
    /// TLS, where the URL says so.
    pub(super) tls: Option<tls::ClientConfig>,
    /// How frames are read.
    pub(super) link: link::Config,
    /// Who logs in as whom; none with --echo.
    pub(super) tokens: Option<Tokens>,
    /// What is offered in the upgrade.
    pub(super) subprotocol: Option<String>,
    /// What an echo's client says first.
    pub(super) preamble: Option<String>,
    /// An echo's server speaks NATS.
    pub(super) nats: bool,
    /// The user of client 0.
    pub(super) first_user: u64,
    /// What is sent: bytes without pattern, as ciphertext.
    pub(super) payload: Vec<u8>,
    /// Connects under way on one shard.
    pub(super) window: u32,
    /// The run's clock.
    pub(super) clock: Clock,
    /// What has come of it.
    pub(super) counts: Counts,
}

impl Plan {
    /// Reads keys and certificates, and looks whether the server answers.
    pub(super) fn new(args: &Args) -> anyhow::Result<Self> {
        let target = Target::parse(&args.url)?;
        let tokens = match args.echo {
            true => None,
            false => {
                let data = args.data.as_deref().unwrap_or(Path::new("rookery-data"));
                Some(Tokens::load(args.key.as_deref(), data)?)
            }
        };
        let addresses = target.addresses(args.addresses(host::connections_per_address()))?;
        let tls = match target.tls {
            true => Some(client_tls(args, &addresses)?),
            false => None,
        };
        let frames = match args.echo {
            true => ws::Config::echo(ws::Role::Client),
            false => {
                let bytes_max = proto::Limits::SERVER_FRAMES.frame_bytes_max;
                ws::Config::binary(ws::Role::Client, bytes_max)
            }
        };
        let scattered =
            (0..u64::from(args.payload_bytes)).map(|n| super::schedule::scatter(n) as u8);
        Ok(Self {
            target,
            addresses,
            tls,
            link: link::Config {
                frames,
                server: ws::upgrade::Server::ECHO,
                pongs: link::Pongs::Latest,
            },
            tokens,
            subprotocol: match args.echo {
                true => args.subprotocol.clone(),
                false => Some(proto::SUBPROTOCOL.to_owned()),
            },
            preamble: args.preamble.clone(),
            nats: args.nats,
            first_user: args.first_user,
            payload: scattered.collect(),
            window: args.connect_window.div_ceil(u32::from(args.shards)),
            clock: Clock::new(),
            counts: Counts::default(),
        })
    }

    /// The user of a client.
    pub(super) fn user_id(&self, client: u32) -> u64 {
        self.first_user + u64::from(client)
    }

    /// Whether messages are only echoed.
    pub(super) fn is_echo(&self) -> bool {
        self.tokens.is_none()
    }
}

fn client_tls(args: &Args, addresses: &[SocketAddr]) -> anyhow::Result<tls::ClientConfig> {
    let offer = tls::Offer {
        post_quantum: args.post_quantum,
        ..tls::Offer::default()
    };
    if let Some(path) = &args.ca {
        let about = || format!("--ca {}", path.display());
        let roots = std::fs::read(path).with_context(about)?;
        return tls::ClientConfig::new(tls::Verify::Roots(&roots), offer).with_context(about);
    }
    if !args.insecure && !Target::is_loopback(addresses) {
        anyhow::bail!(
            "{} is not on loopback: give --ca FILE to know who answers, or --insecure",
            args.url
        );
    }
    let _ = writeln!(
        std::io::stderr(),
        "note: any certificate of the server is taken; --ca FILE checks it"
    );
    Ok(tls::ClientConfig::new(tls::Verify::Insecure, offer)?)
}

/// Nanoseconds that never go back and that start at the Unix epoch: what was due in one run is due in no
/// other, so that a message's time can be in its id.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    started: Instant,
    started_unix_ns: u64,
}

impl Clock {
    pub(super) fn new() -> Self {
        let unix = UNIX_EPOCH.elapsed().unwrap_or_default();
        Self {
            started: Instant::now(),
            started_unix_ns: unix.as_nanos() as u64,
        }
    }

    /// Now.
    pub(super) fn now_ns(&self) -> u64 {
        self.started_unix_ns + self.started.elapsed().as_nanos() as u64
    }
}
