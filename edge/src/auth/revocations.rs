//! The revocations of all users, in a file of the data directory: each is durable before it is in force, and gone
//! once no token that it hits can be valid any more.
//!
//! It is written whole each time: an operator revokes a few, and where all tokens are to end, their key goes.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::revocation::{Hits, Revocation};
use super::{KeyError, write_private};
use crate::regular_file;

/// Revocations at a time.
pub(super) const REVOCATIONS_MAX: usize = 16_384;

/// Bytes of a `jti` that can be revoked; longer ones end with their user's, by the time.
pub const JTI_BYTES_MAX: usize = 256;

/// As many of the longest as may be, each byte of an id escaped.
const FILE_BYTES_MAX: u64 = (REVOCATIONS_MAX * (6 * JTI_BYTES_MAX + 128)) as u64;

/// Why nothing was revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// As many as may be are in force.
    #[error(
        "{REVOCATIONS_MAX} revocations are in force, which is the most; the first of them runs out at {until_s} \
         (Unix seconds). To end all tokens of an issuer, take its key away and reload"
    )]
    Full {
        /// When there is room again.
        until_s: u64,
    },
    /// It would be forgotten by a restart.
    #[error(
        "{} cannot be written, so nothing was revoked: {source}",
        path.display()
    )]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    revocations: Vec<Revocation>,
}

/// See the module.
pub struct Revocations {
    path: PathBuf,
    in_force: Mutex<Vec<Revocation>>,
    /// Beside them, since they may be waiting for the disk.
    count: AtomicUsize,
    /// How long a token may be valid at most, from when it was issued, with the leeway.
    token_life_ms: AtomicU64,
}

impl Revocations {
    /// Reads `DATA/auth/revocations.json`, where there is one. One that cannot be read is an error: who starts
    /// without it lets those in whom it keeps out.
    pub fn open(data: &Path, token_life_ms: u64) -> Result<Self, KeyError> {
        let path = data.join("auth").join("revocations.json");
        let content = |problem| KeyError::Content {
            path: path.clone(),
            problem,
        };
        let in_force = match regular_file::read(&path, FILE_BYTES_MAX) {
            Ok(bytes) if bytes.len() as u64 > FILE_BYTES_MAX => {
                return Err(content("is larger than it was ever written"));
            }
            Ok(bytes) => {
                let contents: Contents = serde_json::from_slice(&bytes)
                    .map_err(|_| content("does not hold revocations, as it was written"))?;
                contents.revocations
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                let action = "read";
                return Err(KeyError::Io {
                    action,
                    path,
                    error,
                });
            }
        };
        Ok(Self {
            path,
            count: AtomicUsize::new(in_force.len()),
            in_force: Mutex::new(in_force),
            token_life_ms: AtomicU64::new(token_life_ms),
        })
    }

    /// From now on tokens may be valid for so long.
    pub fn set_token_life(&self, token_life_ms: u64) {
        self.token_life_ms.store(token_life_ms, Relaxed);
    }

