//! A token's bytes and the time go in, a login or the reason against it comes out. No clocks, no files.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::errors::ErrorKind;
use serde::Deserialize;
use serde_json::Value;

pub use rookery_wire::proto::TOKEN_BYTES_MAX;

use super::AuthError;
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
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The `iss`.
    pub issuer: Option<String>,
    /// One of `aud`.
    pub audience: Option<String>,
    /// Added to `exp`, taken from `nbf`, ms.
    pub leeway_ms: u64,
}

/// Verifies tokens. Cheap to share between threads; holds no state that changes.
pub struct Verifier {
    keys: Vec<VerifyingKey>,
    rules: Rules,
}

/// The part of the JOSE header that decides anything.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// The claims as they stand; each is judged on its own, so that the answer can name it.
#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    sub: Value,
    #[serde(default)]
    device: Value,
    #[serde(default)]
    exp: Value,
    nbf: Option<Value>,
    #[serde(default)]
    iss: Value,
    #[serde(default)]
    aud: Value,
}

impl Verifier {
    /// A verifier for these keys.
    pub fn new(keys: Vec<VerifyingKey>, rules: Rules) -> Self {
        Self { keys, rules }
    }

    /// Verifies a token in compact form (RFC 7519) at the given time, Unix ms.
    pub fn verify(&self, token: &[u8], now_unix_ms: u64) -> Result<Login, AuthError> {
        // Before anything in it is read.
        if token.len() > TOKEN_BYTES_MAX {
            return Err(AuthError::Malformed);
        }
        let parts = Parts::of(token).ok_or(AuthError::Malformed)?;
        let header: Header = object(parts.header)?;
        //= RFC 7515 section 4.1.11: If any of the listed extension Header Parameters are not understood and supported by the recipient, then the JWS is invalid.
        if header.crit.is_some() {
            return Err(AuthError::Malformed);
        }
        //= RFC 7515 section 4.1.1: This Header Parameter MUST be present and MUST be understood and processed by implementations.
        let Some(algorithm) = offered(&header.alg) else {
            return Err(AuthError::Algorithm);
        };
        let key = self.select(header.kid.as_deref())?;
        if key.algorithm != algorithm {
            return Err(AuthError::Algorithm);
        }
        check_signature(&parts, key)?;
        self.judge(&object(parts.claims)?, now_unix_ms)
    }

    /// A single key without an id takes every token; otherwise the `kid` selects.
    fn select(&self, kid: Option<&str>) -> Result<&VerifyingKey, AuthError> {
        match (self.keys.as_slice(), kid) {
            ([only], None) => Ok(only),
            ([only], Some(_)) if only.id.is_none() => Ok(only),
            (keys, Some(kid)) => keys
                .iter()
                .find(|key| key.id.as_deref() == Some(kid))
                .ok_or(AuthError::UnknownKey),
            (_, None) => Err(AuthError::UnknownKey),
        }
    }

    fn judge(&self, claims: &Claims, now_ms: u64) -> Result<Login, AuthError> {
        let expires_at_ms = date_ms(&claims.exp)
            .ok_or_else(|| wrong("exp", &claims.exp, "is no time in seconds"))?
            .saturating_add(self.rules.leeway_ms);
        //= RFC 7519 section 4.1.4: identifies the expiration time on or after which the JWT MUST NOT be accepted for processing.
        if now_ms >= expires_at_ms {
            return Err(AuthError::Expired);
        }
        if let Some(nbf) = &claims.nbf {
            let from_ms = date_ms(nbf).ok_or_else(|| wrong("nbf", nbf, "is no time in seconds"))?;
            //= RFC 7519 section 4.1.5: identifies the time before which the JWT MUST NOT be accepted for processing.
            if now_ms.saturating_add(self.rules.leeway_ms) < from_ms {
                return Err(AuthError::NotYetValid);
            }
        }
        let user_id = user_id(&claims.sub)
            .ok_or_else(|| wrong("sub", &claims.sub, "is no decimal user id from 1 to 2^63-1"))?;
        let device_id = device_id(&claims.device).ok_or_else(|| {
            wrong(
                "device",
                &claims.device,
                "is no device number from 1 to 2^32-1",
            )
        })?;
        if self
            .rules
            .issuer
            .as_deref()
            .is_some_and(|issuer| claims.iss != issuer)
        {
            return Err(wrong(
                "iss",
                &claims.iss,
                "is not the issuer that is accepted here",
            ));
        }
        if self
            .rules
            .audience
            .as_deref()
            .is_some_and(|audience| !holds(&claims.aud, audience))
        {
            return Err(wrong("aud", &claims.aud, "does not name this service"));
        }
        Ok(Login {
            user_id,
            device_id,
            expires_at_ms,
        })
    }
}

fn wrong(claim: &'static str, value: &Value, problem: &'static str) -> AuthError {
    AuthError::Claims {
        claim,
        problem: if value.is_null() {
            "is missing"
        } else {
            problem
        },
    }
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
    fn of(token: &'a [u8]) -> Option<Self> {
        let token = std::str::from_utf8(token).ok()?;
        let (message, signature) = token.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        (!claims.contains('.')).then_some(Self {
            header,
            claims,
            signature,
            message,
        })
    }
}

/// The JSON object in a part.
fn object<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, AuthError> {
    let json = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| AuthError::Malformed)?;
    if !json.trim_ascii_start().starts_with(b"{") {
        return Err(AuthError::Malformed);
    }
    serde_json::from_slice(&json).map_err(|_| AuthError::Malformed)
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
            _ => AuthError::Malformed,
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

/// A NumericDate (RFC 7519, 2): seconds since the epoch, possibly with a fraction.
fn date_ms(value: &Value) -> Option<u64> {
    if let Some(seconds) = value.as_u64() {
        return Some(seconds.saturating_mul(1_000));
    }
    let seconds = value.as_f64()?;
    (seconds >= 0.0).then_some((seconds * 1_000.0) as u64)
}

/// Digits only, no sign, no leading zero: one user has one spelling.
fn user_id(sub: &Value) -> Option<u64> {
    let text = sub.as_str()?;
    if text.starts_with('0') || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse()
        .ok()
        .filter(|id| (1..=USER_ID_MAX).contains(id))
}

fn device_id(device: &Value) -> Option<u32> {
    device
        .as_u64()
        .and_then(|id| u32::try_from(id).ok())
        .filter(|id| *id >= 1)
}

/// `aud` is a string or a list of them (RFC 7519, 4.1.3).
fn holds(aud: &Value, audience: &str) -> bool {
    match aud {
        Value::Array(list) => list.iter().any(|one| one == audience),
        one => one == audience,
    }
}
