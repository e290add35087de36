//! Bad input before a session exists: what is not TLS, what is too long, what is damaged, and what
//! an operator puts into the wrong file.
#![allow(clippy::unwrap_used, reason = "test code")]

mod tls_kit;

use rookery_wire::tls::{
    Alert, Blame, CLIENT_BYTES_MAX, ClientConfig, ConfigError, Error, Handshake, Offer,
    PLAIN_HTTP_ANSWER, Progress, ServerConfig, Tickets, Verify, Warning,
};
use tls_kit::{feed, pki};

fn fails(config: &ServerConfig, bytes: &[u8], piece: usize) -> (Error, Vec<u8>) {
    let mut out = Vec::new();
    let mut shake = Handshake::server(config).unwrap();
    let error = feed(&mut shake, bytes, piece, &mut out)
        .map(|end| end.is_some())
        .unwrap_err();
    let again = shake.feed(b"more", &mut Vec::new()).unwrap_err();
    assert_eq!(again, Error::Ended);
    (error, out)
}

#[test]
fn plain_http_is_told_apart() {
    let config = pki().server(Tickets::None);
    for method in [
        "GET /chat",
        "GET http://localhost/chat",
        "HEAD /chat",
        "POST /chat",
        "PUT *",
        "DELETE /chat",
        "OPTIONS *",
        "PATCH /chat",
        "CONNECT localhost:443",
        "TRACE /chat",
    ] {
        let request = format!("{method} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        for piece in [1, 2, 3, 1000] {
            let (error, out) = fails(&config, request.as_bytes(), piece);
            assert_eq!(error, Error::PlainHttp, "{method} in pieces of {piece}");
            assert!(out.is_empty(), "an alert is no answer to HTTP");
        }
    }
    let answer = std::str::from_utf8(PLAIN_HTTP_ANSWER).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
}

#[test]
fn garbage_gets_an_alert() {
    let config = pki().server(Tickets::None);
    let garbage: [&[u8]; 7] = [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"GARBAGE",
        b"\0\0\0\0\0\0",
        &[22, 2, 0, 0, 10],
        &[22, 3, 1, 0xff, 0xff],
        &[0x80, 0x2e, 1, 3, 1],
        b"PUTS",
    ];
    for bytes in garbage {
        for piece in [1, 1000] {
            let (error, out) = fails(&config, bytes, piece);
            assert_eq!(error, Error::NotTls, "{bytes:?}");
            assert_eq!(error.blame(), Blame::PeerMisbehaved);
            assert_eq!(out, [21, 3, 3, 0, 2, 2, Alert::UNEXPECTED_MESSAGE.0]);
        }
    }
    // Whole records that rustls has to judge.
    let records: [&[u8]; 4] = [
        &[22, 3, 1, 0, 4, 1, 0, 0, 0],
        &[23, 3, 3, 0, 1, 0],
        &[22, 3, 1, 0, 5, 2, 0, 0, 1, 0],
        &[22, 3, 1, 0, 0],
    ];
    for bytes in records {
        let (error, out) = fails(&config, bytes, 1000);
        assert!(
            matches!(error, Error::Handshake { alert: Some(_), .. }),
            "{error:?}"
        );
        assert_eq!(out[..6], [21, 3, 3, 0, 2, 2], "{error}");
    }
}

#[test]
fn an_endless_handshake_ends() {
    let config = pki().server(Tickets::None);
    // A ClientHello of 16 MiB, as announced by its header, in records of one byte each.
    let mut bytes = vec![22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff];
    while bytes.len() <= CLIENT_BYTES_MAX + 16 {
        bytes.extend_from_slice(&[22, 3, 1, 0, 1, 0]);
    }
    let (error, out) = fails(&config, &bytes, 1000);
    assert!(
        matches!(
            error,
            Error::HandshakeTooLong(CLIENT_BYTES_MAX) | Error::Handshake { .. }
        ),
        "{error}"
    );
    assert!(!out.is_empty());
    // Records that are allowed and say nothing.
    let bytes = [20, 3, 3, 0, 1, 1].repeat(CLIENT_BYTES_MAX / 6 + 2);
    let (error, _) = fails(&config, &bytes, 1000);
    assert_eq!(error.blame(), Blame::PeerMisbehaved, "{error}");
}

