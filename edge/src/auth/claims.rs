//! What a token says, judged claim by claim (RFC 7519, 4.1): each is of its one shape, or the answer names
//! it, what it is and what it must be. The same rules hold for the tokens that are minted here.

use serde_json::Value;

use super::members::{Members, Wrong, shape, text};
use super::{AuthError, Credential, Login, Rules, TokenId, USER_ID_MAX};

/// The last second that a time may name, 2106-02-07: sessions keep when they end in 32 bits, and an
/// `exp` in milliseconds, which nobody means, lies far beyond.
const SECONDS_MAX: f64 = u32::MAX as f64;

const SUB: &str = "a text, the user id from 1 to 2^63-1 in digits";
const DEVICE: &str = "a whole number from 1 to 2^32-1";
const TIME: &str = "in seconds since 1970, before 2106";
const ISS: &str = "a text";
const AUD: &str = "a text or a list of texts";
const JTI: &str = "a text";

/// The login that these claims come to at the given time, Unix ms.
pub(super) fn judge(claims: &Members, rules: &Rules, now_ms: u64) -> Result<Login, AuthError> {
    let exp_ms =
        date_ms(claims.needed("exp", TIME).map_err(about("exp"))?).map_err(about("exp"))?;
    let nbf_ms = optional_date_ms(claims, "nbf")?;
    let iat_ms = optional_date_ms(claims, "iat")?;
    let expires_at_ms = exp_ms.saturating_add(rules.leeway_ms);
    //= RFC 7519 section 4.1.4: identifies the expiration time on or after which the JWT MUST NOT be accepted for processing.
    if now_ms >= expires_at_ms {
        return Err(AuthError::Expired);
    }
    //= RFC 7519 section 4.1.5: identifies the time before which the JWT MUST NOT be accepted for processing.
    if nbf_ms.is_some_and(|from_ms| now_ms.saturating_add(rules.leeway_ms) < from_ms) {
        return Err(AuthError::NotYetValid);
    }
    let (user_id, device_id) = (
        user_id(claims).map_err(about("sub"))?,
        device_id(claims).map_err(about("device"))?,
    );
    issuer(claims, rules).map_err(about("iss"))?;
    audience(claims, rules).map_err(about("aud"))?;
    let jti = claims.text("jti", JTI).map_err(about("jti"))?;
    let latest_ms = now_ms.saturating_add(rules.leeway_ms);
    let issued_at_ms = issued_at_ms(iat_ms, exp_ms, latest_ms, rules)?;
    Ok(Login {
        user_id,
        device_id,
        expires_at_ms,
        credential: Credential {
            issued_at_ms,
            token_id: jti.map(TokenId::of),
        },
    })
}

/// When the token was issued: as it says, or as early as its end allows. A revocation is kept for as long as what
/// was issued before it may be valid: so a token that is valid for longer than tokens may be is not taken. One that
/// says that it was issued in the future is: then it is our clock that is behind, or the issuer's word as any other.
fn issued_at_ms(
    iat_ms: Option<u64>,
    exp_ms: u64,
    latest_ms: u64,
    rules: &Rules,
) -> Result<u64, AuthError> {
    let lifetime_ms = exp_ms.saturating_sub(iat_ms.unwrap_or(latest_ms));
    if lifetime_ms > rules.lifetime_max_ms {
        let found = "lies too far ahead";
        let wanted = "within the longest time for which this service takes a token";
        return Err(about("exp")(Wrong { found, wanted }));
    }
    Ok(iat_ms.unwrap_or(exp_ms.saturating_sub(rules.lifetime_max_ms)))
}

/// When the token says that it was issued, Unix ms, where it says so.
pub(super) fn iat_ms(claims: &Members) -> Option<u64> {
    optional_date_ms(claims, "iat").ok().flatten()
}

