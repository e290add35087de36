//! The promises about receipts, and about what outboxes are computed from.

#![allow(
    clippy::disallowed_methods,
    reason = "a distributed store keeps the services' time"
)]

use std::time::{SystemTime, UNIX_EPOCH};

use rookery_router::store::{Below, Bound, Numbered, RECEIPT_TTL_MS, Receipt, Store};

use super::Subject;
use super::messages::{ALL, BUCKET_MS, Talk, fresh_id};

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

/// Conversations and seqs of a device, none of them old.
fn of(store: &dyn Store, user_id: u64, device_id: u32) -> Vec<(u64, u64)> {
    let received = store.receipts(user_id, device_id, now_ms()).unwrap();
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

pub(crate) fn ids_and_seqs_are_those_of_the_messages(subject: &mut dyn Subject) {
    let store = subject.store();
    // Through buckets, and through partitions of a busy day.
    let mut talk = Talk::new();
    for i in 0..200_u64 {
        let step_ms = if i % 60 == 59 { BUCKET_MS } else { 1_000 };
        talk.say(step_ms, &[7; 50]);
    }
    store.apply(&talk.whole()).unwrap();
    store.persist().unwrap();
    let other = Talk::of(3);
    store.apply(&other.whole()).unwrap();
    let mut wanted: Vec<Numbered> = talk
        .messages
        .iter()
        .map(|message| Numbered {
            message_id: message.deliver.message_id,
            seq: message.deliver.seq,
        })
        .collect();
    wanted.reverse();
    let below = |conversation_id, message_id, messages_max| Below {
        conversation_id,
        message_id,
        bound: Bound {
            messages_max,
            bytes_max: 1,
        },
    };
    let asked = [
        below(talk.id, 0, 10_000),
        below(talk.id, u64::MAX, 7),
        below(fresh_id(), 0, 5),
        below(talk.id, wanted[20].message_id, 150),
        below(talk.id, wanted[199].message_id, 5),
        below(other.id, 0, 2),
    ];
    let found = store.numbers_below(&asked).unwrap();
    assert_eq!(found.len(), 6);
    assert_eq!(found[0], wanted);
    assert_eq!(found[1], wanted[..7]);
    assert_eq!(found[2], []);
    assert_eq!(found[3], wanted[21..171]);
    assert_eq!(found[4], []);
    assert_eq!(found[5].iter().map(|it| it.seq).collect::<Vec<_>>(), [3, 2]);
    // Messages of many at once, in the order asked for.
    let whole = |id| Below {
        conversation_id: id,
        message_id: 0,
        bound: ALL,
    };
    let slices = store.below(&[whole(other.id), whole(talk.id)]).unwrap();
    assert_eq!(slices[0].messages.len(), 3);
    assert_eq!(slices[1].messages.len(), 200);
    assert_eq!(
        store.heads(&[talk.id, fresh_id(), other.id]).unwrap(),
        [talk.head(), Default::default(), other.head()]
    );
}

/// Of a store that is told the time.
pub(crate) fn receipts_run_out_after_thirty_days(subject: &mut dyn Subject) {
    let store = subject.store();
    let (user, now) = (fresh_id(), now_ms());
    let kept = |now_ms| store.receipts(user, 1, now_ms).unwrap();
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
