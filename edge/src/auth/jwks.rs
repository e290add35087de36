//! Keys from a JSON Web Key Set (RFC 7517): what an identity provider publishes, in a file or fetched.

use std::path::Path;

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use serde::Deserialize;

use super::keys::is_p256;
use super::verify::VerifyingKey;
use super::{KeyError, secret};
use crate::config::Algorithm;

/// Keys of a set: each token looks through them.
const KEYS_MAX: usize = 64;

/// The members of a set that matter; whoever publishes one may add others (RFC 7517, section 5).
#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

/// The keys of a file's set that can be used here.
pub fn load(path: &Path) -> Result<Vec<VerifyingKey>, KeyError> {
    parse(&secret::read(path)?).map_err(|problem| KeyError::Content {
        path: path.to_owned(),
        problem,
    })
}

/// The keys of a set that can be used here, or what is wrong with it.
pub(crate) fn parse(set: &[u8]) -> Result<Vec<VerifyingKey>, &'static str> {
    let set: Set = serde_json::from_slice(set)
        .map_err(|_| "is no JSON Web Key Set (RFC 7517): an object with an array `keys`")?;
    if set.keys.len() > KEYS_MAX {
        return Err("has over 64 keys");
    }
    let keys: Vec<VerifyingKey> = set.keys.into_iter().filter_map(usable).collect();
    if keys.is_empty() {
        return Err(
            "has no key that can be used: a P-256 key for ES256 or an Ed25519 key for EdDSA, with a `kid`",
        );
    }
    let mut ids = std::collections::BTreeSet::new();
    match keys.iter().all(|key| ids.insert(key.id.as_deref())) {
        true => Ok(keys),
        false => Err("has two keys with one `kid`"),
    }
}

//= RFC 7517 section 5: Implementations SHOULD ignore JWKs within a JWK Set that use "kty" (key type) values that are not understood by them, that are missing required members, or for which values are out of the supported ranges.
/// A public key for signatures of an algorithm that is offered. A secret is not taken: it does not belong into what
/// is published.
fn usable(value: serde_json::Value) -> Option<VerifyingKey> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let is_for_signatures = matches!(
        jwk.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    );
    let (algorithm, name) = match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::Es256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDsa, KeyAlgorithm::EdDSA)
        }
        _ => return None,
    };
    let is_meant = jwk.common.key_algorithm.is_none_or(|named| named == name);
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    let is_sound = algorithm != Algorithm::Es256 || is_p256(&key);
    let id = jwk.common.key_id.filter(|id| !id.is_empty())?;
    (is_for_signatures && is_meant && is_sound).then_some(VerifyingKey {
        id: Some(id),
        algorithm,
        key,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7517, appendix A.1, and RFC 8037, appendix A.2.
    const EC: &str = r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"sig","kid":"ec"}"#;
    const OKP: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        "alg":"EdDSA","kid":"ed"}"#;
    /// What cannot be used: another use, algorithm or curve, no id, a secret, a type of the future, not a key.
    const OTHERS: [&str; 8] = [
        r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
            "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"enc","kid":"1"}"#,
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","alg":"ES256","kid":"2"}"#,
        r#"{"kty":"EC","crv":"P-384","x":"AAAA","y":"AAAA","kid":"3"}"#,
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        r#"{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","kid":"5"}"#,
        r#"{"kty":"PQ","crv":"ML-DSA-44","kid":"6"}"#,
        r#"{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA","kid":"7"}"#,
        "7",
    ];

    fn loaded(text: &str) -> Result<Vec<(String, Algorithm)>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set.json");
        std::fs::write(&path, text).unwrap();
        let keys = load(&path).map_err(|error| error.to_string())?;
        let named = |key: VerifyingKey| (key.id.unwrap(), key.algorithm);
        Ok(keys.into_iter().map(named).collect())
    }

    #[test]
    fn what_can_be_used_is_and_the_rest_is_passed_over() {
        let all = format!(r#"{{"keys":[{},{EC},{OKP}],"more":1}}"#, OTHERS.join(","));
        let expected = [("ec", Algorithm::Es256), ("ed", Algorithm::EdDsa)];
        assert_eq!(
            loaded(&all).unwrap(),
            expected.map(|(id, of)| (id.to_owned(), of))
        );
        for other in OTHERS {
            let error = loaded(&format!(r#"{{"keys":[{other}]}}"#)).unwrap_err();
            assert!(
                error.contains("no key that can be used"),
                "{other}: {error}"
            );
        }
    }

    #[test]
    fn what_is_no_set_is_told() {
        for (text, why) in [
            ("{}", "no JSON Web Key Set"),
            ("[]", "no JSON Web Key Set"),
            ("-----BEGIN PUBLIC KEY-----", "no JSON Web Key Set"),
            (r#"{"keys":7}"#, "no JSON Web Key Set"),
            (r#"{"keys":[]}"#, "no key that can be used"),
            ("", "is empty"),
            (
                &format!(r#"{{"keys":[{EC},{EC}]}}"#),
                "two keys with one `kid`",
            ),
            (
                &format!(r#"{{"keys":[{}]}}"#, ["7"; 65].join(",")),
                "over 64 keys",
            ),
        ] {
            let error = loaded(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
