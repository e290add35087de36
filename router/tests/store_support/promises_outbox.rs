//! The promises about receipts, and about what outboxes are computed from.

#![allow(
    clippy::disallowed_methods,
    reason = "a distributed store keeps the services' time"
)]

use std::time::{SystemTime, UNIX_EPOCH};

use std::sync::Arc;

use rookery_router::log::{Offset, Partition};
use rookery_router::store::{
    Place, Position, RECEIPT_TTL_MS, Reached, Receipt, Segment, SegmentRow, Slot, Store,
};

use super::Subject;
use super::messages::{ALL, Talk, fresh_id};

const MINUTE_MS: u64 = 60_000;

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.expect("a clock after 1970").as_millis()).expect("a clock of this age")
}

fn receipt(user_id: u64, device_id: u32, conversation_id: u64, seq: u64) -> Receipt {
    Receipt {
        user_id,
        device_id,
        conversation_id,
        seq,
    }
}

/// The conversations that the tests below have receipts of.
fn asked() -> Vec<u64> {
    (0..=6_000).chain([u64::MAX >> 1]).collect()
}

/// Conversations and seqs of a device, none of them old.
fn of(store: &dyn Store, user_id: u64, device_id: u32) -> Vec<(u64, u64)> {
    let device = (user_id, device_id);
    let mut received = Vec::new();
    for ids in asked().chunks(500) {
        received.extend(store.received(device, ids, now_ms()).unwrap());
    }
    let has_any = store.has_received(device, now_ms()).unwrap();
    assert_eq!(has_any, !received.is_empty());
    assert!(received.iter().all(|it| it.age_ms < 5 * MINUTE_MS));
    let mut all: Vec<_> = received
        .iter()
        .map(|it| (it.conversation_id, it.seq))
        .collect();
    all.sort_unstable();
    all
}

pub(crate) fn receipts_are_kept_by_device_and_never_go_back(subject: &mut dyn Subject) {
    let store = subject.store();
    let (user, now) = (fresh_id(), now_ms());
    assert_eq!(of(store, user, 1), []);
    let first = [
        receipt(user, 1, 10, 5),
        receipt(user, 1, u64::MAX >> 1, 1),
        receipt(user, u32::MAX, 10, 7),
        receipt(user + 1, 1, 10, 8),
    ];
    store.receive(&first, now).unwrap();
    store.receive(&first, now).unwrap();
    store.receive(&[], now).unwrap();
    // Lower, the same a day later, higher with a clock that was set back.
    store.receive(&[receipt(user, 1, 10, 4)], now).unwrap();
    store
        .receive(&[receipt(user + 1, 1, 10, 8)], now + 1)
        .unwrap();
    let back = now - 3 * 24 * 60 * MINUTE_MS;
    store
        .receive(&[receipt(user, u32::MAX, 10, 9)], back)
        .unwrap();
    store
        .receive(&[receipt(user, u32::MAX, 10, 8)], now)
        .unwrap();
    subject.restart();

    let store = subject.store();
    assert_eq!(of(store, user, 1), [(10, 5), (u64::MAX >> 1, 1)]);
    assert_eq!(of(store, user, u32::MAX), [(10, 9)]);
    assert_eq!(of(store, user + 1, 1), [(10, 8)]);
    assert_eq!(of(store, user, 2), []);
    // More than a page of them.
    let many: Vec<_> = (1..=6_000).map(|id| receipt(user, 3, id, id + 1)).collect();
    store.receive(&many, now).unwrap();
    let wanted: Vec<_> = many.iter().map(|it| (it.conversation_id, it.seq)).collect();
    assert_eq!(of(store, user, 3), wanted);
}

