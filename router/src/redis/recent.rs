//! The last claims of this process, and of others whose records it applied, so that a Redis which was away
//! or lost its last seconds is told them again: also those of a process that is gone by then.
//!
//! Pure: time is an argument. The invariant: a claim that was not written is kept until it is, or its
//! loss is remembered.

use std::collections::VecDeque;

use crate::store::Claim;

/// Claims kept: 64 B each, some 26 MB. Where an edge takes 10,000 messages a second, and applies as many of
/// others, the last 20 s; Redis with `appendfsync everysec` loses about the last one.
const CLAIMS_MAX: usize = 400_000;
/// Written claims older than this are dropped: no Redis with an append-only file loses what it had for longer.
pub const AGE_MAX_MS: u64 = 10 * 60 * 1_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Recent {
    /// With the time at which each was claimed, oldest first.
    claims: VecDeque<(u64, Claim)>,
    /// The number of the front one; they are numbered from 0 for ever.
    first: u64,
    /// The number of the first that is not known to be written.
    unwritten: u64,
    /// Grows when written ones turn out not to be.
    round: u64,
    /// Dropped before they were written, and how many of them Redis was told of.
    lost: u64,
    lost_told: u64,
    claims_max: usize,
}

/// Some claims that are to be written.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) claims: Vec<Claim>,
    end: u64,
    round: u64,
}

impl Default for Recent {
    fn default() -> Recent {
        Recent::with_room(CLAIMS_MAX)
    }
}

impl Recent {
    fn with_room(claims_max: usize) -> Recent {
        Recent {
            claims: VecDeque::new(),
            first: 0,
            unwritten: 0,
            round: 0,
            lost: 0,
            lost_told: 0,
            claims_max,
        }
    }

    /// Keeps a claim that Redis has, or does not have, or may have.
    pub(super) fn keep(&mut self, claim: Claim, written: bool, now_ms: u64) {
        while self.claims.len() >= self.claims_max || self.front_is_old(now_ms) {
            self.drop_front();
        }
        if written && self.is_written() {
            self.unwritten += 1;
        }
        self.claims.push_back((now_ms, claim));
    }

    /// Whether Redis has all.
    pub(super) fn is_written(&self) -> bool {
        self.unwritten == self.end() && self.lost().is_none()
    }

    /// Where claims that were never written had to be dropped: Redis lacks what nobody can tell it
    /// again, and does not know. How many there were so far.
    pub(super) fn lost(&self) -> Option<u64> {
        (self.lost > self.lost_told).then_some(self.lost)
    }

    /// Redis knows that so many are missing.
    pub(super) fn loss_is_told(&mut self, lost: u64) {
        self.lost_told = lost;
    }

    /// Redis lost its data, or may have lost its last seconds: all are to be written again.
    pub(super) fn write_again(&mut self) {
        self.unwritten = self.first;
        self.round += 1;
    }

    /// The next that are to be written.
    pub(super) fn chunk(&self, claims_max: usize) -> Option<Chunk> {
        let from = usize::try_from(self.unwritten - self.first).unwrap_or(usize::MAX);
        let claims: Vec<Claim> = self
            .claims
            .iter()
            .skip(from)
            .take(claims_max)
            .map(|(_, claim)| *claim)
            .collect();
        (!claims.is_empty()).then(|| Chunk {
            end: self.unwritten + claims.len() as u64,
            claims,
            round: self.round,
        })
    }

    /// A chunk was written.
    pub(super) fn wrote(&mut self, chunk: &Chunk) {
        if chunk.round == self.round {
            self.unwritten = self.unwritten.max(chunk.end);
        }
    }

    fn end(&self) -> u64 {
        self.first + self.claims.len() as u64
    }

    fn front_is_old(&self, now_ms: u64) -> bool {
        let written = self.unwritten > self.first;
        let front = self.claims.front();
        written && front.is_some_and(|(at_ms, _)| at_ms.saturating_add(AGE_MAX_MS) < now_ms)
    }

    fn drop_front(&mut self) {
        self.claims.pop_front();
        if self.unwritten == self.first {
            self.unwritten += 1;
            self.lost += 1;
        }
        self.first += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Known;

    fn claim(n: u64) -> Claim {
        Claim {
            sender_user_id: 1,
            client_msg_id: u128::from(n).to_le_bytes(),
            known: Known {
                conversation_id: 1,
                payload_hash: n,
                message_id: n,
                hlc: n,
            },
        }
    }

    fn ids(chunk: Option<&Chunk>) -> Vec<u64> {
        chunk.map_or(Vec::new(), |chunk| {
            chunk
                .claims
                .iter()
                .map(|claim| claim.known.message_id)
                .collect()
        })
    }

    #[test]
    fn what_was_claimed_while_redis_was_away_is_written_once() {
        let mut recent = Recent::default();
        recent.keep(claim(1), true, 0);
        assert!(recent.is_written());
        recent.keep(claim(2), false, 1);
        recent.keep(claim(3), true, 2);
        assert!(!recent.is_written());
        let chunk = recent.chunk(1).unwrap();
        assert_eq!(ids(Some(&chunk)), [2]);
        recent.wrote(&chunk);
        let chunk = recent.chunk(10).unwrap();
        assert_eq!(ids(Some(&chunk)), [3]);
        recent.wrote(&chunk);
        assert!(recent.is_written() && recent.chunk(10).is_none());
        recent.write_again();
        assert_eq!(ids(recent.chunk(10).as_ref()), [1, 2, 3]);
    }

    #[test]
    fn a_chunk_of_before_a_loss_does_not_count() {
        let mut recent = Recent::default();
        recent.keep(claim(1), false, 0);
        let before = recent.chunk(10).unwrap();
        recent.write_again();
        recent.wrote(&before);
        assert_eq!(ids(recent.chunk(10).as_ref()), [1]);
    }

    #[test]
    fn dropping_one_that_was_never_written_is_remembered() {
        let mut recent = Recent::with_room(3);
        for n in 0..5 {
            recent.keep(claim(n), true, n);
        }
        assert!(recent.is_written() && recent.lost().is_none());
        for n in 5..9 {
            recent.keep(claim(n), false, n);
        }
        assert_eq!(recent.lost(), Some(1));
        assert_eq!(ids(recent.chunk(10).as_ref()), [6, 7, 8]);
        let chunk = recent.chunk(10).unwrap();
        recent.wrote(&chunk);
        assert!(!recent.is_written());
        recent.loss_is_told(1);
        assert!(recent.is_written());
    }

    #[test]
    fn written_ones_are_dropped_when_they_are_old() {
        let mut recent = Recent::default();
        recent.keep(claim(1), true, 0);
        recent.keep(claim(2), false, 0);
        recent.keep(claim(3), true, AGE_MAX_MS + 1);
        recent.write_again();
        assert_eq!(ids(recent.chunk(10).as_ref()), [2, 3]);
    }
}
