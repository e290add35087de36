//! The binary's verbs that need no server: what they print, and their exit codes.
#![allow(
    clippy::unwrap_used,
    reason = "a test's helper functions fail as the test does"
)]

mod outputs;

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use rookery_edge::auth;
use rookery_edge::config::{Algorithm, Config};

fn rookery(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rookery"))
        .args(args)
        .env_clear()
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A data directory with the development key that a server's first start makes.
fn data_directory() -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    auth::LoginKeys::load(&Config::default().auth, data.path()).unwrap();
    data
}

/// That no cause of an error is told twice.
fn assert_told_once(told: &str) {
    for line in told.lines() {
        let parts: Vec<&str> = line.split(": ").collect();
        assert!(parts.windows(2).all(|two| two[0] != two[1]), "{line}");
    }
}

#[test]
fn a_minted_token_logs_in() {
    let data = data_directory();
    let path = data.path().to_str().unwrap();
    let output = rookery(&[
        "token", "--user", "7", "--device", "3", "--ttl", "1h", "--data", path,
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    let keys = auth::LoginKeys::load(&Config::default().auth, data.path()).unwrap();
    assert!(!keys.dev_key.as_ref().unwrap().made_now);
    let verifier = keys.verifier(&auth::FetchedSet::default(), &auth::Wanted::default());
    let token = stdout(&output);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let login = verifier
        .verify(token.trim().as_bytes(), now.as_millis() as u64)
        .unwrap();
    assert_eq!((login.user_id, login.device_id), (7, 3));
}

#[test]
fn only_a_server_makes_a_data_directory() {
    let nowhere = tempfile::tempdir().unwrap();
    let path = nowhere.path().join("mistyped");
    let data = path.to_str().unwrap();
    for args in [&["token"][..], &["chat", "--to", "8"]] {
        let output = rookery(&[args, &["--user", "7", "--data", data]].concat());
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{told}");
        let what = format!("error: there is no development key {data}/auth/dev-key: ");
        assert!(told.starts_with(&what), "{told}");
        assert!(
            told.contains(&format!("`rookery serve --data {data}` makes one")),
            "{told}"
        );
        assert!(!path.exists());
    }
}

#[test]
fn a_taken_port_is_told_once() {
    let data = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let path = data.path().to_str().unwrap();
    let output = rookery(&[
        "serve", "--data", path, "--listen", &listen, "--shards", "1",
    ]);
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert_eq!(told.matches("Address already in use").count(), 1, "{told}");
}

#[test]
fn a_private_key_signs_with_its_own_algorithm_and_a_public_key_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key.pem");
    let key = path.to_str().unwrap();
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    std::fs::write(&path, pair.serialize_pem()).unwrap();
    let output = rookery(&["token", "--user", "7", "--key", key]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let public = pair.public_key_pem();
    let public = auth::VerifyingKey::from_bytes(None, Algorithm::EdDsa, public.as_bytes());
    let verifier = auth::Verifier::new(vec![public.unwrap()], auth::Rules::default());
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let token = stdout(&output);
    let login = verifier
        .verify(token.trim().as_bytes(), now.as_millis() as u64)
        .unwrap();
    assert_eq!(login.user_id, 7);

    std::fs::write(&path, pair.public_key_pem()).unwrap();
    let output = rookery(&["token", "--user", "7", "--key", key]);
    assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
    let told = stderr(&output);
    let expected = format!("error: key file {key} holds a public key");
    assert!(told.starts_with(&expected), "{told}");
    assert_eq!(stdout(&output), "");
}

#[test]
fn wrong_command_lines_are_told_with_exit_code_2() {
    let cases: [(&[&str], &str); 14] = [
        (&["token", "--user", "0"], "--user"),
        (&["token", "--user", "9223372036854775808"], "--user"),
        (&["token", "--user", "7", "--device", "0"], "--device"),
        (
            &[
                "token",
                "--user",
                "7",
                "--key",
                "/nowhere/key",
                "--alg",
                "none",
            ],
            "possible values: HS256, ES256, EdDSA",
        ),
        (
            &["token", "--user", "7", "--key", "/nowhere/key"],
            "cannot read key file /nowhere/key",
        ),
        (
            &["token", "--user", "7", "--ttl", "0s"],
            "must be at least 1s",
        ),
        (
            &["token", "--user", "7", "--ttl", "999ms"],
            "must be at least 1s",
        ),
        (&["token", "--user", "7", "--ttl", "soon"], "--ttl"),
        (&["serve", "--shards", "many"], "--shards"),
        (
            &["serve", "--config", "/nowhere/rookery.toml"],
            "error: /nowhere/rookery.toml: cannot be read: No such file",
        ),
        (
            &["check-config", "nofile.toml"],
            "error: nofile.toml: cannot be read: No such file",
        ),
        (
            &["serve", "--shards", "2000"],
            "option --shards: `engine.shards` is 2000",
        ),
        (&["chat", "--to", "8"], "say who you are: --user ID"),
        (
            &["chat", "--user", "7", "--to", "8", "--url", "http://x"],
            "must begin with wss://",
        ),
    ];
    for (args, expected) in cases {
        let output = rookery(args);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{args:?}: {}",
            stderr(&output)
        );
        assert!(
            stderr(&output).contains(expected),
            "{args:?}: {}",
            stderr(&output)
        );
        assert!(!stderr(&output).contains("panicked"), "{args:?}");
        assert_told_once(&stderr(&output));
    }
}

#[test]
fn a_token_that_no_server_takes_is_not_minted() {
    let data = tempfile::tempdir().unwrap();
    let key = data.path().join("auth/dev-key");
    std::fs::create_dir(key.parent().unwrap()).unwrap();
    std::fs::write(key, [7; 32]).unwrap();
    let long = "x".repeat(9_000);
    let no_server = "error: no server would take such a token: ";
    let cases: [(&[&str], [&str; 2]); 4] = [
        (&["--ttl", "0s"], ["--ttl", "must be at least 1s"]),
        (&["--ttl", "999ms"], ["--ttl", "must be at least 1s"]),
        (&["--ttl", "100y"], [no_server, "`exp` is too large"]),
        (
            &["--issuer", &long],
            [no_server, "it is longer than 8,192 bytes"],
        ),
    ];
    for (options, expected) in cases {
        let path = data.path().to_str().unwrap();
        let output = rookery(&[&["token", "--user", "7", "--data", path], options].concat());
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{options:?}: {told}");
        assert!(expected.iter().all(|it| told.contains(it)), "{told}");
        assert_eq!(stdout(&output), "");
    }
}

#[test]
fn files_of_secrets_are_judged_before_anything_runs() {
    let directory = tempfile::tempdir().unwrap();
    let (key, path) = (
        directory.path().join("secret"),
        directory.path().join("rookery.toml"),
    );
    let file = path.to_str().unwrap();
    let data = directory.path().join("data");
    let data = data.to_str().unwrap();
    let text = format!("[[auth.keys]]\nalgorithm = \"HS256\"\nfile = {key:?}\n");
    std::fs::write(&path, text).unwrap();
    let hex = "0123456789abcdef".repeat(4);
    let base64 = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA==";
    let words = "correct horse battery staple, and more";
    let mut random: Vec<u8> = (0x80..0xa0).collect();
    random[31] = b'\n';
    let refused: [(&[u8], &str); 7] = [
        (b"", "is empty"),
        (b"\n", "is shorter than the 32 bytes"),
        (b"short", "is shorter than the 32 bytes"),
        // 32 bytes with the newline.
        (
            b"0123456789012345678901234567890\n",
            "is shorter than the 32 bytes",
        ),
        (
            &[words.as_bytes(), b"\n"].concat(),
            "holds a text that ends with a newline or a space",
        ),
        (
            &[words.as_bytes(), b"\r\n"].concat(),
            "holds a text that ends with a newline or a space",
        ),
        (
            &[hex.as_bytes(), b"\n"].concat(),
            "holds a text that ends with a newline or a space",
        ),
    ];
    for (content, expected) in refused {
        std::fs::write(&key, content).unwrap();
        for verb in [
            &["check-config", file][..],
            &["serve", "--config", file, "--data", data],
            &["token", "--user", "7", "--key", key.to_str().unwrap()],
        ] {
            let output = rookery(verb);
            let told = stderr(&output);
            assert_eq!(output.status.code(), Some(2), "{verb:?}: {told}");
            let expected = format!("error: key file {} {expected}", key.display());
            assert!(
                told.contains(&expected),
                "{verb:?}: {expected} is not in: {told}"
            );
        }
    }
    let taken: [(&[u8], Option<&str>); 4] = [
        (&random, None),
        (words.as_bytes(), None),
        (hex.as_bytes(), Some("looks like hexadecimal digits")),
        (base64.as_bytes(), Some("looks like base64")),
    ];
    for (content, expected) in taken {
        for (mode, is_exposed) in [(0o600, false), (0o640, false), (0o644, true)] {
            std::fs::write(&key, content).unwrap();
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
            let output = rookery(&["check-config", file]);
            let told = stderr(&output);
            assert_eq!(output.status.code(), Some(0), "{told}");
            let doubt =
                expected.map(|doubt| format!("warning: key file {} {doubt}", key.display()));
            assert!(doubt.is_none_or(|doubt| told.contains(&doubt)), "{told}");
            assert_eq!(
                told.contains("(mode 0644): chmod 600"),
                is_exposed,
                "{told}"
            );
            let warnings = usize::from(expected.is_some()) + usize::from(is_exposed);
            assert_eq!(told.matches("warning: ").count(), warnings, "{told}");
        }
    }
}

#[test]
fn check_config_prints_the_whole_or_every_mistake() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rookery.toml");
    let file = path.to_str().unwrap();
    std::fs::write(&path, "[engine]\nshards = 2\n").unwrap();
    let output = rookery(&["check-config", file]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let config: Config = toml::from_str(&stdout(&output)).unwrap();
    assert_eq!(config.engine.shards, 2);

    std::fs::write(&path, "[engine]\nshrads = 2\n[log]\nformat = \"xml\"\n").unwrap();
    let output = rookery(&["check-config", file]);
    assert_eq!(output.status.code(), Some(2));
    let told = stderr(&output);
    assert!(
        told.contains(&format!(
            "error: {file}:2:1: unknown key `shrads` (did you mean `shards`?)"
        )),
        "{told}"
    );
    assert!(
        told.contains(&format!("{file}:4:10: `log.format`")),
        "{told}"
    );

    std::fs::write(
        &path,
        "[[auth.keys]]\nalgorithm = \"ES256\"\nfile = \"/nowhere/a.pem\"\n",
    )
    .unwrap();
    let told = stderr(&rookery(&["check-config", file]));
    assert!(
        told.contains("cannot read key file /nowhere/a.pem"),
        "{told}"
    );
}

/// Of the distributed form; nobody listens on port 1.
const CLUSTER: &str = r#"
[log]
kind = "kafka"
[kafka]
brokers = ["127.0.0.1:1"]
username = "rookery"
password = "pw-kafka"
[cql]
nodes = ["127.0.0.1:1"]
username = "rookery"
password = "pw-cql"
[postgres]
url = "postgres://rookery:pw-postgres@127.0.0.1:1/rookery"
[redis]
url = "redis://:pw-redis@127.0.0.1:1"
"#;

#[test]
fn a_configuration_of_services_is_shown_without_passwords_and_its_mistakes_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cluster.toml");
    let file = path.to_str().unwrap();
    std::fs::write(&path, CLUSTER).unwrap();
    let output = rookery(&["check-config", file]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let shown = stdout(&output);
    assert!(
        shown.contains("postgres://rookery:***@127.0.0.1:1/rookery"),
        "{shown}"
    );
    assert!(!shown.contains("pw-"), "{shown}");

    // What is printed is no configuration: nobody has "***" for a password.
    std::fs::write(&path, shown).unwrap();
    let told = stderr(&rookery(&["check-config", file]));
    assert!(told.contains("`kafka.password` is the mask"), "{told}");

    let cases = [
        (
            "[\"127.0.0.1:1\"]\nusername",
            "[]\nusername",
            "`kafka.brokers` is empty, and `log.kind` is \"kafka\"",
        ),
        (
            "brokers",
            "broker",
            "unknown key `broker` (did you mean `brokers`?) in [kafka]",
        ),
        (
            "[cql]",
            "[cqll]",
            "unknown section or key `cqll` (did you mean `cql`?)",
        ),
        ("\"kafka\"", "\"kafak\"", "`log.kind`"),
        (
            "\"pw-cql\"",
            "\"\"\npassword_file = \"/nowhere/pw\"",
            "password file /nowhere/pw",
        ),
    ];
    for (from, to, expected) in cases {
        std::fs::write(&path, CLUSTER.replacen(from, to, 1)).unwrap();
        for verb in [&["check-config", file][..], &["migrate", "--config", file]] {
            let output = rookery(verb);
            let told = stderr(&output);
            assert_eq!(output.status.code(), Some(2), "{verb:?} {to}: {told}");
            assert!(
                told.contains(expected),
                "{verb:?}: {expected} is not in: {told}"
            );
            assert!(!told.contains("pw-"), "{told}");
        }
    }
}

#[test]
fn services_that_are_not_there_are_told_one_by_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cluster.toml");
    let file = path.to_str().unwrap();
    std::fs::write(&path, CLUSTER).unwrap();
    let output = rookery(&["check-config", file, "--connect"]);
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{said}{}", stderr(&output));
    for service in ["kafka", "cql", "postgres", "redis"] {
        let line = said
            .lines()
            .find(|line| line.starts_with(&format!("wrong    {service:<9} ")))
            .unwrap_or_else(|| panic!("nothing of {service} in:\n{said}"));
        assert!(line.contains("127.0.0.1:1"), "{line}");
    }
    assert_eq!(said.matches("what to do: ").count(), 4, "{said}");
    assert!(
        stderr(&output).contains("4 things are wrong"),
        "{}",
        stderr(&output)
    );
    assert_told_once(&said);
    let everything = said + &stderr(&output);
    assert!(!everything.contains("pw-"), "{everything}");

    let output = rookery(&["migrate", "--config", file]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("127.0.0.1:1"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn the_embedded_form_has_no_services() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rookery.toml");
    let file = path.to_str().unwrap();
    std::fs::write(&path, CLUSTER.replace("kind = \"kafka\"", "")).unwrap();
    let output = rookery(&["check-config", file, "--connect"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("there is no service to try"));
    let note = "note: `kafka.brokers` is set and not used: `log.kind` is \"embedded\"";
    assert!(stderr(&output).contains(note), "{}", stderr(&output));
    let output = rookery(&["migrate", "--config", file]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("nothing to migrate"));
}

#[test]
fn help_completions_and_the_manual_page() {
    for verb in ["serve", "chat", "token", "check-config", "migrate"] {
        let output = rookery(&[verb, "--help"]);
        assert_eq!(output.status.code(), Some(0));
        assert!(
            stdout(&output).contains("Examples:"),
            "{verb} has no examples"
        );
    }
    assert!(stdout(&rookery(&["completions", "bash"])).contains("check-config"));
    assert!(stdout(&rookery(&["man"])).contains(".TH rookery"));
    assert!(stdout(&rookery(&["--version"])).starts_with("rookery "));
}
