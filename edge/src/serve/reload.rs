//! A reload, as SIGHUP and the admin port ask for it: the configuration is read again, with the certificate and the
//! login keys that it names. Either all of it is taken, or nothing is changed; what only a start can change is told.
//!
//! Files are read on a thread aside, since a mount may hang: the main thread goes on meanwhile, and gives up after a
//! while. Connections keep what they began with: their TLS session, and a login whose key is gone, until its token
//! ends.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime};

use rookery_shard::Postboxes;
use tokio::sync::oneshot;

use super::certificates::CertificateKeeper;
use super::keeper::tell;
use super::key_fetcher::{Fetched, KeyFetcher};
use super::limits::{LimitsKept, LimitsRead};
use crate::admin::{Command, Outcome};
use crate::auth::{self, FetchedSet, LoginKeys, Revocations, VerifyingKey, Wanted};
use crate::certificate::{self, Certificate};
use crate::cli::causes;
use crate::config::{Config, ConfigError};
use crate::logging::Filter;
use crate::session::Mail;

/// So long the files of a reload may take to be read.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// Reads the configuration as it was read at the start.
pub type Reread = Arc<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// Who asked for a reload and waits; nobody, where it was a signal.
pub(crate) type Asker = Option<oneshot::Sender<Outcome>>;

/// The files that a configuration names, and itself; or why they cannot be used.
pub(crate) struct Read(Result<Box<Files>, String>);

struct Files {
    config: Config,
    keys: LoginKeys,
    certificate: Certificate,
}

/// See the module.
pub(super) struct Reloader {
    pub(super) reread: Reread,
    pub(super) used: Config,
    pub(super) limits: LimitsKept,
    pub(super) filter: Filter,
    pub(super) postboxes: Postboxes<Mail>,
    pub(super) revocations: Arc<Revocations>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) login: Logins,
    pub(super) reading: Option<Reading>,
}

/// Who may log in, as the shards were told.
pub(super) struct Logins {
    pub(super) keys: LoginKeys,
    pub(super) fetched: FetchedSet,
    pub(super) wanted: Wanted,
    pub(super) fetcher: KeyFetcher,
}

/// A reload whose files are being read.
pub(super) struct Reading {
    since: Instant,
    askers: Vec<Asker>,
    /// Who asked since: files may have changed after they were read.
    again: Vec<Asker>,
    /// It took too long, and was told so.
    is_given_up: bool,
}

impl Reloader {
    /// Somebody asks. The answer comes when the files have been read; whether one is due now, and went well, where
    /// it could not even begin.
    pub(super) fn begin(&mut self, asker: Asker) -> Option<bool> {
        match &mut self.reading {
            None => self.read(vec![asker]),
            Some(reading) if reading.is_given_up => {
                let why = "files of the reload before are still being read (does a mount hang?)";
                Some(conclude(vec![asker], Err(unchanged(why))))
            }
            Some(reading) => {
                // However many signals come, they are one.
                if asker.is_some() || reading.again.is_empty() {
                    reading.again.push(asker);
                }
                None
            }
        }
    }

    fn read(&mut self, askers: Vec<Asker>) -> Option<bool> {
        let (reread, data) = (Arc::clone(&self.reread), self.used.data.clone());
        let (commands, had_keys) = (self.commands.clone(), !self.used.auth.has_no_keys());
        let aside = std::thread::Builder::new().name("reload".into());
        let begun = aside.spawn(move || {
            let read = Read::of(&reread, &data, had_keys);
            // The server may have stopped meanwhile.
            let _ = commands.send(Command::Read(read));
        });
        if let Err(error) = begun {
            return Some(conclude(askers, Err(unchanged(&error.to_string()))));
        }
        self.reading = Some(Reading {
            since: Instant::now(),
            askers,
            again: Vec::new(),
            is_given_up: false,
        });
        None
    }

    /// The files were read: they are taken. Whether it went well; nothing where it was given up before, or another
    /// one has begun.
    pub(super) fn finish(
        &mut self,
        read: Read,
        certificates: &mut CertificateKeeper,
        now: SystemTime,
    ) -> Option<bool> {
        let reading = self.reading.take()?;
        if reading.is_given_up {
            tracing::info!(
                "the files of the reload that was given up were read; they are not used"
            );
            return None;
        }
        let outcome = read
            .0
            .and_then(|files| self.take(*files, certificates, now));
        let went_well = conclude(reading.askers, outcome);
        match reading.again.is_empty() {
            true => Some(went_well),
            false => self.read(reading.again),
        }
    }

    /// Whether the files take too long: who asked is told so, now.
    pub(super) fn gives_up(&mut self, now: Instant) -> bool {
        let Some(reading) = &mut self.reading else {
            return false;
        };
        if reading.is_given_up || now.duration_since(reading.since) < READ_WITHIN {
            return false;
        }
        reading.is_given_up = true;
        let mut askers = std::mem::take(&mut reading.askers);
        askers.append(&mut reading.again);
        let why = format!(
            "the files could not be read within {} s (does a mount hang?)",
            READ_WITHIN.as_secs()
        );
        conclude(askers, Err(unchanged(&why)));
        true
    }

