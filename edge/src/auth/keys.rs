//! Keys from files, and the development key that stands in where none is configured.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use jsonwebtoken::DecodingKey;

use super::remote::{FetchedSet, Freshness, Wanted};
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

/// What a configuration says of logins, its files read: all but the keys of a set that is fetched. With no key in it,
/// there is the development key, whose use is to be told loudly.
#[derive(Clone)]
pub struct LoginKeys {
    keys: Vec<VerifyingKey>,
    rules: Rules,
    /// Where a set is fetched: the least time between two looks at it.
    refresh_min: Option<Duration>,
    /// The development key, where it stands in.
    pub dev_key: Option<DevKey>,
}

impl LoginKeys {
    /// Reads the files.
    pub fn load(auth: &config::Auth, data: &Path) -> Result<Self, KeyError> {
        let rules = Rules {
            issuer: auth.issuer.clone(),
            audience: auth.audience.clone(),
            leeway_ms: auth.leeway_ms,
            lifetime_max_ms: 1_000 * u64::from(auth.token_lifetime_max_s),
        };
        let keys = auth.keys.iter().map(VerifyingKey::load);
        let mut keys = keys.collect::<Result<Vec<_>, _>>()?;
        if let Some(path) = &auth.jwks_file {
            keys.extend(jwks::load(path)?);
        }
        let mut dev_key = None;
        if auth.has_no_keys() {
            let made = DevKey::open_or_make(data)?;
            keys.push(VerifyingKey::hs256(None, &made.secret));
            dev_key = Some(made);
        }
        let refresh_min = Duration::from_secs(auth.jwks_refresh_min_s.into());
        Ok(Self {
            keys,
            rules,
            refresh_min: auth.jwks_url.as_ref().map(|_| refresh_min),
            dev_key,
        })
    }

    /// The verifier, with the keys of the set that was fetched behind those of the files.
    pub fn verifier(&self, set: &FetchedSet, wanted: &Wanted) -> Verifier {
        let Some(refresh_min) = self.refresh_min else {
            return Verifier::new(self.keys.clone(), self.rules.clone());
        };
        let freshness = Freshness {
            asked_at_ms: set.asked_at_ms,
            refresh_min,
            wanted: wanted.clone(),
        };
        let keys = self.keys.iter().chain(&set.keys).cloned().collect();
        Verifier::new(keys, self.rules.clone()).with_freshness(freshness)
    }
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
