//! `rookery handshakes`: full TLS 1.3 handshakes in memory, by the CPU of the server's side alone.
//!
//! The measure for everything around a handshake: what a core could do if a connection were nothing but
//! rustls. Two servers take turns with the same clients: `bare` is rustls's own `ServerConnection` with
//! the edge's configuration, `parked` is [`tls::Handshake`], which ends in a session of 88 bytes. There
//! is no socket, no HTTP and no login. Many handshakes are under way at one time, as in a storm, so that
//! none finds the caches as it left them, and so that the clock is read seldom.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rookery_wire::tls;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// Handshakes under way at one time: a quarter of what the load generator has by default.
const UNDER_WAY: usize = 64;

/// The options of `handshakes`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// How long each server takes handshakes, in each round
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    pub duration: Duration,
    /// Rounds: both servers, one after the other
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
    /// Offer the post-quantum key exchange X25519MLKEM768 first
    #[arg(long)]
    pub post_quantum: bool,
    /// Write the report to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Of this program.
    pub version: &'static str,
    /// The cipher suite, as rustls spells it.
    pub suite: &'static str,
    /// The key exchange.
    pub group: &'static str,
    /// The key of the server's certificate.
    pub certificate: &'static str,
    /// Session tickets for each handshake.
    pub tickets: u32,
    /// Handshakes under way at one time.
    pub under_way: usize,
    /// rustls alone.
    pub bare: Figure,
    /// With the record layer that the edge goes on with.
    pub parked: Figure,
}

/// One server's side.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// Per second of a core's CPU: the median of the rounds.
    pub per_second_per_core: f64,
    /// The slowest round.
    pub min: f64,
    /// The fastest round.
    pub max: f64,
    /// Microseconds of CPU for one, from the median.
    pub cpu_us: f64,
    /// Handshakes in all rounds.
    pub handshakes: u64,
}

/// Measures, writes the report, and returns it as JSON.
///
/// # Errors
/// The cryptographic library fails, or the file cannot be written.
pub fn run(args: &Args) -> anyhow::Result<String> {
    let report = measure(args)?;
    let json = serde_json::to_string_pretty(&report).context("the report as JSON")?;
    if let Some(path) = &args.json {
        std::fs::write(path, &json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(json)
}

/// What rustls alone does per second and core with the load generator's default offer, in a few rounds.
///
/// # Errors
/// The cryptographic library fails.
pub fn bare_per_second_per_core() -> anyhow::Result<f64> {
    let (server, client) = configurations(false)?;
    let args = Args {
        duration: Duration::from_secs(1),
        rounds: 3,
        post_quantum: false,
        json: None,
    };
    let rustls = server.rustls();
    batch::<rustls::ServerConnection>(&rustls, &client)?;
    let rounds: anyhow::Result<Vec<_>> = (0..args.rounds)
        .map(|_| round::<rustls::ServerConnection>(&rustls, &client, &args))
        .collect();
    Ok(Figure::of(&rounds?).per_second_per_core)
}

/// Measures.
///
/// # Errors
/// The cryptographic library fails.
pub fn measure(args: &Args) -> anyhow::Result<Report> {
    let (server, client) = configurations(args.post_quantum)?;
    let rustls = server.rustls();
    let (mut bare, mut parked) = (Vec::new(), Vec::new());
    // What the libraries do once is done.
    let established = batch::<tls::Handshake>(&server, &client)?.established;
    batch::<rustls::ServerConnection>(&rustls, &client)?;
    for _ in 0..args.rounds {
        bare.push(round::<rustls::ServerConnection>(&rustls, &client, args)?);
        parked.push(round::<tls::Handshake>(&server, &client, args)?);
    }
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        suite: established.suite,
        group: established.group,
        certificate: "ECDSA P-256, self-signed",
        tickets: 1,
        under_way: UNDER_WAY,
        bare: Figure::of(&bare),
        parked: Figure::of(&parked),
    })
}

/// The edge's side, with such a certificate as it makes for itself, and the load generator's.
///
/// # Errors
/// The cryptographic library fails.
pub fn configurations(
    post_quantum: bool,
) -> anyhow::Result<(tls::ServerConfig, tls::ClientConfig)> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).context("a key")?;
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
        .and_then(|params| params.self_signed(&key))
        .context("a certificate")?;
    let (chain, key) = (certificate.pem(), key.serialize_pem());
    let server = tls::ServerConfig::from_pem(chain.as_bytes(), key.as_bytes(), tls::Tickets::One)?;
    let offer = tls::Offer {
        post_quantum,
        ..tls::Offer::default()
    };
    let client = tls::ClientConfig::new(tls::Verify::Insecure, offer)?;
    Ok((server, client))
}

/// A server's end of a handshake.
trait Server: Sized {
    /// What it is made from.
    type Config;
    /// Waits for a client.
    fn begin(config: &Self::Config) -> anyhow::Result<Self>;
    /// Takes what the client said and appends the answer to `out`; whether the handshake is over.
    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> anyhow::Result<bool>;
}

impl Server for rustls::ServerConnection {
    type Config = Arc<rustls::ServerConfig>;

