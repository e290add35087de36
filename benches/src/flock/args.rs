//! The options of `rookery flock`, and what they come to where one is not given.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;

/// How long the clients of the warm-up talk.
const WARM_UP: Duration = Duration::from_secs(3);
/// Messages per second of a warm-up whose number is asked for.
const WARM_UP_RATE: u32 = 10_000;
/// The second spell of such a warm-up, and the pause before it: what the first spell left in a store's
/// write buffers is given back as the store rests again after the second.
const SECOND_SPELL: u32 = 5_000;
const SPELLS_APART: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Examples:
  rookery flock wss://127.0.0.1:8443 --connections 1000 --rate 100
  rookery flock wss://127.0.0.1:8443 --connections 100000 --rate 1000 --duration 20s --json out.json
  rookery flock ws://127.0.0.1:9001 --echo --connections 5000 --rate 20000   any echo server

Every client is real: its own connection, TLS session and login, at rest as small as the server's end.
Latency is open loop: a message counts from the moment at which it was due. In chat mode clients are
pairs; `rtt` is from there to the other client of the pair, so it holds the durable write too, and `ack`
is to the sender's acknowledgement. With --echo `rtt` is until the echo.

Many connections to a loopback server go to 127.0.0.1, 127.0.0.2, ... (12,350 to each with the kernel's
default range of ports, see sysctl/90-rookery-density.conf): it must listen on 0.0.0.0.
With --stages, --rates and --storm one run measures several sizes and rates and a storm of reconnects;
`cargo xtask density` makes a page with plots of it.
Exit code 1: a connection failed or was lost, or a message did not arrive (but --tolerate).";

/// The options of `flock`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The server: wss://HOST:PORT, or ws://HOST:PORT for a plain listener
    #[arg(value_name = "URL")]
    pub url: String,
    /// Connections to hold, each a user of its own
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub connections: u32,
    /// Messages per second over all connections; 0 only holds them
    #[arg(long, value_name = "R", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
    pub rate: u32,
    /// How long messages flow: 20s, 5m
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = humantime::parse_duration)]
    pub duration: Duration,
    /// Sizes at which the ramp stops to measure, ascending and below --connections, comma-separated
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub stages: Vec<u32>,
    /// Messages per second to measure at each stage and at the full size, one after the other,
    /// comma-separated
    #[arg(long, value_name = "R,...", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub rates: Vec<u32>,
    /// How long messages flow at each of --rates; half of it the server is measured without any
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = humantime::parse_duration)]
    pub stage_duration: Duration,
    /// At the end cut off all connections and let them connect again as fast as they can, while
    /// --established other ones go on talking
    #[arg(long)]
    pub storm: bool,
    /// Connections beside the others that live through the storm, on a thread of their own
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(2..))]
    pub established: u32,
    /// Messages per second of the established ones in the storm
    #[arg(long, value_name = "R", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub storm_rate: u32,
    /// Handshakes and logins under way at one time in the storm
    #[arg(long, value_name = "N", default_value_t = 4_096, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub storm_window: u32,
    /// How long the established ones are measured before the storm, and after it
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub storm_calm: Duration,
    /// Look at memory after the storm only, not after the traffic too: shorter
    #[arg(long, requires = "storm")]
    pub join_rests: bool,
    /// At the end let messages flow until the server has told every client to reconnect and all have done
    /// so, at most for this long; the drain is begun by others (SIGTERM to the server)
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, conflicts_with_all = ["storm", "echo"])]
    pub drain: Option<Duration>,
    /// Write the report to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// The server echoes: no subprotocol and no login
    #[arg(long)]
    pub echo: bool,
    /// With --echo: offer this subprotocol
    #[arg(long, value_name = "NAME", requires = "echo")]
    pub subprotocol: Option<String>,
    /// With --echo: say this first on every connection, as a text message
    #[arg(long, value_name = "TEXT", requires = "echo")]
    pub preamble: Option<String>,
    /// With --echo: the server is NATS, and each client a subscriber to what it publishes
    #[arg(long, requires = "echo", conflicts_with = "preamble")]
    pub nats: bool,
    /// Look at memory before and after the connect only, not after the traffic and the goodbye: shorter
    #[arg(long)]
    pub brief: bool,
    /// Look at memory at once, not when it has come to rest: for a server with other work, whose never does
    #[arg(long)]
    pub no_rest: bool,
    /// Bytes of a message's payload
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(8..=65_536))]
    pub payload_bytes: u32,
    /// Threads that hold the connections
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub shards: u16,
    /// Loopback addresses to spread the connections over [default: by the range of ports]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u8).range(1..=250))]
    pub spread: Option<u8>,
    /// Connections that send messages, spread evenly over all [default: 1,000 or twice the rate]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub talkers: Option<u32>,
    /// Connections that come first and talk for a while, so that the server is warm when the memory
    /// of the others is measured [default: a tenth of all, at most 2,000]
    #[arg(long, value_name = "N")]
    pub warm_up: Option<u32>,
    /// Messages of the warm-up, at 10,000/s: enough to go once around the server's bounded queues, whose
    /// memory is taken as it is first used [default: 3 seconds at --rate]
    #[arg(long, value_name = "N")]
    pub warm_up_messages: Option<u32>,
    /// The server's data directory, with the development key that signs logins [default: rookery-data]
    /// [env: ROOKERY_DATA]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Sign logins with this secret instead (HS256, raw bytes)
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// The user of the first connection; the others follow
    #[arg(long, value_name = "ID", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1 << 62))]
    pub first_user: u64,
    /// Trust the certificates of this PEM file [default: on loopback any certificate is taken]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Take any certificate of a host that is not loopback too
    #[arg(long, conflicts_with = "ca")]
    pub insecure: bool,
    /// Offer the post-quantum key exchange X25519MLKEM768 first
    #[arg(long)]
    pub post_quantum: bool,
    /// The server's process, whose memory is measured [default: who listens there, on this host]
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,
    /// Handshakes and logins under way at one time
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub connect_window: u32,
    /// Exit code 0 whatever was lost
    #[arg(long)]
    pub tolerate: bool,
}

