//! What we offer and accept in a handshake: rustls's configurations, from PEM, with our choices.
//!
//! TLS 1.3 and 1.2 with ECDHE and AEAD only; SHA-256 suites first, in the server's order; groups
//! X25519MLKEM768, X25519, P-256, P-384; ALPN `http/1.1`; no early data. No file is read here: the
//! caller does that and adds the path to a [`ConfigError`].

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self as provider, cipher_suite, kx_group};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};

use super::certificate;
use super::secrets::Listener;
use super::ticket_keys::TicketKeys;
use super::trust::TrustAnybody;

const ALPN: &[u8] = b"http/1.1";

/// Why a configuration cannot be made. Each names what the operator has to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The chain holds no `CERTIFICATE` section.
    #[error("no certificate in the file (a PEM section `BEGIN CERTIFICATE`)")]
    NoCertificate,
    /// The key file holds no private key.
    #[error("no private key in the file (a PEM section `BEGIN PRIVATE KEY`)")]
    NoKey,
    /// The key is protected by a passphrase.
    #[error("the private key is encrypted; decrypt it first: openssl pkey -in KEY -out PLAIN")]
    EncryptedKey,
    /// The PEM text is damaged.
    #[error("damaged PEM: {0}")]
    BadPem(String),
    /// A certificate does not parse.
    #[error("certificate {index} of the file does not parse: {why}")]
    BadCertificate {
        /// Position in the file, from 1.
        index: usize,
        /// What is wrong with it.
        why: String,
    },
    /// The key does not parse or is of a kind that TLS cannot use.
    #[error("the private key cannot be used: {0}")]
    BadKey(String),
    /// The key belongs to another certificate.
    #[error("the key does not match the first certificate of the chain")]
    KeyMismatch,
    /// The file of ticket keys holds none.
    #[error("no ticket key in the file")]
    NoTicketKey,
    /// A line of it is no key.
    #[error("line {line} {problem}")]
    BadTicketKey {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A failure of the cryptographic library.
    #[error("the TLS library refused the configuration: {0}")]
    Library(String),
}

/// Something that works and should still be mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// The certificate has expired.
    #[error("the certificate expired {} days ago", .seconds / 86_400)]
    Expired {
        /// Seconds since it did.
        seconds: i64,
    },
    /// The certificate expires within 14 days.
    #[error("the certificate expires in {} days", .seconds / 86_400)]
    ExpiresSoon {
        /// Seconds until it does.
        seconds: i64,
    },
    /// The certificate is not valid yet.
    #[error("the certificate is valid only in {} days", .seconds / 86_400)]
    NotYetValid {
        /// Seconds until it is.
        seconds: i64,
    },
}

const SOON_SECONDS: i64 = 14 * 86_400;

/// Whether the server sends session tickets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tickets {
    /// One, stateless: the client holds the state, sealed with a key that changes every six hours.
    #[default]
    One,
    /// None.
    None,
}

/// The oldest version of the protocol that the server speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// RFC 5246, with the suites named above only.
    #[default]
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// The server's side. Clones share the configuration; connections keep the one that they began with.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    rustls: Arc<rustls::ServerConfig>,
    leaf: CertificateDer<'static>,
}

impl ServerConfig {
    /// From a chain (leaf first) and its key, both PEM.
    ///
    /// # Errors
    /// What is wrong with which of the two.
    pub fn from_pem(chain: &[u8], key: &[u8], tickets: Tickets) -> Result<Self, ConfigError> {
        Self::from_pem_since(chain, key, tickets, MinVersion::default())
    }

