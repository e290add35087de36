//! The opening handshake: what is accepted, and the status of each refusal.

#![cfg(feature = "crypto")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use rookery_wire::ws::upgrade::{
    ClientError, ClientRequest, HEAD_BYTES_MAX, HttpError, Request, Server,
};

const GOOD: &str = "GET /v1?x=1 HTTP/1.1\r\nHost: a.example\r\nUpgrade: WebSocket\r\n\
    Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: other, rookery.v1\r\n\
    Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";

fn parse(request: &str) -> Result<Option<(usize, Request)>, HttpError> {
    Server::CHAT.parse(request.as_bytes())
}

fn text(write: impl Fn(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_good_request_is_accepted_and_declines_compression() {
    let (len, request) = parse(&format!("{GOOD}frames")).unwrap().unwrap();
    assert_eq!(len, GOOD.len());
    assert_eq!(request.subprotocol(), Some("rookery.v1"));
    let response = text(|out| request.accept(out));
    assert_eq!(
        response,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
         Sec-WebSocket-Protocol: rookery.v1\r\n\r\n"
    );
}

#[test]
fn every_prefix_of_a_good_request_waits_for_more() {
    for len in 0..GOOD.len() {
        assert_eq!(parse(&GOOD[..len]), Ok(None), "{len} bytes");
    }
}

#[test]
fn each_refusal_has_its_status() {
    let without = |line: &str| GOOD.replacen(&format!("{line}\r\n"), "", 1);
    let cases = [
        (
            "plain garbage".into(),
            "\x01\x02\x03 garbage\r\n\r\n".to_owned(),
            400,
        ),
        (
            "a TLS client".into(),
            "\x16\x03\x01\x02\x00\x01\x00\x01".to_owned(),
            400,
        ),
        ("HTTP/1.0".into(), GOOD.replace("HTTP/1.1", "HTTP/1.0"), 505),
        (
            "HTTP/2".into(),
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
            505,
        ),
        ("POST".into(), GOOD.replace("GET", "POST"), 405),
        ("another path".into(), GOOD.replace("/v1", "/v2"), 404),
        (
            "a body".into(),
            GOOD.replace("Host:", "Content-Length: 5\r\nHost:"),
            413,
        ),
        (
            "chunks".into(),
            GOOD.replace("Host:", "Transfer-Encoding: chunked\r\nHost:"),
            413,
        ),
        ("no upgrade".into(), without("Upgrade: WebSocket"), 426),
        (
            "version 8".into(),
            GOOD.replace("Version: 13", "Version: 8"),
            426,
        ),
        (
            "no version".into(),
            without("Sec-WebSocket-Version: 13"),
            426,
        ),
        ("no host".into(), without("Host: a.example"), 400),
        (
            "two hosts".into(),
            GOOD.replace("Host:", "Host: b\r\nHost:"),
            400,
        ),
        (
            "no connection".into(),
            without("Connection: keep-alive, Upgrade"),
            400,
        ),
        (
            "a short key".into(),
            GOOD.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="),
            400,
        ),
        (
            "a key that is no base64".into(),
            GOOD.replace("dGhl", "####"),
            400,
        ),
        (
            "no subprotocol".into(),
            without("Sec-WebSocket-Protocol: other, rookery.v1"),
            400,
        ),
        (
            "another subprotocol".into(),
            GOOD.replace("rookery.v1", "rookery.v2"),
            400,
        ),
        (
            "many fields".into(),
            GOOD.replace("Host:", &format!("{}Host:", "a: b\r\n".repeat(64))),
            431,
        ),
        (
            "a long field".into(),
            GOOD.replace("x=1", &"x".repeat(HEAD_BYTES_MAX)),
            431,
        ),
    ]
    .map(|(name, request, status): (String, String, u16)| {
        let error = parse(&request).expect_err(&name);
        assert_eq!(error.status(), status, "{name}: {error}");
        let response = text(|out| error.encode(out));
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert!(
            head.contains(&format!("\r\nContent-Length: {}", body.len())),
            "{head}"
        );
        assert!(head.contains("close"), "{head}");
        assert_eq!(
            status == 426,
            head.contains("\r\nSec-WebSocket-Version: 13"),
            "{head}"
        );
    });
    assert_eq!(cases.len(), 20);
    let busy = text(|out| HttpError::Unavailable { retry_after_s: 7 }.encode(out));
    assert!(busy.starts_with("HTTP/1.1 503 ") && busy.contains("\r\nRetry-After: 7\r\n"));
}

#[test]
fn an_echo_server_agrees_to_no_subprotocol() {
    let request = GOOD.replace("/v1", "/");
    let (_, request) = Server::ECHO.parse(request.as_bytes()).unwrap().unwrap();
    assert_eq!(request.subprotocol(), None);
}

#[test]
fn both_sides_understand_each_other() {
    let client = ClientRequest {
        host: "a.example:8443",
        path: "/",
        key: *b"sixteen bytes...",
        subprotocol: Some("rookery.v1"),
    };
    let mut request = Vec::new();
    client.encode(&mut request);
    let (len, accepted) = Server::CHAT.parse(&request).unwrap().unwrap();
    assert_eq!(len, request.len());
    let response = text(|out| accepted.accept(out));
    assert_eq!(client.check(response.as_bytes()), Ok(Some(response.len())));
    for len in 0..response.len() {
        assert_eq!(client.check(&response.as_bytes()[..len]), Ok(None));
    }

    let refusal = text(|out| HttpError::NotFound.encode(out));
    let swaps = [
        (refusal, ClientError::Refused { status: 404 }),
        (
            response.replace("Accept: ", "Accept: A"),
            ClientError::AcceptMismatch,
        ),
        (
            response.replace("rookery.v1", "rookery.v2"),
            ClientError::SubprotocolMismatch,
        ),
        (
            response.replace("Upgrade: websocket\r\n", ""),
            ClientError::NotUpgraded,
        ),
        (
            response.replace("Upgrade: w", "Sec-WebSocket-Extensions: x\r\nUpgrade: w"),
            ClientError::Extension,
        ),
        ("SSH-2.0-x\r\n".to_owned(), ClientError::Malformed),
        (
            response.replace("101", &format!("101 {}", "x".repeat(9000))),
            ClientError::HeadTooLarge,
        ),
    ];
    for (response, error) in swaps {
        assert_eq!(client.check(response.as_bytes()), Err(error));
    }
}