#[test]
fn every_damaged_byte_of_a_hello_is_survived() {
    let pki = pki();
    let (config, client) = (pki.server(Tickets::One), pki.client(Offer::default()));
    let mut hello = Vec::new();
    let _client = Handshake::client(&client, "localhost", &mut hello).unwrap();
    let (mut failed, mut went_on) = (0, 0);
    for at in 0..hello.len() {
        let mut damaged = hello.clone();
        damaged[at] ^= 0x55;
        let mut out = Vec::new();
        match Handshake::server(&config).unwrap().feed(&damaged, &mut out) {
            Ok(Progress::NeedMore) => went_on += 1,
            Ok(Progress::Done { .. }) => panic!("a session from one flight"),
            Err(error) => {
                assert_ne!(error.blame(), Blame::Us, "byte {at}: {error}");
                failed += 1;
            }
        }
    }
    assert_eq!(failed + went_on, hello.len());
    assert!(failed > 0 && went_on > 0);
}

#[test]
fn a_client_says_why_it_does_not_trust() {
    let (pki, other) = (pki(), pki());
    let server_config = pki.server(Tickets::None);
    let run = |client: &ClientConfig, host: &str| -> (Option<Error>, Option<Error>) {
        let (mut up, mut down) = (Vec::new(), Vec::new());
        let mut client = Handshake::client(client, host, &mut up).unwrap();
        let mut server = Handshake::server(&server_config).unwrap();
        feed(&mut server, &std::mem::take(&mut up), 1000, &mut down).unwrap();
        let client_error = feed(&mut client, &down, 1000, &mut up).err();
        (client_error, feed(&mut server, &up, 1000, &mut down).err())
    };
    let strict = other.client(Offer::default());
    let (client_error, server_error) = run(&strict, "localhost");
    assert_eq!(client_error.unwrap().blame(), Blame::PeerUntrusted);
    assert!(
        matches!(server_error, Some(Error::PeerAlert(_))),
        "{server_error:?}"
    );
    let (wrong_name, _) = run(&pki.client(Offer::default()), "example.org");
    assert_eq!(wrong_name.unwrap().blame(), Blame::PeerUntrusted);
    let insecure = ClientConfig::new(Verify::Insecure, Offer::default()).unwrap();
    assert_eq!(run(&insecure, "example.org"), (None, None));
    let error = Handshake::client(&insecure, "no host", &mut Vec::new())
        .err()
        .unwrap();
    assert_eq!(error.blame(), Blame::Caller);
}

#[test]
fn each_mistake_of_an_operator_has_its_message() {
    let (pki, other) = (pki(), pki());
    let (chain, key) = (pki.chain.as_bytes(), pki.key.as_bytes());
    let make = |chain: &[u8], key: &[u8]| {
        ServerConfig::from_pem(chain, key, Tickets::One).expect_err("refused")
    };
    assert_eq!(make(b"", key), ConfigError::NoCertificate);
    assert_eq!(make(key, key), ConfigError::NoCertificate);
    assert_eq!(make(chain, b"hello"), ConfigError::NoKey);
    assert_eq!(make(chain, chain), ConfigError::NoKey);
    assert_eq!(make(chain, other.key.as_bytes()), ConfigError::KeyMismatch);
    let encrypted = pki.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    assert_eq!(make(chain, encrypted.as_bytes()), ConfigError::EncryptedKey);
    let traditional = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
        DEK-Info: AES-128-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n";
    assert_eq!(
        make(chain, traditional.as_bytes()),
        ConfigError::EncryptedKey
    );
    let cut = &chain[..chain.len() - 30];
    assert!(matches!(make(cut, key), ConfigError::BadPem(_)));
    let not_der = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(
        make(not_der, key),
        ConfigError::BadCertificate { index: 1, .. }
    ));
    let not_key = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert!(matches!(make(chain, not_key), ConfigError::BadKey(_)));
    let roots = ClientConfig::new(Verify::Roots(not_der), Offer::default()).err();
    assert!(matches!(
        roots,
        Some(ConfigError::BadCertificate { index: 1, .. })
    ));
}

#[test]
fn an_expired_certificate_is_a_warning() {
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2024, 2, 29);
    params.not_after = rcgen::date_time_ymd(2051, 3, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap();
    let config = ServerConfig::from_pem(
        cert.pem().as_bytes(),
        key.serialize_pem().as_bytes(),
        Tickets::One,
    )
    .unwrap();
    // date -u -d 2024-02-29 +%s; date -u -d 2051-03-01 +%s
    let (from, to) = (1_709_164_800, 2_561_241_600);
    assert_eq!(config.expires_at(), Some(to));
    assert_eq!(
        config.warnings(from - 86_400),
        Some(Warning::NotYetValid { seconds: 86_400 })
    );
    assert_eq!(config.warnings(from), None);
    assert_eq!(
        config.warnings(to - 86_400),
        Some(Warning::ExpiresSoon { seconds: 86_400 })
    );
    let expired = config.warnings(to + 3 * 86_400).unwrap();
    assert_eq!(expired.to_string(), "the certificate expired 3 days ago");
}