impl Args {
    /// Addresses that the connections are spread over, where one takes `per_address` of them.
    pub(super) fn addresses(&self, per_address: u32) -> u8 {
        let automatic = self.connections.div_ceil(per_address.max(1)).min(250) as u8;
        self.spread.unwrap_or(automatic)
    }

    /// The spells of the warm-up's messages: their rate, for how long, and the pause after it.
    pub(super) fn warm_up_traffic(&self) -> Vec<(u32, Duration, Duration)> {
        let time = |messages: u32| {
            Duration::from_millis(u64::from(messages) * 1_000 / u64::from(WARM_UP_RATE))
        };
        match self.warm_up_messages {
            Some(messages) if messages > SECOND_SPELL => vec![
                (WARM_UP_RATE, time(messages - SECOND_SPELL), SPELLS_APART),
                (WARM_UP_RATE, time(SECOND_SPELL), Duration::ZERO),
            ],
            Some(messages) => vec![(WARM_UP_RATE, time(messages), Duration::ZERO)],
            None => vec![(self.rate, WARM_UP.min(self.duration), Duration::ZERO)],
        }
    }

    /// The first size at which is measured.
    fn smallest(&self) -> u32 {
        self.stages.first().copied().unwrap_or(self.connections)
    }

    /// Every size at which is measured, the full one last.
    pub(super) fn sizes(&self) -> Vec<u32> {
        let sizes = self.stages.iter().chain([&self.connections]);
        sizes.copied().collect()
    }

