//! The rows of `inbox`: segments by user and day.

use scylla::response::PagingState;

use super::session::Live;
use super::{bits, fault, from_bits};
use crate::store::{Place, Segment, SegmentRow, Slot, StoreError};

type Row = (i32, i64, i64, i64);

/// Day, and slot of it.
fn day(slot: Slot) -> (i32, i32) {
    let part = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    (part(slot.0 / Slot::A_DAY), part(slot.0 % Slot::A_DAY))
}

/// As a column that sorts: what has the top bit is above all that can be.
fn sorted(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

/// Enters a segment for one member. Its write time is its last seq: the longer one wins.
pub(super) async fn write(live: &Live, segment: &Segment, user_id: u64) -> Result<(), StoreError> {
    let (day, slot) = day(segment.slot);
    let values = (
        bits(user_id),
        day,
        slot,
        bits(segment.conversation_id),
        bits(segment.from_seq),
        bits(segment.last_seq),
        bits(segment.last_seq),
    );
    live.write(&live.statements.put_segment, values).await
}

/// The segments of a user from a slot on and below a place, newest first, and whether there are more.
pub(super) async fn read(
    live: &Live,
    user_id: u64,
    from: Slot,
    below: Place,
    rows_max: usize,
) -> Result<(Vec<SegmentRow>, bool), StoreError> {
    let mut segments = Vec::new();
    let (first_day, first_slot) = day(from);
    let (mut today, slot) = day(below.slot);
    let mut under = (slot, sorted(below.conversation_id), sorted(below.from_seq));
    while today >= first_day {
        let mut left = Some(PagingState::start());
        while let Some(state) = left.take() {
            let values = (bits(user_id), today, under.0, under.1, under.2);
            let rows = rows_max + 1 - segments.len();
            let (page, more) = live
                .page::<Row>(&live.statements.segments, values, &[user_id], rows, state)
                .await?;
            left = more;
            for (slot, conversation_id, from_seq, last_seq) in page {
                if today == first_day && slot < first_slot {
                    return Ok((segments, false));
                }
                if segments.len() >= rows_max {
                    return Ok((segments, true));
                }
                let place = Place {
                    slot: slot_of(today, slot)
                        .ok_or_else(|| fault::damaged("inbox", &[user_id]))?,
                    conversation_id: from_bits(conversation_id),
                    from_seq: from_bits(from_seq),
                };
                segments.push(SegmentRow {
                    place,
                    last_seq: from_bits(last_seq),
                });
            }
        }
        today -= 1;
        under = (i32::MAX, i64::MAX, i64::MAX);
    }
    Ok((segments, false))
}

fn slot_of(day: i32, slot: i32) -> Option<Slot> {
    let (day, slot) = (u32::try_from(day).ok()?, u32::try_from(slot).ok()?);
    Some(Slot(day.checked_mul(Slot::A_DAY)?.checked_add(slot)?))
}
