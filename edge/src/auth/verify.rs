//! A token's bytes and the time go in, a login or the reason against it comes out. No clocks, no files.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::errors::ErrorKind;
use serde_json::error::Category;

pub use rookery_wire::proto::TOKEN_BYTES_MAX;

use super::members::{Members, Wrong, shape, text};
use super::remote::Freshness;
use super::{AuthError, Credential, claims};
use crate::config::Algorithm;

/// User ids are 1 to this.
pub const USER_ID_MAX: u64 = i64::MAX as u64;

/// Who logged in, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Login {
    /// `sub`, 1 to [`USER_ID_MAX`].
    pub user_id: u64,
    /// `device`, from 1.
    pub device_id: u32,
    /// When the login ends, Unix ms: `exp` and the leeway.
    pub expires_at_ms: u64,
    /// What a revocation may hit.
    pub credential: Credential,
}

/// A key and the one algorithm that it is used with.
#[derive(Clone)]
pub struct VerifyingKey {
    /// The `kid` that selects it.
    pub id: Option<String>,
    /// The algorithm.
    pub algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

/// What a token must say besides.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The `iss`.
    pub issuer: Option<String>,
    /// One of `aud`; none: no `aud` at all.
    pub audience: Option<String>,
    /// Added to `exp`, taken from `nbf`, ms.
    pub leeway_ms: u64,
    /// From `iat` to `exp` at most, ms.
    pub lifetime_max_ms: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            issuer: None,
            audience: None,
            leeway_ms: 0,
            lifetime_max_ms: 1_000 * u64::from(crate::config::TOKEN_LIFETIME_MAX_S),
        }
    }
}

/// Verifies tokens. Cheap to share between threads; holds no state that changes.
pub struct Verifier {
    keys: Vec<VerifyingKey>,
    rules: Rules,
    /// Where some of the keys are fetched.
    freshness: Option<Freshness>,
}

impl Verifier {
    /// A verifier for these keys.
    pub fn new(keys: Vec<VerifyingKey>, rules: Rules) -> Self {
        Self {
            keys,
            rules,
            freshness: None,
        }
    }

    /// Some of the keys were fetched, and there may be newer ones.
    pub(super) fn with_freshness(self, freshness: Freshness) -> Self {
        let freshness = Some(freshness);
        Self { freshness, ..self }
    }

    /// Has the keys fetched anew: a token was [awaiting](AuthError::KeyAwaited) one.
    pub fn ask_for_keys(&self) {
        if let Some(freshness) = &self.freshness {
            freshness.wanted.ask();
        }
    }

    /// Verifies a token in compact form (RFC 7519) at the given time, Unix ms.
    pub fn verify(&self, token: &[u8], now_unix_ms: u64) -> Result<Login, AuthError> {
        let parts = Parts::of(token)?;
        let header = object(parts.header, &HEADER)?;
        let (algorithm, kid) = judge_header(&header)?;
        let key = self
            .select(kid)
            .ok_or_else(|| self.unknown(kid, &parts, now_unix_ms))?;
        if key.algorithm != algorithm {
            return Err(AuthError::Algorithm);
        }
        check_signature(&parts, key)?;
        claims::judge(&object(parts.claims, &CLAIMS)?, &self.rules, now_unix_ms)
    }

    /// A single key without an id takes every token; otherwise the `kid` selects.
    fn select(&self, kid: Option<&str>) -> Option<&VerifyingKey> {
        match (self.keys.as_slice(), kid) {
            ([only], None) => Some(only),
            ([only], Some(_)) if only.id.is_none() => Some(only),
            (keys, Some(kid)) => keys.iter().find(|key| key.id.as_deref() == Some(kid)),
            (_, None) => None,
        }
    }

    /// What a key is that is not here: a newer set may have it, or there is none. What the token says of when it was
    /// issued is not proven; who lies about it is refused in other words.
    fn unknown(&self, kid: Option<&str>, parts: &Parts<'_>, now_ms: u64) -> AuthError {
        // A token that names no key waits only where there is none at all.
        let is_meant = kid.is_some() || self.keys.is_empty();
        let may_come = self.freshness.as_ref().is_some_and(|freshness| {
            let claims = object(parts.claims, &CLAIMS).ok();
            let iat_ms = claims.and_then(|claims| claims::iat_ms(&claims));
            freshness.may_be_renewed(now_ms)
                || iat_ms.is_some_and(|iat_ms| freshness.is_before(iat_ms + self.rules.leeway_ms))
        });
        match is_meant && may_come {
            true => AuthError::KeyAwaited,
            false => AuthError::UnknownKey,
        }
    }
}

