//! The certificate that is made here where none is configured, and its renewal.
//!
//! It is renewed with the key and the name that it had: whoever trusts the old certificate as an authority
//! (rustls, and so `rookery chat` and `flock`) finds the new one signed by it, and goes on. OpenSSL asks for
//! the very certificate, so its clients need the new file.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType,
    SerialNumber,
};
use rookery_wire::tls;

use super::{Certificate, CertificateError, Source, read, unix_s};
use crate::auth::write_private;
use crate::config::TlsVersion;

/// It lasts this long: what browsers accept at most is 398 days.
const DAYS_VALID: u64 = 397;
/// It is renewed when it has no more left than this.
const DAYS_LEFT_MIN: i64 = 30;
/// Issuer and subject, by which it is known as ours.
const COMMON_NAME: &str = "Rookery, self-signed";

/// When a self-signed certificate was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// Before this start.
    Earlier,
    /// Just now, since there was none.
    Now,
    /// Just now, in the place of one that was about to end.
    Renewed,
}

/// Where it lies in a data directory; a client that is to trust it reads it.
pub fn path(data: &Path) -> PathBuf {
    data.join("tls").join("certificate.pem")
}

/// Whether one of ours has few days left, or none.
pub(super) fn is_due(tls: &tls::ServerConfig, now: SystemTime) -> bool {
    tls.expires_at()
        .is_some_and(|end| end - unix_s(now) < DAYS_LEFT_MIN * 86_400)
}

/// Reads it; made where there is none, and renewed where it is due.
pub(super) fn load(
    data: &Path,
    min_version: TlsVersion,
    now: SystemTime,
) -> Result<Certificate, CertificateError> {
    let (certificate, key) = (path(data), data.join("tls").join("key.pem"));
    let read = |source| read(&certificate, &key, source, min_version);
    match std::fs::metadata(&certificate) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
            // The certificate last: where it is, the key is too.
            write(&key, &pair.serialize_pem())?;
            write(&certificate, &signed(&pair, now)?)?;
            return read(Source::SelfSigned(Made::Now));
        }
        Err(error) => {
            return Err(CertificateError::Io {
                action: "read",
                path: certificate,
                error,
            });
        }
    }
    let found = read(Source::SelfSigned(Made::Earlier))?;
    if !is_ours(&found.tls) {
        // Somebody put his own there.
        let source = Source::Given;
        return Ok(Certificate { source, ..found });
    }
    if !is_due(&found.tls, now) {
        return Ok(found);
    }
    match renew(&certificate, &key, now) {
        Ok(()) => read(Source::SelfSigned(Made::Renewed)),
        Err(error) if found.tls.expires_at().is_some_and(|end| end > unix_s(now)) => {
            tracing::warn!(%error, "the certificate could not be renewed; the old one stays in use");
            Ok(found)
        }
        Err(error) => Err(error),
    }
}

/// Whether issuer and subject have the name that we give.
fn is_ours(tls: &tls::ServerConfig) -> bool {
    let name = COMMON_NAME.as_bytes();
    let named = tls.leaf().windows(name.len()).filter(|part| *part == name);
    named.count() == 2
}

fn renew(certificate: &Path, key: &Path, now: SystemTime) -> Result<(), CertificateError> {
    let pem = std::fs::read_to_string(key).map_err(|error| CertificateError::Io {
        action: "read",
        path: key.to_owned(),
        error,
    })?;
    write(certificate, &signed(&KeyPair::from_pem(&pem)?, now)?)
}

fn write(path: &Path, pem: &str) -> Result<(), CertificateError> {
    write_private(path, pem.as_bytes()).map_err(|error| CertificateError::Io {
        action: "write",
        path: path.to_owned(),
        error,
    })
}

/// A certificate of this key, PEM.
fn signed(pair: &KeyPair, now: SystemTime) -> Result<String, CertificateError> {
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
        .push(DnType::CommonName, COMMON_NAME);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // RFC 5280, 4.1.2.2: another one for each certificate of an issuer. The library's would be a hash of
    // the key, which stays.
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| rcgen::Error::RingUnspecified)?;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    // An hour back, for clients whose clock is behind.
    let start = now - Duration::from_secs(3_600);
    params.not_before = start.into();
    params.not_after = (start + Duration::from_secs(DAYS_VALID * 86_400)).into();
    Ok(params.self_signed(pair)?.pem())
}

/// This host's name, if it can stand in a certificate.
fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    (!name.is_empty() && name.bytes().all(fits)).then(|| name.to_owned())
}