    /// The same, with no version before this one.
    ///
    /// # Errors
    /// What is wrong with which of the two.
    pub fn from_pem_since(
        chain: &[u8],
        key: &[u8],
        tickets: Tickets,
        min_version: MinVersion,
    ) -> Result<Self, ConfigError> {
        let chain = certificates(chain)?;
        let leaf = chain.first().cloned().ok_or(ConfigError::NoCertificate)?;
        let key = private_key(key)?;
        let provider = Arc::new(provider());
        let signer = provider
            .key_provider
            .load_private_key(key)
            .map_err(|error| ConfigError::BadKey(error.to_string()))?;
        let certified = CertifiedKey::new(chain, signer);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => return Err(ConfigError::KeyMismatch),
            Err(error) => {
                return Err(ConfigError::BadCertificate {
                    index: 1,
                    why: error.to_string(),
                });
            }
        }
        let versions: &[_] = match min_version {
            MinVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            MinVersion::Tls13 => &[&rustls::version::TLS13],
        };
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(library)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.ignore_client_order = true;
        config.max_early_data_size = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        if tickets == Tickets::One {
            config.send_tls13_tickets = 1;
            config.ticketer = provider::Ticketer::new().map_err(library)?;
        }
        config.key_log = Arc::new(Listener);
        config.enable_secret_extraction = true;
        Ok(Self {
            rustls: Arc::new(config),
            leaf,
        })
    }

    /// The same with the ticket keys of another one, so that a change of certificates makes nobody's ticket
    /// useless: when everybody comes again, resumption is what it is for.
    #[must_use]
    pub fn with_ticket_keys_of(self, other: &Self) -> Self {
        self.with_ticketer(Arc::clone(&other.rustls.ticketer))
    }

    /// The same with ticket keys that other servers have too.
    #[must_use]
    pub fn with_ticket_keys(self, keys: &TicketKeys) -> Self {
        self.with_ticketer(keys.ticketer())
    }

    fn with_ticketer(self, ticketer: Arc<dyn ProducesTickets>) -> Self {
        let mut config = (*self.rustls).clone();
        config.ticketer = ticketer;
        Self {
            rustls: Arc::new(config),
            ..self
        }
    }

    /// What the operator should know about the certificate at `now_unix_s`.
    pub fn warnings(&self, now_unix_s: i64) -> Option<Warning> {
        let valid = certificate::validity(&self.leaf)?;
        let (from, to) = (*valid.start(), *valid.end());
        if now_unix_s > to {
            Some(Warning::Expired {
                seconds: now_unix_s - to,
            })
        } else if now_unix_s < from {
            Some(Warning::NotYetValid {
                seconds: from - now_unix_s,
            })
        } else if to - now_unix_s < SOON_SECONDS {
            Some(Warning::ExpiresSoon {
                seconds: to - now_unix_s,
            })
        } else {
            None
        }
    }

    /// When the certificate expires, in seconds of the Unix epoch.
    pub fn expires_at(&self) -> Option<i64> {
        certificate::validity(&self.leaf).map(|valid| *valid.end())
    }

    /// The server's own certificate, DER.
    pub fn leaf(&self) -> &[u8] {
        &self.leaf
    }

    /// rustls's own configuration, with all that was chosen here: what our handshakes are measured
    /// against is rustls with the same choices.
    pub fn rustls(&self) -> Arc<rustls::ServerConfig> {
        Arc::clone(&self.rustls)
    }
}

/// Whom a client trusts.
#[derive(Clone, Copy, Debug)]
pub enum Verify<'a> {
    /// Certificates that lead to one of these roots (PEM).
    Roots(&'a [u8]),
    /// Anybody. The session is encrypted, and the peer may be an attacker.
    Insecure,
}

/// What a client offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// X25519MLKEM768 before X25519: 1.2 KB and some CPU more in each direction.
    pub post_quantum: bool,
    /// TLS 1.2 only, to try a server's resident form.
    pub tls12_only: bool,
    /// Only this TLS 1.3 suite.
    pub suite: Option<super::Suite>,
}

impl Default for Offer {
    fn default() -> Self {
        Self {
            post_quantum: true,
            tls12_only: false,
            suite: None,
        }
    }
}

