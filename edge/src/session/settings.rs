//! What every shard's sessions are told at start: shared, never changed; and the few limits that may.

use ipnet::IpNet;
use rookery_wire::{link, proto};

use crate::auth::resume::ResumeKey;
use crate::session::{Heartbeat, Jitter, Presence};

/// How the bytes of a listener's connections travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Transport {
    /// WebSocket over TLS over TCP.
    #[default]
    Tls,
    /// WebSocket over TCP.
    Plain,
}

/// A place where clients are awaited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listener {
    /// How its bytes travel.
    pub transport: Transport,
    /// Its connections come from a proxy and begin with a PROXY header.
    pub is_behind_proxy: bool,
}

/// What a connection's messages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Protocol frames, after a login.
    Chat,
    /// Any message is sent back: for conformance tests and benchmarks.
    Echo,
}

/// What may change while connections are there: it counts from then on.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections of a user at a time.
    pub devices_max: usize,
    /// From accept to a verified login, ms; the time in which we let it wait is not counted.
    pub login_timeout_ms: u32,
    /// Connections of a shard that have not logged in.
    pub handshakes_max: usize,
    /// How long a shard's turn should take while handshakes wait, ns.
    pub turn_target_ns: u64,
    /// Over how long clients are spread before they come again.
    pub jitter: Jitter,
}

/// See the module.
pub struct Settings {
    /// Chat or echo.
    pub mode: Mode,
    /// In the engine's order.
    pub listeners: Vec<Listener>,
    /// Who may connect to those that are behind a proxy.
    pub proxies: Vec<IpNet>,
    /// How requests and WebSocket frames are read.
    pub link: link::Config,
    /// Bounds on protocol frames.
    pub frames: proto::Limits,
    /// Signs and checks resume tokens.
    pub resume: ResumeKey,
    /// How often a client says something.
    pub heartbeat: Heartbeat,
    /// Told to clients.
    pub page_messages_max: u32,
    /// Bytes queued for a connection above which it is skipped in fan-out, while memory is not short.
    pub queue_bytes_max: usize,
    /// Bytes that what is queued and what is half-received may take on a shard.
    pub buffer_bytes_max: u64,
    /// Reads and openings of one connection that the router has at one time. What it asks beyond them
    /// stays in its socket: a client may ask for all of its conversations at once, and takes no more of
    /// the readers than others.
    pub requests_max: u8,
    /// Who is told which users are here; nobody in the embedded form.
    pub presence: Option<Presence>,
}

impl Settings {
    /// Bytes queued for a connection above which not even an answer is added: as much again as
    /// fan-out may fill.
    pub(crate) fn answer_bytes_max(&self) -> usize {
        2 * self.queue_bytes_max
    }
}
