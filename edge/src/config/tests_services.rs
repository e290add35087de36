//! The sections of the services: what is needed, what is wrong, what is not used, and that no password
//! is shown.

use std::io::Write;
use std::os::unix::ffi::OsStringExt as _;

use super::*;

/// A configuration of the distributed form without mistakes.
const CLUSTER: &str = r#"
[log]
kind = "kafka"
[kafka]
brokers = ["127.0.0.1:19092", "[::1]:19093", "kafka-3.example:9092"]
username = "rookery"
password = "pw-kafka"
[cql]
nodes = ["127.0.0.1:19042"]
username = "rookery"
password = "pw-cql"
[postgres]
url = "postgres://rookery:pw-postgres@127.0.0.1:15432/rookery"
[redis]
url = "redis://127.0.0.1:16379/0"
password = "pw-redis"
"#;

fn load(text: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let env = Environment::of(env.iter().map(|(name, value)| (name.into(), value.into())));
    Config::load(Some(file.path()), &env, &Overrides::default())
}

/// The mistakes of [`CLUSTER`] with one line changed.
fn mistakes(from: &str, to: &str) -> String {
    assert!(CLUSTER.contains(from), "{from}");
    let error = load(&CLUSTER.replacen(from, to, 1), &[]).expect_err("a mistake was expected");
    assert_eq!(error.mistakes.len(), 1, "{to}: {error}");
    error.to_string()
}

#[test]
fn the_distributed_form_needs_all_its_services() {
    assert!(load(CLUSTER, &[]).is_ok());
    let error = load("[log]\nkind = \"kafka\"\n", &[]).expect_err("nothing is there");
    let told = error.to_string();
    for key in ["kafka.brokers", "cql.nodes", "postgres.url", "redis.url"] {
        let expected = format!("`{key}` is empty, and `log.kind` is \"kafka\"");
        assert!(told.contains(&expected), "{expected} is not in:\n{told}");
    }
    // The embedded form needs none.
    assert!(load("[kafka]\nbrokers = []\n", &[]).is_ok());
}

#[test]
fn senseless_values_are_refused_with_the_reason() {
    let cases = [
        (
            "\"127.0.0.1:19092\"",
            "\"kafka\"",
            "`kafka`, which is not host:port",
        ),
        (
            "\"127.0.0.1:19042\"",
            "\"127.0.0.1:0\"",
            "which is not host:port",
        ),
        ("\"[::1]:19093\"", "\"[::g]:1\"", "which is not host:port"),
        (
            "password = \"pw-kafka\"",
            "",
            "the password is not: give `kafka.password`",
        ),
        (
            "username = \"rookery\"\npassword = \"pw-cql\"",
            "password = \"x\"",
            "set `cql.username` too",
        ),
        (
            "\"pw-cql\"",
            "\"pw-cql\"\npassword_file = \"f\"",
            "give one of them",
        ),
        (
            "\"pw-kafka\"",
            "\"***\"",
            "the mask that `check-config` prints",
        ),
        (
            ":pw-postgres@",
            ":***@",
            "the mask that `check-config` prints",
        ),
        (
            ":pw-postgres@127.0.0.1:15432/rookery\"",
            ":a@h/b\"\npassword_file = \"f\"",
            "give it once",
        ),
        ("postgres://", "mysql://", "must begin with postgres://"),
        (
            "redis://127.0.0.1:16379/0",
            "rediss://h",
            "set `redis.tls` to true",
        ),
        ("redis://127.0.0.1:16379/0", "127.0.0.1:16379", "is no URL"),
        (
            "/rookery\"",
            "/rookery?password=x\"",
            "has a password in its query",
        ),
        ("[cql]", "topic_prefix = \"a b\"\n[cql]", "a topic's name"),
        ("[cql]", "replication = 0\n[cql]", "it may be 1 to 15"),
        (
            "[cql]",
            "session_timeout_ms = 5\n[cql]",
            "it may be 1000 to 300000 ms",
        ),
        (
            "[postgres]",
            "keyspace = \"Rookery\"\n[postgres]",
            "small letters",
        ),
        (
            "[redis]",
            "pool_size = 0\n[redis]",
            "it may be 1 to 256 connections",
        ),
        ("[redis]", "[redis]\nkey_prefix = \"a b\"", "without spaces"),
    ];
    for (from, to, expected) in cases {
        let told = mistakes(from, to);
        assert!(told.contains(expected), "{expected} is not in: {told}");
    }
}

