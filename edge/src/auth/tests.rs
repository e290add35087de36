//! Every bad token that the protocol promises to refuse, and the good ones beside it.

use std::os::unix::fs::PermissionsExt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use serde_json::{Value, json};

use super::*;
use crate::config::Algorithm;

pub(super) const SECRET: &[u8] = b"a secret of exactly 32 bytes, ok";
pub(super) const NOW_MS: u64 = 1_800_000_000_000;
pub(super) const NOW_S: u64 = NOW_MS / 1_000;

fn hs256() -> Verifier {
    Verifier::new(vec![VerifyingKey::hs256(None, SECRET)], Rules::default())
}

/// A token of this header and these claims, rightly signed with the secret.
fn signed(header: &Value, claims: &Value, secret: &[u8]) -> String {
    signed_text(&header.to_string(), &claims.to_string(), secret)
}

/// The same of any text, JSON or not.
pub(super) fn signed_text(header: &str, claims: &str, secret: &[u8]) -> String {
    let message = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
    let tag = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, secret),
        message.as_bytes(),
    );
    format!("{message}.{}", BASE64.encode(tag))
}

fn good_claims() -> Value {
    json!({ "sub": "7", "device": 2, "exp": NOW_S + 60 })
}

fn with(claim: &str, value: Value) -> Value {
    let mut claims = good_claims();
    claims[claim] = value;
    claims
}

fn verify(claims: &Value) -> Result<Login, AuthError> {
    hs256().verify(
        signed(&json!({ "alg": "HS256", "typ": "JWT" }), claims, SECRET).as_bytes(),
        NOW_MS,
    )
}

#[test]
fn a_good_token_logs_in() {
    let login = Login {
        user_id: 7,
        device_id: 2,
        expires_at_ms: NOW_MS + 60_000,
        // As early as its end allows.
        credential: Credential {
            issued_at_ms: NOW_MS + 60_000 - Rules::default().lifetime_max_ms,
            token_id: None,
        },
    };
    assert_eq!(verify(&good_claims()), Ok(login));
    assert_eq!(
        verify(&with("sub", json!("9223372036854775807")))
            .unwrap()
            .user_id,
        USER_ID_MAX
    );
    assert_eq!(
        verify(&with("exp", json!(NOW_S as f64 + 0.5)))
            .unwrap()
            .expires_at_ms,
        NOW_MS + 500
    );
    assert_eq!(verify(&with("nbf", json!(NOW_S))), Ok(login));
}