pub(crate) fn segments_are_read_from_the_newest_down(subject: &mut dyn Subject) {
    let store = subject.store();
    let (user, now) = (fresh_id(), Slot::of(now_ms()));
    let members: Arc<[u64]> = [user, user + 1].into();
    let segment = |slots_ago: u32, conversation_id, from_seq, last_seq| Segment {
        slot: Slot(now.0 - slots_ago),
        conversation_id,
        from_seq,
        last_seq,
        members: Arc::clone(&members),
    };
    // Over days; one grows, and one is entered again as it was before it grew.
    let entered = [
        segment(0, 7, 5, 6),
        segment(0, 9, 1, 1),
        segment(1, 7, 3, 4),
        segment(150, 8, 1, 70_000),
        segment(450, 7, 1, 2),
    ];
    store.mark(&entered).unwrap();
    store.mark(&[segment(0, 7, 5, 9)]).unwrap();
    store.mark(&[segment(0, 7, 5, 9)]).unwrap();
    let row = |slots_ago: u32, conversation_id, from_seq, last_seq| SegmentRow {
        place: Place {
            slot: Slot(now.0 - slots_ago),
            conversation_id,
            from_seq,
        },
        last_seq,
    };
    let wanted = [
        row(0, 9, 1, 1),
        row(0, 7, 5, 9),
        row(1, 7, 3, 4),
        row(150, 8, 1, 70_000),
        row(450, 7, 1, 2),
    ];
    let above = Place {
        slot: Slot(now.0 + 1),
        ..Place::default()
    };
    let oldest = Slot(now.0 - 1_000);
    let read = |store: &dyn Store, from, below, rows_max| {
        store.segments(user + 1, from, below, rows_max).unwrap()
    };
    assert_eq!(read(store, oldest, above, 10), (wanted.to_vec(), false));
    assert_eq!(read(store, oldest, above, 5), (wanted.to_vec(), false));
    assert_eq!(read(store, oldest, above, 4), (wanted[..4].to_vec(), true));
    for (at, row) in wanted.iter().enumerate() {
        let (rest, more) = read(store, oldest, row.place, 10);
        assert_eq!((&rest[..], more), (&wanted[at + 1..], false));
        let from_here = read(store, row.place.slot, above, 10).0;
        let within = wanted.iter().filter(|it| it.place.slot >= row.place.slot);
        assert_eq!(from_here, within.copied().collect::<Vec<_>>());
    }
    assert_eq!(
        store.segments(user + 2, oldest, above, 10).unwrap(),
        (vec![], false)
    );
}

pub(crate) fn many_conversations_are_read_at_once(subject: &mut dyn Subject) {
    let store = subject.store();
    let (talk, other) = (Talk::of(200), Talk::of(3));
    store.apply(&talk.whole()).unwrap();
    store.apply(&other.whole()).unwrap();
    let mut some = talk.below(150, ALL);
    some.above_seq = 120;
    let asked = [other.below(0, ALL), some, Talk::new().below(0, ALL)];
    let slices = store.before_many(&asked).unwrap();
    let seqs = |at: usize| {
        slices[at]
            .messages
            .iter()
            .map(|it| it.seq)
            .collect::<Vec<_>>()
    };
    assert_eq!(seqs(0), [3, 2, 1]);
    assert_eq!(seqs(1), (121..150).rev().collect::<Vec<_>>());
    assert_eq!(seqs(2), Vec::<u64>::new());
    assert_eq!(
        store.heads(&[talk.id, fresh_id(), other.id]).unwrap(),
        [talk.head(), Default::default(), other.head()]
    );
}

pub(crate) fn positions_only_grow(subject: &mut dyn Subject) {
    let talk = Talk::of(10);
    let store = subject.store();
    let at = |next, inbox| Reached {
        next: Offset(next),
        inbox: Offset(inbox),
    };
    let given = Position::default();
    store.apply(&talk.whole()).unwrap();
    store
        .reach(&[(Partition::ONLY, at(31, 7))], &given)
        .unwrap();
    subject.restart();
    let store = subject.store();
    let reached = store.reached(&[Partition::ONLY]).unwrap();
    assert!(
        reached[0].next.0 >= 31 && reached[0].inbox.0 >= 7,
        "{reached:?}"
    );
    store
        .reach(&[(Partition::ONLY, at(31, 20))], &given)
        .unwrap();
    let reached = store.reached(&[Partition::ONLY]).unwrap();
    assert!(reached[0].inbox.0 >= 20, "{reached:?}");
}

/// Of a store that is told the time.
pub(crate) fn receipts_run_out_after_thirty_days(subject: &mut dyn Subject) {
    let store = subject.store();
    let (user, now) = (fresh_id(), now_ms());
    let kept = |now_ms| store.received((user, 1), &[10], now_ms).unwrap();
    store.receive(&[receipt(user, 1, 10, 5)], now).unwrap();
    let last = now + RECEIPT_TTL_MS - 1;
    assert_eq!(kept(last)[0].age_ms, RECEIPT_TTL_MS - 1);
    assert_eq!(kept(last + 1), []);
    // The same again lets it live on; after its end a lower one counts.
    store.receive(&[receipt(user, 1, 10, 5)], last).unwrap();
    assert_eq!(kept(last + 1)[0].seq, 5);
    let later = last + RECEIPT_TTL_MS;
    store.receive(&[receipt(user, 1, 10, 2)], later).unwrap();
    assert_eq!(kept(later)[0].seq, 2);
    store.note_time(later + RECEIPT_TTL_MS);
    store.rest().unwrap();
    assert_eq!(kept(later + RECEIPT_TTL_MS), []);
}
