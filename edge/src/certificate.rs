//! The server's certificate: from PEM files, or a self-signed one that is made at the first start and
//! made anew before it ends.
//!
//! [`load`] reads everything anew each time, so that a signal can have it read again; a failure
//! leaves the caller with what it had. Errors name the file and say what it lacks. The time is an argument.

mod self_signed;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use rookery_wire::tls;
use zeroize::Zeroizing;

use crate::config;
use crate::regular_file;

pub use self_signed::{Made, path as self_signed_path};

/// No chain and no key is larger.
const FILE_BYTES_MAX: u64 = 1 << 20;

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
    /// The operator, who also renews it.
    Given,
    /// Self-signed, in the data directory.
    SelfSigned(Made),
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

    /// When it ends; the beginning of 1970 where it does not say.
    pub fn expires(&self) -> SystemTime {
        let end_s = self.tls.expires_at().unwrap_or(0);
        UNIX_EPOCH + Duration::from_secs(end_s.try_into().unwrap_or(0))
    }

    /// Whether it is ours to renew, and time to.
    pub fn is_due(&self, now: SystemTime) -> bool {
        matches!(self.source, Source::SelfSigned(_)) && self_signed::is_due(&self.tls, now)
    }

    /// What the operator should know and do about its dates.
    pub fn warning(&self, now: SystemTime) -> Option<String> {
        let now_s = unix_s(now);
        let replace = "put a valid one in its place and send SIGHUP";
        let (seconds, what, advice) = match self.tls.warnings(now_s)? {
            tls::Warning::Expired { seconds } => (-seconds, "expired on", replace),
            tls::Warning::ExpiresSoon { seconds } => (seconds, "expires on", replace),
            tls::Warning::NotYetValid { seconds } => (
                seconds,
                "is not valid before",
                "is this host's clock right?",
            ),
        };
        let at = UNIX_EPOCH + Duration::from_secs((now_s + seconds).try_into().unwrap_or(0));
        let days = match seconds / 86_400 {
            0 if seconds < 0 => "less than a day ago".to_owned(),
            0 => "in less than a day".to_owned(),
            1 => "in 1 day".to_owned(),
            -1 => "1 day ago".to_owned(),
            ago @ ..0 => format!("{} days ago", -ago),
            ahead => format!("in {ahead} days"),
        };
        Some(format!(
            "the certificate in {} {what} {}, {days}: {advice}",
            self.path.display(),
            humantime::format_rfc3339_seconds(at)
        ))
    }
}

/// Before 1970 is 1970.
fn unix_s(now: SystemTime) -> i64 {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Reads the configured files, or else the self-signed certificate in `data`: made where there is none, and
/// made anew where it is about to end.
pub fn load(
    tls: &config::Tls,
    data: &Path,
    now: SystemTime,
) -> Result<Certificate, CertificateError> {
    let ticket_keys = tls.ticket_keys_file.as_deref().map(ticket_keys);
    let ticket_keys = ticket_keys.transpose()?;
    let certificate = match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => read(certificate, key, Source::Given, tls.min_version),
        _ => self_signed::load(data, tls.min_version, now),
    }?;
    let Some(ticket_keys) = ticket_keys else {
        return Ok(certificate);
    };
    let tls = certificate.tls.as_ref().clone();
    Ok(Certificate {
        tls: Arc::new(tls.with_ticket_keys(&ticket_keys)),
        ..certificate
    })
}

/// Reads a file of ticket keys.
pub fn ticket_keys(path: &Path) -> Result<tls::TicketKeys, CertificateError> {
    let text = Zeroizing::new(bytes(path)?);
    tls::TicketKeys::parse(&text).map_err(|error| CertificateError::Content {
        path: path.to_owned(),
        problem: format!("holds no usable ticket keys: {error}"),
    })
}

fn bytes(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let io = |error| CertificateError::Io {
        action: "read",
        path: path.to_owned(),
        error,
    };
    let bytes = regular_file::read(path, FILE_BYTES_MAX).map_err(io)?;
    match bytes.len() as u64 > FILE_BYTES_MAX {
        true => Err(io(std::io::Error::other("it is larger than 1 MiB"))),
        false => Ok(bytes),
    }
}

fn read(
    certificate: &Path,
    key: &Path,
    source: Source,
    min_version: config::TlsVersion,
) -> Result<Certificate, CertificateError> {
    let (chain_pem, key_pem) = (bytes(certificate)?, Zeroizing::new(bytes(key)?));
    let min_version = match min_version {
        config::TlsVersion::Tls12 => tls::MinVersion::Tls12,
        config::TlsVersion::Tls13 => tls::MinVersion::Tls13,
    };
    let one = tls::Tickets::One;
    let tls = tls::ServerConfig::from_pem_since(&chain_pem, &key_pem, one, min_version)
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

#[cfg(test)]
mod tests;
