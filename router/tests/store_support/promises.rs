//! The promises themselves, against any store.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use rookery_router::store::{Bound, Slice, Store};
use rookery_wire::proto::Deliver;

use super::Subject;
use super::messages::{ALL, BUCKET_MS, Talk, fresh_id, known};

/// Everything, page after page. `next` is asked for what comes after the last message so far.
fn pages(bound: Bound, next: impl Fn(Option<&Deliver>) -> Slice) -> Vec<Deliver> {
    let mut all: Vec<Deliver> = Vec::new();
    loop {
        let slice = next(all.last());
        assert!(slice.messages.len() <= bound.messages_max);
        let more = slice.has_more;
        assert!(
            !more || !slice.messages.is_empty(),
            "a page without progress"
        );
        all.extend(slice.messages);
        if !more {
            return all;
        }
    }
}

/// Everything, by pages from the first seq on.
pub(crate) fn up(store: &dyn Store, talk: &Talk, bound: Bound) -> Vec<Deliver> {
    pages(bound, |last| {
        let have_seq = last.map_or(0, |message| message.seq);
        let (head, slice) = store.since(talk.id, have_seq, bound).unwrap();
        assert_eq!(head.last_seq, talk.head().last_seq);
        slice
    })
}

/// Everything, by pages from the newest message on.
pub(crate) fn down(store: &dyn Store, talk: &Talk, bound: Bound) -> Vec<Deliver> {
    pages(bound, |last| {
        let before = last.map_or(0, |message| message.message_id);
        store.before(talk.id, before, bound).unwrap()
    })
}

/// The conversation as it was made, both ways.
fn check(store: &dyn Store, talk: &Talk, bound: Bound) {
    let mut wanted = talk.deliveries();
    assert_eq!(up(store, talk, bound), wanted);
    wanted.reverse();
    assert_eq!(down(store, talk, bound), wanted);
}

pub(crate) fn what_was_applied_is_read_back(subject: &mut dyn Subject) {
    let talks = [
        Talk::of(1),
        Talk::of(2),
        Talk::of(63),
        Talk::of(64),
        Talk::of(65),
        Talk::of(200),
    ];
    for talk in &talks {
        subject.store().apply(&talk.whole()).unwrap();
    }
    let store = subject.store();
    for talk in &talks {
        check(store, talk, ALL);
        assert_eq!(store.head(talk.id).unwrap(), talk.head());
        for message in &talk.messages {
            let deliver = &message.deliver;
            let found = store
                .known(deliver.sender_user_id, deliver.client_msg_id)
                .unwrap();
            assert_eq!(found, Some(known(message)));
        }
        let middle = &talk.messages[talk.messages.len() / 2].deliver;
        let (_, slice) = store.since(talk.id, middle.seq - 1, ALL).unwrap();
        assert_eq!(slice.messages.first(), Some(middle));
        let slice = store.before(talk.id, middle.message_id, ALL).unwrap();
        assert_eq!(slice.messages.len() as u64, middle.seq - 1);
    }
}

pub(crate) fn what_is_not_there_is_empty(subject: &mut dyn Subject) {
    let store = subject.store();
    let (nobody, talk) = (fresh_id(), Talk::of(3));
    assert_eq!(store.head(nobody).unwrap(), Talk::new().head());
    assert_eq!(store.known(nobody, 1).unwrap(), None);
    let (head, slice) = store.since(nobody, 0, ALL).unwrap();
    assert_eq!(
        (head.last_seq, slice.messages.len(), slice.has_more),
        (0, 0, false)
    );
    let slice = store.before(nobody, 0, ALL).unwrap();
    assert_eq!((slice.messages.len(), slice.has_more), (0, false));

    store.apply(&talk.whole()).unwrap();
    let oldest = talk.messages[0].deliver.message_id;
    assert!(
        store
            .before(talk.id, oldest, ALL)
            .unwrap()
            .messages
            .is_empty()
    );
    for have_seq in [3, 4, u64::MAX] {
        let (head, slice) = store.since(talk.id, have_seq, ALL).unwrap();
        assert_eq!(
            (head.last_seq, slice.messages.len(), slice.has_more),
            (3, 0, false)
        );
    }
}

pub(crate) fn a_batch_that_is_applied_again_changes_nothing(subject: &mut dyn Subject) {
    let store = subject.store();
    let talk = Talk::of(150);
    for _ in 0..2 {
        store.apply(&talk.batch(1..=100)).unwrap();
    }
    store.apply(&talk.batch(101..=150)).unwrap();
    store.apply(&talk.batch(101..=150)).unwrap();
    store.persist().unwrap();
    store.apply(&talk.batch(101..=150)).unwrap();
    check(store, &talk, ALL);
    assert_eq!(store.head(talk.id).unwrap(), talk.head());
}

