//! The server's certificate: from PEM files, or a self-signed one made at the first start.
//!
//! [`load`] reads everything anew each time, so that a signal can have it read again; a failure
//! leaves the caller with what it had. Errors name the file and say what it lacks.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType,
};
use rookery_wire::tls;

use crate::auth::write_private;
use crate::config;

/// A self-signed certificate lasts this long: what browsers accept at most is 398 days.
const DAYS_VALID: u64 = 397;

/// A chain and its key, known to belong together.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// What TLS handshakes are made with.
    pub tls: Arc<tls::ServerConfig>,
    /// SHA-256 of the first certificate's DER, as browsers and OpenSSL show it.
    pub fingerprint: [u8; 32],
    /// Where it came from.
    pub source: Source,
    /// The file with the chain.
    pub path: PathBuf,
}

/// Where a certificate came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The configured files.
    Files,
    /// Self-signed, in the data directory.
    SelfSigned {
        /// Made just now, rather than at an earlier start.
        made_now: bool,
    },
}

/// A certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file system said no.
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        /// "read" or "write".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What it said.
        error: std::io::Error,
    },
    /// The file does not hold what it should.
    #[error("{} {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The library that makes self-signed certificates said no.
    #[error("cannot make a self-signed certificate: {0}")]
    SelfSigned(#[from] rcgen::Error),
}

impl Certificate {
    /// `AB:CD:…`
    pub fn fingerprint_text(&self) -> String {
        self.fingerprint
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect::<Vec<_>>()
            .join(":")
    }
}

/// Where the self-signed certificate lies in a data directory; a client that is to trust it reads it.
pub fn self_signed_path(data: &Path) -> PathBuf {
    data.join("tls").join("certificate.pem")
}

/// Reads the configured files, or else the self-signed certificate in `data`, made where there is none.
pub fn load(tls: &config::Tls, data: &Path) -> Result<Certificate, CertificateError> {
    if let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) {
        return read(certificate, key, Source::Files);
    }
    let (certificate, key) = (self_signed_path(data), data.join("tls").join("key.pem"));
    let made_now = match std::fs::metadata(&certificate) {
        Ok(_) => false,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make(&certificate, &key)?;
            true
        }
        Err(error) => {
            return Err(CertificateError::Io {
                action: "read",
                path: certificate,
                error,
            });
        }
    };
    read(&certificate, &key, Source::SelfSigned { made_now })
}

fn read(certificate: &Path, key: &Path, source: Source) -> Result<Certificate, CertificateError> {
    let bytes = |path: &Path| {
        std::fs::read(path).map_err(|error| CertificateError::Io {
            action: "read",
            path: path.to_owned(),
            error,
        })
    };
    let (chain_pem, key_pem) = (bytes(certificate)?, bytes(key)?);
    let tls = tls::ServerConfig::from_pem(&chain_pem, &key_pem, tls::Tickets::One)
        .map_err(|error| blame(error, certificate, key))?;
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest::digest(&digest::SHA256, tls.leaf()).as_ref());
    Ok(Certificate {
        tls: Arc::new(tls),
        fingerprint,
        source,
        path: certificate.to_owned(),
    })
}

/// Which of the two files an error is about.
fn blame(error: tls::ConfigError, certificate: &Path, key: &Path) -> CertificateError {
    let (path, problem) = match error {
        tls::ConfigError::KeyMismatch => {
            let certificate = certificate.display();
            (
                key,
                format!("is not the key of the certificate in {certificate}"),
            )
        }
        tls::ConfigError::NoKey | tls::ConfigError::EncryptedKey | tls::ConfigError::BadKey(_) => {
            (key, format!("holds no usable private key: {error}"))
        }
        error => (certificate, format!("holds no usable certificate: {error}")),
    };
    CertificateError::Content {
        path: path.to_owned(),
        problem,
    }
}