    /// How many are kept.
    pub fn count(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// Those in force.
    pub fn all(&self) -> Vec<Revocation> {
        let in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        in_force.clone()
    }

    /// One more, durable when this returns. Without an end it has the one that follows from how long a token may
    /// be valid. What it says of the same tokens as an earlier one is added to that. Waits for the disk.
    pub fn revoke(
        &self,
        user_id: u64,
        device_id: Option<u32>,
        hits: Hits,
        until_ms: Option<u64>,
        now_ms: u64,
    ) -> Result<Revocation, RevokeError> {
        let last_issued_ms = match hits {
            Hits::IssuedBeforeMs(moment) => moment,
            Hits::TokenId(_) => now_ms,
        };
        let life_ms = self.token_life_ms.load(Relaxed);
        let one = Revocation {
            user_id,
            device_id,
            hits,
            until_ms: until_ms.unwrap_or(last_issued_ms.saturating_add(life_ms)),
        };
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        let mut revocations = in_force.clone();
        revocations.retain(|other| now_ms < other.until_ms);
        let added = add(&mut revocations, one)?;
        self.write(&revocations)?;
        self.count.store(revocations.len(), Relaxed);
        *in_force = revocations;
        Ok(added)
    }

    fn write(&self, revocations: &[Revocation]) -> Result<(), RevokeError> {
        let contents = Contents {
            revocations: revocations.to_vec(),
        };
        serde_json::to_vec(&contents)
            .map_err(std::io::Error::other)
            .and_then(|bytes| write_private(&self.path, &bytes))
            .map_err(|source| RevokeError::File {
                path: self.path.clone(),
                source,
            })
    }
}

/// Adds one, or says the more of it and of the one for the same tokens.
fn add(revocations: &mut Vec<Revocation>, mut one: Revocation) -> Result<Revocation, RevokeError> {
    let same = revocations.iter_mut().find(|other| {
        let is_same = match (&other.hits, &one.hits) {
            (Hits::IssuedBeforeMs(_), Hits::IssuedBeforeMs(_)) => true,
            (other, one) => other == one,
        };
        is_same && (other.user_id, other.device_id) == (one.user_id, one.device_id)
    });
    if let Some(other) = same {
        one.until_ms = one.until_ms.max(other.until_ms);
        if let (Hits::IssuedBeforeMs(moment), Hits::IssuedBeforeMs(earlier)) =
            (&mut one.hits, &other.hits)
        {
            *moment = (*moment).max(*earlier);
        }
        other.clone_from(&one);
        return Ok(one);
    }
    if revocations.len() >= REVOCATIONS_MAX {
        let first_ms = revocations.iter().map(|other| other.until_ms).min();
        let until_s = first_ms.unwrap_or(0).div_ceil(1_000);
        return Err(RevokeError::Full { until_s });
    }
    revocations.push(one.clone());
    Ok(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE_MS: u64 = 1_000;

    fn of_user(revocations: &Revocations, user_id: u64, moment: u64, now_ms: u64) -> Revocation {
        revocations
            .revoke(user_id, None, Hits::IssuedBeforeMs(moment), None, now_ms)
            .unwrap()
    }

    #[test]
    fn they_outlive_a_restart_and_go_when_they_are_over() {
        let data = tempfile::tempdir().unwrap();
        let open = || Revocations::open(data.path(), LIFE_MS).unwrap();
        let first = open();
        assert!(first.all().is_empty());
        let all = of_user(&first, 7, 500, 500);
        assert_eq!(all.until_ms, 1_500);
        let stolen = Hits::TokenId("a \"stolen\" one\n".into());
        let one = first.revoke(7, Some(2), stolen, Some(9_000), 500).unwrap();
        assert_eq!(open().all(), [all, one.clone()]);
        // The next one drops those that are over.
        let next = of_user(&open(), 8, 1_600, 1_600);
        assert_eq!(open().all(), [one, next]);
    }

    #[test]
    fn the_same_tokens_are_revoked_once_and_the_more_of_both_counts() {
        let data = tempfile::tempdir().unwrap();
        let revocations = Revocations::open(data.path(), LIFE_MS).unwrap();
        of_user(&revocations, 7, 500, 500);
        let later = of_user(&revocations, 7, 700, 700);
        // An earlier moment takes nothing back.
        assert_eq!(of_user(&revocations, 7, 100, 700), later);
        assert_eq!(revocations.all(), [later]);
    }

    #[test]
    fn they_are_bounded() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join("auth/revocations.json");
        let full: Vec<_> = (1..=REVOCATIONS_MAX as u64)
            .map(|user_id| Revocation {
                user_id,
                device_id: Some(u32::MAX),
                hits: Hits::TokenId("\u{1}".repeat(JTI_BYTES_MAX)),
                until_ms: 5_000 + user_id,
            })
            .collect();
        let contents = Contents { revocations: full };
        write_private(&path, &serde_json::to_vec(&contents).unwrap()).unwrap();
        let revocations = Revocations::open(data.path(), LIFE_MS).unwrap();
        let refused = revocations.revoke(1, None, Hits::IssuedBeforeMs(1), None, 0);
        let told = refused.unwrap_err().to_string();
        assert!(told.contains("runs out at 6 "), "{told}");
        assert_eq!(revocations.all().len(), REVOCATIONS_MAX);
        of_user(&revocations, 1, 1, 5_001);
        assert_eq!(revocations.all().len(), REVOCATIONS_MAX);
    }

    #[test]
    fn what_cannot_be_read_stops_a_start_and_what_cannot_be_written_is_not_in_force() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join("auth/revocations.json");
        for broken in ["", "{", "{}", "[]", r#"{"revocations":[{"user_id":7}]}"#] {
            write_private(&path, broken.as_bytes()).unwrap();
            let opened = Revocations::open(data.path(), LIFE_MS);
            let told = opened.err().unwrap().to_string();
            assert!(told.contains("does not hold revocations"), "{told}");
        }
        std::fs::remove_file(&path).unwrap();
        let revocations = Revocations::open(data.path(), LIFE_MS).unwrap();
        std::fs::create_dir(&path).unwrap();
        let refused = revocations.revoke(7, None, Hits::IssuedBeforeMs(1), None, 0);
        let told = refused.unwrap_err().to_string();
        assert!(told.contains("nothing was revoked"), "{told}");
        assert!(revocations.all().is_empty());
    }
}
