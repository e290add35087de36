//! The certificate that the services show to who comes with TLS, and the authority that signed it: made once,
//! into `target/services/tls`, for tests.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use crate::checkout::Checkout;

/// Files, PEM.
pub(super) struct Certificates {
    /// Of the authority.
    pub(super) authority: PathBuf,
    /// For localhost and 127.0.0.1.
    pub(super) certificate: PathBuf,
    /// Its key.
    pub(super) key: PathBuf,
    /// Key and certificate in one file, as Java's servers like it.
    pub(super) both: PathBuf,
}

impl Certificates {
    /// Makes what is missing. Under the lock of the services, so that one makes them.
    pub(super) fn ensure(checkout: &Checkout) -> Result<Self> {
        let folder = checkout.services().join("tls");
        let made = Self::at(&folder);
        if made.both.exists() {
            return Ok(made);
        }
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        made.make().context("make the services' certificates")?;
        Ok(made)
    }

    /// Those of [`ensure`](Self::ensure).
    pub(super) fn of(checkout: &Checkout) -> Self {
        Self::at(&checkout.services().join("tls"))
    }

    fn at(folder: &Path) -> Self {
        Self {
            authority: folder.join("authority.pem"),
            certificate: folder.join("server.pem"),
            key: folder.join("server-key.pem"),
            both: folder.join("server-both.pem"),
        }
    }

    fn make(&self) -> Result<()> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let name = "Rookery's test services";
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate()?;
        let authority = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);

        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let params = CertificateParams::new(names)?;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?.pem();
        let key = key.serialize_pem();
        fs::write(&self.authority, authority)?;
        fs::write(&self.certificate, &certificate)?;
        private(&self.key, &key)?;
        // The last: where it is, all are.
        private(&self.both, &format!("{key}{certificate}"))
    }
}

/// PostgreSQL refuses a key that others may read.
fn private(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(
        path,
        fs::Permissions::from_mode(0o600),
    )?)
}
