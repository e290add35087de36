//! Pages against a model that sorts everything.

use std::convert::Infallible;

use proptest::prelude::*;

use super::*;

/// Conversations by their ids; messages as (id, seq), in the order of seq.
#[derive(Clone, Debug)]
struct Model {
    conversations: Vec<(u64, Vec<Numbered>)>,
    received: HashMap<u64, u64>,
    oldest_id: u64,
}

impl Model {
    fn rows(&self) -> Vec<InboxRow> {
        let row = |(conversation_id, messages): &(u64, Vec<Numbered>)| InboxRow {
            conversation_id: *conversation_id,
            last_seq: messages.len() as u64,
            last_message_id: messages.iter().map(|it| it.message_id).max().unwrap_or(0),
        };
        let rows = self.conversations.iter().map(row);
        rows.filter(|row| row.is_above(&self.received)).collect()
    }

    fn below(&self, asked: &Below) -> Vec<Numbered> {
        let (_, messages) = self
            .conversations
            .iter()
            .find(|(id, _)| *id == asked.conversation_id)
            .expect("one of the rows");
        let mut found = messages.clone();
        found.retain(|it| it.message_id < asked.message_id);
        found.sort_by_key(|it| std::cmp::Reverse(it.message_id));
        found.truncate(asked.bound.messages_max);
        found
    }

    fn page(&self, before_message_id: u64, limit: usize) -> (Page, usize) {
        let mut looked_at = 0;
        let asked = Asked {
            before_message_id,
            limit,
            oldest_id: self.oldest_id,
        };
        let numbers = |asked: &[Below]| {
            assert!(asked.len() <= ROUND);
            let found: Vec<Vec<Numbered>> = asked.iter().map(|it| self.below(it)).collect();
            looked_at += found.iter().map(Vec::len).sum::<usize>();
            Ok::<_, Infallible>(found)
        };
        let page = page(&self.rows(), &self.received, asked, numbers).unwrap();
        (page, looked_at)
    }

    /// What is not received, newest first, and how much of it the outbox has.
    fn unread(&self) -> (Vec<Item>, usize) {
        let mut all = Vec::new();
        for (conversation_id, messages) in &self.conversations {
            let have_seq = self.received.get(conversation_id).copied().unwrap_or(0);
            let unread = messages.iter().filter(|it| it.seq > have_seq);
            all.extend(unread.map(|it| Item {
                conversation_id: *conversation_id,
                message_id: it.message_id,
            }));
        }
        all.sort_by_key(|it| std::cmp::Reverse(it.message_id));
        let young = all.iter().filter(|it| it.message_id >= self.oldest_id);
        let hot = young.count().min(MESSAGES_MAX);
        (all, hot)
    }
}

/// Messages of `counts`, one conversation each, mixed; every `late`-th has an id from before its time.
fn model(counts: &[u16], have: &[u16], late: u64, oldest_id: u64) -> Model {
    let mut left: Vec<(usize, u64)> = Vec::new();
    for (at, &count) in counts.iter().enumerate() {
        left.extend((0..u64::from(count)).map(|n| (at, n * 7_919 % 104_729 * 64 + at as u64)));
    }
    // Times that mix the conversations.
    left.sort_by_key(|(_, time)| *time);
    let mut conversations: Vec<(u64, Vec<Numbered>)> = (1..=counts.len() as u64)
        .map(|id| (id, Vec::new()))
        .collect();
    for ((at, _), turn) in left.into_iter().zip(100_u64..) {
        let back = match turn % late {
            0 => 37,
            _ => 0,
        };
        let messages = &mut conversations[at].1;
        let seq = messages.len() as u64 + 1;
        messages.push(Numbered {
            message_id: (turn - back) * 1_000 + turn % 1_000,
            seq,
        });
    }
    let received = have
        .iter()
        .zip(1_u64..)
        .filter(|&(&have, _)| have > 0)
        .map(|(&have, id)| (id, u64::from(have)))
        .collect();
    Model {
        conversations,
        received,
        oldest_id,
    }
}

