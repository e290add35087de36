//! Placing and finding against a model of the tables: clocks that differ, buckets, full partitions,
//! replays from any stored tail.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rookery_wire::proto::Deliver;

use super::options::Caps;
use super::plan::{self, Gather, Mark, Plan};
use super::tail::{Arrival, Part, Span, Tail, holding};
use crate::bucket::{self, BUCKET_MS};
use crate::ids::{EPOCH_MS, Snowflake};
use crate::store::Bound;

/// The rows of one conversation.
#[derive(Clone, Debug, Default, PartialEq)]
struct Tables {
    messages: BTreeMap<Part, BTreeMap<u64, u64>>,
    spans: BTreeMap<Part, Span>,
    marks: BTreeMap<u64, Mark>,
}

const BYTES: u64 = 10;

fn write(tables: &mut Tables, tail: &mut Tail, message_id: u64, caps: Caps) {
    let mut spans = Vec::new();
    if tail.is_behind(message_id) {
        let bucket = bucket::of_message(message_id);
        let of_bucket = |part: &&Span| part.part.bucket == bucket;
        spans = tables.spans.values().filter(of_bucket).copied().collect();
    }
    let arrival = Arrival {
        message_id,
        payload_bytes: BYTES,
        log_offset: 3 * tail.head.last_seq,
    };
    let place = tail.place(arrival, caps, &spans);
    if let Some(span) = place.span {
        tables.spans.insert(place.part, span);
    }
    if place.marked {
        let mark = Mark {
            seq: place.seq,
            message_id,
            part: place.part,
        };
        tables.marks.insert(place.seq, mark);
    }
    let part = tables.messages.entry(place.part).or_default();
    part.insert(message_id, place.seq);
}

/// What scans and marks find of the page from `first` on.
fn find(tables: &Tables, first: u64, messages_max: usize) -> Vec<u64> {
    let bound = Bound {
        messages_max,
        bytes_max: usize::MAX,
    };
    let (least, most) = plan::window(first, messages_max);
    let marks: Vec<Mark> = tables
        .marks
        .range(least..=most)
        .map(|(_, mark)| *mark)
        .collect();
    let plan = Plan::new(&marks, first);
    let mut gather = Gather::new(first, bound);
    'scans: for (part, from) in &plan.scans {
        for (id, seq) in tables.messages[part].range(from..) {
            gather.take(deliver(*id, *seq));
            if gather.is_full() || gather.is_past() {
                break 'scans;
            }
        }
    }
    for mark in &plan.points {
        if gather.lacks(mark.seq) {
            gather.take(deliver(
                mark.message_id,
                tables.messages[&mark.part][&mark.message_id],
            ));
        }
    }
    let last_seq = gather.next() - 1;
    let slice = gather.slice(last_seq);
    slice.messages.iter().map(|message| message.seq).collect()
}

fn deliver(message_id: u64, seq: u64) -> Deliver {
    Deliver {
        conversation_id: 1,
        seq,
        message_id,
        sender_user_id: 1,
        sender_device_id: 1,
        client_msg_id: message_id,
        hlc: message_id,
        payload: Vec::new(),
    }
}

/// Ids in the order of the log: `steps` are ms to the next message and ms that its node's clock is off.
fn ids(steps: &[(u64, i64)]) -> Vec<u64> {
    let mut now_ms = EPOCH_MS + 3 * BUCKET_MS;
    let mut ids = Vec::new();
    for (i, &(step_ms, off_ms)) in steps.iter().enumerate() {
        now_ms += step_ms;
        // A node of its own for every message, so that ids differ whatever the clocks say.
        let mut node = Snowflake::new(u16::try_from(i % 1_024).expect("below 1,024"), 0);
        ids.push(node.next_id(now_ms.saturating_add_signed(off_ms)));
    }
    ids
}

fn caps() -> impl Strategy<Value = Caps> {
    (20_u32..300, 200_u64..3_000).prop_map(|(rows_max, bytes_max)| Caps {
        rows_max,
        bytes_max,
    })
}