fn about(claim: &'static str) -> impl Fn(Wrong) -> AuthError {
    move |Wrong { found, wanted }| AuthError::Claim {
        claim,
        found,
        wanted,
    }
}

fn optional_date_ms(claims: &Members, claim: &'static str) -> Result<Option<u64>, AuthError> {
    let date = claims.one(claim, TIME).map_err(about(claim))?;
    date.map(date_ms).transpose().map_err(about(claim))
}

/// A NumericDate (RFC 7519, 2): seconds since the epoch, possibly with a fraction.
fn date_ms(value: &Value) -> Result<u64, Wrong> {
    let found = match value.as_f64() {
        None => shape(value),
        Some(seconds) if seconds < 0.0 => "is negative",
        Some(seconds) if seconds <= SECONDS_MAX => return Ok((seconds * 1_000.0) as u64),
        Some(_) => "is too large (milliseconds?)",
    };
    let wanted = TIME;
    Err(Wrong { found, wanted })
}

/// Digits only, no sign, no leading zero: one user has one spelling.
fn user_id(claims: &Members) -> Result<u64, Wrong> {
    let sub = text(claims.needed("sub", SUB)?, SUB)?;
    let found = if sub.is_empty() {
        "is empty"
    } else if !sub.bytes().all(|byte| byte.is_ascii_digit()) {
        "has more than digits"
    } else if sub.starts_with('0') {
        "begins with a zero"
    } else {
        match sub.parse() {
            Ok(id) if id <= USER_ID_MAX => return Ok(id),
            _ => "is too large",
        }
    };
    let wanted = SUB;
    Err(Wrong { found, wanted })
}

fn device_id(claims: &Members) -> Result<u32, Wrong> {
    let device = claims.needed("device", DEVICE)?;
    let found = match (device.as_u64(), device.as_f64()) {
        (Some(0), _) => "is 0",
        (Some(id), _) => match u32::try_from(id) {
            Ok(id) => return Ok(id),
            Err(_) => "is too large",
        },
        (None, Some(number)) if number < 0.0 => "is negative",
        (None, Some(number)) if number.fract() != 0.0 => "has a fraction",
        (None, Some(number)) if number <= u32::MAX as f64 => {
            "is written with a point or an exponent"
        }
        (None, Some(_)) => "is too large",
        (None, None) => shape(device),
    };
    let wanted = DEVICE;
    Err(Wrong { found, wanted })
}

fn issuer(claims: &Members, rules: &Rules) -> Result<(), Wrong> {
    let (found, wanted) = match (&rules.issuer, claims.text("iss", ISS)?) {
        (None, _) => return Ok(()),
        (Some(issuer), Some(iss)) if iss == issuer => return Ok(()),
        (Some(_), None) => ("is missing", "the issuer that this service accepts"),
        (Some(_), Some(_)) => ("is another's", "the issuer that this service accepts"),
    };
    Err(Wrong { found, wanted })
}

/// RFC 7519, 4.1.3: a token that says for whom it is must be refused by everybody else, also by a service
/// that was given no name.
fn audience(claims: &Members, rules: &Rules) -> Result<(), Wrong> {
    let aud = claims.one("aud", AUD)?;
    let names = match aud {
        None => Vec::new(),
        Some(Value::Array(list)) => list
            .iter()
            .map(|one| one.as_str())
            .collect::<Option<_>>()
            .ok_or(Wrong {
                found: "is a list with other things than texts",
                wanted: AUD,
            })?,
        Some(one) => vec![text(one, AUD)?],
    };
    let (found, wanted) = match (&rules.audience, aud) {
        (None, None) => return Ok(()),
        (Some(audience), Some(_)) if names.contains(&audience.as_str()) => return Ok(()),
        (Some(_), None) => ("is missing", "the name of this service"),
        (Some(_), Some(_)) => ("names others", "the name of this service"),
        (None, Some(_)) => ("names services", "absent: this one was given no name"),
    };
    Err(Wrong { found, wanted })
}
