//! Each source, each kind of mistake, and the example file against the defaults.

use std::io::Write;
use std::path::Path;

use super::*;

fn load(text: &str, env: &[(&str, &str)], overrides: &Overrides) -> Result<Config, ConfigError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let env = Environment::of(env.iter().map(|(name, value)| (name.into(), value.into())));
    Config::load(Some(file.path()), &env, overrides)
}

/// The mistakes of a file, as "line:column message".
fn mistakes(text: &str) -> Vec<String> {
    let error = load(text, &[], &Overrides::default()).expect_err("a mistake was expected");
    let mistakes = error.mistakes.iter().map(|mistake| match &mistake.origin {
        Origin::File { line, column, .. } => format!("{line}:{column} {}", mistake.message),
        other => format!("{other} {}", mistake.message),
    });
    mistakes.collect()
}

#[test]
fn nothing_said_is_the_defaults() {
    assert_eq!(
        Config::load(None, &Environment::default(), &Overrides::default()).unwrap(),
        Config::default()
    );
    assert_eq!(
        load("", &[], &Overrides::default()).unwrap(),
        Config::default()
    );
}

#[test]
fn the_annotated_example_is_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rookery.toml");
    assert_eq!(
        Config::load(Some(&path), &Environment::default(), &Overrides::default()).unwrap(),
        Config::default()
    );
    let text = std::fs::read_to_string(&path).unwrap();
    let table: toml::Table = text.parse().unwrap();
    let shown: toml::Table = Config::default().to_toml().parse().unwrap();
    let mut keys = 0;
    for (section, value) in &shown {
        for key in value.as_table().into_iter().flat_map(|table| table.keys()) {
            assert!(
                table[section].get(key).is_some(),
                "docs/rookery.toml lacks {section}.{key}"
            );
            keys += 1;
        }
    }
    assert!(keys >= 25, "only {keys} keys were compared");
}

#[test]
fn what_is_shown_parses_to_the_same() {
    let text = "[[auth.keys]]\nid = \"a\"\nalgorithm = \"ES256\"\nfile = \"a.pem\"\n[tls]\ncertificate = \"c\"\nkey = \"k\"\n";
    let config = load(text, &[], &Overrides::default()).unwrap();
    assert_eq!(
        load(&config.to_toml(), &[], &Overrides::default()).unwrap(),
        config
    );
}

#[test]
fn later_sources_win() {
    let text = "[engine]\nshards = 1\npin = false\n[log]\nfilter = \"warn\"\n";
    let env = [
        ("ROOKERY_ENGINE_SHARDS", "2"),
        ("ROOKERY_LOG_FORMAT", "json"),
        ("ROOKERY_LISTEN_PLAIN", "127.0.0.1:1, 127.0.0.1:2"),
        ("ROOKERY_AUTH_ISSUER", "17"),
        ("ROOKERY_TOKEN", "somebody else's"),
        ("HOME", "/root"),
    ];
    let config = load(text, &env, &Overrides::default()).unwrap();
    assert_eq!((config.engine.shards, config.engine.pin), (2, false));
    assert_eq!(
        (config.log.format, config.log.filter.as_str()),
        (LogFormat::Json, "warn")
    );
    assert_eq!(config.listen.plain.len(), 2);
    assert_eq!(config.auth.issuer.as_deref(), Some("17"));

    let overrides = Overrides {
        shards: Some(3),
        data: Some("/d".into()),
        ..Overrides::default()
    };
    let config = load(text, &env, &overrides).unwrap();
    assert_eq!(
        (config.engine.shards, config.data.as_path()),
        (3, Path::new("/d"))
    );
}