//= test of RFC 7515 section 4.1.11: If any of the listed extension Header Parameters are not understood and supported by the recipient, then the JWS is invalid.
#[test]
fn missing_and_malformed_tokens() {
    let good = signed(&json!({ "alg": "HS256" }), &good_claims(), SECRET);
    let mut cases: Vec<Vec<u8>> = [
        "",
        ".",
        "..",
        "...",
        "a.b",
        "a.b.c",
        "é.é.é",
        "e30.e30.e30.e30",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    cases.push(vec![0xff; 100]);
    cases.push(vec![b'.'; TOKEN_BYTES_MAX]);
    cases.push(format!("{good}.x").into_bytes());
    // Rightly signed, and yet: claims that are no object.
    let header = json!({ "alg": "HS256" });
    cases.push(signed(&header, &json!("7"), SECRET).into_bytes());
    cases.push(signed(&header, &json!(null), SECRET).into_bytes());
    // One byte over the bound.
    let long = "x".repeat(TOKEN_BYTES_MAX);
    cases.push(signed(&header, &with("pad", json!(long)), SECRET).into_bytes());
    for case in &cases {
        let refused = hs256().verify(case, NOW_MS);
        let shown = String::from_utf8_lossy(case);
        assert!(
            matches!(refused, Err(AuthError::Malformed(_))),
            "{shown}: {refused:?}"
        );
    }
    for length in 0..good.len() {
        assert!(
            hs256().verify(&good.as_bytes()[..length], NOW_MS).is_err(),
            "cut at {length}"
        );
    }
}

#[test]
fn forged_tokens() {
    let header = json!({ "alg": "HS256" });
    let forged = signed(&header, &good_claims(), b"another secret of 32 bytes, oops");
    assert_eq!(
        hs256().verify(forged.as_bytes(), NOW_MS),
        Err(AuthError::Signature)
    );
    // The signature of one token under the claims of another.
    let mine = signed(&header, &good_claims(), SECRET);
    let theirs = signed(&header, &with("sub", json!("8")), SECRET);
    let (_, signature) = mine.rsplit_once('.').unwrap();
    let (message, _) = theirs.rsplit_once('.').unwrap();
    assert_eq!(
        hs256().verify(format!("{message}.{signature}").as_bytes(), NOW_MS),
        Err(AuthError::Signature)
    );
    assert_eq!(
        hs256().verify(format!("{message}.").as_bytes(), NOW_MS),
        Err(AuthError::Signature)
    );
}

//= test of RFC 7515 section 4.1.1: This Header Parameter MUST be present and MUST be understood and processed by implementations.
#[test]
fn wrong_algorithms() {
    for alg in [
        "none", "None", "NONE", "nOnE", "", "hs256", "HS384", "HS512", "RS256", "PS256", "ES384",
        "ES256K",
    ] {
        let header = json!({ "alg": alg });
        let token = signed(&header, &good_claims(), SECRET);
        assert_eq!(
            hs256().verify(token.as_bytes(), NOW_MS),
            Err(AuthError::Algorithm),
            "{alg}"
        );
        let (message, _) = token.rsplit_once('.').unwrap();
        assert_eq!(
            hs256().verify(format!("{message}.").as_bytes(), NOW_MS),
            Err(AuthError::Algorithm),
            "{alg}"
        );
    }
    // Offered, but not this key's.
    for alg in ["ES256", "EdDSA"] {
        let token = signed(&json!({ "alg": alg }), &good_claims(), SECRET);
        assert_eq!(
            hs256().verify(token.as_bytes(), NOW_MS),
            Err(AuthError::Algorithm),
            "{alg}"
        );
    }
}

#[test]
fn a_public_key_is_no_hmac_secret() {
    let mut tried = 0;
    for (algorithm, kind) in [
        (Algorithm::Es256, &PKCS_ECDSA_P256_SHA256),
        (Algorithm::EdDsa, &PKCS_ED25519),
    ] {
        let pair = KeyPair::generate_for(kind).unwrap();
        let pem = pair.public_key_pem();
        let key = VerifyingKey::from_bytes(None, algorithm, pem.as_bytes()).unwrap();
        let verifier = Verifier::new(vec![key], Rules::default());
        for secret in [pem.as_bytes(), pem.trim().as_bytes(), pair.public_key_raw()] {
            let token = signed(&json!({ "alg": "HS256" }), &good_claims(), secret);
            assert_eq!(
                verifier.verify(token.as_bytes(), NOW_MS),
                Err(AuthError::Algorithm)
            );
            tried += 1;
        }
        // Nor can the operator make that mistake, whatever stands before the key.
        for file in [
            pem.clone(),
            format!("\u{feff}{pem}"),
            format!("Key: 1\n{pem}"),
        ] {
            assert!(VerifyingKey::from_bytes(None, Algorithm::Hs256, file.as_bytes()).is_err());
        }
    }
    assert_eq!(tried, 6);
}

#[test]
fn a_key_of_another_curve_is_refused_when_it_is_read() {
    // secp256k1, whose points have the size of P-256's.
    const OTHER: &str = "-----BEGIN PUBLIC KEY-----
MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAEiKRJpKLNMrLWm+OmhZ5myJfo4hxrtX7M
rvfp87huL/2ykbe7qgNOURKk32ipWcWGQHiScAmqaNbHiOJKBsRafQ==
-----END PUBLIC KEY-----
";
    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)
        .unwrap()
        .public_key_pem();
    for pem in [p384.as_str(), OTHER] {
        let read = VerifyingKey::from_bytes(None, Algorithm::Es256, pem.as_bytes());
        assert!(read.is_err_and(|problem| problem.contains("P-256")));
    }
}

