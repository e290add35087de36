//! From the configuration to what each floor is started with.

use std::net::SocketAddr;
use std::time::Duration;

use rookery_router::PAGE_BYTES_MAX;
use rookery_router::admission::{ConversationLimits, RateLimits, RateMode};
use rookery_router::log::WriterKind;
use rookery_shard::mailbox::Capacity;
use rookery_wire::{link, proto, tls, ws};

use crate::admission::{self, Bounded, WorstCase};
use crate::auth::resume::ResumeKey;
use crate::config::{self, Config, Listen, LogKind, LogWriter, buffer_bytes_least};
use crate::session::{
    self, Heartbeat, Jitter, Listener, Mail, Mode, Presence, Settings, Transport,
};

/// Bytes that may wait for a client of the echo mode: some of the largest messages that the
/// conformance suites send.
const ECHO_QUEUE_BYTES: usize = 64 << 20;

/// Bytes of a connection that the kernel has and has not sent: eight full TLS records, which a fast network needs
/// some 100 us for; a client that does not read pins no more there.
const NOTSENT_BYTES: u32 = 128 << 10;

/// Mails that may wait for one shard: a fan-out each, drained every turn.
const MAILBOX: usize = 16_384;

/// Bytes of frames in them: some hundred full pages, a few turns' work.
const MAILBOX_BYTES_MAX: u64 = 32 << 20;

/// Requests of one connection at one time whose answers may be large, where the send queue has room for
/// them as pages.
const REQUESTS_MAX: u8 = 4;

/// What the sessions are told.
pub(super) fn settings(
    config: &Config,
    mode: Mode,
    presence: Option<Presence>,
) -> anyhow::Result<Settings> {
    let limits = &config.limits;
    let frames = proto::Limits::client_frames(limits.payload_bytes_max as usize);
    let link = match mode {
        Mode::Chat => link::Config {
            frames: ws::Config::binary(ws::Role::Server, frames.frame_bytes_max),
            server: ws::upgrade::Server::CHAT,
            pongs: link::Pongs::Latest,
        },
        Mode::Echo => link::Config {
            frames: ws::Config::echo(ws::Role::Server),
            server: ws::upgrade::Server::ECHO,
            pongs: link::Pongs::Each,
        },
    };
    Ok(Settings {
        mode,
        listeners: listeners(&config.listen),
        proxies: config.listen.proxies.clone(),
        link,
        frames,
        resume: ResumeKey::open(&config.data)?,
        heartbeat: heartbeat(config),
        page_messages_max: limits.page_messages_max,
        queue_bytes_max: queue_bytes(config, mode),
        buffer_bytes_max: shard_buffer_bytes(config)?,
        requests_max: requests_max(config),
        presence,
    })
}

/// What the sessions are told that may change.
pub(super) fn limits(config: &Config) -> session::Limits {
    let limits = &config.limits;
    session::Limits {
        devices_max: usize::from(limits.devices_per_user_max),
        login_timeout_ms: limits.login_timeout_ms,
        handshakes_max: handshakes(config),
        turn_target_ns: u64::from(limits.handshake_turn_us) * 1_000,
        jitter: Jitter::of_host(
            limits.reconnect_jitter_ms,
            limits.logins_per_second,
            config.engine.shard_count(),
        ),
    }
}

/// In the order in which the engine is given them.
fn listeners(listen: &Listen) -> Vec<Listener> {
    let of = |addresses: &[SocketAddr], transport| {
        let listener = |address| Listener {
            transport,
            is_behind_proxy: listen.proxy_protocol.contains(address),
        };
        addresses.iter().map(listener).collect::<Vec<_>>()
    };
    [
        of(&listen.tls, Transport::Tls),
        of(&listen.plain, Transport::Plain),
    ]
    .concat()
}

