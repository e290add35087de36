//! Inboxes: what came for a user and when, as segments of conversations.
//!
//! A segment is a run of seqs of one conversation that was entered within one slot of ten minutes. So what
//! a device lacks is found in proportion to what came since it was last here, not to all that its user is
//! in. The slot is that of the segment's first message, unless it could not be entered for half a slot:
//! so nothing appears below the slot before this one, and a device that has everything below it need not
//! look there again.

use std::sync::Arc;

/// How long a slot is.
pub const SLOT_MS: u64 = 10 * 60 * 1_000;
/// How long a segment is kept: a little longer than a receipt.
pub const INBOX_TTL_MS: u64 = 31 * 24 * 60 * 60 * 1_000;

/// Slots of ten minutes since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

impl Slot {
    /// Slots of a day.
    pub const A_DAY: u32 = 144;

    /// That of a time, Unix ms.
    pub fn of(now_ms: u64) -> Slot {
        Slot(u32::try_from(now_ms / SLOT_MS).unwrap_or(u32::MAX))
    }

    /// The one before it.
    #[must_use]
    pub fn previous(self) -> Slot {
        Slot(self.0.saturating_sub(1))
    }
}

/// What is to be entered into the inboxes of a conversation's members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// When.
    pub slot: Slot,
    /// Which conversation.
    pub conversation_id: u64,
    /// Its first seq; with slot and conversation the segment's name.
    pub from_seq: u64,
    /// Its last one.
    pub last_seq: u64,
    /// For whom.
    pub members: Arc<[u64]>,
}

/// A segment of a user's inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentRow {
    /// When it was entered, which conversation, its first seq.
    pub place: Place,
    /// Its last seq.
    pub last_seq: u64,
}

/// Where a segment stands in an inbox; inboxes are read from the greatest place down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// When it was entered.
    pub slot: Slot,
    /// Which conversation.
    pub conversation_id: u64,
    /// Its first seq.
    pub from_seq: u64,
}

impl Place {
    /// Above all.
    pub const NEWEST: Place = Place {
        slot: Slot(u32::MAX),
        conversation_id: u64::MAX,
        from_seq: u64::MAX,
    };
}
