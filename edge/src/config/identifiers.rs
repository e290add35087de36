//! Names that become parts of the services' own names: each held to the exact rules of its service, so that
//! `migrate` meets no name that a service refuses half-way.

use url::Url;

use super::Config;
use super::load::Key;

/// org.apache.kafka.common.internals.Topic: 249 letters, digits, `.`, `_` and `-`. (A topic whose name
/// differs from another's in `.` against `_` only is refused by the brokers, where it is made: which others
/// there are is not known here.) The group's name has no rules of its own.
const TOPIC_BYTES_MAX: usize = 249;
const TOPIC_PREFIX_MAX: usize = 200;
const _: () = assert!(TOPIC_PREFIX_MAX + ".dead-letters".len() <= TOPIC_BYTES_MAX);

/// org.apache.cassandra.schema.SchemaConstants.NAME_LENGTH, the length of a directory's name. Letters,
/// digits and underscores; reserved words too, since the name is quoted wherever it stands in a statement,
/// and so it may have no capitals, which count between quotes.
const KEYSPACE_BYTES_MAX: usize = 48;

/// PostgreSQL's NAMEDATALEN, 64, with the zero at its end: longer names are cut off or not found.
const POSTGRES_NAME_BYTES_MAX: usize = 63;

/// A key of Redis may be any bytes (redis.io, "Keys"); people type these, and each key in memory has it.
const KEY_PREFIX_MAX: usize = 64;

type Found = Vec<(Key, String)>;

pub(super) fn check(config: &Config, found: &mut Found) {
    topic_prefix(&config.kafka.topic_prefix, found);
    keyspace(&config.cql.keyspace, found);
    key_prefix(&config.redis.key_prefix, found);
    for (key, url, rule) in [
        (
            ("postgres", "url"),
            &config.postgres.url,
            postgres_names as Rule,
        ),
        (("redis", "url"), &config.redis.url, redis_database),
    ] {
        if let Some(wrong) = url.parse().ok().and_then(|url| rule(&url)) {
            found.push((key, wrong));
        }
    }
}

/// What is wrong with the names in a URL.
type Rule = fn(&Url) -> Option<String>;

fn topic_prefix(prefix: &str, found: &mut Found) {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if prefix.is_empty() || prefix.len() > TOPIC_PREFIX_MAX || !prefix.bytes().all(fits) {
        let message = format!(
            "is `{prefix}`; a topic's name has 1 to {TOPIC_PREFIX_MAX} letters, digits, dots, hyphens and underscores"
        );
        found.push((("kafka", "topic_prefix"), message));
    }
}

fn keyspace(keyspace: &str, found: &mut Found) {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let begins = keyspace.starts_with(|first: char| first.is_ascii_lowercase());
    let message = if !begins || keyspace.len() > KEYSPACE_BYTES_MAX || !keyspace.bytes().all(fits) {
        format!(
            "is `{keyspace}`; it may have up to {KEYSPACE_BYTES_MAX} small letters, digits and underscores, a letter first"
        )
    } else if keyspace == "system" || keyspace.starts_with("system_") {
        format!("is `{keyspace}`; keyspaces of this name are the servers' own")
    } else {
        return;
    };
    found.push((("cql", "keyspace"), message));
}

fn key_prefix(prefix: &str, found: &mut Found) {
    if prefix.len() > KEY_PREFIX_MAX || !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = format!(
            "is no prefix: it may have up to {KEY_PREFIX_MAX} ASCII characters without spaces"
        );
        found.push((("redis", "key_prefix"), message));
    }
}

/// The user's and the database's name.
fn postgres_names(url: &Url) -> Option<String> {
    let database = url.path().trim_start_matches('/');
    [("user", url.username()), ("database", database)]
        .into_iter()
        .find_map(|(what, written)| {
            let name = percent_decoded(written);
            if name.contains(&0) || written.contains('/') {
                Some(format!("has a {what} that no {what} can be called"))
            } else if name.len() > POSTGRES_NAME_BYTES_MAX {
                Some(format!(
                    "has a {what} of {} bytes; PostgreSQL's names have {POSTGRES_NAME_BYTES_MAX} at most",
                    name.len()
                ))
            } else {
                None
            }
        })
}

/// A number, or nothing for the first one.
fn redis_database(url: &Url) -> Option<String> {
    let database = url.path().trim_start_matches('/');
    let is_number = database.is_empty() || database.parse::<u32>().is_ok();
    (!is_number).then(|| "has a database that is no number: redis://host:6379/0".to_owned())
}

