//! Login tokens, minted when a connection needs one: a hundred thousand kept would be 20 MB.

use std::path::Path;

use anyhow::{Context as _, bail};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

/// No secret is larger; a file that is, is something else.
const SECRET_BYTES_MAX: u64 = 64 << 10;
/// How long a token is good for: longer than any run.
const TTL_S: u64 = 7 * 86_400;
/// The device of every client.
const DEVICE: u32 = 1;

/// Signs logins with a server's HS256 secret.
pub(super) struct Tokens {
    key: EncodingKey,
}

#[derive(Serialize)]
struct Claims {
    sub: String,
    device: u32,
    iat: u64,
    exp: u64,
}

impl Tokens {
    /// Reads the secret: `key`, or the development key of a data directory.
    pub(super) fn load(key: Option<&Path>, data: &Path) -> anyhow::Result<Self> {
        let path = match key {
            Some(key) => key.to_owned(),
            None => data.join("auth").join("dev-key"),
        };
        let about = || {
            format!(
                "cannot read the secret that signs logins, {} (give the server's --data DIR, a \
                 secret with --key FILE, or --echo for a server without logins)",
                path.display()
            )
        };
        if std::fs::metadata(&path).with_context(about)?.len() > SECRET_BYTES_MAX {
            bail!("{} is larger than 64 KiB and so no secret", path.display());
        }
        Ok(Self::new(&std::fs::read(&path).with_context(about)?))
    }

    pub(super) fn new(secret: &[u8]) -> Self {
        Self {
            key: EncodingKey::from_secret(secret),
        }
    }

    /// A token for a user, compact form. Empty where it cannot be signed, which the server refuses.
    pub(super) fn mint(&self, user_id: u64, now_unix_s: u64) -> Vec<u8> {
        let claims = Claims {
            sub: user_id.to_string(),
            device: DEVICE,
            iat: now_unix_s,
            exp: now_unix_s + TTL_S,
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.key)
            .map(String::into_bytes)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation, decode};

    use super::*;

    #[test]
    fn a_token_says_who() {
        let token = Tokens::new(&[7; 32]).mint(42, 4_000_000_000);
        let key = DecodingKey::from_secret(&[7; 32]);
        let read = decode::<serde_json::Value>(&token, &key, &Validation::new(Algorithm::HS256));
        let claims = read.unwrap().claims;
        assert_eq!(claims["sub"], "42");
        assert_eq!(claims["device"], 1);
        assert_eq!(claims["exp"], 4_000_000_000u64 + TTL_S);
    }

    #[test]
    fn a_missing_secret_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let error = Tokens::load(None, folder.path()).err().unwrap();
        assert!(format!("{error:#}").contains("--data DIR"), "{error:#}");
    }
}
