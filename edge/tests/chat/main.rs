//! `rookery chat` against a server of a few lines: real TLS, real frames, and what goes wrong.
#![allow(
    clippy::unwrap_used,
    reason = "a test's helper functions fail as the test does"
)]

mod server;

use std::fs::File;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use rookery_edge::{auth, config};
use rookery_wire::proto::{self, About, ClientFrame, ErrorCode, Limits};
use server::{CONVERSATION, Server};

fn deliver(seq: u64, payload: &[u8]) -> proto::Deliver {
    proto::Deliver {
        conversation_id: CONVERSATION,
        seq,
        message_id: seq,
        sender_user_id: 8,
        sender_device_id: 1,
        client_msg_id: u128::from(seq).to_be_bytes(),
        hlc: 0,
        payload: payload.to_vec(),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn piped_lines_are_sent_and_it_leaves_once_they_are_durable() {
    let server = Server::start().await;
    let client = server.chat("hi\nho\n", &[]);
    let mut peer = server.login().await;
    peer.open(0).await;
    let (first, payload) = peer.take_send().await;
    assert_eq!(payload, b"hi");
    let (second, payload) = peer.take_send().await;
    assert_eq!(payload, b"ho");
    assert_ne!(first, second);
    peer.send(&deliver(1, b"hello yourself")).await;
    peer.ack(first).await;
    peer.ack(second).await;
    peer.drain().await;
    let output = client.await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let expected = "00:00:00Z 8: hello yourself\n  ✓ 00:00:00Z hi\n  ✓ 00:00:00Z ho\n";
    assert_eq!(text(&output.stdout), expected);
}

#[tokio::test]
async fn it_comes_back_after_a_restart_syncs_and_sends_again_under_the_same_id() {
    let server = Server::start().await;
    let client = server.chat("hi\n", &[]);
    let mut peer = server.login().await;
    peer.open(0).await;
    let (before, _) = peer.take_send().await;
    peer.close(1001).await;

    let mut peer = server.login().await;
    peer.open(2).await;
    let (after, payload) = peer.take_send().await;
    assert_eq!((after, payload.as_slice()), (before, &b"hi"[..]));
    let request_id = peer.take_sync(0).await;
    peer.send(&deliver(1, b"one")).await;
    peer.send(&deliver(2, b"two")).await;
    peer.sync_end(request_id).await;
    peer.ack(after).await;
    peer.drain().await;
    let output = client.await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(
        text(&output.stdout),
        "00:00:00Z 8: one\n00:00:00Z 8: two\n  ✓ 00:00:00Z hi\n"
    );
    assert!(text(&output.stderr).contains("closed with 1001 (going_away)"));
}

#[tokio::test]
async fn it_reconnects_where_it_is_told_to_with_everything_durable() {
    let server = Server::start().await;
    let elsewhere = server.beside().await;
    let client = server.chat("hi\n", &["--linger", "20s"]);
    let mut peer = server.login().await;
    peer.open(0).await;
    let (id, _) = peer.take_send().await;
    let reconnect = |urls: &[String], not_after_ms| proto::Reconnect {
        server_time_ms: 0,
        not_before_ms: 0,
        not_after_ms,
        alternatives: urls
            .iter()
            .map(|url| proto::Alternative {
                url: url.clone().into_bytes(),
            })
            .collect(),
        reason: b"drained".to_vec(),
    };
    peer.send(&reconnect(&[elsewhere.url()], 2_000)).await;
    peer.ack(id).await;
    peer.drain().await;

    // Nothing is sent again there. Back, since an alternative without TLS is none.
    let mut peer = elsewhere.login().await;
    peer.open(0).await;
    let plain = server.url().replace("wss", "ws");
    peer.send(&reconnect(&[plain], 0)).await;
    peer.drain().await;
    let mut peer = server.login().await;
    peer.open(1).await;
    let request_id = peer.take_sync(0).await;
    peer.send(&deliver(1, b"still there?")).await;
    peer.sync_end(request_id).await;
    peer.close(4410).await;
    let output = client.await.unwrap();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert_eq!(told.matches("the server asked to reconnect").count(), 2);
    let shown = text(&output.stdout);
    assert_eq!(shown, "  ✓ 00:00:00Z hi\n00:00:00Z 8: still there?\n");
}

#[tokio::test]
async fn what_the_server_refuses_for_now_is_sent_again_when_it_said() {
    let server = Server::start().await;
    let client = server.chat("hi\n", &[]);
    let mut peer = server.login().await;
    let refusal =
        |about: About| ErrorCode::Overloaded.message(about, 300, "too many requests wait");
    let frame = peer.next().await;
    let ClientFrame::OpenDirect(open) = ClientFrame::parse(&frame, &Limits::CLIENT_FRAMES).unwrap()
    else {
        panic!("no OpenDirect")
    };
    peer.send(&refusal(open.request_id.to_native().into()))
        .await;
    peer.open(0).await;
    let (first, payload) = peer.take_send().await;
    let refused = std::time::Instant::now();
    peer.send(&refusal(first.into())).await;
    let again = peer.take_send().await;
    // The next heartbeat, which sends again too, is 24 s away.
    let waited = refused.elapsed().as_millis();
    assert!((300..24_000).contains(&waited), "{waited} ms");
    assert_eq!(again, (first, payload));
    peer.ack(first).await;
    peer.drain().await;
    let output = client.await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "  ✓ 00:00:00Z hi\n");
    let told = text(&output.stderr);
    let waits = "-- the server says: too many requests wait; trying again in 0.3 s\n";
    assert_eq!(told.matches(waits).count(), 2, "{told}");
}

#[tokio::test]
async fn a_close_that_asks_to_act_ends_it_with_the_reason() {
    let server = Server::start().await;
    let client = server.chat("hi\n", &[]);
    let mut peer = server.login().await;
    peer.open(0).await;
    peer.take_send().await;
    peer.close(4410).await;
    let output = client.await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = "-- perhaps not sent: hi\n";
    assert!(
        text(&output.stderr).contains(told),
        "{}",
        text(&output.stderr)
    );
    assert!(
        text(&output.stderr).contains("4410 (device_replaced)"),
        "{}",
        text(&output.stderr)
    );
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_refused_and_insecure_is_loud() {
    let server = Server::start().await;
    let elsewhere = tempfile::tempdir().unwrap();
    auth::LoginKeys::load(&config::Auth::default(), elsewhere.path()).unwrap();
    let elsewhere = elsewhere.path().to_str().unwrap();
    let client = server.chat("hi\n", &["--data", elsewhere]);
    let (tcp, _) = server.listener.accept().await.unwrap();
    assert!(server.acceptor.accept(tcp).await.is_err());
    let output = client.await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("no TLS with wss://"),
        "{}",
        text(&output.stderr)
    );

    let client = server.chat("", &["--insecure"]);
    let mut peer = server.login().await;
    peer.open(0).await;
    peer.drain().await;
    let output = client.await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("certificate is NOT verified"));
}

