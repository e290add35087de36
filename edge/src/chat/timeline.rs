//! One conversation's messages in order, each once, and the Sync that fetches what is missing. No I/O.
//!
//! The rule is that of docs/protocol.md, "How a client stays complete"; `docs/protocol-timeline.json` holds
//! its cases, for every client. Invariant: everything up to `have_seq` was handed out, in order and once;
//! and while there is, or may be, something above it, a Sync is under way, due, or waits for its time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rookery_wire::proto;

use super::patience::Patience;

/// Messages above a gap that are kept; what comes beyond them a later Sync brings again.
const EARLY_MAX: usize = 256;
/// The first wait before a Sync is asked again that brought nothing of what it was to bring.
const STALLED_MS: u32 = 500;

/// A Sync that is not answered yet.
struct Asked {
    request_id: u64,
    from_seq: u64,
    /// The highest seq that was known when it was asked.
    known_seq: u64,
    was_unsure: bool,
}

/// The state of a conversation that is followed. It outlives connections.
pub(super) struct Timeline {
    have_seq: u64,
    /// The highest seq that anything has told of.
    known_seq: u64,
    /// Messages may be missing that nothing has told of.
    unsure: bool,
    /// What came before its turn: all above `have_seq`.
    early: BTreeMap<u64, proto::Deliver>,
    asked: Option<Asked>,
    patience: Patience,
}

impl Timeline {
    /// Follows a conversation from here on. Delivers that came before were not taken: so it is unsure.
    pub(super) fn follow(have_seq: u64) -> Self {
        Self {
            have_seq,
            known_seq: have_seq,
            unsure: true,
            early: BTreeMap::new(),
            asked: None,
            patience: Patience::default(),
        }
    }

    /// The connection has ended, and with it what was asked on it.
    pub(super) fn on_lost(&mut self) {
        if let Some(asked) = self.asked.take() {
            self.unsure |= asked.was_unsure;
        }
        self.patience.forget_wait();
    }

    /// Something tells how far the conversation goes.
    pub(super) fn on_head(&mut self, head_seq: u64) {
        self.known_seq = self.known_seq.max(head_seq);
    }

    /// The server has skipped Delivers.
    pub(super) fn on_lagged(&mut self) {
        self.unsure = true;
    }

    /// A message, live or of a Sync. Returns those whose turn it is.
    pub(super) fn on_deliver(&mut self, message: proto::Deliver) -> Vec<proto::Deliver> {
        let seq = message.seq;
        let mut next = Vec::new();
        if seq <= self.have_seq {
            return next;
        }
        self.on_head(seq);
        if seq - self.have_seq == 1 || self.early.len() < EARLY_MAX {
            self.early.insert(seq, message);
        }
        while let Some(first) = self.early.first_entry()
            && first.key() - self.have_seq == 1
        {
            self.have_seq = *first.key();
            next.push(first.remove());
        }
        next
    }

    /// The end of a Sync's answer.
    pub(super) fn on_sync_end(&mut self, end: &proto::SyncEnd, now: Instant) {
        let Some(asked) = self.asked.take_if(|it| it.request_id == end.request_id) else {
            return;
        };
        self.on_head(end.head_seq);
        let heard_nothing = self.have_seq == asked.from_seq && self.known_seq == asked.known_seq;
        if heard_nothing && self.known_seq > self.have_seq {
            self.patience.put_off(now, STALLED_MS);
        } else {
            self.patience.accept();
        }
    }

    /// Whether a request is the Sync that is under way.
    pub(super) fn is_asked(&self, request_id: u64) -> bool {
        self.asked
            .as_ref()
            .is_some_and(|asked| asked.request_id == request_id)
    }

    /// The Sync under way was refused: how long it waits, or nothing where it never will be taken. What
    /// tells of a message later asks again then.
    pub(super) fn on_refused(&mut self, now: Instant, retry_after_ms: u32) -> Option<Duration> {
        let asked = self.asked.take()?;
        if retry_after_ms == 0 {
            self.known_seq = self.have_seq;
            return None;
        }
        self.unsure |= asked.was_unsure;
        Some(self.patience.put_off(now, retry_after_ms))
    }

    /// Whether nothing is missing, as far as is known.
    fn is_complete(&self) -> bool {
        !self.unsure && self.known_seq <= self.have_seq
    }

    /// When [`Timeline::poll_sync`] has something to ask that must wait.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.patience.again_at().filter(|_| !self.is_complete())
    }

    /// The have_seq of the Sync that is due, if one is; from here on it is under way.
    pub(super) fn poll_sync(&mut self, now: Instant, request_id: u64) -> Option<u64> {
        if self.is_complete() || self.asked.is_some() {
            return None;
        }
        if self.patience.again_at().is_some() && !self.patience.take_due(now) {
            return None;
        }
        self.asked = Some(Asked {
            request_id,
            from_seq: self.have_seq,
            known_seq: self.known_seq,
            was_unsure: std::mem::take(&mut self.unsure),
        });
        Some(self.have_seq)
    }
}