/// What these rules say of a token, whoever signed it.
pub(super) fn judge(token: &[u8], rules: &Rules, now_unix_ms: u64) -> Result<Login, AuthError> {
    let parts = Parts::of(token)?;
    judge_header(&object(parts.header, &HEADER)?)?;
    claims::judge(&object(parts.claims, &CLAIMS)?, rules, now_unix_ms)
}

/// The part of the JOSE header that decides anything: which algorithm, and which key.
fn judge_header(header: &Members) -> Result<(Algorithm, Option<&str>), AuthError> {
    let about = |parameter| {
        move |Wrong { found, wanted }| AuthError::Header {
            parameter,
            found,
            wanted,
        }
    };
    //= RFC 7515 section 4.1.11: If any of the listed extension Header Parameters are not understood and supported by the recipient, then the JWS is invalid.
    let none = "absent: no extension is known here";
    if let Some(extensions) = header.one("crit", none).map_err(about("crit"))? {
        let (found, wanted) = (shape(extensions), none);
        return Err(about("crit")(Wrong { found, wanted }));
    }
    //= RFC 7515 section 4.1.1: This Header Parameter MUST be present and MUST be understood and processed by implementations.
    let name = header
        .needed("alg", "a text")
        .and_then(|alg| text(alg, "a text"));
    let algorithm = offered(name.map_err(about("alg"))?).ok_or(AuthError::Algorithm)?;
    let kid = header.text("kid", "a text").map_err(about("kid"))?;
    Ok((algorithm, kid))
}

/// The three parts of a compact JWT, still encoded.
struct Parts<'a> {
    header: &'a str,
    claims: &'a str,
    signature: &'a str,
    /// What is signed: the first two with the dot between them.
    message: &'a str,
}

impl<'a> Parts<'a> {
    fn of(token: &'a [u8]) -> Result<Self, AuthError> {
        // Before anything in it is read.
        if token.len() > TOKEN_BYTES_MAX {
            return Err(AuthError::Malformed("it is longer than 8,192 bytes"));
        }
        if token.is_empty() {
            return Err(AuthError::Malformed("it is empty"));
        }
        let wrong = AuthError::Malformed("it has not three parts with dots between them");
        let token = std::str::from_utf8(token).map_err(|_| wrong)?;
        let (message, signature) = token.rsplit_once('.').ok_or(wrong)?;
        let (header, claims) = message.split_once('.').ok_or(wrong)?;
        if claims.contains('.') {
            return Err(wrong);
        }
        Ok(Self {
            header,
            claims,
            signature,
            message,
        })
    }
}

/// How a part is told of.
struct Part {
    not_base64: &'static str,
    not_json: &'static str,
    not_object: &'static str,
}

const HEADER: Part = Part {
    not_base64: "its header is not base64url without padding",
    not_json: "its header is not JSON that can be read",
    not_object: "its header is not a JSON object",
};
const CLAIMS: Part = Part {
    not_base64: "its claims are not base64url without padding",
    not_json: "its claims are not JSON that can be read",
    not_object: "its claims are not a JSON object",
};

/// The JSON object in a part.
fn object(text: &str, part: &Part) -> Result<Members, AuthError> {
    let json = URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| AuthError::Malformed(part.not_base64))?;
    serde_json::from_slice(&json).map_err(|error| {
        AuthError::Malformed(match error.classify() {
            Category::Data => part.not_object,
            _ => part.not_json,
        })
    })
}

/// `none`, RSA and the longer variants are not offered.
fn offered(name: &str) -> Option<Algorithm> {
    match name {
        "HS256" => Some(Algorithm::Hs256),
        "ES256" => Some(Algorithm::Es256),
        "EdDSA" => Some(Algorithm::EdDsa),
        _ => None,
    }
}

/// Whether the signature is the key's. Only the library's signatures are used: its checks of the claims
/// would read the system's clock.
fn check_signature(parts: &Parts<'_>, key: &VerifyingKey) -> Result<(), AuthError> {
    let (message, algorithm) = (parts.message.as_bytes(), key.algorithm.jose());
    match jsonwebtoken::crypto::verify(parts.signature, message, &key.key, algorithm) {
        Ok(true) => Ok(()),
        Ok(false) => Err(AuthError::Signature),
        Err(error) => Err(match error.kind() {
            ErrorKind::InvalidAlgorithm | ErrorKind::InvalidKeyFormat => AuthError::Algorithm,
            _ => AuthError::Malformed("its signature is not base64url without padding"),
        }),
    }
}

impl Algorithm {
    pub(super) fn jose(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}