#[test]
fn keys_with_files_of_each_algorithm() {
    let directory = tempfile::tempdir().unwrap();
    let pairs = [
        (Algorithm::Es256, &PKCS_ECDSA_P256_SHA256),
        (Algorithm::EdDsa, &PKCS_ED25519),
    ];
    let mut minted = Vec::new();
    for (algorithm, kind) in pairs {
        let pair = KeyPair::generate_for(kind).unwrap();
        let path = directory.path().join("private.pem");
        std::fs::write(&path, pair.serialize_pem()).unwrap();
        let minter = Minter::load(Some(algorithm), &path).unwrap();
        let token = minter.mint(7, 2, NOW_S, 60).unwrap();
        let key =
            VerifyingKey::from_bytes(None, algorithm, pair.public_key_pem().as_bytes()).unwrap();
        let verifier = Verifier::new(vec![key], Rules::default());
        assert_eq!(
            verifier.verify(token.as_bytes(), NOW_MS).unwrap().user_id,
            7
        );
        minted.push((token, verifier, path));
    }
    // Each other's tokens, and each other's files.
    assert_eq!(
        minted[0].1.verify(minted[1].0.as_bytes(), NOW_MS),
        Err(AuthError::Algorithm)
    );
    assert_eq!(
        minted[1].1.verify(minted[0].0.as_bytes(), NOW_MS),
        Err(AuthError::Algorithm)
    );
    assert!(Minter::load(Some(Algorithm::Es256), &minted[1].2).is_err());
    let another = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
        .unwrap()
        .public_key_pem();
    let key = VerifyingKey::from_bytes(None, Algorithm::Es256, another.as_bytes()).unwrap();
    let verifier = Verifier::new(vec![key], Rules::default());
    assert_eq!(
        verifier.verify(minted[0].0.as_bytes(), NOW_MS),
        Err(AuthError::Signature)
    );
}

//= test of RFC 7519 section 4.1.4: identifies the expiration time on or after which the JWT MUST NOT be accepted for processing.
//= test of RFC 7519 section 4.1.5: identifies the time before which the JWT MUST NOT be accepted for processing.
#[test]
fn expiry_and_not_before() {
    assert_eq!(verify(&with("exp", json!(NOW_S))), Err(AuthError::Expired));
    assert_eq!(verify(&with("exp", json!(0))), Err(AuthError::Expired));
    assert_eq!(
        verify(&with("nbf", json!(NOW_S + 1))),
        Err(AuthError::NotYetValid)
    );
    assert_eq!(
        verify(&with("nbf", json!(u32::MAX))),
        Err(AuthError::NotYetValid)
    );
    // A server whose clock was set back goes on to let people in.
    assert!(verify(&with("iat", json!(NOW_S + 1))).is_ok());
    let month_s = Rules::default().lifetime_max_ms / 1_000;
    assert!(verify(&with("exp", json!(NOW_S + month_s))).is_ok());

    let leeway = Rules {
        leeway_ms: 5_000,
        ..Rules::default()
    };
    let verifier = Verifier::new(vec![VerifyingKey::hs256(None, SECRET)], leeway);
    let token = signed(
        &json!({ "alg": "HS256" }),
        &with("nbf", json!(NOW_S)),
        SECRET,
    );
    let exp_ms = NOW_MS + 60_000;
    let at = |now_ms| verifier.verify(token.as_bytes(), now_ms);
    assert_eq!(at(NOW_MS - 5_001), Err(AuthError::NotYetValid));
    assert_eq!(at(NOW_MS - 5_000).unwrap().expires_at_ms, exp_ms + 5_000);
    assert!(at(exp_ms + 4_999).is_ok());
    assert_eq!(at(exp_ms + 5_000), Err(AuthError::Expired));
}

#[test]
fn the_key_id_selects() {
    let other = b"the other secret, also 32 bytes.";
    let keys = vec![
        VerifyingKey::hs256(Some("a".into()), SECRET),
        VerifyingKey::hs256(Some("b".into()), other),
    ];
    let verifier = Verifier::new(keys, Rules::default());
    let verify = |kid: Value, secret: &[u8]| {
        let header = json!({ "alg": "HS256", "kid": kid });
        verifier.verify(signed(&header, &good_claims(), secret).as_bytes(), NOW_MS)
    };
    assert!(verify(json!("a"), SECRET).is_ok());
    assert!(verify(json!("b"), other).is_ok());
    assert_eq!(verify(json!("a"), other), Err(AuthError::Signature));
    assert_eq!(verify(json!("c"), SECRET), Err(AuthError::UnknownKey));
    let nobody = Verifier::new(Vec::new(), Rules::default());
    let token = signed(&json!({ "alg": "HS256" }), &good_claims(), SECRET);
    assert_eq!(
        nobody.verify(token.as_bytes(), NOW_MS),
        Err(AuthError::UnknownKey)
    );
}

