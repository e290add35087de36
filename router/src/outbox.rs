//! Where a walk through a device's inbox is, from page to page: a cursor that the client hands back.
//!
//! Pure. An outbox is read from the newest segment down, each as far as the device has not received it, to
//! the slot below which the device has everything. The invariant: nothing comes twice below a cursor, and
//! nothing is left out but what came after the walk began, which is the next walk's.

use rookery_wire::proto::OutboxCursor;

use crate::record::{take, take_u64};
use crate::store::{Place, SegmentRow, Slot};

/// The most messages that an outbox hands out, the newest ones.
pub(crate) const MESSAGES_MAX: u32 = 1_000;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The segment that the walk is in or was in last; what lies below it is next.
    pub(crate) place: Place,
    /// What is left of that segment: the seqs below this one.
    pub(crate) before_seq: u64,
    /// Messages that were handed out.
    pub(crate) handed: u32,
    /// The slot below which all was received, as far as the walk has come.
    pub(crate) received_below: Slot,
}

impl Cursor {
    /// A walk begins.
    pub(crate) const START: Cursor = Cursor {
        place: Place::NEWEST,
        before_seq: 0,
        handed: 0,
        received_below: Slot(u32::MAX),
    };

    /// From a client, who may have made it up; zeros begin a walk.
    pub(crate) fn read(bytes: &OutboxCursor) -> Cursor {
        if *bytes == [0; size_of::<OutboxCursor>()] {
            return Cursor::START;
        }
        let rest = &mut &bytes[..];
        let mut read = || {
            Some(Cursor {
                place: Place {
                    slot: Slot(u32::from_le_bytes(take(rest)?)),
                    conversation_id: take_u64(rest)?,
                    from_seq: take_u64(rest)?,
                },
                before_seq: take_u64(rest)?,
                handed: u32::from_le_bytes(take(rest)?),
                received_below: Slot(u32::from_le_bytes(take(rest)?)),
            })
        };
        read().unwrap_or(Cursor::START)
    }

    /// For the client.
    pub(crate) fn bytes(&self) -> OutboxCursor {
        let fields = [
            &self.place.slot.0.to_le_bytes()[..],
            &self.place.conversation_id.to_le_bytes(),
            &self.place.from_seq.to_le_bytes(),
            &self.before_seq.to_le_bytes(),
            &self.handed.to_le_bytes(),
            &self.received_below.0.to_le_bytes(),
        ];
        let mut bytes = [0; size_of::<OutboxCursor>()];
        for (place, byte) in bytes.iter_mut().zip(fields.concat()) {
            *place = byte;
        }
        bytes
    }

    /// What is left of the segment that the walk is in, as a segment.
    pub(crate) fn left(&self) -> Option<SegmentRow> {
        let last_seq = self.before_seq.checked_sub(1)?;
        (last_seq >= self.place.from_seq).then_some(SegmentRow {
            place: self.place,
            last_seq,
        })
    }
}

/// Two runs of segments as one, each from the newest place down; of one that both have the longer.
pub(crate) fn merge(one: Vec<SegmentRow>, other: Vec<SegmentRow>) -> Vec<SegmentRow> {
    let mut all = one;
    all.extend(other);
    all.sort_by_key(|row| std::cmp::Reverse((row.place, row.last_seq)));
    all.dedup_by_key(|row| row.place);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(slot: u32, from_seq: u64, last_seq: u64) -> SegmentRow {
        SegmentRow {
            place: Place {
                slot: Slot(slot),
                conversation_id: 7,
                from_seq,
            },
            last_seq,
        }
    }

    #[test]
    fn the_longer_of_two_segments_of_one_name_counts() {
        let merged = merge(
            vec![row(9, 5, 8), row(8, 1, 4)],
            vec![row(9, 5, 6), row(7, 1, 1)],
        );
        assert_eq!(merged, [row(9, 5, 8), row(8, 1, 4), row(7, 1, 1)]);
    }

    #[test]
    fn zeros_begin_and_what_is_left_is_a_segment() {
        assert_eq!(Cursor::read(&[0; 36]), Cursor::START);
        assert_eq!(Cursor::START.left(), None);
        let within = Cursor {
            place: row(9, 5, 8).place,
            before_seq: 7,
            ..Cursor::START
        };
        assert_eq!(within.left(), Some(row(9, 5, 6)));
        let at_its_end = Cursor {
            before_seq: 5,
            ..within
        };
        assert_eq!(at_its_end.left(), None);
    }

    proptest! {
        #[test]
        fn a_cursor_comes_back(bytes in any::<[u8; 32]>(), more in any::<[u8; 4]>()) {
            let mut cursor = [0; 36];
            cursor[..32].copy_from_slice(&bytes);
            cursor[32..].copy_from_slice(&more);
            prop_assume!(cursor != [0; 36]);
            prop_assert_eq!(Cursor::read(&cursor).bytes(), cursor);
        }
    }
}