/// The client's side, for the load generator and the terminal client. Keeps no tickets: a million
/// clients would keep a million.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    rustls: Arc<rustls::ClientConfig>,
}

impl ClientConfig {
    /// A client that trusts as `verify` says and offers as `offer` says.
    ///
    /// # Errors
    /// The roots do not parse or hold no certificate.
    pub fn new(verify: Verify<'_>, offer: Offer) -> Result<Self, ConfigError> {
        let mut provider = provider();
        if !offer.post_quantum {
            provider
                .kx_groups
                .retain(|group| group.name() != kx_group::X25519MLKEM768.name());
        }
        if let Some(only) = offer.suite {
            provider.cipher_suites.retain(|suite| {
                suite.tls13().is_none() || suite.suite().as_str() == Some(rustls_name(only))
            });
        }
        let versions: &[_] = if offer.tls12_only {
            &[&rustls::version::TLS12]
        } else {
            &[&rustls::version::TLS13, &rustls::version::TLS12]
        };
        let algorithms = provider.signature_verification_algorithms;
        let builder = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .map_err(library)?;
        let mut config = match verify {
            Verify::Roots(pem) => builder.with_root_certificates(roots(pem)?),
            Verify::Insecure => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(TrustAnybody::new(algorithms))),
        }
        .with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.key_log = Arc::new(Listener);
        config.enable_secret_extraction = true;
        Ok(Self {
            rustls: Arc::new(config),
        })
    }

    pub(super) fn rustls(&self) -> Arc<rustls::ClientConfig> {
        Arc::clone(&self.rustls)
    }
}

/// rustls spells TLS 1.3 suites `TLS13_...`.
fn rustls_name(suite: super::Suite) -> &'static str {
    match suite {
        super::Suite::Aes128GcmSha256 => "TLS13_AES_128_GCM_SHA256",
        super::Suite::Aes256GcmSha384 => "TLS13_AES_256_GCM_SHA384",
        super::Suite::Chacha20Poly1305Sha256 => "TLS13_CHACHA20_POLY1305_SHA256",
    }
}

fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        ],
        kx_groups: vec![
            kx_group::X25519MLKEM768,
            kx_group::X25519,
            kx_group::SECP256R1,
            kx_group::SECP384R1,
        ],
        ..provider::default_provider()
    }
}

fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(bad_pem)?;
    if chain.is_empty() {
        Err(ConfigError::NoCertificate)
    } else {
        Ok(chain)
    }
}

fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, ConfigError> {
    match PrivateKeyDer::from_pem_slice(text) {
        // A traditional key says so in a header, and its body is not base64 alone.
        _ if contains(text, b"Proc-Type: 4,ENCRYPTED") => Err(ConfigError::EncryptedKey),
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) if contains(text, b"BEGIN ENCRYPTED PRIVATE KEY") => {
            Err(ConfigError::EncryptedKey)
        }
        Err(pem::Error::NoItemsFound) => Err(ConfigError::NoKey),
        Err(error) => Err(bad_pem(error)),
    }
}

fn roots(text: &[u8]) -> Result<RootCertStore, ConfigError> {
    let mut store = RootCertStore::empty();
    for (index, root) in certificates(text)?.into_iter().enumerate() {
        store
            .add(root)
            .map_err(|error| ConfigError::BadCertificate {
                index: index + 1,
                why: error.to_string(),
            })?;
    }
    Ok(store)
}

fn contains(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|window| window == needle)
}

fn bad_pem(error: pem::Error) -> ConfigError {
    ConfigError::BadPem(match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            format!("no line {:?}", String::from_utf8_lossy(&end_marker))
        }
        pem::Error::IllegalSectionStart { line } => {
            format!("the line {:?}", String::from_utf8_lossy(&line))
        }
        error => error.to_string(),
    })
}

fn library(error: rustls::Error) -> ConfigError {
    ConfigError::Library(error.to_string())
}
