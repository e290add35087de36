//! TLS to the outside services: what an operator names (authorities, a certificate of our own, a name),
//! read once at the start, and what every driver is given. Not here: TLS to clients (`rookery-wire`).
//!
//! One crypto provider for all, named wherever one is used, so that nothing depends on which of them is the
//! process's default. The invariant: a [`Tls`] that exists can be used; what is wrong with a file is told
//! when it is made, and names the file.

mod fault;
mod probe;
mod verify;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, InconsistentKeys, RootCertStore};

pub(crate) use fault::Fault;
pub(crate) use probe::{Opening, Target, probe};

/// [`probe`] for whoever must not block.
pub(crate) async fn ask(target: Target, tls: Option<Tls>) -> Option<Fault> {
    let asked = tokio::task::spawn_blocking(move || probe(&target, tls.as_ref()));
    asked.await.ok().flatten()
}

/// A file of certificates is not longer; the system's own have 200 kB.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What an operator names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// The authorities that may have signed the servers' certificates, PEM; the system's where absent.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, for servers that ask for one: the chain, PEM, its own first.
    pub certificate_file: Option<PathBuf>,
    /// Its private key, PEM, not encrypted.
    pub key_file: Option<PathBuf>,
    /// The name that the servers' certificates bear, where it is not the one that they are reached by.
    pub server_name: Option<String>,
}

/// How connections to a service are encrypted. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    files: Files,
    config: Arc<ClientConfig>,
}

/// What an operator named cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file.
    #[error("{key} {}: {problem}", path.display())]
    File {
        /// The field that names it.
        key: &'static str,
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// What is not in a file.
    #[error("{0}")]
    Other(String),
}

impl Tls {
    /// Reads the files.
    pub fn load(files: Files) -> Result<Tls, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = verifier(&files, &provider)?;
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Other(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match identity(&files, &provider)? {
            None => config.with_no_client_auth(),
            Some(identity) => {
                config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
            }
        };
        Ok(Tls {
            files,
            config: Arc::new(config),
        })
    }

    /// What was named.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// For a driver.
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }
}

/// Two are the same where the same was named.
impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

impl Eq for Tls {}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.fmt(f)
    }
}

fn verifier(
    files: &Files,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let roots = match &files.ca_file {
        Some(path) => named_authorities(path)?,
        None => system_authorities()?,
    };
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .build()
            .map_err(|error| TlsError::Other(error.to_string()))?;
    match &files.server_name {
        None => Ok(verifier),
        Some(name) => {
            let name = ServerName::try_from(name.clone()).map_err(|_| {
                TlsError::Other(format!(
                    "server_name `{name}` is neither a host's name nor an address"
                ))
            })?;
            Ok(Arc::new(verify::AsNamed { verifier, name }))
        }
    }
}

fn named_authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    const KEY: &str = "ca_file";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(KEY, path)? {
        roots
            .add(certificate)
            .map_err(|error| wrong(KEY, path, format!("holds no authority: {error}")))?;
    }
    Ok(roots)
}

fn system_authorities() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err(TlsError::Other(
            "this system has no authorities (ca-certificates): name one in ca_file".to_owned(),
        ));
    }
    Ok(roots)
}

/// Our own certificate with its key.
fn identity(files: &Files, provider: &CryptoProvider) -> Result<Option<CertifiedKey>, TlsError> {
    let (path, key_path) = match (&files.certificate_file, &files.key_file) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) => return Ok(None),
        _ => {
            return Err(TlsError::Other(
                "certificate_file and key_file come together".to_owned(),
            ));
        }
    };
    let chain = certificates("certificate_file", path)?;
    let key = PrivateKeyDer::from_pem_slice(&read("key_file", key_path)?).map_err(|_| {
        wrong(
            "key_file",
            key_path,
            "holds no private key (PEM, not encrypted)",
        )
    })?;
    match CertifiedKey::from_der(chain, key, provider) {
        Ok(identity) => Ok(Some(identity)),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            let problem = format!("is not the key of {}", path.display());
            Err(wrong("key_file", key_path, problem))
        }
        Err(error) => Err(wrong("certificate_file", path, error.to_string())),
    }
}

/// One at least.
fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(key, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|error| wrong(key, path, format!("is damaged: {error}")))?;
    if found.is_empty() {
        return Err(wrong(key, path, "holds no certificate (PEM)"));
    }
    Ok(found)
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    use std::io::Read as _;
    let failed = |error: std::io::Error| wrong(key, path, error.to_string());
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong(key, path, "is larger than 4 MiB and so no such file"));
    }
    Ok(bytes)
}

fn wrong(key: &'static str, path: &Path, problem: impl Into<String>) -> TlsError {
    TlsError::File {
        key,
        path: path.to_owned(),
        problem: problem.into(),
    }
}

#[cfg(test)]
mod tests;