/// Pages until there are no more.
fn walk(model: &Model, limit: usize) -> (Vec<Item>, bool) {
    let mut all: Vec<Item> = Vec::new();
    loop {
        let before = all.last().map_or(0, |last| last.message_id);
        let (page, looked_at) = model.page(before, limit);
        assert!(
            looked_at <= MESSAGES_MAX + OTHERS_MAX + 2 * ROUND_IDS,
            "{looked_at}"
        );
        assert!(page.items.len() <= limit);
        all.extend(page.items);
        if !page.has_more {
            return (all, page.needs_full_sync);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn pages_hold_what_sorting_everything_gives(
        counts in prop::collection::vec(0_u16..90, 0..40),
        have in prop::collection::vec(0_u16..100, 0..40),
        limit in 1_usize..101,
        late in 2_u64..40,
        oldest in 0_u64..400_000,
    ) {
        let model = model(&counts, &have, late, oldest);
        let (unread, hot) = model.unread();
        let (found, needs_full_sync) = walk(&model, limit);
        prop_assert_eq!(&found[..], &unread[..hot]);
        prop_assert_eq!(needs_full_sync, hot < unread.len() || model.received.is_empty());
    }

    #[test]
    fn what_is_received_between_pages_is_left_out_and_nothing_comes_twice(
        counts in prop::collection::vec(1_u16..60, 1..12),
        acks in prop::collection::vec((1_u64..12, 0_u64..60), 40),
        limit in 1_usize..40,
    ) {
        let mut model = model(&counts, &[1], 1_000_000, 0);
        let (unread, _) = model.unread();
        let mut all: Vec<Item> = Vec::new();
        for (conversation_id, seq) in acks {
            let before = all.last().map_or(0, |last| last.message_id);
            let (page, _) = model.page(before, limit);
            for item in &page.items {
                prop_assert!(before == 0 || item.message_id < before);
                prop_assert!(model.unread().0.contains(item));
            }
            // None that is unread lies between what came and what comes.
            let skipped = model.unread().0.into_iter().filter(|it| {
                let oldest = page.items.last().map_or(0, |last| last.message_id);
                (before == 0 || it.message_id < before) && it.message_id >= oldest
            });
            prop_assert_eq!(skipped.count(), page.items.len());
            all.extend(page.items);
            let kept = model.received.entry(conversation_id).or_default();
            *kept = seq.max(*kept);
        }
        prop_assert!(all.iter().all(|item| unread.contains(item)));
    }
}

#[test]
fn an_outbox_ends_at_a_thousand_wherever_pages_end() {
    for (count, more) in [(1_000, false), (1_001, true)] {
        let mut model = model(&[500, count - 500], &[], 1_000_000, 0);
        model.received.insert(99, 1);
        for limit in [1, 64, 100] {
            let (found, needs_full_sync) = walk(&model, limit);
            assert_eq!((found.len(), needs_full_sync), (MESSAGES_MAX, more));
        }
    }
}

#[test]
fn a_device_without_receipts_and_old_messages_are_told() {
    let mut model = model(&[5, 0], &[], 1_000_000, 0);
    assert!(model.page(0, 100).0.needs_full_sync);
    assert_eq!(model.page(0, 100).0.items.len(), 5);
    model.received.insert(2, 3);
    assert!(!model.page(0, 100).0.needs_full_sync);
    // Its first message is too old: known where the outbox ends.
    model.oldest_id = model.conversations[0].1[1].message_id;
    let (first, _) = model.page(0, 2);
    assert_eq!((first.has_more, first.needs_full_sync), (true, false));
    let (last, _) = model.page(first.items[1].message_id, 2);
    assert_eq!(
        (last.items.len(), last.has_more, last.needs_full_sync),
        (2, false, true)
    );
    // All of them are: known at once.
    model.oldest_id = u64::MAX;
    let (none, looked_at) = model.page(0, 2);
    assert_eq!(
        (none.items.len(), none.has_more, none.needs_full_sync),
        (0, false, true)
    );
    assert!(looked_at <= 5);
}

#[test]
fn a_message_far_behind_received_ones_ends_the_search() {
    // The one that is unread has the least id of all.
    let messages = (1..=3_000)
        .map(|seq| Numbered {
            message_id: if seq == 3_000 { 1 } else { 1_000 + seq },
            seq,
        })
        .collect();
    let model = Model {
        conversations: vec![(1, messages)],
        received: HashMap::from([(1, 2_999)]),
        oldest_id: 0,
    };
    let (page, looked_at) = model.page(0, 100);
    assert!(looked_at <= OTHERS_MAX + ROUND_IDS);
    assert_eq!(
        page,
        Page {
            needs_full_sync: true,
            ..Page::default()
        }
    );
}
