//! What makes values of the right types wrong, each with its reason.

use std::net::SocketAddr;

use ipnet::IpNet;
use rookery_router::ids::NODE_MAX;
use rookery_router::{READERS_MAX, log};
use rookery_wire::proto;

use super::load::Key;
use super::{Config, address, check_services};
use crate::admission;
use crate::auth::JwksUrl;

/// A shard's number travels in 16 bits; more shards than this no host has cores for.
const SHARDS_MAX: u16 = 1_024;

/// Networks of a list: they are compared one after the other, some nanoseconds each.
const NETWORKS_MAX: usize = 256;

/// Each mistake with its key; the message goes on after the key's name.
pub(super) fn check(config: &Config) -> Vec<(Key, String)> {
    let mut found = Vec::new();
    listeners(config, &mut found);
    admin(config, &mut found);
    proxies(config, &mut found);
    limits(config, &mut found);
    drain(config, &mut found);
    auth(config, &mut found);
    rest(config, &mut found);
    check_services::check(config, &mut found);
    found
}

fn listeners(config: &Config, found: &mut Vec<(Key, String)>) {
    let listen = &config.listen;
    if listen.tls.is_empty() && listen.plain.is_empty() {
        found.push((
            ("listen", "tls"),
            "and `listen.plain` are both empty: nobody could connect".into(),
        ));
    }
    let mut seen: Vec<SocketAddr> = Vec::new();
    for (key, addresses) in [("tls", &listen.tls), ("plain", &listen.plain)] {
        for address in addresses {
            if let Some(other) = seen
                .iter()
                .find(|other| address::overlap(**other, *address))
            {
                let message = if other == address {
                    format!("has {address}, which is listed twice")
                } else {
                    format!("has {address}, and {other} is listed too: only one can have the port")
                };
                found.push((("listen", key), message));
            }
            seen.push(*address);
        }
    }
}

fn admin(config: &Config, found: &mut Vec<(Key, String)>) {
    let (listen, clients) = (&config.admin.listen, &config.listen);
    for (at, address) in listen.iter().enumerate() {
        if !address.ip().is_loopback() {
            let message = format!(
                "has {address}: the admin port is for this host only; let an agent on this host, or a proxy \
                 that ends TLS here, hand it on"
            );
            found.push((("admin", "listen"), message));
        }
        let before = clients
            .tls
            .iter()
            .chain(&clients.plain)
            .chain(&listen[..at]);
        let mut others = before.filter(|other| address::overlap(**other, *address));
        if let Some(other) = others.next() {
            let message =
                format!("has {address}, and {other} is listed too: only one can have the port");
            found.push((("admin", "listen"), message));
        }
    }
    if config.admin.token_file.is_some() && listen.is_empty() {
        let message = "is set, and `admin.listen` is empty: the socket needs no token".into();
        found.push((("admin", "token_file"), message));
    }
}

/// The listeners behind proxies, and the proxies in front of them.
fn proxies(config: &Config, found: &mut Vec<(Key, String)>) {
    let listen = &config.listen;
    let key = ("listen", "proxy_protocol");
    if !listen.proxy_protocol.is_empty() && listen.proxies.is_empty() {
        let message = "is set and `listen.proxies` is empty: nobody could connect there".into();
        found.push((key, message));
    }
    for address in &listen.proxy_protocol {
        if !listen.tls.contains(address) && !listen.plain.contains(address) {
            let message =
                format!("has {address}, which is in neither `listen.tls` nor `listen.plain`");
            found.push((key, message));
        }
    }
    if let Some(twice) = repeated(&listen.proxy_protocol) {
        found.push((key, format!("has {twice} twice")));
    }
    networks(("listen", "proxies"), &listen.proxies, found);
}

/// A list that is looked through for each connection.
fn networks(key: Key, networks: &[IpNet], found: &mut Vec<(Key, String)>) {
    if let Some(twice) = repeated(networks) {
        found.push((key, format!("has {twice} twice")));
    }
    if networks.len() > NETWORKS_MAX {
        let message = format!(
            "has {} networks; more than {NETWORKS_MAX} are too many to look through for each connection",
            networks.len()
        );
        found.push((key, message));
    }
}

/// One that was there before.
fn repeated<T: PartialEq>(list: &[T]) -> Option<&T> {
    let mut rest = list.iter().enumerate();
    rest.find_map(|(at, one)| list[..at].contains(one).then_some(one))
}

/// A row for each number with bounds: its key, its value, the least and the most that it may be, its unit.
macro_rules! ranges {
    ($section:ident: $($key:ident, $least:expr, $most:expr, $unit:literal;)*) => {
        [$((stringify!($key), u64::from($section.$key), $least, $most, $unit)),*]
    };
}

