//! Fetches the key set of `auth.jwks_url`, on a thread of its own: one question at a time, at its interval, and before
//! that where a login met a key that is not in it, but never twice within the least time. Whoever asks cannot make it
//! ask more often.
//!
//! A failure changes nothing: the last good set stays in use, and on the disk. It is told once.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::admin::Command;
use crate::auth::{self, FetchedSet, JwksUrl, Wanted};
use crate::config;
use crate::unix_time::unix_ms;

/// So long an answer may take, its name and its TLS included.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// So long after a failure it is tried again, where the interval is longer.
const RETRY: Duration = Duration::from_secs(30);

/// See the module. It ends with this.
pub(super) struct KeyFetcher(watch::Sender<Option<Source>>);

/// Keys that were fetched.
pub(crate) struct Fetched {
    /// Where from.
    pub(crate) url: String,
    /// What came.
    pub(crate) set: FetchedSet,
}

/// What is fetched, and how often.
#[derive(Clone)]
struct Source {
    url: JwksUrl,
    refresh: Duration,
    refresh_min: Duration,
}

impl Source {
    /// Of a checked configuration.
    fn of(auth: &config::Auth) -> Option<Self> {
        let url = JwksUrl::parse(auth.jwks_url.as_deref()?).ok()?;
        Some(Self {
            url,
            refresh: Duration::from_secs(auth.jwks_refresh_s.into()),
            refresh_min: Duration::from_secs(auth.jwks_refresh_min_s.into()),
        })
    }
}

impl KeyFetcher {
    /// Begins to fetch what the configuration names, which may be nothing.
    pub(super) fn start(
        auth: &config::Auth,
        data: &Path,
        wanted: Wanted,
        commands: mpsc::Sender<Command>,
    ) -> std::io::Result<Self> {
        let (aim, source) = watch::channel(Source::of(auth));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut fetching = Fetching {
            source,
            wanted,
            commands,
            data: data.to_owned(),
            kept: None,
            told: None,
        };
        std::thread::Builder::new()
            .name("key-fetcher".into())
            .spawn(move || {
                runtime.block_on(fetching.run());
                // A name may be looked up for longer than anybody waits.
                runtime.shutdown_background();
            })?;
        Ok(Self(aim))
    }

    /// From now on what this names, and at once.
    pub(super) fn aim(&self, auth: &config::Auth) {
        self.0.send_replace(Source::of(auth));
    }
}

struct Fetching {
    source: watch::Receiver<Option<Source>>,
    wanted: Wanted,
    commands: mpsc::Sender<Command>,
    data: PathBuf,
    /// What is on the disk.
    kept: Option<String>,
    /// The failure that was told last.
    told: Option<String>,
}

/// The other end has gone: the server stops.
struct Over;

impl Fetching {
    async fn run(&mut self) {
        while let Ok(()) = self.round().await {}
    }

    /// One question, and the time after it; or until something else is to be asked.
    async fn round(&mut self) -> Result<(), Over> {
        let Some(source) = self.source.borrow_and_update().clone() else {
            self.told = None;
            return self.source.changed().await.map_err(|_| Over);
        };
        let (began, asked_at_ms) = (Instant::now(), unix_ms(SystemTime::now()));
        let asking = timeout(ANSWER_WITHIN, ask(&source.url));
        let answer = tokio::select! {
            changed = self.source.changed() => return changed.map_err(|_| Over),
            answer = asking => answer.unwrap_or_else(|_| Err(too_late())),
        };
        let next = match answer {
            Ok((text, keys)) => {
                self.good(&source, text);
                let asked_at_ms = Some(asked_at_ms);
                let url = source.url.as_str().to_owned();
                let set = FetchedSet { keys, asked_at_ms };
                let told = self.commands.send(Command::Keys(Fetched { url, set }));
                told.map_err(|_| Over)?;
                source.refresh
            }
            Err(why) => {
                self.bad(&source, why);
                source.refresh.min(RETRY.max(source.refresh_min))
            }
        };
        tokio::select! {
            changed = self.source.changed() => changed.map_err(|_| Over),
            () = sleep_until(began + source.refresh_min) => Ok(()),
        }?;
        tokio::select! {
            // In this order: another source is asked at once, whatever else is due.
            biased;
            changed = self.source.changed() => changed.map_err(|_| Over),
            () = self.wanted.asked() => Ok(()),
            () = sleep_until(began + next) => Ok(()),
        }
    }

    fn good(&mut self, source: &Source, text: String) {
        let url = source.url.as_str();
        if self.told.take().is_some() {
            tracing::info!(url, "the login keys can be fetched again");
        }
        if self.kept.as_ref() == Some(&text) {
            return;
        }
        match auth::keep(&self.data, url, &text) {
            Ok(()) => self.kept = Some(text),
            Err(error) => {
                tracing::warn!(%error, "the fetched login keys are not kept: a start would be without them");
            }
        }
    }

    fn bad(&mut self, source: &Source, why: String) {
        let url = source.url.as_str();
        if self.told.as_ref() == Some(&why) {
            return tracing::debug!(url, why, "the login keys still cannot be fetched");
        }
        tracing::warn!(
            url,
            why,
            "the login keys cannot be fetched; the last ones stay in use"
        );
        self.told = Some(why);
    }
}

fn too_late() -> String {
    format!("no answer within {} s", ANSWER_WITHIN.as_secs())
}

/// The set as it came, and the keys in it; or why there is none.
async fn ask(url: &JwksUrl) -> Result<(String, Vec<auth::VerifyingKey>), String> {
    let body = auth::fetch(url).await.map_err(|error| error.to_string())?;
    let wrong = |problem| format!("what it answers {problem}");
    let keys = auth::parse_jwks(&body).map_err(wrong)?;
    let text = String::from_utf8(body.into()).map_err(|_| wrong("is no UTF-8"))?;
    Ok((text, keys))
}