#[test]
fn unknown_keys_are_refused_with_their_place_and_the_nearest() {
    assert_eq!(
        mistakes("[limits]\npage_messages_max = 5\n  payload_byte_max = 5\n"),
        ["3:3 unknown key `payload_byte_max` (did you mean `payload_bytes_max`?) in [limits]"]
    );
    assert_eq!(
        mistakes("[limts]\n"),
        ["1:2 unknown section or key `limts` (did you mean `limits`?)"]
    );
    assert_eq!(
        mistakes("[[auth.keys]]\nalgoritm = \"HS256\"\nfile = \"x\"\n"),
        ["2:1 unknown key `algoritm` (did you mean `algorithm`?) in [[auth.keys]]"]
    );
    assert!(
        mistakes("[log]\nzzz = 1\n")[0]
            .ends_with("`zzz` (known are kind, format, filter) in [log]")
    );
}

#[test]
fn wrong_types_and_values_are_refused_with_their_place() {
    let found =
        mistakes("[engine]\nshards = \"four\"\npin = 1\n[limits]\ndevices_per_user_max = -5\n");
    assert_eq!(found.len(), 3, "{found:#?}");
    for place in [
        "2:10 `engine.shards`",
        "3:7 `engine.pin`",
        "5:24 `limits.devices_per_user_max`",
    ] {
        assert!(
            found.iter().any(|mistake| mistake.starts_with(place)),
            "{place} in {found:#?}"
        );
    }
    assert!(mistakes("[listen]\ntls = [\"localhost\"]\n")[0].starts_with("2:8 `listen.tls`"));
    assert!(mistakes("listen = 3\n")[0].contains("is a section"));
    assert!(
        mistakes("[[auth.keys]]\nalgorithm = \"none\"\nfile = \"x\"\n")[0]
            .starts_with("2:13 `auth.keys`")
    );
    assert!(mistakes("[[auth.keys]]\nalgorithm = \"HS256\"\n")[0].contains("missing field `file`"));
}

#[test]
fn syntax_errors_have_their_place() {
    assert!(mistakes("[engine]\nshards = \n")[0].starts_with("2:"));
    assert!(!mistakes("\u{0}").is_empty());
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = "[engine]\nshrads = 1\n[limits]\npage_messages_max = 0\nidle_timeout_ms = 2000\n";
    let error = load(
        text,
        &[("ROOKERY_LOG_FORMAT", "xml"), ("ROOKERY_LIMIT_X", "1")],
        &Overrides::default(),
    )
    .expect_err("five mistakes");
    assert_eq!(error.mistakes.len(), 5, "{error}");
    assert!(
        error
            .to_string()
            .contains("environment variable ROOKERY_LOG_FORMAT"),
        "{error}"
    );
    assert!(
        error.to_string().contains("did you mean `limits`?"),
        "{error}"
    );
}