/// What `limits.buffer_bytes_max` may be at least: so much for each shard that a few clients do not take all of it.
pub fn buffer_bytes_least(config: &Config) -> u64 {
    4 * u64::from(config.limits.send_queue_bytes_max) * u64::from(config.engine.shard_count())
}

fn limits(config: &Config, found: &mut Vec<(Key, String)>) {
    let limits = &config.limits;
    let ranges = ranges!(limits:
        connections_per_address_max, 0, admission::CONNECTIONS_PER_ADDRESS_MAX.into(), "connections";
        handshakes_per_address_per_second_max, 0, admission::HANDSHAKES_PER_ADDRESS_MAX.into(), "handshakes";
        handshakes_max, 1, 1 << 24, "handshakes";
        handshake_turn_us, 100, 1_000_000, "us";
        connections_max, 1, 1 << 26, "connections";
        devices_per_user_max, 1, 1_024, "devices";
        payload_bytes_max, 1, proto::PAYLOAD_BYTES_MAX as u64, "bytes";
        page_messages_max, 1, proto::PAGE_MESSAGES_MAX as u64, "messages";
        login_timeout_ms, 100, 300_000, "ms";
        heartbeat_interval_ms, 1_000, 3_600_000, "ms";
        idle_timeout_ms, 1_000, 7_200_000, "ms";
        pings_per_second_max, 1, 1_000_000, "pings";
        reconnect_jitter_ms, 0, 600_000, "ms";
        logins_per_second, 0, 10_000_000, "logins";
        send_queue_bytes_max, 4_096, 1 << 30, "bytes";
        conversations_opened_per_user_max, 0, 1 << 24, "conversations";
        conversations_per_user_max, 0, 1 << 24, "conversations";
        send_bytes_per_user_per_second_max, 0, 1 << 40, "bytes";
        send_bytes_per_conversation_per_second_max, 0, 1 << 40, "bytes";
        send_burst_ms, 1, 3_600_000, "ms";
    );
    within("limits", &ranges, found);
    networks(
        ("limits", "exempt_networks"),
        &limits.exempt_networks,
        found,
    );
    if limits.memory_max_bytes != 0 && limits.memory_max_bytes < 64 << 20 {
        found.push((
            ("limits", "memory_max_bytes"),
            format!(
                "is {}; below 67108864 the server itself has no room (0: by the host's memory)",
                limits.memory_max_bytes
            ),
        ));
    }
    if limits.idle_timeout_ms <= limits.heartbeat_interval_ms {
        let message = format!(
            "is {}, not more than `limits.heartbeat_interval_ms` ({}): clients that keep to the interval \
             would be closed",
            limits.idle_timeout_ms, limits.heartbeat_interval_ms
        );
        found.push((("limits", "idle_timeout_ms"), message));
    }
    let least = buffer_bytes_least(config);
    if limits.buffer_bytes_max != 0 && limits.buffer_bytes_max < least {
        let message = format!(
            "is {}, less than {least}: four of `limits.send_queue_bytes_max` for each of the {} shards (0: by the \
             host's memory)",
            limits.buffer_bytes_max,
            config.engine.shard_count()
        );
        found.push((("limits", "buffer_bytes_max"), message));
    }
    // A Deliver is the payload and less than 1 KiB around it; a queue that cannot hold one would
    // close every reader.
    if limits.send_queue_bytes_max < limits.payload_bytes_max.saturating_add(1_024) {
        let message = format!(
            "is {}, less than one message of `limits.payload_bytes_max` ({}) and its 1,024 bytes of frame",
            limits.send_queue_bytes_max, limits.payload_bytes_max
        );
        found.push((("limits", "send_queue_bytes_max"), message));
    }
}

fn drain(config: &Config, found: &mut Vec<(Key, String)>) {
    let drain = &config.drain;
    let ranges = ranges!(drain:
        window_ms, 0, 86_400_000, "ms";
        unready_ms, 0, 3_600_000, "ms";
        clients_per_second_max, 0, 10_000_000, "clients";
        grace_ms, 0, 3_600_000, "ms";
    );
    within("drain", &ranges, found);
    let (most, bytes_most) = (proto::ALTERNATIVES_MAX, proto::ALTERNATIVE_BYTES_MAX);
    let mut wrong = |message| found.push((("drain", "alternatives"), message));
    let urls = &drain.alternatives;
    if urls.len() > most {
        wrong(format!("has {} URLs; {most} fit into a frame", urls.len()));
    }
    for url in urls {
        if !url.starts_with("wss://") && !url.starts_with("ws://") {
            wrong(format!(
                "has {url:?}, which is no WebSocket URL: it begins with wss:// (or ws://)"
            ));
        } else if url.len() > bytes_most {
            let bytes = url.len();
            wrong(format!(
                "has a URL of {bytes} bytes; it may have {bytes_most}"
            ));
        }
    }
}

