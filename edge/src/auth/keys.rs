//! Keys from files, and the development key that stands in where none is configured.

use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use jsonwebtoken::DecodingKey;

use super::verify::{Rules, Verifier, VerifyingKey};
use super::{KeyError, jwks, secret};
use crate::config::{self, Algorithm};

/// The development key: an HS256 secret in the data directory, made at the first start.
#[derive(Clone, Debug)]
pub struct DevKey {
    /// The file, readable by its owner only.
    pub path: PathBuf,
    /// Whether it was made just now.
    pub made_now: bool,
    pub(super) secret: Vec<u8>,
}

impl DevKey {
    /// Where it lies in a data directory.
    pub fn path_in(data: &Path) -> PathBuf {
        data.join("auth").join("dev-key")
    }

    /// Reads it, or makes it. Only a server makes one: a key of which no server knows logs nobody in.
    pub fn open_or_make(data: &Path) -> Result<Self, KeyError> {
        let path = Self::path_in(data);
        let (secret, made_now) = secret::open_or_make(&path)?;
        Ok(Self {
            path,
            made_now,
            secret,
        })
    }

    /// Reads it.
    pub fn open(data: &Path) -> Result<Self, KeyError> {
        let path = Self::path_in(data);
        let secret = secret::open(&path)?;
        Ok(Self {
            path,
            made_now: false,
            secret,
        })
    }
}

/// The verifier that a configuration asks for, of which keys that stand in the configuration come before those of a
/// set with the same id; with no key in it, one for the development key, which
/// is handed back so that its use can be told loudly.
pub fn verifier(auth: &config::Auth, data: &Path) -> Result<(Verifier, Option<DevKey>), KeyError> {
    let rules = Rules {
        issuer: auth.issuer.clone(),
        audience: auth.audience.clone(),
        leeway_ms: auth.leeway_ms,
    };
    if auth.has_no_keys() {
        let dev_key = DevKey::open_or_make(data)?;
        let key = VerifyingKey::hs256(None, &dev_key.secret);
        return Ok((Verifier::new(vec![key], rules), Some(dev_key)));
    }
    let mut keys = auth
        .keys
        .iter()
        .map(VerifyingKey::load)
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(path) = &auth.jwks_file {
        keys.extend(jwks::load(path)?);
    }
    Ok((Verifier::new(keys, rules), None))
}

impl VerifyingKey {
    /// Reads a configured key.
    pub fn load(key: &config::AuthKey) -> Result<Self, KeyError> {
        let bytes = secret::read(&key.file)?;
        Self::from_bytes(key.id.clone(), key.algorithm, &bytes).map_err(|problem| {
            KeyError::Content {
                path: key.file.clone(),
                problem,
            }
        })
    }

    /// What works with a configured key and should be mended all the same.
    pub fn warnings(key: &config::AuthKey) -> Vec<String> {
        if key.algorithm != Algorithm::Hs256 {
            return Vec::new();
        }
        let doubt = secret::read(&key.file)
            .ok()
            .and_then(|bytes| secret::doubt_hs256(&bytes));
        let doubt = doubt.map(|doubt| format!("key file {} {doubt}", key.file.display()));
        doubt
            .into_iter()
            .chain(secret::exposure(&key.file))
            .collect()
    }

    /// A key of a file's bytes: the raw secret, or a public key in PEM.
    pub fn from_bytes(
        id: Option<String>,
        algorithm: Algorithm,
        bytes: &[u8],
    ) -> Result<Self, &'static str> {
        match algorithm {
            Algorithm::Hs256 => {
                secret::check_hs256(bytes)?;
                Ok(Self::hs256(id, bytes))
            }
            Algorithm::Es256 => match DecodingKey::from_ec_pem(bytes) {
                Ok(key) if is_p256(&key) => Ok(Self { id, algorithm, key }),
                _ => Err("holds no P-256 public key in PEM (BEGIN PUBLIC KEY), as ES256 wants"),
            },
            Algorithm::EdDsa => match DecodingKey::from_ed_pem(bytes) {
                Ok(key) => Ok(Self { id, algorithm, key }),
                Err(_) => {
                    Err("holds no Ed25519 public key in PEM (BEGIN PUBLIC KEY), as EdDSA wants")
                }
            },
        }
    }

    pub(super) fn hs256(id: Option<String>, secret: &[u8]) -> Self {
        Self {
            id,
            algorithm: Algorithm::Hs256,
            key: DecodingKey::from_secret(secret),
        }
    }
}

/// A key of another curve is read like any other, and would refuse every token.
pub(super) fn is_p256(key: &DecodingKey) -> bool {
    key.try_get_as_bytes()
        .is_ok_and(|point| ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).is_ok())
}
