//! Each variable of ours, unreadable, empty and misspelled; and those that are none of ours.

use std::os::unix::ffi::OsStringExt as _;

use super::environment::variable;
use super::load::schema;
use super::*;

fn env(variables: &[(&str, &[u8])]) -> Environment {
    let os = std::ffi::OsString::from_vec;
    Environment::of(
        variables
            .iter()
            .map(|(name, value)| (os(name.as_bytes().to_vec()), os(value.to_vec()))),
    )
}

/// What a verb that loads a configuration says, and one that loads none.
fn told(name: &str, value: &[u8]) -> [String; 2] {
    let env = env(&[(name, value)]);
    let of =
        |result: Result<(), ConfigError>| result.map_or_else(|e| e.to_string(), |()| String::new());
    let loaded = Config::load(None, &env, &Overrides::default());
    [of(loaded.map(drop)), of(env.check())]
}

fn ours() -> Vec<String> {
    let keys = schema()
        .into_iter()
        .flat_map(|(section, keys)| keys.iter().map(move |&key| variable((section, key))));
    let verbs = ["ROOKERY_CONFIG", "ROOKERY_TOKEN", "ROOKERY_URL"];
    keys.chain(verbs.map(str::to_owned)).collect()
}

#[test]
fn one_that_is_not_utf_8_is_a_mistake_for_every_verb() {
    let all = ours();
    assert!(all.len() >= 60, "{all:?}");
    for name in &all {
        for said in told(name, b"hunter2\xff") {
            assert_eq!(
                said,
                format!("environment variable {name}: is not UTF-8: byte 8 of its 8 is 0xff")
            );
        }
    }
}

#[test]
fn an_empty_one_is_not_set() {
    for name in ours() {
        assert_eq!(told(&name, b""), ["", ""], "{name}");
        let env = env(&[(&name, b"")]);
        let config = Config::load(None, &env, &Overrides::default()).unwrap();
        assert_eq!(config, Config::default(), "{name}");
        assert_eq!((env.token(), env.url()), (None, None));
    }
}

#[test]
fn a_slip_of_a_name_is_a_mistake() {
    for (name, expected) in [
        ("ROOKERY_AUTH_ISUER", "did you mean `ROOKERY_AUTH_ISSUER`?"),
        ("ROOKERY_AUTHISSUER", "did you mean `ROOKERY_AUTH_ISSUER`?"),
        ("ROOKERY_auth_issuer", "did you mean `ROOKERY_AUTH_ISSUER`?"),
        ("ROOKERY_ISSUER", "did you mean `ROOKERY_AUTH_ISSUER`?"),
        ("ROOKERY_AUTH_AUDIENCES_MAX", "unknown key `audiences_max`"),
        ("ROOKERY_LIMIT_X", "did you mean `limits`?"),
        ("ROOKERY_TLS", "names the section [tls] and no key of it"),
        (
            "ROOKERY_KEY_PREFIX",
            "names no section (did you mean `ROOKERY_REDIS_KEY_PREFIX`?)",
        ),
        (
            "ROOKERY_REPLICATION",
            "`ROOKERY_KAFKA_REPLICATION` or `ROOKERY_CQL_REPLICATION`?",
        ),
        ("ROOKERY_DAT", "did you mean `ROOKERY_DATA`?"),
        ("ROOKERY_TOKENS", "did you mean `ROOKERY_TOKEN`?"),
        ("ROOKERY_CONFIGS", "did you mean `ROOKERY_CONFIG`?"),
    ] {
        for said in told(name, b"x") {
            assert!(
                said.starts_with(&format!("environment variable {name}: ")),
                "{said}"
            );
            assert!(said.contains(expected), "{name}: {said}");
        }
    }
}

#[test]
fn what_only_begins_like_ours_is_told_and_stops_nobody() {
    // As an orchestrator sets them for a service of this name.
    let orchestrator = [
        "ROOKERY_PORT",
        "ROOKERY_SERVICE_HOST",
        "ROOKERY_PORT_8443_TCP",
    ];
    let env = env(&orchestrator.map(|name| (name, &b"10.0.0.1\xff"[..])));
    assert_eq!(
        env.note().unwrap(),
        "environment variables ROOKERY_PORT, ROOKERY_SERVICE_HOST, ROOKERY_PORT_8443_TCP are none \
         of ours and not looked at"
    );
    env.check().unwrap();
    let config = Config::load(None, &env, &Overrides::default()).unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(Environment::default().note(), None);
}
