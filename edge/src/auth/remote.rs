//! A key set that is fetched (`auth.jwks_url`), as far as a verifier knows of it: the keys of the last good answer,
//! how old that is, and whom to ask for a newer one. Who fetches is in `serve`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::jwks;
use super::verify::VerifyingKey;
use super::{secret, write_private};

/// A set of keys that was fetched, and when that began.
#[derive(Clone, Default)]
pub struct FetchedSet {
    /// The keys that can be used here.
    pub keys: Vec<VerifyingKey>,
    /// When this process asked for it, Unix ms; none where it is from the disk, or was never there.
    pub asked_at_ms: Option<u64>,
}

/// Who wants a newer set. As many as may ask: it is fetched once.
#[derive(Clone, Debug, Default)]
pub struct Wanted(Arc<Notify>);

impl Wanted {
    /// Somebody met a key that is not known.
    pub fn ask(&self) {
        self.0.notify_one();
    }

    /// Until somebody has asked since the last time.
    pub(crate) async fn asked(&self) {
        self.0.notified().await;
    }
}

/// What a verifier knows of the set.
#[derive(Clone)]
pub(super) struct Freshness {
    pub(super) asked_at_ms: Option<u64>,
    pub(super) refresh_min: Duration,
    pub(super) wanted: Wanted,
}

impl Freshness {
    /// Whether the set is older than it has to be: a key that is not in it may be in a newer one. Who has keys of its
    /// own making has nothing fetched that was not due.
    pub(super) fn may_be_renewed(&self, now_ms: u64) -> bool {
        let age_ms = self.asked_at_ms.and_then(|at| now_ms.checked_sub(at));
        age_ms.is_none_or(|age_ms| u128::from(age_ms) >= self.refresh_min.as_millis())
    }

    /// Whether the set was asked for before that: who signs with a key has published it by then, so one that is not
    /// in a later set is none.
    pub(super) fn is_before(&self, unix_ms: u64) -> bool {
        self.asked_at_ms.is_none_or(|at| at <= unix_ms)
    }
}

/// The last good answer, in the data directory: so that a start needs no identity provider.
#[derive(Serialize, Deserialize)]
struct Kept {
    url: String,
    set: String,
}

fn kept_in(data: &Path) -> PathBuf {
    data.join("auth").join("jwks.json")
}

/// The set that was kept of this URL, where there is one; why it cannot be used, where it cannot.
pub(crate) fn kept(data: &Path, url: &str) -> Result<Option<FetchedSet>, String> {
    let path = kept_in(data);
    // As text in JSON it may be up to six times as long.
    let bytes = match crate::regular_file::read(&path, 6 * secret::FILE_BYTES_MAX + 8_192) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    let broken = |why: &str| format!("{} {why}", path.display());
    let kept: Kept = serde_json::from_slice(&bytes)
        .map_err(|_| broken("does not hold a key set, as it was written"))?;
    if kept.url != url {
        return Ok(None);
    }
    let keys = jwks::parse(kept.set.as_bytes()).map_err(broken)?;
    let asked_at_ms = None;
    Ok(Some(FetchedSet { keys, asked_at_ms }))
}

/// Keeps the answer of this URL.
pub(crate) fn keep(data: &Path, url: &str, set: &str) -> std::io::Result<()> {
    let kept = Kept {
        url: url.to_owned(),
        set: set.to_owned(),
    };
    write_private(&kept_in(data), &serde_json::to_vec(&kept)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_may_be_renewed_once_in_the_least_time() {
        let of = |asked_at_ms| Freshness {
            asked_at_ms,
            refresh_min: Duration::from_secs(10),
            wanted: Wanted::default(),
        };
        for (asked_at_ms, now_ms, expected) in [
            (None, 0, true),
            (Some(5_000), 5_000, false),
            (Some(5_000), 14_999, false),
            (Some(5_000), 15_000, true),
            // The clock was set back.
            (Some(5_000), 4_999, true),
        ] {
            assert_eq!(of(asked_at_ms).may_be_renewed(now_ms), expected);
        }
    }

    #[test]
    fn the_last_good_answer_is_kept_by_its_url() {
        let data = tempfile::tempdir().unwrap();
        let found = |url| kept(data.path(), url).map(|set| set.map(|set| set.keys.len()));
        assert_eq!(found("https://a/"), Ok(None));
        let key = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"a"}"#;
        keep(data.path(), "https://a/", &format!(r#"{{"keys":[{key}]}}"#)).unwrap();
        assert_eq!(found("https://a/"), Ok(Some(1)));
        assert_eq!(found("https://b/"), Ok(None));
        std::fs::write(kept_in(data.path()), "{").unwrap();
        assert!(found("https://a/").unwrap_err().contains("jwks.json"));
    }
}