fn heartbeat(config: &Config) -> Heartbeat {
    Heartbeat {
        interval_ms: config.limits.heartbeat_interval_ms,
        idle_timeout_ms: config.limits.idle_timeout_ms,
        pings_per_second_max: config.limits.pings_per_second_max,
    }
}

/// Handshakes of a shard that may be under way.
fn handshakes(config: &Config) -> usize {
    let shards = u32::from(config.engine.shard_count().max(1));
    config.limits.handshakes_max.div_ceil(shards) as usize
}

/// How often each connection tells the directory of itself, at least, on a host as full as it may be.
pub(super) fn heard_every(config: &Config) -> Duration {
    session::look_interval(heartbeat(config), connections_per_shard(config))
}

/// On a host as full as it may be.
fn connections_per_shard(config: &Config) -> usize {
    config.limits.connections_max as usize / usize::from(config.engine.shard_count().max(1))
}

/// How clients are sent away. Those of the echo mode know no frame that could tell them.
pub(super) fn drain(config: &Config, mode: Mode) -> config::Drain {
    let mut drain = config.drain.clone();
    if mode == Mode::Echo {
        drain.window_ms = 0;
        drain.unready_ms = 0;
    }
    drain
}

/// What the gate is told.
pub(super) fn admission(config: &Config) -> anyhow::Result<admission::Limits> {
    let limits = &config.limits;
    Ok(admission::Limits {
        connections_max: limits.connections_max,
        memory_max_bytes: memory_bytes(config)?,
        connections_per_address_max: limits.connections_per_address_max,
        handshakes_per_address_per_second_max: limits.handshakes_per_address_per_second_max,
        exempt_networks: limits.exempt_networks.clone(),
    })
}

/// Above it nobody is let in.
fn memory_bytes(config: &Config) -> anyhow::Result<u64> {
    Ok(match config.limits.memory_max_bytes {
        0 => admission::default_max_bytes(super::memory::host_bytes()?),
        some => some,
    })
}

/// What may wait for clients, and of them, on this host: where the operator does not say, a quarter of the memory;
/// and on a small host what each shard needs so that a few clients do not take all of it.
fn buffer_bytes(config: &Config) -> anyhow::Result<u64> {
    Ok(match config.limits.buffer_bytes_max {
        0 => (memory_bytes(config)? / 4).max(buffer_bytes_least(config)),
        some => some,
    })
}

/// Memory in the worst case.
pub(super) fn worst_case(config: &Config) -> anyhow::Result<WorstCase> {
    let limits = &config.limits;
    let engine = engine(config, Mode::Chat);
    let by_sessions = (session::FAN_OUT_BYTES_MAX + tls::KEYS_BYTES_MAX) as u64;
    let held_by_shard = mailbox_bytes(config)? + by_sessions;
    Ok(WorstCase::new(&Bounded {
        connections: limits.connections_max.into(),
        handshakes: limits.handshakes_max.into(),
        has_tls12: config.tls.min_version == config::TlsVersion::Tls12,
        buffer_bytes: buffer_bytes(config)?,
        engine_bytes: engine.memory_bytes() + u64::from(engine.shards) * held_by_shard,
        router_bytes: router(config).memory_bytes_max(),
        tcp_bytes: super::memory::tcp_bytes_max()?,
    }))
}

/// What waits for a shard.
pub(super) fn mailbox(config: &Config) -> anyhow::Result<Capacity<Mail>> {
    Ok(Capacity {
        messages: MAILBOX,
        bytes: mailbox_bytes(config)? as usize,
        held_bytes: Mail::held_bytes,
    })
}

/// Answers are not refused for want of room: what a turn finds of them is an eighth of the shard's buffers at most,
/// which those who hold most are ended early enough for.
fn mailbox_bytes(config: &Config) -> anyhow::Result<u64> {
    Ok(MAILBOX_BYTES_MAX.min(shard_buffer_bytes(config)? / 8))
}

fn shard_buffer_bytes(config: &Config) -> anyhow::Result<u64> {
    Ok(buffer_bytes(config)? / u64::from(config.engine.shard_count().max(1)))
}

