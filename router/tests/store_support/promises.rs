//! The promises themselves, against any store.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use rookery_router::log::Offset;
use rookery_router::sequencer::Head;
use rookery_router::store::{Bound, Slice, Store};
use rookery_wire::proto::Deliver;

use super::Subject;
use super::messages::{ALL, Talk, fresh_id, known, name};

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
        let before = last.map_or(0, |message| message.seq);
        store.before(&talk.below(before, bound)).unwrap()
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
            let sent_as = (deliver.sender_user_id, deliver.client_msg_id);
            let found = store.known(sent_as).unwrap();
            assert_eq!(found, Some(known(message)));
        }
        let middle = &talk.messages[talk.messages.len() / 2].deliver;
        let (_, slice) = store.since(talk.id, middle.seq - 1, ALL).unwrap();
        assert_eq!(slice.messages.first(), Some(middle));
        let slice = store.before(&talk.below(middle.seq, ALL)).unwrap();
        assert_eq!(slice.messages.len() as u64, middle.seq - 1);
    }
}

pub(crate) fn what_is_not_there_is_empty(subject: &mut dyn Subject) {
    let store = subject.store();
    let (nobody, talk) = (fresh_id(), Talk::of(3));
    assert_eq!(store.head(nobody).unwrap(), Talk::new().head());
    assert_eq!(store.known((nobody, name(1))).unwrap(), None);
    let (head, slice) = store.since(nobody, 0, ALL).unwrap();
    assert_eq!(
        (head.last_seq, slice.messages.len(), slice.has_more),
        (0, 0, false)
    );
    let slice = store.before(&Talk::with_id(nobody).below(0, ALL)).unwrap();
    assert_eq!((slice.messages.len(), slice.has_more), (0, false));

    store.apply(&talk.whole()).unwrap();
    let oldest = store.before(&talk.below(1, ALL)).unwrap();
    assert!(oldest.messages.is_empty());
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
    store.apply(&talk.batch(1..=100)).unwrap();
    store.apply(&talk.batch(101..=150)).unwrap();
    check(store, &talk, ALL);
    assert_eq!(store.head(talk.id).unwrap(), talk.head());
}

pub(crate) fn pages_go_through_blocks(subject: &mut dyn Subject) {
    // Blocks have 1,024 seqs: these end at, before and behind the ends of some.
    for all in [1_023, 1_024, 1_025, 2_048, 2_500] {
        let talk = Talk::of(all);
        let store = subject.store();
        for first in (1..=all).step_by(190) {
            store
                .apply(&talk.batch(first..=(first + 189).min(all)))
                .unwrap();
            assert_eq!(
                store.head(talk.id).unwrap().last_seq,
                (first as u64 + 189).min(all as u64)
            );
        }
        for messages_max in [1, 7, 64, 100, 3_000] {
            let bound = Bound {
                messages_max,
                bytes_max: usize::MAX,
            };
            if messages_max > 7 {
                check(store, &talk, bound);
            }
            for have_seq in [0, 1_000, 1_022, 1_023, 1_024, 1_025, 2_047, 2_048] {
                let (head, slice) = store.since(talk.id, have_seq, bound).unwrap();
                let wanted: Vec<Deliver> = talk
                    .deliveries()
                    .into_iter()
                    .skip(have_seq as usize)
                    .take(messages_max)
                    .collect();
                assert_eq!(
                    slice.messages, wanted,
                    "{messages_max} from {have_seq} of {all}"
                );
                assert_eq!(head.last_seq, all as u64, "{messages_max} from {have_seq}");
                let mut below = talk.below(have_seq + 1, bound);
                below.above_seq = have_seq.saturating_sub(10);
                let slice = store.before(&below).unwrap();
                let mut wanted: Vec<Deliver> = talk.deliveries();
                wanted.retain(|it| it.seq <= have_seq && it.seq > below.above_seq);
                wanted.reverse();
                wanted.truncate(messages_max);
                assert_eq!(
                    slice.messages, wanted,
                    "{messages_max} below {have_seq} of {all}"
                );
            }
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
    let slice = store.before(&talk.below(0, bound)).unwrap();
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
    let slice = store.before(&talk.below(0, bound)).unwrap();
    assert_eq!((slice.messages.len(), slice.has_more), (40, false));
}

pub(crate) fn heads_outlive_a_restart(subject: &mut dyn Subject) {
    let talk = Talk::of(70);
    subject.store().apply(&talk.whole()).unwrap();
    assert_eq!(subject.store().head(talk.id).unwrap(), talk.head());
    subject.restart();
    assert_eq!(subject.store().head(talk.id).unwrap(), talk.head());
    check(subject.store(), &talk, ALL);
}

/// Whoever counts again begins at any offset, over a store that is ahead of it.
pub(crate) fn a_base_is_what_lies_below_an_offset(subject: &mut dyn Subject) {
    let talk = Talk::of(1_100);
    let store = subject.store();
    store.apply(&talk.batch(1..=600)).unwrap();
    store.apply(&talk.batch(601..=1_100)).unwrap();
    let offsets = [
        0, 3, 4, 300, 1_800, 3_072, 3_073, 3_075, 3_299, 3_300, 3_301, 9_999,
    ];
    let asked: Vec<(u64, Offset)> = offsets.iter().map(|&at| (talk.id, Offset(at))).collect();
    let bases = store.bases(&asked).unwrap();
    for (base, offset) in bases.iter().zip(offsets) {
        let below = talk.messages.iter().rev().find(|it| it.log_offset < offset);
        let wanted = below.map_or(Head::default(), |it| it.head());
        assert_eq!(*base, wanted, "below {offset}");
    }
    // The process dies in between, and the same rows are written again.
    subject.restart();
    let store = subject.store();
    for first in [901, 961, 1_021] {
        store.apply(&talk.batch(first..=first + 59)).unwrap();
    }
    store.apply(&talk.batch(1_081..=1_100)).unwrap();
    assert_eq!(store.head(talk.id).unwrap(), talk.head());
    check(store, &talk, ALL);
}

pub(crate) fn records_are_found_by_their_senders_name(subject: &mut dyn Subject) {
    let talk = Talk::of(3);
    let store = subject.store();
    store.apply(&talk.whole()).unwrap();
    let found = store
        .sent(&[(talk.id, name(2)), (talk.id, name(9))])
        .unwrap();
    assert_eq!(found[1], []);
    // An embedded store is not asked.
    for sent in &found[0] {
        let message = &talk.messages[1];
        assert_eq!(
            (sent.known, sent.seq, sent.log_offset, sent.at_ms),
            (known(message), 2, message.log_offset, message.at_ms)
        );
    }
}

pub(crate) fn the_largest_ids_come_back(subject: &mut dyn Subject) {
    let mut talk = Talk::with_id(u64::MAX - fresh_id());
    for i in 0..3_u64 {
        talk.say_as((1 << 63) - 3 + i, b"late");
        let deliver = &mut talk.messages.last_mut().expect("just said").deliver;
        deliver.sender_user_id = u64::MAX - i;
        deliver.client_msg_id = [0xff; 16];
    }
    let store = subject.store();
    store.apply(&talk.whole()).unwrap();
    check(store, &talk, ALL);
    for message in &talk.messages {
        let deliver = &message.deliver;
        let sent_as = (deliver.sender_user_id, deliver.client_msg_id);
        let found = store.known(sent_as).unwrap();
        assert_eq!(found, Some(known(message)));
    }
    let slice = store.before(&talk.below(u64::MAX, ALL)).unwrap();
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
