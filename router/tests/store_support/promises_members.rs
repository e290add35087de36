//! The promises about conversations and members, of stores that have them.

use rookery_router::admission::ConversationLimits;
use rookery_router::ids::{EPOCH_MS, Snowflake};
use rookery_router::record::{OpenKey, Opened};
use rookery_router::store::{Batch, Opening, Store};

use super::Subject;
use super::messages::{Talk, fresh_id};

const NOW_MS: u64 = EPOCH_MS + 1_000;

fn opened(id: u64, key: OpenKey, members: &[u64]) -> Opened {
    Opened {
        conversation_id: id,
        hlc: id,
        opener_user_id: members[0],
        opener_device_id: 1,
        key,
        members: members.to_vec(),
    }
}

/// As admission and the applier do it: the authority first, then the record's batch.
fn open(store: &dyn Store, opened: &Opened) {
    assert_eq!(
        store
            .open(opened, NOW_MS, &ConversationLimits::NONE)
            .unwrap(),
        Opening::New
    );
    let batch = Batch {
        opened: vec![opened.clone()],
        ..Batch::default()
    };
    store.apply(&batch).unwrap();
    // The same record once more.
    store.apply(&batch).unwrap();
}

pub(crate) fn conversations_are_found_by_key_and_by_member(subject: &mut dyn Subject) {
    let store = subject.store();
    // User ids have 63 bits.
    let base = fresh_id();
    let (one, two, three) = (base, base + 1, i64::MAX as u64 - base);
    let mut ids = Snowflake::new(1, 0);
    let mut talk = Talk::with_id(fresh_id());
    let direct = opened(talk.id, OpenKey::direct(two, one), &[one, two]);
    let created_key = OpenKey::Created {
        user_id: one,
        request_id: u64::MAX,
    };
    let mut members = vec![one, two, three];
    members.sort_unstable();
    let created = opened(ids.next_id(NOW_MS), created_key, &members);
    assert_eq!(store.opened(direct.key).unwrap(), None);
    assert_eq!(store.members(direct.conversation_id).unwrap(), None);
    assert!(!store.is_member(direct.conversation_id, one).unwrap());
    open(store, &direct);
    open(store, &created);
    for _ in 0..2 {
        talk.say(1_000, b"hello");
    }
    store.apply(&talk.whole()).unwrap();
    subject.restart();

    let store = subject.store();
    assert_eq!(store.opened(direct.key).unwrap(), Some(talk.id));
    let found = store.opened(created_key).unwrap();
    assert_eq!(found, Some(created.conversation_id));
    let found = store.members(created.conversation_id).unwrap();
    assert_eq!(found.as_deref(), Some(&members[..]));
    let many = store.members_of(&[talk.id, 1, created.conversation_id]);
    let many = many.unwrap();
    assert_eq!(many[0].as_deref().map(<[u64]>::len), Some(2));
    assert_eq!(many[1], None);
    assert_eq!(many[2].as_deref(), Some(&members[..]));
    assert!(store.is_member(talk.id, two).unwrap());
    assert!(!store.is_member(talk.id, three).unwrap());

    let mut wanted = vec![(talk.id, 2), (created.conversation_id, 0)];
    wanted.sort_unstable();
    let list = |user_id, after, max| {
        let (rows, more) = store.conversations(user_id, after, max).unwrap();
        let rows: Vec<(u64, u64)> = rows
            .iter()
            .map(|row| (row.conversation_id, row.head_seq))
            .collect();
        (rows, more)
    };
    assert_eq!(list(one, 0, 10), (wanted.clone(), false));
    assert_eq!(list(one, 0, 1), (wanted[..1].to_vec(), true));
    assert_eq!(list(one, wanted[0].0, 1), (wanted[1..].to_vec(), false));
    assert_eq!(
        list(three, 0, 10),
        (vec![(created.conversation_id, 0)], false)
    );
    assert_eq!(list(one, u64::MAX, 10), (Vec::new(), false));
}