    fn take(
        &mut self,
        files: Files,
        certificates: &mut CertificateKeeper,
        now: SystemTime,
    ) -> Outcome {
        let Files {
            config,
            keys,
            certificate,
        } = files;
        let mut next = self.used.clone();
        next.auth = config.auth.clone();
        next.tls = config.tls.clone();
        next.log.filter = config.log.filter.clone();
        next.limits = self.limits.in_use(&self.used.limits, &config.limits);
        let limits = LimitsRead::of(&next).map_err(|error| unchanged(&causes(&error)))?;
        if config.log.filter != self.used.log.filter {
            let set = self.filter.set(&config.log.filter);
            set.map_err(|error| unchanged(&format!("`log.filter`: {error}")))?;
        }
        // From here on nothing fails.
        certificates.take(&config.tls, certificate, now);
        self.login.keys = keys;
        if config.auth.jwks_url != self.used.auth.jwks_url {
            // Another's keys are not trusted while its own are on the way.
            self.login.fetched = FetchedSet::default();
        }
        self.login.fetcher.aim(&config.auth);
        self.tell_keys();
        self.revocations.set_token_life(config.auth.token_life_ms());
        self.limits.take(limits);
        let (taken, waits) = (self.used.differences(&next), next.differences(&config));
        self.used = next;
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

    /// A set was fetched.
    pub(super) fn take_fetched(&mut self, fetched: Fetched) {
        if self.used.auth.jwks_url.as_ref() != Some(&fetched.url) {
            // A reload has named another one meanwhile.
            return;
        }
        let before = std::mem::replace(&mut self.login.fetched, fetched.set);
        self.tell_keys();
        let (before, now) = (ids(&before.keys), ids(&self.login.fetched.keys));
        if before != now {
            let told = |ids: Vec<&String>| ids.into_iter().cloned().collect::<Vec<_>>().join(", ");
            tracing::info!(
                url = fetched.url,
                keys = now.len(),
                new = told(now.difference(&before).collect()),
                gone = told(before.difference(&now).collect()),
                "the login keys were fetched"
            );
        }
    }

    /// When the set in use was asked for, Unix seconds; 0 where none was.
    pub(super) fn keys_fetched_s(&self) -> u64 {
        self.login.fetched.asked_at_ms.unwrap_or(0) / 1_000
    }

    fn tell_keys(&self) {
        let login = &self.login;
        let verifier = Arc::new(login.keys.verifier(&login.fetched, &login.wanted));
        tell(&self.postboxes, || Mail::Keys(Arc::clone(&verifier)));
    }
}

impl Read {
    fn of(reread: &Reread, data: &Path, had_keys: bool) -> Self {
        Self(files(reread, data, had_keys).map_err(|error| unchanged(&causes(&error))))
    }
}

fn files(reread: &Reread, data: &Path, had_keys: bool) -> anyhow::Result<Box<Files>> {
    let config = reread()?;
    anyhow::ensure!(
        !(had_keys && config.auth.has_no_keys()),
        "`auth` names no key any more, and the development key is for a start only"
    );
    let keys = LoginKeys::load(&config.auth, data)?;
    let certificate = certificate::load(&config.tls, data, SystemTime::now())?;
    Ok(Box::new(Files {
        config,
        keys,
        certificate,
    }))
}

fn unchanged(why: &str) -> String {
    format!("nothing was reloaded, and what was there stays in use: {why}")
}

/// Tells the log and those who asked what came of it; whether it went well.
fn conclude(askers: Vec<Asker>, outcome: Outcome) -> bool {
    match &outcome {
        Ok(done) => tracing::info!("{done}"),
        Err(why) => tracing::error!("{why}"),
    }
    for asker in askers.into_iter().flatten() {
        // Who asked may have gone.
        let _ = asker.send(outcome.clone());
    }
    outcome.is_ok()
}

/// How keys are told of: their ids, cut to what fits a line.
fn ids(keys: &[VerifyingKey]) -> BTreeSet<String> {
    let ids = keys.iter().filter_map(|key| key.id.as_deref());
    ids.map(|id| id.chars().take(40).flat_map(char::escape_debug).collect())
        .collect()
}

/// What there is at the start: the keys of the files, and those that were fetched last time.
pub(super) fn logins_at_start(
    config: &Config,
    keys: LoginKeys,
    wanted: Wanted,
    commands: mpsc::Sender<Command>,
) -> std::io::Result<Logins> {
    let fetcher = KeyFetcher::start(&config.auth, &config.data, wanted.clone(), commands)?;
    let fetched = kept(config);
    Ok(Logins {
        keys,
        fetched,
        wanted,
        fetcher,
    })
}

fn kept(config: &Config) -> FetchedSet {
    let Some(url) = &config.auth.jwks_url else {
        return FetchedSet::default();
    };
    let kept = auth::kept(&config.data, url).unwrap_or_else(|why| {
        tracing::warn!(why, "the login keys of the last run cannot be used");
        None
    });
    if kept.is_none() {
        tracing::info!(url, "logins wait until the login keys are fetched");
    }
    kept.unwrap_or_default()
}