/// Each number that is outside of its bounds.
fn within(
    section: &'static str,
    ranges: &[(&'static str, u64, u64, u64, &str)],
    found: &mut Vec<(Key, String)>,
) {
    for &(key, value, least, most, unit) in ranges {
        if value < least || value > most {
            let message = format!("is {value}; it may be {least} to {most} {unit}");
            found.push(((section, key), message));
        }
    }
}

fn auth(config: &Config, found: &mut Vec<(Key, String)>) {
    let auth = &config.auth;
    if auth.leeway_ms > 300_000 {
        found.push((
            ("auth", "leeway_ms"),
            format!("is {}; more than 300000 ms is no leeway", auth.leeway_ms),
        ));
    }
    within(
        "auth",
        &ranges!(auth:
            token_lifetime_max_s, 60, u64::from(u32::MAX), "s";
            jwks_refresh_s, auth.jwks_refresh_min_s.into(), 86_400, "s";
            jwks_refresh_min_s, 1, 3_600, "s";
        ),
        found,
    );
    if let Some(Err(wrong)) = auth.jwks_url.as_deref().map(JwksUrl::parse) {
        found.push((("auth", "jwks_url"), wrong));
    }
    let has_set = auth.jwks_file.is_some() || auth.jwks_url.is_some();
    let mut ids = std::collections::BTreeSet::new();
    for key in &auth.keys {
        match &key.id {
            None if auth.keys.len() > 1 || has_set => found.push((
                ("auth", "keys"),
                format!(
                    "has several keys, and the one of {} has no id to tell it by",
                    key.file.display()
                ),
            )),
            Some(id) if !ids.insert(id) => {
                found.push((("auth", "keys"), format!("has two keys with the id `{id}`")));
            }
            _ => {}
        }
    }
}

fn rest(config: &Config, found: &mut Vec<(Key, String)>) {
    if config.data.as_os_str().is_empty() {
        found.push((
            ("", "data"),
            "is empty; it names the directory that the server writes to".into(),
        ));
    }
    match (&config.tls.certificate, &config.tls.key) {
        (Some(_), None) => {
            found.push((
                ("tls", "certificate"),
                "is set and `tls.key` is not: set both or none".into(),
            ));
        }
        (None, Some(_)) => {
            found.push((
                ("tls", "key"),
                "is set and `tls.certificate` is not: set both or none".into(),
            ));
        }
        _ => {}
    }
    if config.engine.shards > SHARDS_MAX {
        found.push((
            ("engine", "shards"),
            format!("is {}; it may be 0 to {SHARDS_MAX}", config.engine.shards),
        ));
    }
    let router = &config.router;
    if router.node_id > NODE_MAX {
        found.push((
            ("router", "node_id"),
            format!("is {}; it may be 0 to {NODE_MAX}", router.node_id),
        ));
    }
    let bounds = log::Options::default().segment_bytes_bounds();
    let block = log::BLOCK_BYTES as u64;
    if !bounds.contains(&router.log_segment_bytes)
        || !router.log_segment_bytes.is_multiple_of(block)
    {
        let message = format!(
            "is {}; it may be {} to {} and is a multiple of {block}, the unit of direct writes",
            router.log_segment_bytes,
            bounds.start(),
            bounds.end()
        );
        found.push((("router", "log_segment_bytes"), message));
    }
    if router.log_segments_max < 4 || router.log_segments_max > 65_536 {
        let message = format!("is {}; it may be 4 to 65536", router.log_segments_max);
        found.push((("router", "log_segments_max"), message));
    }
    if router.readers == 0 || usize::from(router.readers) > READERS_MAX {
        found.push((
            ("router", "readers"),
            format!("is {}; it may be 1 to {READERS_MAX}", router.readers),
        ));
    }
    if router.store_cache_bytes < 1 << 20 {
        let message = format!(
            "is {}; below 1048576 the cache holds not even an index",
            router.store_cache_bytes
        );
        found.push((("router", "store_cache_bytes"), message));
    }
    if let Err(error) = config
        .log
        .filter
        .parse::<tracing_subscriber::filter::Targets>()
    {
        found.push((("log", "filter"), format!("is no filter: {error}")));
    }
}