fn make(certificate: &Path, key: &Path) -> Result<(), CertificateError> {
    let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut names = vec!["localhost".to_owned()];
    names.extend(host_name().filter(|name| name != "localhost"));
    let mut params = CertificateParams::new(names)?;
    for address in [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ] {
        params.subject_alt_names.push(SanType::IpAddress(address));
    }
    params
        .distinguished_name
        .push(DnType::CommonName, "Rookery, self-signed");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // An hour back, for clients whose clock is behind.
    let start = SystemTime::now() - Duration::from_secs(3_600);
    params.not_before = start.into();
    params.not_after = (start + Duration::from_secs(DAYS_VALID * 86_400)).into();
    let signed = params.self_signed(&pair)?;
    // The certificate last: where it is, the key is too.
    for (path, pem) in [(key, pair.serialize_pem()), (certificate, signed.pem())] {
        write_private(path, pem.as_bytes()).map_err(|error| CertificateError::Io {
            action: "write",
            path: path.to_owned(),
            error,
        })?;
    }
    Ok(())
}

/// This host's name, if it can stand in a certificate.
fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    (!name.is_empty() && name.bytes().all(fits)).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn self_signed() -> (tempfile::TempDir, Certificate) {
        let data = tempfile::tempdir().unwrap();
        let certificate = load(&config::Tls::default(), data.path()).unwrap();
        (data, certificate)
    }

    fn files(certificate: &Path, key: &Path) -> Result<Certificate, CertificateError> {
        let tls = config::Tls {
            certificate: Some(certificate.into()),
            key: Some(key.into()),
        };
        load(&tls, Path::new("/nowhere"))
    }

    #[test]
    fn a_self_signed_one_is_made_once_and_its_key_is_private() {
        let (data, first) = self_signed();
        assert_eq!(first.source, Source::SelfSigned { made_now: true });
        let again = load(&config::Tls::default(), data.path()).unwrap();
        assert_eq!(again.source, Source::SelfSigned { made_now: false });
        assert_eq!(again.fingerprint, first.fingerprint);
        assert_eq!(first.fingerprint_text().len(), 95);
        let key = std::fs::metadata(data.path().join("tls/key.pem")).unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_client_that_trusts_it_accepts_every_name() {
        let (_data, certificate) = self_signed();
        let leaf = rustls::pki_types::CertificateDer::from(certificate.tls.leaf());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(leaf.clone()).unwrap();
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
        )
        .build()
        .unwrap();
        use rustls::client::danger::ServerCertVerifier as _;
        let check = |name: &str, at: rustls::pki_types::UnixTime| {
            verifier.verify_server_cert(&leaf, &[], &name.to_owned().try_into().unwrap(), &[], at)
        };
        let now = rustls::pki_types::UnixTime::now();
        for name in ["localhost", "127.0.0.1", "::1"] {
            assert!(check(name, now).is_ok(), "{name}: {:?}", check(name, now));
        }
        assert!(check("example.org", now).is_err());
        let later = Duration::from_secs(now.as_secs() + 397 * 86_400);
        assert!(
            check(
                "localhost",
                rustls::pki_types::UnixTime::since_unix_epoch(later)
            )
            .is_err()
        );
    }

    #[test]
    fn errors_name_the_file() {
        let (data, _) = self_signed();
        let (other, _) = self_signed();
        let certificate = self_signed_path(data.path());
        let key = data.path().join("tls/key.pem");
        let junk = data.path().join("junk.pem");
        std::fs::write(&junk, "junk").unwrap();
        let broken = data.path().join("broken.pem");
        std::fs::write(
            &broken,
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        )
        .unwrap();
        let missing = data.path().join("missing.pem");
        assert!(files(&certificate, &key).is_ok());
        let cases = [
            (&missing, &key, "missing.pem"),
            (&certificate, &missing, "missing.pem"),
            (&junk, &key, "junk.pem holds no usable certificate"),
            (&broken, &key, "broken.pem holds no usable certificate"),
            (&certificate, &junk, "junk.pem holds no usable private key"),
            (
                &certificate,
                &other.path().join("tls/key.pem"),
                "is not the key of the certificate",
            ),
        ];
        for (certificate, key, expected) in cases {
            let error = files(certificate, key).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