const DAY_MS: u64 = BUCKET_MS / 10;

proptest! {
    /// Steps of ms to days, clocks off by up to half a minute of busy traffic.
    #[test]
    fn a_page_from_any_seq_is_whole_where_clocks_are_off_by_some_messages(
        steps in prop::collection::vec(
            (prop_oneof![9 => 1_000_u64..2_000, 1 => Just(DAY_MS)], -15_000_i64..15_000), 1..600),
        caps in caps(), firsts in prop::collection::vec(1_u64..600, 12),
    ) {
        let ids = ids(&steps);
        let (mut tables, mut tail) = (Tables::default(), Tail::default());
        for id in &ids {
            write(&mut tables, &mut tail, *id, caps);
        }
        for first in firsts {
            let last = (first + 99).min(ids.len() as u64);
            let wanted: Vec<u64> = (first..=last).collect();
            prop_assert_eq!(find(&tables, first, 100), wanted, "from {}", first);
        }
    }

    /// Clocks off by anything: partitions hold ranges that follow one another, each message is where its
    /// id says, and a replay from any tail writes the same rows.
    #[test]
    fn partitions_are_ranges_and_a_replay_places_every_message_where_it_is(
        steps in prop::collection::vec(
            (0_u64..DAY_MS, prop_oneof![
                4 => -2_000_i64..2_000,
                1 => -30 * (DAY_MS as i64)..30 * (DAY_MS as i64),
            ]), 1..400),
        caps in caps(), from in 0_usize..400,
    ) {
        let mut seen = BTreeSet::new();
        let ids: Vec<u64> = ids(&steps).into_iter().filter(|id| seen.insert(*id)).collect();
        let (mut tables, mut tail) = (Tables::default(), Tail::default());
        let mut stored = (Tables::default(), Tail::default());
        for (i, id) in ids.iter().enumerate() {
            write(&mut tables, &mut tail, *id, caps);
            if i < from {
                stored = (tables.clone(), tail);
            }
        }
        let mut last_id = 0;
        for (part, messages) in &tables.messages {
            let span = tables.spans[part];
            for id in messages.keys() {
                prop_assert!(*id > last_id && *id >= span.first_message_id);
                last_id = *id;
                let of_bucket = tables.spans.values().filter(|span| span.part.bucket == part.bucket);
                prop_assert_eq!(holding(of_bucket, *id), Some(*part));
            }
        }
        let counted: usize = tables.messages.values().map(BTreeMap::len).sum();
        prop_assert_eq!(counted, ids.len());
        // Over the rows that the first life wrote, with the tail that it stored.
        let mut again = tables.clone();
        let mut replayed = stored.1;
        let done = usize::try_from(replayed.head.last_seq).expect("a short log");
        for id in &ids[done..] {
            write(&mut again, &mut replayed, *id, caps);
        }
        prop_assert_eq!(&again.messages, &tables.messages);
        prop_assert_eq!(&again.marks, &tables.marks);
        prop_assert_eq!(replayed, tail);
    }
}

#[test]
fn a_full_partition_is_followed_by_another_one_and_a_new_bucket_begins_at_zero() {
    let caps = Caps {
        rows_max: 3,
        bytes_max: 1 << 20,
    };
    let steps: Vec<(u64, i64)> = (0..7).map(|_| (1_000, 0)).chain([(BUCKET_MS, 0)]).collect();
    let (mut tables, mut tail) = (Tables::default(), Tail::default());
    for id in ids(&steps) {
        write(&mut tables, &mut tail, id, caps);
    }
    let rows: Vec<(Part, usize)> = tables
        .messages
        .iter()
        .map(|(part, rows)| (*part, rows.len()))
        .collect();
    let part = |bucket, sub| Part { bucket, sub };
    assert_eq!(
        rows,
        [
            (part(3, 0), 3),
            (part(3, 1), 3),
            (part(3, 2), 1),
            (part(4, 0), 1)
        ]
    );
    let marked: Vec<u64> = tables.marks.keys().copied().collect();
    assert_eq!(marked, [1, 4, 7, 8]);
}