#[tokio::test]
async fn no_server_is_told_with_what_to_do() {
    let server = Server::start().await;
    let url = server.url();
    let Server { data, listener, .. } = server;
    drop(listener);
    let output = Command::new(env!("CARGO_BIN_EXE_rookery"))
        .args(["chat", "--user", "7", "--to", "8", "--url", &url, "--data"])
        .arg(data.path())
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("is the server running?"),
        "{}",
        text(&output.stderr)
    );
}

/// Delivers a signal.
fn signal(child: &std::process::Child, name: &str) {
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args([name, &pid])
            .status()
            .unwrap()
            .success()
    );
}

#[tokio::test]
async fn one_that_was_stopped_does_not_take_the_server_for_silent() {
    let mut server = Server::start().await;
    server.heartbeat_interval_ms = 1_000;
    for something_came in [true, false] {
        let mut child = server.command(&[]).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut peer = server.login().await;
        peer.open(0).await;
        writeln!(stdin, "hi").unwrap();
        let id = loop {
            let frame = peer.next().await;
            if let ClientFrame::Send(send) =
                ClientFrame::parse(&frame, &Limits::CLIENT_FRAMES).unwrap()
            {
                break send.client_msg_id;
            }
        };
        signal(&child, "-STOP");
        if something_came {
            peer.ack(id).await;
        }
        // Longer than it waits for a sign of life.
        tokio::time::sleep(Duration::from_secs(4)).await;
        signal(&child, "-CONT");
        // It goes on over the same connection.
        peer.send(&proto::Ping { nonce: 99 }).await;
        loop {
            let frame = peer.next().await;
            match ClientFrame::parse(&frame, &Limits::CLIENT_FRAMES).unwrap() {
                ClientFrame::Pong(pong) if pong.nonce == 99 => break,
                ClientFrame::Ping(ping) => {
                    peer.send(&proto::Pong {
                        nonce: ping.nonce.to_native(),
                    })
                    .await
                }
                _ => {}
            }
        }
        peer.ack(id).await;
        drop(stdin);
        peer.drain().await;
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(
            !text(&output.stderr).contains("silent"),
            "{}",
            text(&output.stderr)
        );
    }
}

#[tokio::test]
async fn where_nothing_can_be_shown_what_was_said_is_still_sent() {
    let server = Server::start().await;
    for (closed, code, told) in [(false, 1, "error: cannot write to stdout: "), (true, 0, "")] {
        let stdout: Stdio = match closed {
            true => std::io::pipe().unwrap().1.into(),
            false => File::options()
                .write(true)
                .open("/dev/full")
                .unwrap()
                .into(),
        };
        let mut command = server.command(&[]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(stdout)
            .spawn()
            .unwrap();
        // The pipe stays open: it leaves by itself.
        let mut stdin = child.stdin.take().unwrap();
        writeln!(stdin, "hi").unwrap();
        let mut peer = server.login().await;
        peer.open(0).await;
        let (id, payload) = peer.take_send().await;
        assert_eq!(payload, b"hi");
        peer.send(&deliver(1, b"hello")).await;
        peer.ack(id).await;
        peer.drain().await;
        let output = child.wait_with_output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(
            stderr.lines().any(|line| line.starts_with(told)),
            "{stderr}"
        );
        drop(stdin);
    }
}

#[tokio::test]
async fn an_input_that_breaks_is_told_and_fails() {
    let server = Server::start().await;
    let mut command = server.command(&[]);
    let directory = File::open(server.data()).unwrap();
    let child = command.stdin(directory).spawn().unwrap();
    let mut peer = server.login().await;
    peer.open(0).await;
    peer.drain().await;
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let told = "error: cannot read the input: Is a directory";
    assert!(
        text(&output.stderr).contains(told),
        "{}",
        text(&output.stderr)
    );
}

#[tokio::test]
async fn it_ends_with_its_connection_though_its_input_goes_on() {
    let server = Server::start().await;
    let mut child = server.command(&[]).stdin(Stdio::piped()).spawn().unwrap();
    let stdin = child.stdin.take();
    server.login().await.close(4410).await;
    let output = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap());
    let output = output.await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    drop(stdin);
}