    fn begin(config: &Self::Config) -> anyhow::Result<Self> {
        Ok(rustls::ServerConnection::new(Arc::clone(config))?)
    }

    fn take(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> anyhow::Result<bool> {
        while !bytes.is_empty() {
            self.read_tls(&mut bytes)?;
            self.process_new_packets()?;
        }
        while self.wants_write() {
            self.write_tls(out)?;
        }
        Ok(!self.is_handshaking())
    }
}

impl Server for tls::Handshake {
    type Config = tls::ServerConfig;

    fn begin(config: &Self::Config) -> anyhow::Result<Self> {
        Ok(tls::Handshake::server(config)?)
    }

    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> anyhow::Result<bool> {
        Ok(matches!(self.feed(bytes, out)?, tls::Progress::Done { .. }))
    }
}

/// Some handshakes, all under way at one time.
struct Batch {
    /// What the server's side took.
    cpu: Duration,
    established: tls::Established,
}

fn batch<S: Server>(config: &S::Config, client: &tls::ClientConfig) -> anyhow::Result<Batch> {
    let mut clients = Vec::with_capacity(UNDER_WAY);
    let mut hellos = Vec::with_capacity(UNDER_WAY);
    for _ in 0..UNDER_WAY {
        let mut hello = Vec::new();
        clients.push(tls::Handshake::client(client, "localhost", &mut hello)?);
        hellos.push(hello);
    }
    let mut servers = Vec::with_capacity(UNDER_WAY);
    let mut flights = Vec::with_capacity(UNDER_WAY);
    let began = cpu();
    for hello in &hellos {
        let (mut server, mut flight) = (S::begin(config)?, Vec::new());
        server.take(hello, &mut flight)?;
        servers.push(server);
        flights.push(flight);
    }
    let mut took = cpu() - began;

    let mut last = None;
    let mut finished = Vec::with_capacity(UNDER_WAY);
    for (client, flight) in clients.iter_mut().zip(&flights) {
        let mut bytes = Vec::new();
        match client.feed(flight, &mut bytes)? {
            tls::Progress::Done { established, .. } => last = Some(established),
            tls::Progress::NeedMore => bail!("the server's flight did not end the handshake"),
        }
        finished.push(bytes);
    }

    let began = cpu();
    let mut tickets = Vec::new();
    for (mut server, bytes) in servers.into_iter().zip(&finished) {
        let over = server.take(bytes, &mut tickets)?;
        ensure!(over, "the client's Finished did not end the handshake");
    }
    took += cpu() - began;
    let established = last.context("no handshake")?;
    ensure!(
        established.version == "TLSv1.3" && !tickets.is_empty(),
        "not the handshake that the edge makes: {established:?}, {} B of tickets",
        tickets.len()
    );
    Ok(Batch {
        cpu: took,
        established,
    })
}

/// Handshakes and the CPU of the server's side, for as much CPU as was asked for.
fn round<S: Server>(
    config: &S::Config,
    client: &tls::ClientConfig,
    args: &Args,
) -> anyhow::Result<(u64, Duration)> {
    let (mut handshakes, mut took) = (0, Duration::ZERO);
    while handshakes == 0 || took < args.duration {
        took += batch::<S>(config, client)?.cpu;
        handshakes += UNDER_WAY as u64;
    }
    Ok((handshakes, took))
}

impl Figure {
    /// Of at least one round.
    fn of(rounds: &[(u64, Duration)]) -> Self {
        let mut rates: Vec<f64> = rounds
            .iter()
            .map(|(handshakes, took)| *handshakes as f64 / took.as_secs_f64())
            .collect();
        rates.sort_by(f64::total_cmp);
        let median = rates.get(rates.len() / 2).copied().unwrap_or_default();
        Self {
            per_second_per_core: median,
            min: rates.first().copied().unwrap_or_default(),
            max: rates.last().copied().unwrap_or_default(),
            cpu_us: 1e6 / median,
            handshakes: rounds.iter().map(|(handshakes, _)| handshakes).sum(),
        }
    }
}

/// This thread's CPU time.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_servers_make_the_edges_handshake() {
        let args = Args {
            duration: Duration::from_millis(1),
            rounds: 1,
            post_quantum: false,
            json: None,
        };
        let report = measure(&args).unwrap();
        assert_eq!(report.suite, "TLS13_AES_128_GCM_SHA256");
        assert_eq!(report.group, "X25519");
        for figure in [&report.bare, &report.parked] {
            assert!(figure.handshakes >= UNDER_WAY as u64, "{figure:?}");
            assert!(
                figure.min <= figure.max && figure.cpu_us > 1.0,
                "{figure:?}"
            );
        }
    }

    #[test]
    fn the_median_is_between_the_extremes() {
        let second = Duration::from_secs(1);
        let figure = Figure::of(&[(300, second), (100, second), (200, second)]);
        assert_eq!(
            (figure.min, figure.per_second_per_core, figure.max),
            (100.0, 200.0, 300.0)
        );
        assert_eq!((figure.cpu_us, figure.handshakes), (5_000.0, 600));
    }
}
