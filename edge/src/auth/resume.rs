//! Resume tokens: the proof, without any state on the server, that a session was this device's.
//!
//! Layout, little-endian: version 2 (1 byte), user id (8), device id (4), session id (8), expiry in
//! Unix ms (8), when the login token was issued (8) and what stands for its id (16, zeros for none),
//! HMAC-SHA-256 over all before it (32). A token says who resumes what; it does not log in, the JWT beside
//! it does. One of a login that was revoked since resumes nothing.

use std::path::Path;

use aws_lc_rs::hmac;

use super::{Credential, KeyError, TokenId, secret};

const VERSION: u8 = 2;
const BODY_BYTES: usize = 1 + 8 + 4 + 8 + 8 + 8 + 16;
const NO_ID: [u8; 16] = [0; 16];
/// The length of every resume token.
pub const TOKEN_BYTES: usize = BODY_BYTES + 32;

/// The key that signs resume tokens. It lives in the data directory, so that they outlive a restart.
#[derive(Clone)]
pub struct ResumeKey(hmac::Key);

/// What a resume token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Whose session it was.
    pub user_id: u64,
    /// On which device.
    pub device_id: u32,
    /// The session.
    pub session_id: u64,
    /// Until when it may be resumed, Unix ms.
    pub expires_at_ms: u64,
    /// What the session was proven with.
    pub credential: Credential,
}

/// Why a resume token is not honoured. The client then starts a new session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResumeError {
    /// Not of this form or version.
    #[error("the resume token is malformed")]
    Malformed,
    /// Not signed by this server's key.
    #[error("the resume token does not verify")]
    Signature,
    /// Too late.
    #[error("the resume token has expired")]
    Expired,
    /// Another user's or device's.
    #[error("the resume token belongs to another device")]
    NotYours,
}

impl ResumeKey {
    /// Reads `DATA/auth/resume-key`, or makes it.
    pub fn open(data: &Path) -> Result<Self, KeyError> {
        let (secret, _) = secret::open_or_make(&data.join("auth").join("resume-key"))?;
        Ok(Self::from_secret(&secret))
    }

    /// A key of these bytes.
    pub fn from_secret(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }
}

/// Makes the token.
pub fn issue(key: &ResumeKey, resume: &Resume) -> [u8; TOKEN_BYTES] {
    let mut token = [0; TOKEN_BYTES];
    token[0] = VERSION;
    token[1..9].copy_from_slice(&resume.user_id.to_le_bytes());
    token[9..13].copy_from_slice(&resume.device_id.to_le_bytes());
    token[13..21].copy_from_slice(&resume.session_id.to_le_bytes());
    token[21..29].copy_from_slice(&resume.expires_at_ms.to_le_bytes());
    token[29..37].copy_from_slice(&resume.credential.issued_at_ms.to_le_bytes());
    let id = resume.credential.token_id.map_or(NO_ID, |id| id.0);
    token[37..BODY_BYTES].copy_from_slice(&id);
    let tag = hmac::sign(&key.0, &token[..BODY_BYTES]);
    token[BODY_BYTES..].copy_from_slice(tag.as_ref());
    token
}

/// Checks that the token is ours, this device's, and in time.
pub fn check(
    key: &ResumeKey,
    token: &[u8],
    user_id: u64,
    device_id: u32,
    now_unix_ms: u64,
) -> Result<Resume, ResumeError> {
    let token: &[u8; TOKEN_BYTES] = token.try_into().map_err(|_| ResumeError::Malformed)?;
    let (body, tag) = token.split_at(BODY_BYTES);
    if body[0] != VERSION {
        return Err(ResumeError::Malformed);
    }
    hmac::verify(&key.0, body, tag).map_err(|_| ResumeError::Signature)?;
    let mut device = [0; 4];
    device.copy_from_slice(&body[9..13]);
    let mut id = NO_ID;
    id.copy_from_slice(&body[37..]);
    let resume = Resume {
        user_id: long(&body[1..9]),
        device_id: u32::from_le_bytes(device),
        session_id: long(&body[13..21]),
        expires_at_ms: long(&body[21..29]),
        credential: Credential {
            issued_at_ms: long(&body[29..37]),
            token_id: (id != NO_ID).then_some(TokenId(id)),
        },
    };
    if (resume.user_id, resume.device_id) != (user_id, device_id) {
        return Err(ResumeError::NotYours);
    }
    if now_unix_ms >= resume.expires_at_ms {
        return Err(ResumeError::Expired);
    }
    Ok(resume)
}

fn long(bytes: &[u8]) -> u64 {
    let mut long = [0; 8];
    long.copy_from_slice(bytes);
    u64::from_le_bytes(long)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESUME: Resume = Resume {
        user_id: 7,
        device_id: 2,
        session_id: 99,
        expires_at_ms: 1_000,
        credential: Credential {
            issued_at_ms: 500,
            token_id: Some(TokenId([3; 16])),
        },
    };

    #[test]
    fn an_issued_token_checks_until_it_expires() {
        let key = ResumeKey::from_secret(&[1; 32]);
        let token = issue(&key, &RESUME);
        assert_eq!(check(&key, &token, 7, 2, 999), Ok(RESUME));
        assert_eq!(check(&key, &token, 7, 2, 1_000), Err(ResumeError::Expired));
        assert_eq!(check(&key, &token, 8, 2, 0), Err(ResumeError::NotYours));
        assert_eq!(check(&key, &token, 7, 1, 0), Err(ResumeError::NotYours));
        let other = ResumeKey::from_secret(&[2; 32]);
        assert_eq!(check(&other, &token, 7, 2, 0), Err(ResumeError::Signature));
    }

    #[test]
    fn no_single_bit_and_no_length_can_be_changed() {
        let key = ResumeKey::from_secret(&[1; 32]);
        let token = issue(&key, &RESUME);
        let mut tried = 0;
        for bit in 0..TOKEN_BYTES * 8 {
            let mut changed = token;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&key, &changed, 7, 2, 0).is_err(), "bit {bit}");
            tried += 1;
        }
        assert_eq!(tried, 85 * 8);
        for length in 0..TOKEN_BYTES {
            assert_eq!(
                check(&key, &token[..length], 7, 2, 0),
                Err(ResumeError::Malformed)
            );
        }
        assert_eq!(
            check(&key, &[&token[..], &[0]].concat(), 7, 2, 0),
            Err(ResumeError::Malformed)
        );
    }

    #[test]
    fn the_key_outlives_a_restart() {
        let data = tempfile::tempdir().unwrap();
        let token = issue(&ResumeKey::open(data.path()).unwrap(), &RESUME);
        assert_eq!(
            check(&ResumeKey::open(data.path()).unwrap(), &token, 7, 2, 0),
            Ok(RESUME)
        );
    }
}