#[test]
fn a_key_is_refused_for_good_only_where_no_newer_set_may_have_it() {
    let data = tempfile::tempdir().unwrap();
    let auth = crate::config::Auth {
        jwks_url: Some("https://id.example/keys".into()),
        leeway_ms: 0,
        ..crate::config::Auth::default()
    };
    let keys = LoginKeys::load(&auth, data.path()).unwrap();
    assert!(keys.dev_key.is_none());
    let told = |asked_s: Option<u64>, kid: Option<&str>, iat_s: Option<u64>| {
        let set = FetchedSet {
            keys: vec![VerifyingKey::hs256(Some("a".into()), SECRET)],
            asked_at_ms: asked_s.map(|s| s * 1_000),
        };
        let mut header = json!({ "alg": "HS256" });
        if let Some(kid) = kid {
            header["kid"] = json!(kid);
        }
        let claims = iat_s.map_or_else(good_claims, |iat_s| with("iat", json!(iat_s)));
        let token = signed(&header, &claims, SECRET);
        let verifier = keys.verifier(&set, &Wanted::default());
        verifier.verify(token.as_bytes(), NOW_MS).err()
    };
    let (awaited, unknown) = (Some(AuthError::KeyAwaited), Some(AuthError::UnknownKey));
    for (asked_s, kid, iat_s, expected) in [
        (None, Some("a"), None, None),
        (None, Some("b"), None, awaited),
        // As new as it may be, and one that needs not be.
        (Some(NOW_S - 9), Some("b"), None, unknown),
        (Some(NOW_S - 10), Some("b"), None, awaited),
        // Issued after it was asked for, and before.
        (Some(NOW_S - 9), Some("b"), Some(NOW_S - 9), awaited),
        (Some(NOW_S - 9), Some("b"), Some(NOW_S - 10), unknown),
        // The only one takes what names none.
        (None, None, None, None),
    ] {
        assert_eq!(
            told(asked_s, kid, iat_s),
            expected,
            "{asked_s:?} {kid:?} {iat_s:?}"
        );
    }
    let nothing = keys.verifier(&FetchedSet::default(), &Wanted::default());
    let token = signed(&json!({ "alg": "HS256" }), &good_claims(), SECRET);
    assert_eq!(
        nothing.verify(token.as_bytes(), NOW_MS),
        Err(AuthError::KeyAwaited)
    );
}

#[test]
fn the_development_key_is_made_once_and_private() {
    let data = tempfile::tempdir().unwrap();
    let auth = crate::config::Auth::default();
    // Nobody makes one but who verifies with it.
    assert!(DevKey::open(data.path()).is_err());
    assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 0);
    let keys = LoginKeys::load(&auth, data.path()).unwrap();
    let verifier = keys.verifier(&FetchedSet::default(), &Wanted::default());
    let key = keys.dev_key;
    let key = key.unwrap();
    assert!(key.made_now);
    assert_eq!(
        std::fs::metadata(&key.path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let again = DevKey::open(data.path()).unwrap();
    assert!(!again.made_now);
    let token = Minter::development(&again).mint(7, 1, NOW_S, 60).unwrap();
    assert_eq!(
        verifier.verify(token.as_bytes(), NOW_MS).unwrap().user_id,
        7
    );

    std::fs::write(&key.path, b"short").unwrap();
    let error = DevKey::open(data.path()).unwrap_err().to_string();
    assert!(error.contains("dev-key does not hold 32 bytes"), "{error}");
}

#[test]
fn bad_key_files_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    let load = |algorithm| {
        let key = crate::config::AuthKey {
            id: None,
            algorithm,
            file: path.clone(),
        };
        VerifyingKey::load(&key)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    };
    let all = [Algorithm::Hs256, Algorithm::Es256, Algorithm::EdDsa];
    assert!(
        all.iter()
            .all(|algorithm| load(*algorithm).contains("cannot read key file"))
    );
    for content in [
        &b"short"[..],
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        &[0; 70_000],
    ] {
        std::fs::write(&path, content).unwrap();
        for algorithm in all {
            assert!(
                load(algorithm).contains(&path.display().to_string()),
                "{algorithm:?}"
            );
        }
    }
}