fn queue_bytes(config: &Config, mode: Mode) -> usize {
    match mode {
        Mode::Chat => config.limits.send_queue_bytes_max as usize,
        Mode::Echo => ECHO_QUEUE_BYTES,
    }
}

/// Payload bytes of a page of messages, where it has more than one: a small queue gets small pages.
fn page_bytes(config: &Config) -> usize {
    let queue_bytes = config.limits.send_queue_bytes_max as usize;
    PAGE_BYTES_MAX.min(queue_bytes / usize::from(REQUESTS_MAX))
}

/// Such requests of a connection that the router has at one time: as many as have room for their pages
/// next to what fan-out may queue.
fn requests_max(config: &Config) -> u8 {
    let page_bytes = page_bytes(config).max(config.limits.payload_bytes_max as usize);
    let pages = config.limits.send_queue_bytes_max as usize / page_bytes.max(1);
    u8::try_from(pages)
        .unwrap_or(REQUESTS_MAX)
        .clamp(1, REQUESTS_MAX)
}

/// What the engine is started with.
pub(super) fn engine(config: &Config, mode: Mode) -> rookery_shard::Config {
    let connections = u64::from(config.limits.connections_max);
    let listeners = config
        .listen
        .tls
        .iter()
        .chain(&config.listen.plain)
        .copied()
        .collect();
    rookery_shard::Config {
        listeners,
        pin: config.engine.pin,
        // Fan-out keeps to a third of it and answers to two; the rest is for close frames and alerts,
        // which are never refused, and for what one receive leads to.
        send_queue_bytes_max: 3 * queue_bytes(config, mode),
        stop_grace_ms: u64::from(config.drain.grace_ms),
        tcp_defer_accept_s: Some(config.limits.login_timeout_ms.div_ceil(1_000)),
        tcp_notsent_lowat_bytes: Some(NOTSENT_BYTES),
        tcp_keepalive_s: Some(session::tcp_keepalive_s(
            heartbeat(config),
            connections_per_shard(config),
        )),
        ..rookery_shard::Config::for_connections(connections, config.engine.shard_count())
    }
}

/// What the router is started with.
pub(super) fn router(config: &Config) -> rookery_router::Config {
    let mut router = rookery_router::Config::new(&config.data);
    let asked = &config.router;
    router.node_id = asked.node_id;
    router.log.writer = match asked.log_writer {
        LogWriter::Plain => WriterKind::Plain,
        LogWriter::Glommio => WriterKind::Glommio,
    };
    router.log.segment_bytes = asked.log_segment_bytes;
    router.log.segments_max = asked.log_segments_max;
    router.readers = usize::from(asked.readers);
    router.store_cache_bytes = asked.store_cache_bytes;
    router.space_reserve_bytes = match config.log.kind {
        LogKind::Embedded => asked.space_reserve_bytes,
        // Messages are not kept here.
        LogKind::Kafka => 0,
    };
    router.rates.store(rates(&config.limits));
    router.conversations = ConversationLimits {
        opened_max: config.limits.conversations_opened_per_user_max,
        all_max: config.limits.conversations_per_user_max,
    };
    router.payload_bytes_max = config.limits.payload_bytes_max as usize;
    router.page_messages_max = config.limits.page_messages_max;
    router.page_bytes_max = page_bytes(config);
    router
}

/// What users and conversations may cost.
pub(super) fn rates(limits: &config::Limits) -> RateLimits {
    RateLimits {
        user_bytes_per_second: limits.send_bytes_per_user_per_second_max,
        conversation_bytes_per_second: limits.send_bytes_per_conversation_per_second_max,
        burst_ms: limits.send_burst_ms,
        mode: match limits.rate_mode {
            config::RateMode::Count => RateMode::Count,
            config::RateMode::Refuse => RateMode::Refuse,
        },
    }
}
