//! Tokens that are taken back before they end: one by its id (`jti`), or all that were issued before a moment, of a
//! user or of one device. Here is what a revocation says, and what hits; `revocations` keeps them.
//!
//! A shard knows those of the users that it owns, and asks them where a login comes to its end: there is no copy of
//! them anywhere else, and a connection at rest remembers nothing of its token. Whoever is in when a revocation comes
//! is closed and proves itself again.

use std::collections::HashMap;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::resume::Resume;

/// What stands for a token's `jti`: the first half of its SHA-256, since an id is as long as its issuer likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenId(pub [u8; 16]);

impl TokenId {
    /// Of a `jti`.
    pub fn of(jti: &str) -> Self {
        let hash = digest::digest(&digest::SHA256, jti.as_bytes());
        let mut half = [0; 16];
        half.copy_from_slice(&hash.as_ref()[..16]);
        Self(half)
    }
}

/// What a login was proven with, as far as a revocation can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credential {
    /// When the token was issued, Unix ms; where it does not say, the earliest that its end allows.
    pub issued_at_ms: u64,
    /// Its id, where it has one.
    pub token_id: Option<TokenId>,
}

/// What a login says for itself on the shard that owns its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Of its token.
    pub credential: Credential,
    /// The session that it resumes, with that of the token with which it was proven.
    pub resumed: Option<Resume>,
}

/// Which tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hits {
    /// All that were issued before this moment, Unix ms.
    IssuedBeforeMs(u64),
    /// The one with this `jti`.
    TokenId(String),
}

/// An operator's word that tokens of a user log nobody in any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// Whose.
    pub user_id: u64,
    /// Of which device; of all of them where it is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<u32>,
    /// Which of them.
    pub hits: Hits,
    /// From then on no token that it hits is valid, Unix ms: it is dropped.
    pub until_ms: u64,
}

struct Rule {
    device_id: Option<u32>,
    hits: Hit,
    until_ms: u64,
}

enum Hit {
    IssuedBeforeMs(u64),
    Token(TokenId),
}

impl Rule {
    fn hits(&self, device_id: u32, credential: &Credential, now_ms: u64) -> bool {
        let is_meant = self.device_id.is_none_or(|only| only == device_id);
        let hits = match self.hits {
            Hit::IssuedBeforeMs(moment) => credential.issued_at_ms < moment,
            Hit::Token(id) => credential.token_id == Some(id),
        };
        is_meant && hits && now_ms < self.until_ms
    }
}

/// The revocations of a shard's users.
#[derive(Default)]
pub struct Revoked {
    by_user: HashMap<u64, Vec<Rule>>,
    rules: usize,
    /// With so many, those that are over are looked for.
    sweep_at: usize,
}

/// Fewer are not worth a sweep.
const SWEEP_MIN: usize = 64;

impl Revoked {
    /// One more, at the given time, Unix ms.
    pub fn add(&mut self, revocation: &Revocation, now_ms: u64) {
        if self.rules >= self.sweep_at {
            self.sweep(now_ms);
        }
        let hits = match &revocation.hits {
            Hits::IssuedBeforeMs(moment) => Hit::IssuedBeforeMs(*moment),
            Hits::TokenId(jti) => Hit::Token(TokenId::of(jti)),
        };
        self.rules += 1;
        self.by_user
            .entry(revocation.user_id)
            .or_default()
            .push(Rule {
                device_id: revocation.device_id,
                hits,
                until_ms: revocation.until_ms,
            });
    }

    /// Whether a login of a user's device with this is refused.
    pub fn hits(&self, user_id: u64, device_id: u32, credential: &Credential, now_ms: u64) -> bool {
        let rules = self.by_user.get(&user_id).into_iter().flatten();
        rules
            .into_iter()
            .any(|rule| rule.hits(device_id, credential, now_ms))
    }

    /// Each time there are twice as many as were left: over many, a constant each.
    fn sweep(&mut self, now_ms: u64) {
        self.by_user.retain(|_, rules| {
            rules.retain(|rule| now_ms < rule.until_ms);
            !rules.is_empty()
        });
        self.rules = self.by_user.values().map(Vec::len).sum();
        self.sweep_at = SWEEP_MIN.max(2 * self.rules);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revocation(device_id: Option<u32>, hits: Hits) -> Revocation {
        Revocation {
            user_id: 7,
            device_id,
            hits,
            until_ms: 1_000,
        }
    }

    #[test]
    fn what_is_hit_and_what_is_not() {
        let mut revoked = Revoked::default();
        revoked.add(&revocation(Some(2), Hits::IssuedBeforeMs(500)), 0);
        revoked.add(&revocation(None, Hits::TokenId("stolen".into())), 0);
        let at = |issued_at_ms, jti: Option<&str>| Credential {
            issued_at_ms,
            token_id: jti.map(TokenId::of),
        };
        for (user_id, device_id, credential, now_ms, hit) in [
            (7, 2, at(499, None), 999, true),
            (7, 2, at(500, None), 999, false),
            (7, 3, at(499, None), 999, false),
            (8, 2, at(499, None), 999, false),
            (7, 2, at(499, None), 1_000, false),
            (7, 3, at(900, Some("stolen")), 999, true),
            (7, 3, at(900, Some("stolen2")), 999, false),
            (8, 3, at(900, Some("stolen")), 999, false),
        ] {
            let found = revoked.hits(user_id, device_id, &credential, now_ms);
            assert_eq!(found, hit, "{user_id} {device_id} {credential:?} {now_ms}");
        }
    }

    #[test]
    fn those_that_are_over_go() {
        let mut revoked = Revoked::default();
        for at_ms in 0..100_000 {
            let mut one = revocation(None, Hits::IssuedBeforeMs(at_ms));
            one.user_id = at_ms;
            one.until_ms = at_ms + 10;
            revoked.add(&one, at_ms);
            assert!(revoked.rules <= SWEEP_MIN && revoked.by_user.len() <= SWEEP_MIN);
        }
    }
}