pub(crate) fn pages_go_through_ten_day_buckets_and_busy_days(subject: &mut dyn Subject) {
    let mut talk = Talk::new();
    for bucket in 0..4 {
        for i in 0..150 {
            talk.say(1_000, format!("{i} of {bucket}").as_bytes());
        }
        // Once a bucket is left out.
        talk.say(BUCKET_MS * (1 + bucket % 2), b"later");
    }
    let store = subject.store();
    let all = talk.messages.len();
    for first in (1..=all).step_by(90) {
        store
            .apply(&talk.batch(first..=(first + 89).min(all)))
            .unwrap();
    }
    for messages_max in [1, 7, 64, 100, 1_000] {
        let bound = Bound {
            messages_max,
            bytes_max: usize::MAX,
        };
        if messages_max > 1 {
            check(store, &talk, bound);
        }
        for have_seq in [0, 63, 64, 149, 150, 151, 300, 602] {
            let (_, slice) = store.since(talk.id, have_seq, bound).unwrap();
            let wanted: Vec<Deliver> = talk
                .deliveries()
                .into_iter()
                .skip(have_seq as usize)
                .take(messages_max)
                .collect();
            assert_eq!(slice.messages, wanted, "{messages_max} from {have_seq}");
        }
    }
}

pub(crate) fn pages_keep_to_their_bounds(subject: &mut dyn Subject) {
    let mut talk = Talk::new();
    for i in 0..40_usize {
        talk.say(1_000, &vec![b'x'; 1_000 + i]);
    }
    let store = subject.store();
    store.apply(&talk.whole()).unwrap();
    let bytes_max = 5_500;
    let bound = Bound {
        messages_max: 100,
        bytes_max,
    };
    let (head, slice) = store.since(talk.id, 0, bound).unwrap();
    assert_eq!(
        (head.last_seq, slice.messages.len(), slice.has_more),
        (40, 5, true)
    );
    let slice = store.before(talk.id, 0, bound).unwrap();
    assert_eq!((slice.messages.len(), slice.has_more), (5, true));
    check(store, &talk, bound);

    // A message that is larger than the bound comes alone.
    let bound = Bound {
        messages_max: 100,
        bytes_max: 10,
    };
    let (_, slice) = store.since(talk.id, 38, bound).unwrap();
    assert_eq!((slice.messages.len(), slice.has_more), (1, true));
    let (_, slice) = store.since(talk.id, 39, bound).unwrap();
    assert_eq!((slice.messages.len(), slice.has_more), (1, false));

    let bound = Bound {
        messages_max: 40,
        bytes_max: usize::MAX,
    };
    let (_, slice) = store.since(talk.id, 0, bound).unwrap();
    assert_eq!((slice.messages.len(), slice.has_more), (40, false));
    let slice = store.before(talk.id, 0, bound).unwrap();
    assert_eq!((slice.messages.len(), slice.has_more), (40, false));
}

pub(crate) fn heads_are_the_same_from_memory_and_from_the_store(subject: &mut dyn Subject) {
    let talk = Talk::of(70);
    subject.store().apply(&talk.whole()).unwrap();
    assert_eq!(subject.store().head(talk.id).unwrap(), talk.head());
    subject.store().persist().unwrap();
    assert_eq!(subject.store().head(talk.id).unwrap(), talk.head());
    subject.store().forget();
    assert_eq!(subject.store().head(talk.id).unwrap(), talk.head());
    subject.restart();
    assert_eq!(subject.store().head(talk.id).unwrap(), talk.head());
    check(subject.store(), &talk, ALL);
}

/// The process dies between writing messages and heads, and begins again from the offset that was
/// committed before.
pub(crate) fn a_replay_from_an_older_head_gives_the_same_rows(subject: &mut dyn Subject) {
    let mut talk = Talk::of(150);
    talk.say(BUCKET_MS, b"after ten days");
    for _ in 0..149 {
        talk.say(1_000, b"and on");
    }
    subject.store().apply(&talk.batch(1..=110)).unwrap();
    subject.store().persist().unwrap();
    subject.store().apply(&talk.batch(111..=230)).unwrap();
    subject.restart();
    let head = subject.store().head(talk.id).unwrap();
    assert!((110..=230).contains(&head.last_seq));
    for first in [111, 171, 231] {
        subject
            .store()
            .apply(&talk.batch(first..=first + 59))
            .unwrap();
    }
    subject.store().apply(&talk.batch(291..=300)).unwrap();
    assert_eq!(subject.store().head(talk.id).unwrap(), talk.head());
    check(subject.store(), &talk, ALL);
}

pub(crate) fn the_largest_ids_come_back(subject: &mut dyn Subject) {
    let mut talk = Talk::with_id(u64::MAX - fresh_id());
    for i in 0..3_u64 {
        talk.say_as((1 << 63) - 3 + i, b"late");
        let deliver = &mut talk.messages.last_mut().expect("just said").deliver;
        deliver.sender_user_id = u64::MAX - i;
        deliver.client_msg_id = u64::MAX - talk.id;
    }
    let store = subject.store();
    store.apply(&talk.whole()).unwrap();
    check(store, &talk, ALL);
    for message in &talk.messages {
        let deliver = &message.deliver;
        let found = store
            .known(deliver.sender_user_id, deliver.client_msg_id)
            .unwrap();
        assert_eq!(found, Some(known(message)));
    }
    let slice = store.before(talk.id, u64::MAX, ALL).unwrap();
    assert_eq!(slice.messages.len(), 3);
}

pub(crate) fn the_largest_payloads_come_back(subject: &mut dyn Subject) {
    let mut talk = Talk::new();
    for i in 0..40_u8 {
        talk.say(1_000, &vec![i; 64 << 10]);
    }
    let store = subject.store();
    store.apply(&talk.whole()).unwrap();
    let bound = Bound {
        messages_max: 100,
        bytes_max: 1 << 20,
    };
    check(store, &talk, bound);
}
