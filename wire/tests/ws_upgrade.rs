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
fn a_target_in_absolute_form_is_taken() {
    let of = |target: &str| parse(&GOOD.replace("/v1?x=1", target));
    for target in [
        "http://a.example/v1?x=1",
        "https://other.example:8443/",
        "WSS://a.example",
        "ws://a.example?x=/elsewhere",
    ] {
        assert!(matches!(of(target), Ok(Some(_))), "{target}");
    }
    for target in [
        "http://a.example/elsewhere",
        "http:///v1",
        "ftp://a.example/v1",
        "a.example/v1",
        "*",
        "//a.example/v1",
        "/elsewhere?x=http://a.example/v1",
    ] {
        assert_eq!(of(target), Err(HttpError::NotFound), "{target}");
    }
}

#[test]
fn every_prefix_of_a_good_request_waits_for_more() {
    for len in 0..GOOD.len() {
        assert_eq!(parse(&GOOD[..len]), Ok(None), "{len} bytes");
    }
}

//= test of RFC 6455 section 4.2.1: the server MUST stop processing the client's handshake and return an HTTP response with an appropriate error code (such as 400 Bad Request).
//= test of RFC 6455 section 11.3.1: The |Sec-WebSocket-Key| header field MUST NOT appear more than once in an HTTP request.
//= test of RFC 9112 section 3.2: A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message that lacks a Host header field and to any request message that contains more than one Host header field line
//= test of RFC 9112 section 5.1: A server MUST reject, with a response status code of 400 (Bad Request), any received request message that contains whitespace between a header field name and colon.
//= test of RFC 9112 section 9.3: A server that does not support persistent connections MUST send the "close" connection option in every response message that does not have a 1xx (Informational) status code.
//= test of RFC 9110 section 15.5.6: The origin server MUST generate an Allow header field in a 405 response
//= test of RFC 6455 section 4.4: If the server doesn't support the requested version, it MUST respond with a |Sec-WebSocket-Version| header field
//= test of RFC 9110 section 15.5.22: The server MUST send an Upgrade header field in a 426 response to indicate the required protocol(s)
//= test of RFC 9110 section 7.8: A sender of Upgrade MUST also send an "Upgrade" connection option in the Connection header field
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
            "a space before a colon".into(),
            GOOD.replace("Host:", "Host :"),
            400,
        ),
        (
            "two keys".into(),
            GOOD.replace(
                "Host:",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nHost:",
            ),
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
        let connection = if status == 426 {
            "Upgrade, close"
        } else {
            "close"
        };
        assert!(
            head.contains(&format!("\r\nConnection: {connection}")),
            "{head}"
        );
        for (field, of) in [
            ("\r\nSec-WebSocket-Version: 13", 426),
            ("\r\nUpgrade: websocket", 426),
            ("\r\nAllow: GET", 405),
        ] {
            assert_eq!(status == of, head.contains(field), "{head}");
        }
    });
    assert_eq!(cases.len(), 22);
    let busy = text(|out| HttpError::Unavailable { retry_after_s: 7 }.encode(out));
    assert!(busy.starts_with("HTTP/1.1 503 ") && busy.contains("\r\nRetry-After: 7\r\n"));
}

#[test]
fn an_echo_server_agrees_to_no_subprotocol() {
    let request = GOOD.replace("/v1", "/");
    let (_, request) = Server::ECHO.parse(request.as_bytes()).unwrap().unwrap();
    assert_eq!(request.subprotocol(), None);
}

//= test of RFC 6455 section 4.1: If the response lacks an |Upgrade| header field or the |Upgrade| header field contains a value that is not an ASCII case-insensitive match for the value "websocket", the client MUST _Fail the WebSocket Connection_.
//= test of RFC 6455 section 4.1: If the response lacks a |Sec-WebSocket-Accept| header field or the |Sec-WebSocket-Accept| contains a value other than the base64-encoded SHA-1 ... the client MUST _Fail the WebSocket Connection_.
//= test of RFC 6455 section 4.1: the use of a subprotocol that was not present in the client's handshake ... the client MUST _Fail the WebSocket Connection_.
//= test of RFC 6455 section 4.1: the use of an extension that was not present in the client's handshake ... the client MUST _Fail the WebSocket Connection_.
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