    /// What clap cannot see: options that do not go together.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if !self.sizes().is_sorted_by(|a, b| a < b) {
            bail!(
                "--stages must ascend and stay below --connections ({})",
                self.connections
            );
        }
        if !self.stages.is_empty() && self.warm_up_connections() >= self.smallest() {
            bail!(
                "--warm-up must be less than the first of --stages ({})",
                self.smallest()
            );
        }
        Ok(())
    }

    /// Connections of the warm-up: whole pairs, fewer than all.
    pub(super) fn warm_up_connections(&self) -> u32 {
        let wanted = self.warm_up.unwrap_or((self.smallest() / 10).min(2_000));
        wanted.min(self.connections) & !1
    }

    /// Pairs of clients that talk at this rate, where so many are connected: at least one where there is a
    /// pair. The same number at each stage, so that only what is held differs.
    pub(super) fn talking_pairs(&self, connected: u32, rate: u32) -> u32 {
        let automatic = rate.saturating_mul(2).max(1_000).min(self.smallest());
        (self.talkers.unwrap_or(automatic).min(connected) / 2).max(1)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(options: &[&str]) -> Result<Args, clap::Error> {
        let line = ["flock", "ws://127.0.0.1:1"].iter().chain(options).copied();
        Line::try_parse_from(line).map(|line| line.args)
    }

    #[test]
    fn defaults_follow_the_number_of_connections() {
        let cases = [
            ("1", 1, 0, 1),
            ("50", 1, 4, 25),
            ("25000", 1, 2_000, 500),
            ("25001", 2, 2_000, 500),
            ("100000", 4, 2_000, 500),
        ];
        for (connections, addresses, warm_up, pairs) in cases {
            let args = args(&["--connections", connections]).unwrap();
            assert_eq!(args.addresses(25_000), addresses, "{connections}");
            assert_eq!(args.warm_up_connections(), warm_up, "{connections}");
            let talking = args.talking_pairs(args.connections, args.rate);
            assert_eq!(talking, pairs, "{connections}");
        }
        let args = args(&["--rate", "2000", "--connections", "100000"]).unwrap();
        assert_eq!(args.talking_pairs(100_000, 2_000), 2_000);
        assert_eq!(args.talking_pairs(3, 2_000), 1);
    }

    #[test]
    fn a_long_warm_up_comes_in_two_spells() {
        let spells = args(&["--warm-up-messages", "80000"])
            .unwrap()
            .warm_up_traffic();
        let ms: Vec<u128> = spells.iter().map(|(_, time, _)| time.as_millis()).collect();
        assert_eq!(ms, [7_500, 500]);
        let spells = args(&["--warm-up-messages", "4000"])
            .unwrap()
            .warm_up_traffic();
        assert_eq!(
            spells,
            [(WARM_UP_RATE, Duration::from_millis(400), Duration::ZERO)]
        );
    }

    #[test]
    fn stages_talk_with_as_many_as_the_first_holds() {
        let args = args(&["--connections", "9000", "--stages", "600,3000"]).unwrap();
        args.check().unwrap();
        assert_eq!(args.sizes(), [600, 3_000, 9_000]);
        assert_eq!(args.warm_up_connections(), 60);
        assert_eq!(args.talking_pairs(600, 10_000), 300);
        assert_eq!(args.talking_pairs(9_000, 10_000), 300);
    }

    #[test]
    fn options_that_do_not_go_together_are_refused() {
        let wrong: &[(&[&str], &str)] = &[
            (&["--stages", "10,5"], "ascend"),
            (&["--stages", "1000"], "below --connections"),
            (&["--stages", "100", "--warm-up", "100"], "--warm-up"),
        ];
        for (options, part) in wrong {
            let error = args(options).unwrap().check().unwrap_err().to_string();
            assert!(error.contains(part), "{options:?}: {error}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let wrong: &[&[&str]] = &[
            &["--connections", "0"],
            &["--connections", "-1"],
            &["--rate", "x"],
            &["--duration", "20"],
            &["--payload-bytes", "7"],
            &["--payload-bytes", "70000"],
            &["--shards", "0"],
            &["--spread", "0"],
            &["--talkers", "0"],
            &["--first-user", "0"],
            &["--connect-window", "0"],
            &["--stages", "10,x"],
            &["--rates", "0"],
            &["--established", "1"],
            &["--storm-window", "0"],
            &["--ca", "f", "--insecure"],
        ];
        for options in wrong {
            assert!(args(options).is_err(), "{options:?}");
        }
    }
}
