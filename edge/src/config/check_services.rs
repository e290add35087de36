//! What makes the sections of the services wrong. Whether a service is there is not asked here: that is
//! `check-config --connect`.

use std::path::PathBuf;

use rustls::pki_types::ServerName;

use super::load::Key;
use super::secret::{MASK, Secret, ServiceUrl};
use super::services::Encryption;
use super::{Config, LogKind, identifiers};

type Found = Vec<(Key, String)>;

pub(super) fn check(config: &Config, found: &mut Found) {
    if config.log.kind == LogKind::Kafka {
        presence(config, found);
    }
    addresses(config, found);
    ranges(config, found);
    identifiers::check(config, found);
    let (kafka, cql) = (&config.kafka, &config.cql);
    login(
        "kafka",
        &kafka.username,
        &kafka.password,
        &kafka.password_file,
        found,
    );
    login(
        "cql",
        &cql.username,
        &cql.password,
        &cql.password_file,
        found,
    );
    let (postgres, redis) = (&config.postgres, &config.redis);
    encryption("kafka", kafka.encryption(), found);
    encryption("cql", cql.encryption(), found);
    encryption("postgres", postgres.encryption(), found);
    encryption("redis", redis.encryption(), found);
    sslmode(config, found);
    let schemes = ["postgres", "postgresql"];
    url("postgres", &schemes, &postgres.url, found);
    url("redis", &["redis"], &redis.url, found);
    secret(
        "postgres",
        &postgres.password,
        &postgres.password_file,
        found,
    );
    secret("redis", &redis.password, &redis.password_file, found);
    within(
        "postgres",
        &postgres.url,
        &postgres.password,
        &postgres.password_file,
        found,
    );
    within(
        "redis",
        &redis.url,
        &redis.password,
        &redis.password_file,
        found,
    );
}

/// The distributed form needs all four.
fn presence(config: &Config, found: &mut Found) {
    let needs = [
        (
            "kafka",
            "brokers",
            config.kafka.brokers.is_empty(),
            "the log is there",
        ),
        (
            "cql",
            "nodes",
            config.cql.nodes.is_empty(),
            "messages are read from there",
        ),
        (
            "postgres",
            "url",
            config.postgres.url.is_empty(),
            "members and conversations are there",
        ),
        (
            "redis",
            "url",
            config.redis.url.is_empty(),
            "repeated sends are recognised there",
        ),
    ];
    for (section, key, is_missing, why) in needs {
        if is_missing {
            let message = format!("is empty, and `log.kind` is \"kafka\": {why}");
            found.push(((section, key), message));
        }
    }
}

fn addresses(config: &Config, found: &mut Found) {
    let lists = [
        (("kafka", "brokers"), &config.kafka.brokers),
        (("cql", "nodes"), &config.cql.nodes),
    ];
    for (key, addresses) in lists {
        for address in addresses.iter().filter(|address| !is_address(address)) {
            found.push((key, format!("has `{address}`, which is not host:port")));
        }
    }
}

fn is_address(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else {
        return false;
    };
    let host_is_good = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
        }
    };
    host_is_good && port.parse::<u16>().is_ok_and(|port| port != 0)
}

fn ranges(config: &Config, found: &mut Found) {
    let (kafka, cql) = (&config.kafka, &config.cql);
    let ranges: [(Key, u32, u32, u32, &str); 7] = [
        (("kafka", "partitions"), kafka.partitions, 1, 10_000, ""),
        (
            ("kafka", "replication"),
            kafka.replication.into(),
            1,
            15,
            "",
        ),
        (("kafka", "linger_ms"), kafka.linger_ms, 0, 1_000, " ms"),
        (
            ("kafka", "delivery_timeout_ms"),
            kafka.delivery_timeout_ms,
            1_000,
            120_000,
            " ms",
        ),
        // Brokers have a bound of their own, group.min.session.timeout.ms, 6,000 unless changed.
        (
            ("kafka", "session_timeout_ms"),
            kafka.session_timeout_ms,
            1_000,
            300_000,
            " ms",
        ),
        (("cql", "replication"), cql.replication.into(), 1, 15, ""),
        (
            ("postgres", "pool_size"),
            config.postgres.pool_size.into(),
            1,
            256,
            " connections",
        ),
    ];
    for (key, value, min, max, unit) in ranges {
        if value < min || value > max {
            found.push((key, format!("is {value}; it may be {min} to {max}{unit}")));
        }
    }
}

