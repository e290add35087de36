//! What the server does while it is sampled.

use std::time::Duration;

/// One flame graph.
pub(super) struct Scenario {
    /// Of the file.
    pub(super) name: &'static str,
    /// Above the graph.
    pub(super) title: &'static str,
    pub(super) connections: u32,
    /// Messages per second.
    pub(super) rate: u32,
    /// The server echoes, without login.
    pub(super) echo: bool,
    /// After so long a silence the server pings; it gives a client up after two and a half of it, as by
    /// default, so that a silent client is pinged once in one and a quarter, on average.
    pub(super) heartbeat_ms: u32,
    pub(super) sampled: Sampled,
}

/// When the server is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sampled {
    /// From the first connect until the last client is in.
    Connects,
    /// For so long, once all are in.
    AtRest(Duration),
    /// For so long, once messages flow.
    Traffic(Duration),
}

/// The server's default: it decides over how many rings the connections are spread.
const CONNECTIONS_MAX: u32 = 100_000;
const SECONDS: Duration = Duration::from_secs(10);

impl Scenario {
    /// All of them.
    pub(super) fn all() -> [Self; 4] {
        let plain = Self {
            name: "",
            title: "",
            connections: 1_000,
            rate: 0,
            echo: false,
            heartbeat_ms: 30_000,
            sampled: Sampled::Connects,
        };
        [
            Self {
                name: "handshakes",
                title: "Handshake storm: from accept to Welcome",
                connections: 12_000,
                ..plain
            },
            Self {
                name: "idle",
                title: "At rest: silent clients are pinged",
                connections: 20_000,
                // 4,000 pings a second: what 150,000 connections make at the default of 30 s.
                heartbeat_ms: 4_000,
                sampled: Sampled::AtRest(SECONDS),
                ..plain
            },
            Self {
                name: "echo",
                title: "TLS echo of 64 bytes",
                rate: 10_000,
                echo: true,
                sampled: Sampled::Traffic(SECONDS),
                ..plain
            },
            Self {
                name: "chat",
                title: "Chat: Send, durable, SendAck, Deliver",
                rate: 5_000,
                sampled: Sampled::Traffic(SECONDS),
                ..plain
            },
        ]
    }

    /// The server's configuration file.
    pub(super) fn configuration(&self) -> String {
        let Self {
            connections,
            heartbeat_ms,
            ..
        } = self;
        format!(
            "[limits]\nconnections_max = {}\nheartbeat_interval_ms = {heartbeat_ms}\n\
             idle_timeout_ms = {}\n",
            (connections + 5_000).max(CONNECTIONS_MAX),
            heartbeat_ms / 2 * 5
        )
    }

    /// The load generator's options, but for where.
    pub(super) fn load(&self) -> Vec<String> {
        // The flow is longer than what is sampled: its first lines say that it has begun.
        let seconds = match self.sampled {
            Sampled::Connects => 1,
            Sampled::AtRest(time) | Sampled::Traffic(time) => time.as_secs() + 10,
        };
        let mut options = vec![
            format!("--connections={}", self.connections),
            format!("--rate={}", self.rate),
            format!("--duration={seconds}s"),
            "--warm-up=0".to_owned(),
        ];
        if self.echo {
            options.push("--echo".to_owned());
        }
        options
    }
}

/// The names, for the command line to check.
pub(super) fn names() -> Vec<&'static str> {
    Scenario::all().map(|scenario| scenario.name).to_vec()
}
