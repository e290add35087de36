//! Tokens made, for development and for `rookery token`. A production issuer makes its own.

use std::path::Path;

use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;

use super::{AuthError, DevKey, KeyError, Rules, pem, secret, verify};
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

/// Why no token is made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// Whoever asked is to blame.
    #[error("no server would take such a token: {0}")]
    Refused(#[from] AuthError),
    /// The key cannot sign.
    #[error("the token cannot be signed: {0}")]
    Key(#[from] jsonwebtoken::errors::Error),
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

    /// Signs with a key file: the secret as raw bytes, or a private key in PEM (PKCS #8). Without an
    /// algorithm it is the one that the key is of; what is no PEM is a secret.
    pub fn load(algorithm: Option<Algorithm>, path: &Path) -> Result<Self, KeyError> {
        let bytes = secret::read(path)?;
        Self::from_bytes(algorithm, &bytes).map_err(|problem| KeyError::Content {
            path: path.to_owned(),
            problem,
        })
    }

    fn from_bytes(algorithm: Option<Algorithm>, bytes: &[u8]) -> Result<Self, &'static str> {
        match algorithm {
            Some(Algorithm::Hs256) => Self::of_secret(bytes),
            Some(algorithm) => Self::of_pem(algorithm, bytes),
            None if !pem::is_pem(bytes) => Self::of_secret(bytes),
            None => Self::of_pem(Algorithm::Es256, bytes)
                .or_else(|_| Self::of_pem(Algorithm::EdDsa, bytes))
                .map_err(|_| {
                    pem::why_not_private(bytes).unwrap_or(
                        "holds a private key that is neither P-256 (ES256) nor Ed25519 (EdDSA); \
                         `openssl genpkey -algorithm ed25519` makes one that is",
                    )
                }),
        }
    }

    fn of_secret(bytes: &[u8]) -> Result<Self, &'static str> {
        secret::check_hs256(bytes)?;
        Ok(Self::new(Algorithm::Hs256, EncodingKey::from_secret(bytes)))
    }

    fn of_pem(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, &'static str> {
        let (key, other) = match algorithm {
            Algorithm::EdDsa => (
                EncodingKey::from_ed_pem(bytes),
                "holds no Ed25519 private key in PEM (BEGIN PRIVATE KEY), as EdDSA wants",
            ),
            Algorithm::Es256 | Algorithm::Hs256 => (
                EncodingKey::from_ec_pem(bytes),
                "holds no P-256 private key in PEM (BEGIN PRIVATE KEY), as ES256 wants",
            ),
        };
        let problem = pem::why_not_private(bytes).unwrap_or(other);
        let minter = Self::new(algorithm, key.map_err(|_| problem)?);
        // A key of the wrong curve is noticed only when it signs.
        minter.mint(1, 1, 0, 1).map_err(|_| problem)?;
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

    /// A token for a user's device, from now (Unix seconds) on for `ttl_s` seconds. It is judged as a
    /// server will judge it, so that nothing is made that is of no use.
    pub fn mint(
        &self,
        user_id: u64,
        device_id: u32,
        now_unix_s: u64,
        ttl_s: u64,
    ) -> Result<String, MintError> {
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
        let token = jsonwebtoken::encode(&header, &claims, &self.key)?;
        let rules = Rules {
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            leeway_ms: 0,
            // How long a token may be valid is each server's word.
            lifetime_max_ms: u64::MAX,
        };
        verify::judge(token.as_bytes(), &rules, now_unix_s.saturating_mul(1_000))?;
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

    use super::*;

    fn pem(label: &str, der: &[u8]) -> String {
        let base64 = STANDARD.encode(der);
        let lines: Vec<&str> = (0..base64.len())
            .step_by(64)
            .map(|at| &base64[at..base64.len().min(at + 64)])
            .collect();
        format!(
            "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
            lines.join("\n")
        )
    }

    fn refused(algorithm: Option<Algorithm>, file: &str) -> &'static str {
        Minter::from_bytes(algorithm, file.as_bytes())
            .err()
            .unwrap_or("nothing")
    }

    #[test]
    fn a_keys_algorithm_is_found() {
        for (algorithm, kind) in [
            (Algorithm::Es256, &PKCS_ECDSA_P256_SHA256),
            (Algorithm::EdDsa, &PKCS_ED25519),
        ] {
            let key = KeyPair::generate_for(kind).unwrap().serialize_pem();
            for file in [key.clone(), format!("Bag Attributes\n{key}")] {
                let found = Minter::from_bytes(None, file.as_bytes()).ok().unwrap();
                assert_eq!(found.algorithm, algorithm);
                // Nor is it a secret when somebody says so.
                let told = refused(Some(Algorithm::Hs256), &file);
                assert!(told.contains("PEM block"), "{told}");
            }
        }
        let secret = Minter::from_bytes(None, &[7; 32]).ok().unwrap();
        assert_eq!(secret.algorithm, Algorithm::Hs256);
        assert!(refused(None, "short").contains("32 bytes"));
    }

    #[test]
    fn a_file_that_cannot_sign_says_what_to_do() {
        let rsa = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let rsa = aws_lc_rs::encoding::AsDer::as_der(&rsa).unwrap();
        let p256 = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let cases = [
            (p256.public_key_pem(), "a public key"),
            (p384.serialize_pem(), "neither P-256"),
            (pem("PRIVATE KEY", rsa.as_ref()), "neither P-256"),
            (pem("PRIVATE KEY", b"no DER"), "neither P-256"),
            (pem("RSA PRIVATE KEY", b""), "an RSA key"),
            (pem("CERTIFICATE", b""), "a certificate"),
            (pem("EC PRIVATE KEY", b""), "openssl pkcs8 -topk8"),
            (pem("ENCRYPTED PRIVATE KEY", b""), "passphrase"),
            (pem("OPENSSH PRIVATE KEY", b""), "OpenSSH"),
            (pem("DH PARAMETERS", b""), "no private key in PEM"),
            ("-----BEGIN ".to_owned(), "no private key in PEM"),
        ];
        for (file, expected) in &cases {
            let told = refused(None, file);
            assert!(told.contains(expected), "{file}: {told}");
            for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
                let told = refused(Some(algorithm), file);
                assert!(told.starts_with("holds "), "{file}: {told}");
            }
        }
    }
}