/// A name without a password, or the other way round.
fn login(
    section: &'static str,
    username: &Option<String>,
    password: &Secret,
    file: &Option<PathBuf>,
    found: &mut Found,
) {
    secret(section, password, file, found);
    let has_password = !password.is_empty() || file.is_some();
    if username.is_some() && !has_password {
        let variable = section.to_ascii_uppercase();
        let message = format!(
            "is set and the password is not: give `{section}.password`, `{section}.password_file` or ROOKERY_{variable}_PASSWORD"
        );
        found.push(((section, "username"), message));
    }
    if username.is_none() && has_password {
        let message = format!("is empty, and there is a password: set `{section}.username` too");
        found.push(((section, "username"), message));
    }
}

fn secret(section: &'static str, password: &Secret, file: &Option<PathBuf>, found: &mut Found) {
    if !password.is_empty() && file.is_some() {
        let message = format!("is set, and `{section}.password_file` too: give one of them");
        found.push(((section, "password"), message));
    }
    if password.reveal() == MASK {
        let message = "is the mask that `check-config` prints, not a password";
        found.push(((section, "password"), message.into()));
    }
}

/// Names for connections that are not encrypted, half of a pair, or no name.
fn encryption(section: &'static str, asked: Encryption<'_>, found: &mut Found) {
    let given = [
        ("ca_file", asked.ca_file.is_some()),
        ("certificate_file", asked.certificate_file.is_some()),
        ("key_file", asked.key_file.is_some()),
        ("server_name", asked.server_name.is_some()),
    ];
    if !asked.tls {
        for (key, _) in given.into_iter().filter(|(_, is_set)| *is_set) {
            let message =
                format!("is set, and `{section}.tls` is false: set that to true, or take this out");
            found.push(((section, key), message));
        }
        return;
    }
    let pair = ["certificate_file", "key_file"];
    let half = match (asked.certificate_file, asked.key_file) {
        (Some(_), None) => Some(pair),
        (None, Some(_)) => Some([pair[1], pair[0]]),
        _ => None,
    };
    if let Some([given, missing]) = half {
        let message = format!("is set, and `{section}.{missing}` is not: they come together");
        found.push(((section, given), message));
    }
    if let Some(name) = asked.server_name
        && ServerName::try_from(name.as_str()).is_err()
    {
        let message = format!("is `{name}`, which is neither a host's name nor an address");
        found.push(((section, "server_name"), message));
    }
}

/// PostgreSQL's own word for it, within the URL.
fn sslmode(config: &Config, found: &mut Found) {
    let Ok(url) = config.postgres.url.parse() else {
        return;
    };
    let mode = url.query_pairs().find(|(name, _)| name == "sslmode");
    let contradicts = mode.is_some_and(|(_, mode)| match config.postgres.tls {
        true => mode == "disable",
        false => mode == "require",
    });
    if contradicts {
        let message =
            "has an sslmode that `postgres.tls` contradicts: take it out, `postgres.tls` decides";
        found.push((("postgres", "url"), message.into()));
    }
}

fn url(section: &'static str, schemes: &[&str], url: &ServiceUrl, found: &mut Found) {
    if url.is_empty() {
        return;
    }
    let message = match url.parse() {
        Err(error) => format!("is no URL: {error}"),
        Ok(parsed) if parsed.scheme() == "rediss" => {
            "begins with rediss://: begin it with redis://, and set `redis.tls` to true".to_owned()
        }
        Ok(parsed) if !schemes.contains(&parsed.scheme()) => {
            format!("must begin with {}://", schemes[0])
        }
        Ok(parsed) if parsed.host_str().is_none_or(str::is_empty) => "names no host".to_owned(),
        Ok(parsed) if parsed.query_pairs().any(|(name, _)| name == "password") => {
            format!("has a password in its query: set `{section}.password` instead")
        }
        Ok(parsed) if parsed.password() == Some(MASK) => {
            "has the mask that `check-config` prints in the place of its password".to_owned()
        }
        Ok(_) => return,
    };
    found.push(((section, "url"), message));
}

/// A password within the URL and another one beside it.
fn within(
    section: &'static str,
    url: &ServiceUrl,
    password: &Secret,
    file: &Option<PathBuf>,
    found: &mut Found,
) {
    if url.has_password() && (!password.is_empty() || file.is_some()) {
        let message = format!(
            "has a password, and `{section}.password` or `{section}.password_file` is set too: give it once"
        );
        found.push(((section, "url"), message));
    }
}
