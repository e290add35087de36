//! Looks after the certificate while the server runs: hands out what a reload has found, renews the one that was
//! made here, and tells the operator of one that ends, once a day. Connections keep the one that they
//! began with; a failure changes nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rookery_shard::Postboxes;

use super::keeper::tell;
use crate::certificate::{self, Certificate};
use crate::config::{Config, Tls};
use crate::session::Mail;

/// Between two warnings, and between two tries to renew.
const DAY: Duration = Duration::from_secs(86_400);

/// See the module.
pub(super) struct CertificateKeeper {
    tls: Tls,
    data: PathBuf,
    postboxes: Postboxes<Mail>,
    used: Certificate,
    warned: Daily,
    renewed: Daily,
}

impl CertificateKeeper {
    /// Of the certificate that the server starts with, read just now; its warning is told at once.
    pub(super) fn new(
        config: &Config,
        postboxes: Postboxes<Mail>,
        used: Certificate,
        now: SystemTime,
    ) -> Self {
        let mut keeper = Self {
            tls: config.tls.clone(),
            data: config.data.clone(),
            postboxes,
            used,
            warned: Daily::default(),
            renewed: Daily { last: Some(now) },
        };
        keeper.warn(now);
        keeper
    }

    /// What is used.
    pub(super) fn certificate(&self) -> &Certificate {
        &self.used
    }

    /// Looks at its dates; called a few times a second.
    pub(super) fn look(&mut self, now: SystemTime) {
        if self.used.is_due(now) && self.renewed.passes(now) {
            self.renew(now);
        }
        self.warn(now);
    }

    /// New connections get what a reload has found.
    pub(super) fn take(&mut self, tls: &Tls, mut found: Certificate, now: SystemTime) {
        let has_own = |tls: &Tls| tls.ticket_keys_file.is_none();
        if has_own(tls) && has_own(&self.tls) {
            self.keep_ticket_keys(&mut found);
        }
        self.tls.clone_from(tls);
        self.hand_out(found, now);
        self.warned = Daily::default();
        self.warn(now);
    }

    fn renew(&mut self, now: SystemTime) {
        match certificate::load(&self.tls, &self.data, now) {
            Ok(mut found) => {
                if self.tls.ticket_keys_file.is_none() {
                    self.keep_ticket_keys(&mut found);
                }
                self.hand_out(found, now);
            }
            // It is tried again tomorrow.
            Err(error) => {
                tracing::error!(%error, "the certificate was not renewed; the old one stays in use");
            }
        }
    }

    /// The process's own ticket keys outlive a change of certificates.
    fn keep_ticket_keys(&self, found: &mut Certificate) {
        let tls = found.tls.as_ref().clone();
        found.tls = Arc::new(tls.with_ticket_keys_of(&self.used.tls));
    }

    fn hand_out(&mut self, found: Certificate, now: SystemTime) {
        if found.fingerprint != self.used.fingerprint && self.used.is_due(now) {
            tracing::info!(
                file = %found.path.display(),
                fingerprint = found.fingerprint_text(),
                "the self-signed certificate was renewed, with the same key; clients that keep a copy of the \
                 old one to compare with need the new file"
            );
        }
        self.used = found;
        tell(&self.postboxes, || {
            Mail::Certificate(Arc::clone(&self.used.tls))
        });
    }

    fn warn(&mut self, now: SystemTime) {
        if self.warned.is_early(now) {
            return;
        }
        if let Some(warning) = self.used.warning(now) {
            self.warned.passes(now);
            tracing::warn!("{warning}");
        }
    }
}

/// Lets something happen once a day, by a clock that may jump.
#[derive(Default)]
struct Daily {
    last: Option<SystemTime>,
}

impl Daily {
    fn is_early(&self, now: SystemTime) -> bool {
        // Back before the last time: the clock was set, and what was said is of another time.
        self.last
            .is_some_and(|last| now.duration_since(last).is_ok_and(|since| since < DAY))
    }

    fn passes(&mut self, now: SystemTime) -> bool {
        let passes = !self.is_early(now);
        if passes {
            self.last = Some(now);
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn once_a_day_and_again_where_the_clock_goes_back() {
        let mut daily = Daily::default();
        let at = |hours: u64| UNIX_EPOCH + Duration::from_secs(3_600 * hours);
        let passed: Vec<u64> = [100, 101, 123, 124, 147, 148, 90, 91, 114]
            .into_iter()
            .filter(|&hours| daily.passes(at(hours)))
            .collect();
        assert_eq!(passed, [100, 124, 148, 90, 114]);
    }
}