/// Each section is encrypted in the same words; the line that is told is the one to change.
#[test]
fn encryption_that_cannot_be_is_refused_with_its_line() {
    for section in ["kafka", "cql", "postgres", "redis"] {
        let head = format!("[{section}]\n");
        let with = |keys: &str| CLUSTER.replacen(&head, &format!("{head}{keys}\n"), 1);
        let files = r#"ca_file = "a.pem"
certificate_file = "b.pem"
key_file = "c.pem""#;
        let good = load(&with(&format!("tls = true\n{files}")), &[]).unwrap();
        let table = toml::Table::try_from(&good).unwrap();
        assert_eq!(table[section]["key_file"].as_str(), Some("c.pem"));
        assert!(load(&with("tls = true"), &[]).is_ok());

        let first_line = 1 + CLUSTER[..CLUSTER.find(&head).unwrap()].lines().count();
        let refused = |keys: &str, key: &str, expected: &str| {
            let error = load(&with(keys), &[]).expect_err("a mistake was expected");
            assert_eq!(error.mistakes.len(), 1, "{keys}: {error}");
            let told = error.to_string();
            let line = first_line + 1 + keys.lines().position(|l| l.starts_with(key)).unwrap();
            for part in [
                &format!(":{line}:"),
                &format!("`{section}.{key}`"),
                expected,
            ] {
                assert!(told.contains(part), "{part} is not in: {told}");
            }
        };
        refused("ca_file = \"a\"", "ca_file", ".tls` is false");
        refused(
            "tls = false\nkey_file = \"a\"",
            "key_file",
            ".tls` is false",
        );
        let half = ".key_file` is not: they come together";
        refused(
            "tls = true\ncertificate_file = \"b\"",
            "certificate_file",
            half,
        );
        let half = ".certificate_file` is not: they come together";
        refused("tls = true\nkey_file = \"b\"", "key_file", half);
        if section == "kafka" {
            // librdkafka holds brokers to the names that they advertise.
            assert!(load(&with("tls = true\nserver_name = \"a\""), &[]).is_err());
            continue;
        }
        let name = "tls = true\nserver_name = \"a b\"";
        refused(name, "server_name", "neither a host's name nor an address");
        refused("server_name = \"a\"", "server_name", ".tls` is false");
    }
}

#[test]
fn the_database_url_does_not_contradict() {
    let told = mistakes("/rookery\"", "/rookery?sslmode=require\"");
    assert!(told.contains("`postgres.tls` decides"), "{told}");
    let told = mistakes("/rookery\"", "/rookery?sslmode=disable\"\ntls = true");
    assert!(told.contains("`postgres.tls` decides"), "{told}");
    let agreed = CLUSTER.replacen("/rookery\"", "/rookery?sslmode=require\"\ntls = true", 1);
    assert!(load(&agreed, &[]).is_ok());
}

#[test]
fn no_password_is_shown() {
    let config = load(CLUSTER, &[]).unwrap();
    for shown in [config.to_toml(), format!("{config:?}")] {
        assert!(shown.contains("***"), "{shown}");
        assert!(
            shown.contains("postgres://rookery:***@127.0.0.1:15432/rookery"),
            "{shown}"
        );
        assert!(!shown.contains("pw-"), "{shown}");
    }
    for (from, to) in [
        ("\"pw-kafka\"", "12345678"),
        ("\"pw-cql\"", "[\"12345678\"]"),
        (
            "\"postgres://rookery:pw-postgres@127.0.0.1:15432/rookery\"",
            "12345678",
        ),
        ("postgres://rookery:pw-postgres@", "rookery:12345678@"),
    ] {
        let told = load(&CLUSTER.replacen(from, to, 1), &[])
            .expect_err("no text")
            .to_string();
        assert!(!told.contains("12345678"), "{told}");
    }
}

#[test]
fn passwords_come_from_files_and_from_the_environment() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "from/a file\nand not this").unwrap();
    let named = format!("password_file = {:?}", file.path());
    let text = CLUSTER
        .replace("password = \"pw-kafka\"", &named)
        .replace("password = \"pw-redis\"", &named)
        .replace("password = \"pw-cql\"", "");
    let config = load(&text, &[("ROOKERY_CQL_PASSWORD", "from the environment")]).unwrap();
    assert_eq!(config.kafka.secret().unwrap().reveal(), "from/a file");
    assert_eq!(
        config.cql.secret().unwrap().reveal(),
        "from the environment"
    );
    assert_eq!(config.redis.secret().unwrap().reveal(), "from/a file");
    assert_eq!(config.redis.url.reveal(), "redis://127.0.0.1:16379/0");
    assert_eq!(config.postgres.secret().unwrap().into_option(), None);
    assert_eq!(
        config.postgres.url.reveal(),
        "postgres://rookery:pw-postgres@127.0.0.1:15432/rookery"
    );

    let text = CLUSTER.replace("password = \"pw-kafka\"", "password_file = \"/nowhere/pw\"");
    let error = load(&text, &[])
        .unwrap()
        .kafka
        .secret()
        .expect_err("there is no such file");
    assert!(error.to_string().contains("/nowhere/pw"), "{error}");
    let empty = tempfile::NamedTempFile::new().unwrap();
    let named = format!("password_file = {:?}", empty.path());
    let text = CLUSTER.replace("password = \"pw-kafka\"", &named);
    let error = load(&text, &[])
        .unwrap()
        .kafka
        .secret()
        .expect_err("nothing in it");
    assert!(error.to_string().contains("is empty"), "{error}");
}

#[test]
fn what_the_other_kind_would_use_is_told() {
    let embedded = CLUSTER.replace("kind = \"kafka\"", "");
    let unused = load(&embedded, &[]).unwrap().unused();
    for key in [
        "kafka.brokers",
        "kafka.password",
        "cql.nodes",
        "postgres.url",
        "redis.password",
    ] {
        assert!(
            unused.iter().any(|unused| unused == key),
            "{key} is not in {unused:?}"
        );
    }
    // Nor does a directory whose name is no text hide them.
    let mut elsewhere = load(&embedded, &[]).unwrap();
    elsewhere.data = std::ffi::OsString::from_vec(vec![0xff]).into();
    assert_eq!(elsewhere.unused(), unused);
    assert_eq!(
        load("[engine]\nshards = 1\n", &[]).unwrap().unused(),
        Vec::<String>::new()
    );

    let cluster = format!("{CLUSTER}[router]\nlog_writer = \"glommio\"\nnode_id = 3\n");
    assert_eq!(load(&cluster, &[]).unwrap().unused(), ["router.log_writer"]);
}