#[test]
fn senseless_values_are_refused_with_the_reason() {
    let cases = [
        ("[listen]\ntls = []\n", "nobody could connect"),
        ("[listen]\nplain = [\"127.0.0.1:8443\"]\n", "listed twice"),
        ("[tls]\nkey = \"k\"\n", "set both or none"),
        ("[tls]\ncertificate = \"k\"\n", "set both or none"),
        (
            "[limits]\nlogin_timeout_ms = 1\n",
            "it may be 100 to 300000 ms",
        ),
        (
            "[limits]\nheartbeat_interval_ms = 80000\n",
            "would be closed",
        ),
        (
            "[limits]\nsend_queue_bytes_max = 5000\n",
            "less than one message",
        ),
        ("[router]\nnode_id = 1024\n", "it may be 0 to 1023"),
        (
            "[router]\nlog_segment_bytes = 1048577\n",
            "multiple of 4096",
        ),
        ("[router]\nreaders = 0\n", "it may be 1 to 64"),
        ("[router]\nreaders = 65\n", "it may be 1 to 64"),
        ("[router]\nstore_cache_bytes = 5\n", "not even an index"),
        ("[engine]\nshards = 2000\n", "0 to 1024"),
        ("[log]\nfilter = \"rookery=loud\"\n", "is no filter"),
        ("[auth]\nleeway_ms = 999999\n", "no leeway"),
        ("data = \"\"\n", "is empty"),
        ("[drain]\nwindow_ms = 86400001\n", "it may be 0 to 86400000"),
        (
            "[drain]\nalternatives = [\"https://a\"]\n",
            "is no WebSocket URL",
        ),
        (
            "[drain]\nalternatives = [\"wss://a\", \"wss://a\", \"wss://a\", \"wss://a\", \"wss://a\", \"wss://a\", \"wss://a\", \"wss://a\", \"wss://a\"]\n",
            "has 9 URLs",
        ),
        (
            "[[auth.keys]]\nid = \"a\"\nalgorithm = \"HS256\"\nfile = \"x\"\n[[auth.keys]]\nid = \"a\"\nalgorithm = \"HS256\"\nfile = \"y\"\n",
            "two keys with the id `a`",
        ),
        (
            "[[auth.keys]]\nalgorithm = \"HS256\"\nfile = \"x\"\n[[auth.keys]]\nid = \"a\"\nalgorithm = \"HS256\"\nfile = \"y\"\n",
            "has no id",
        ),
    ];
    for (text, expected) in cases {
        let found = mistakes(text);
        assert!(
            found.len() == 1 && found[0].contains(expected),
            "{text}: {found:#?}"
        );
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let path = "/nowhere/rookery.toml";
    let env = Environment::of([("ROOKERY_CONFIG".into(), path.into())]);
    let told = |given: Option<&str>| {
        Config::load(given.map(Path::new), &env, &Overrides::default())
            .expect_err("there is no such file")
            .to_string()
    };
    let typed = told(Some("/nowhere/typed.toml"));
    let expected = "/nowhere/typed.toml: cannot be read: No such file";
    assert!(typed.starts_with(expected), "{typed}");
    let from_env = told(None);
    let expected = format!("environment variable ROOKERY_CONFIG: cannot read {path}: No such");
    assert!(from_env.starts_with(&expected), "{from_env}");
}

#[test]
fn listeners_behind_proxies_are_listeners_and_their_proxies_are_named() {
    let ours = "[listen]\ntls = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n";
    let with = |rest: &str| format!("{ours}{rest}");
    let config = load(
        &with("proxy_protocol = \"127.0.0.1:2\"\nproxies = [\"10.0.0.0/8\", \"fd00::/8\"]\n"),
        &[],
        &Overrides::default(),
    )
    .unwrap();
    assert_eq!(config.listen.proxies.len(), 2);
    let cases = [
        (
            "proxy_protocol = [\"127.0.0.1:2\"]\n",
            "3:18 `listen.proxy_protocol` is set and `listen.proxies` is empty: nobody could connect there",
        ),
        (
            "proxy_protocol = [\"127.0.0.1:3\"]\nproxies = [\"10.0.0.0/8\"]\n",
            "3:18 `listen.proxy_protocol` has 127.0.0.1:3, which is in neither `listen.tls` nor `listen.plain`",
        ),
        (
            "proxy_protocol = [\"127.0.0.1:2\", \"127.0.0.1:2\"]\nproxies = [\"10.0.0.0/8\"]\n",
            "3:18 `listen.proxy_protocol` has 127.0.0.1:2 twice",
        ),
        (
            "proxy_protocol = [\"127.0.0.1:2\"]\nproxies = [\"10.0.0.0/8\", \"fd00::/8\", \"10.0.0.0/8\"]\n",
            "4:11 `listen.proxies` has 10.0.0.0/8 twice",
        ),
    ];
    for (rest, mistake) in cases {
        assert_eq!(mistakes(&with(rest)), [mistake]);
    }
    let found = mistakes(&with("proxies = [\"10.0.0.1/8\"]\n"));
    assert!(
        found[0].starts_with("3:12 `listen.proxies`: `10.0.0.1/8` has bits set"),
        "{found:?}"
    );
    let many: Vec<String> = (0..=256)
        .map(|n| format!("\"10.{}.{}.0/24\"", n / 256, n % 256))
        .collect();
    let found = mistakes(&with(&format!("proxies = [{}]\n", many.join(", "))));
    assert!(found[0].contains("has 257 networks"), "{found:?}");
}
