//! Tokens made, for development and for `rookery token`. A production issuer makes its own.

use std::path::Path;

use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;

use super::{DevKey, KeyError, secret};
use crate::config::Algorithm;

/// Signs tokens with one key.
pub struct Minter {
    algorithm: Algorithm,
    key: EncodingKey,
    /// The `kid` to name, if any.
    pub key_id: Option<String>,
    /// The `iss` to name, if any.
    pub issuer: Option<String>,
    /// The `aud` to name, if any.
    pub audience: Option<String>,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: String,
    device: u32,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
}

impl Minter {
    /// Signs with the development key.
    pub fn development(key: &DevKey) -> Self {
        Self::new(Algorithm::Hs256, EncodingKey::from_secret(&key.secret))
    }

    /// Signs with a key file: the secret as raw bytes, or a private key in PEM (PKCS #8).
    pub fn load(algorithm: Algorithm, path: &Path) -> Result<Self, KeyError> {
        let bytes = secret::read(path)?;
        let content = |problem| KeyError::Content {
            path: path.to_owned(),
            problem,
        };
        let key = match algorithm {
            Algorithm::Hs256 => EncodingKey::from_secret(&bytes),
            Algorithm::Es256 => EncodingKey::from_ec_pem(&bytes)
                .map_err(|_| content("holds no P-256 private key in PEM (BEGIN PRIVATE KEY)"))?,
            Algorithm::EdDsa => EncodingKey::from_ed_pem(&bytes)
                .map_err(|_| content("holds no Ed25519 private key in PEM (BEGIN PRIVATE KEY)"))?,
        };
        let minter = Self::new(algorithm, key);
        // A key of the wrong curve is noticed only when it signs.
        minter
            .mint(1, 1, 0, 1)
            .map_err(|_| content("cannot sign with this algorithm"))?;
        Ok(minter)
    }

    fn new(algorithm: Algorithm, key: EncodingKey) -> Self {
        Self {
            algorithm,
            key,
            key_id: None,
            issuer: None,
            audience: None,
        }
    }

    /// A token for a user's device, from now (Unix seconds) on for `ttl_s` seconds.
    pub fn mint(
        &self,
        user_id: u64,
        device_id: u32,
        now_unix_s: u64,
        ttl_s: u64,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let mut header = Header::new(self.algorithm.jose());
        header.kid.clone_from(&self.key_id);
        let claims = Claims {
            sub: user_id.to_string(),
            device: device_id,
            iat: now_unix_s,
            exp: now_unix_s.saturating_add(ttl_s),
            iss: self.issuer.as_deref(),
            aud: self.audience.as_deref(),
        };
        jsonwebtoken::encode(&header, &claims, &self.key)
    }
}