/// The bytes that a part of a URL stands for. What is no escape stands for itself.
fn percent_decoded(text: &str) -> Vec<u8> {
    let name = format!("{text}&");
    url::form_urlencoded::parse(name.replace('+', "%2B").as_bytes())
        .next()
        .map(|(name, _)| name.into_owned().into_bytes())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::ServiceUrl;
    use super::*;

    /// What is said of a configuration with one name in it.
    fn told(set: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        set(&mut config);
        let mut found = Vec::new();
        check(&config, &mut found);
        assert!(found.len() <= 1, "{found:?}");
        found.pop().map_or_else(String::new, |(_, message)| message)
    }

    #[test]
    fn keyspaces() {
        let told = |name: &str| told(|config| config.cql.keyspace = name.to_owned());
        let longest = "a".repeat(48);
        // Words of the language too: the name is quoted.
        for good in [
            "rookery", "a", "a_1", "alter", "select", "keyspace", "token", "systems", &longest,
        ] {
            assert_eq!(told(good), "", "{good}");
        }
        let longer = "a".repeat(49);
        for bad in [
            "", "Rookery", "1a", "_a", "a-b", "a b", "a.b", "a\"b", "a;b", "é", &longer,
        ] {
            assert!(told(bad).contains("small letters"), "{bad}");
        }
        for own in ["system", "system_auth", "system_schema", "system_traces"] {
            assert!(told(own).contains("the servers' own"), "{own}");
        }
    }

    #[test]
    fn topic_prefixes() {
        let told = |name: &str| told(|config| config.kafka.topic_prefix = name.to_owned());
        let longest = "a".repeat(200);
        for good in ["rookery", "A.b_c-9", ".", "..", "__", &longest] {
            assert_eq!(told(good), "", "{good}");
        }
        let longer = "a".repeat(201);
        for bad in ["", "a b", "a/b", "a:b", "é", "a\n", &longer] {
            assert!(told(bad).contains("a topic's name"), "{bad}");
        }
    }

    #[test]
    fn key_prefixes() {
        let told = |name: &str| told(|config| config.redis.key_prefix = name.to_owned());
        let longest = "a".repeat(64);
        for good in ["", "rookery:", "{a}:", &longest] {
            assert_eq!(told(good), "", "{good}");
        }
        let longer = "a".repeat(65);
        for bad in [" ", "a b", "a\n", "a\0", "é", &longer] {
            assert!(told(bad).contains("is no prefix"), "{bad}");
        }
    }

    #[test]
    fn names_in_urls() {
        let url = |text: &str| toml::Value::from(text).try_into::<ServiceUrl>().unwrap();
        let postgres = |text: &str| told(|config| config.postgres.url = url(text));
        let longest = "a".repeat(63);
        for good in [
            "postgres://h",
            "postgres://u@h:1/rookery",
            "postgres://u%40x@h/a%20b+c",
            &format!("postgres://{longest}@h/{longest}"),
        ] {
            assert_eq!(postgres(good), "", "{good}");
        }
        for (bad, expected) in [
            (
                "postgres://u@h/a%00b",
                "has a database that no database can be called",
            ),
            (
                "postgres://u%00@h/a",
                "has a user that no user can be called",
            ),
            (
                "postgres://u@h/a/b",
                "has a database that no database can be called",
            ),
            (
                &format!("postgres://u@h/{longest}a"),
                "has a database of 64 bytes",
            ),
            // Bytes, not characters.
            (
                &format!("postgres://u@h/{}", "é".repeat(32)),
                "has a database of 64 bytes",
            ),
            (
                &format!("postgres://{longest}a@h/b"),
                "has a user of 64 bytes",
            ),
        ] {
            let told = postgres(bad);
            assert!(told.starts_with(expected), "{bad}: {told}");
        }
        let redis = |text: &str| told(|config| config.redis.url = url(text));
        for good in ["redis://h", "redis://h/", "redis://h/0", "redis://h/15"] {
            assert_eq!(redis(good), "", "{good}");
        }
        for bad in [
            "redis://h/x",
            "redis://h/-1",
            "redis://h/1/2",
            "redis://h/0x1",
        ] {
            assert!(redis(bad).contains("is no number"), "{bad}");
        }
    }
}
