//! The binary's verbs that need no server: what they print, and their exit codes.
#![allow(
    clippy::unwrap_used,
    reason = "a test's helper functions fail as the test does"
)]

use std::process::{Command, Output};

use rookery_edge::auth;
use rookery_edge::config::Config;

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

#[test]
fn a_minted_token_logs_in() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().to_str().unwrap();
    let output = rookery(&[
        "token", "--user", "7", "--device", "3", "--ttl", "1h", "--data", path,
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("made a development key"));
    let (verifier, key) = auth::verifier(&Config::default().auth, data.path()).unwrap();
    assert!(!key.unwrap().made_now);
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
fn wrong_command_lines_are_told_with_exit_code_2() {
    let cases: [(&[&str], &str); 10] = [
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
        (&["serve", "--shards", "many"], "--shards"),
        (
            &["serve", "--config", "/nowhere/rookery.toml"],
            "cannot read /nowhere/rookery.toml",
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

#[test]
fn help_completions_and_the_manual_page() {
    for verb in ["serve", "chat", "token", "check-config"] {
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
