//! A reload, as SIGHUP and the admin port ask for it: the configuration is read again, with the certificate and the
//! login keys that it names. Either all of it is taken, or nothing is changed; what only a start can change is told.
//!
//! Connections keep what they began with: their TLS session, and a login whose key is gone, until its token ends.

use std::sync::Arc;
use std::time::SystemTime;

use rookery_shard::Postboxes;

use super::certificates::CertificateKeeper;
use super::keeper::tell;
use crate::admin::Outcome;
use crate::auth;
use crate::cli::causes;
use crate::config::{Config, ConfigError};
use crate::logging::Filter;
use crate::session::Mail;

/// What a reload takes: a section, or one of its keys.
const TAKEN: [&str; 3] = ["auth", "tls", "log.filter"];

/// Reads the configuration as it was read at the start.
pub type Reread<'a> = &'a dyn Fn() -> Result<Config, ConfigError>;

/// See the module.
pub(super) struct Reloader<'a> {
    reread: Reread<'a>,
    used: Config,
    filter: Filter,
    postboxes: Postboxes<Mail>,
}

impl<'a> Reloader<'a> {
    pub(super) fn new(
        reread: Reread<'a>,
        used: &Config,
        filter: Filter,
        postboxes: Postboxes<Mail>,
    ) -> Self {
        Self {
            reread,
            used: used.clone(),
            filter,
            postboxes,
        }
    }

    /// What was done, or why nothing was.
    pub(super) fn reload(
        &mut self,
        certificates: &mut CertificateKeeper,
        now: SystemTime,
    ) -> Outcome {
        let outcome = self.try_reload(certificates, now);
        match &outcome {
            Ok(done) => tracing::info!("{done}"),
            Err(why) => tracing::error!("{why}"),
        }
        outcome
    }

    fn try_reload(&mut self, certificates: &mut CertificateKeeper, now: SystemTime) -> Outcome {
        let unchanged = |error: anyhow::Error| {
            let why = causes(&error);
            format!("nothing was reloaded, and what was there stays in use: {why}")
        };
        let config = (self.reread)().map_err(|error| unchanged(error.into()))?;
        if config.auth.has_no_keys() && !self.used.auth.has_no_keys() {
            return Err(unchanged(anyhow::anyhow!(
                "`auth` names no key any more, and the development key is for a start only"
            )));
        }
        let verifier = auth::verifier(&config.auth, &self.used.data);
        let (verifier, _) = verifier.map_err(|error| unchanged(error.into()))?;
        let certificate = certificates.load(&config.tls, now);
        let certificate = certificate.map_err(|error| unchanged(error.into()))?;
        if config.log.filter != self.used.log.filter {
            let set = self.filter.set(&config.log.filter);
            set.map_err(|error| unchanged(anyhow::anyhow!("`log.filter`: {error}")))?;
        }
        // From here on nothing fails.
        certificates.take(&config.tls, certificate, now);
        let verifier = Arc::new(verifier);
        tell(&self.postboxes, || Mail::Keys(Arc::clone(&verifier)));
        let changed = self.used.differences(&config);
        let is_taken = |key: &String| {
            let mut rests = TAKEN.iter().filter_map(|taken| key.strip_prefix(taken));
            rests.any(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let (taken, waits): (Vec<_>, Vec<_>) = changed.into_iter().partition(is_taken);
        self.used.auth = config.auth;
        self.used.tls = config.tls;
        self.used.log.filter = config.log.filter;
        let mut done = format!(
            "the certificate (SHA-256 {}) and the login keys were read again",
            certificates.certificate().fingerprint_text()
        );
        if !taken.is_empty() {
            done += &format!("; changed: {}", taken.join(", "));
        }
        if !waits.is_empty() {
            done += &format!(
                "; changed, and taken at the next start only: {}",
                waits.join(", ")
            );
        }
        Ok(done)
    }
}
