//! Receipts on their way to the store: the newest of each device and conversation, and no more.
//!
//! Pure. Devices ack far more often than is worth writing, so acks gather here between two writes. The
//! invariant: an entry counts for its device's outbox until the store has it. Bounded: what finds no
//! room is dropped, and the messages come again.

use std::collections::HashMap;
use std::sync::Arc;

use crate::api::Caller;
use crate::store::{Receipt, Slot};

/// Entries of one device: with what is being written twice as many. Who has more to ack between two writes
/// has the rest come again, and takes no room of others.
const DEVICE_MAX: usize = 4_096;

/// A device.
pub(crate) type Device = (u64, u32);

/// What a device says of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) seq: u64,
    /// Who hears that it is refused; nobody where the entry is not an ack.
    pub(crate) from: Option<Caller>,
    /// There is a message of this seq, or it was cut to the last one. Else it is cut to the stored head.
    pub(crate) is_cut: bool,
}

/// Of what an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Of {
    /// The device's inbox: the slot below which it has everything.
    Inbox,
    /// A conversation, as the device names it.
    Conversation(u64),
}

/// Entries by device and what they are of.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    by_device: HashMap<Device, HashMap<Of, Entry>>,
    len: usize,
}

impl Entries {
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of them.
    pub(crate) fn receipts(&self) -> impl Iterator<Item = (Receipt, Entry)> {
        self.by_device.iter().flat_map(|(&device, conversations)| {
            conversations.iter().map(move |(&of, &entry)| {
                let receipt = Receipt {
                    user_id: device.0,
                    device_id: device.1,
                    conversation_id: match of {
                        Of::Inbox => Receipt::CURSOR,
                        Of::Conversation(id) => id,
                    },
                    seq: entry.seq,
                };
                (receipt, entry)
            })
        })
    }

    /// Takes an entry; false where there is none of its kind and no room for one.
    fn put(&mut self, device: Device, of: Of, entry: Entry, room: bool) -> bool {
        let of_device = self.by_device.get_mut(&device);
        if let Some(kept) = of_device.and_then(|entries| entries.get_mut(&of)) {
            if entry.seq > kept.seq {
                *kept = entry;
            }
            return true;
        }
        let share = self.by_device.get(&device).map_or(0, HashMap::len);
        if room && share < DEVICE_MAX {
            let conversations = self.by_device.entry(device).or_default();
            conversations.insert(of, entry);
            self.len += 1;
            return true;
        }
        false
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Buffered {
    entries_max: usize,
    fresh: Entries,
    /// Being written; stays until that has succeeded.
    writing: Arc<Entries>,
}

impl Buffered {
    pub(crate) fn new(entries_max: usize) -> Buffered {
        Buffered {
            entries_max,
            fresh: Entries::default(),
            writing: Arc::default(),
        }
    }

    fn has_room(&self, of: usize) -> bool {
        self.fresh.len + self.writing.len < of
    }

    /// A device has acked; false where that had no room. `last_seq` is that of the conversation, where it
    /// is known.
    pub(crate) fn ack(
        &mut self,
        from: Caller,
        conversation_id: u64,
        seq: u64,
        last_seq: Option<u64>,
    ) -> bool {
        let entry = Entry {
            seq: last_seq.map_or(seq, |last_seq| seq.min(last_seq)),
            from: Some(from),
            is_cut: last_seq.is_some(),
        };
        let room = self.has_room(self.entries_max);
        let device = (from.user_id, from.device_id);
        let of = Of::Conversation(conversation_id);
        self.fresh.put(device, of, entry, room)
    }

    /// A device has everything below a slot of its inbox. Takes only room that acks do not need.
    pub(crate) fn advance(&mut self, device: Device, slot: Slot) {
        let entry = Entry {
            seq: u64::from(slot.0),
            from: None,
            is_cut: true,
        };
        let room = self.has_room(self.entries_max / 2);
        self.fresh.put(device, Of::Inbox, entry, room);
    }

    /// What a device has acked and the store may lack; of conversation [`Receipt::CURSOR`], which none has for
    /// an id, what was said of its inbox.
    pub(crate) fn of(&self, device: Device) -> impl Iterator<Item = (u64, u64)> {
        let both = [&self.fresh, &*self.writing];
        both.into_iter()
            .filter_map(move |entries| entries.by_device.get(&device))
            .flatten()
            .filter_map(|(&of, entry)| match of {
                Of::Inbox => Some((Receipt::CURSOR, entry.seq)),
                Of::Conversation(Receipt::CURSOR) => None,
                Of::Conversation(id) => Some((id, entry.seq)),
            })
    }

    /// What is to be written: what failed before, or else all that has gathered since.
    pub(crate) fn begin(&mut self) -> Arc<Entries> {
        if self.writing.is_empty() {
            self.writing = Arc::new(std::mem::take(&mut self.fresh));
        }
        Arc::clone(&self.writing)
    }

    /// It was written.
    pub(crate) fn end(&mut self) {
        self.writing = Arc::default();
    }
}

impl Entry {
    /// What is written of it where the store has messages up to `last_seq`; 0 for nothing.
    pub(crate) fn cut(&self, last_seq: u64) -> u64 {
        match self.is_cut {
            true => self.seq,
            false => self.seq.min(last_seq),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(user_id: u64) -> Caller {
        Caller {
            user_id,
            device_id: 1,
            shard: 0,
            conn: user_id,
        }
    }

    fn of(buffered: &Buffered, user_id: u64) -> Vec<(u64, u64)> {
        let mut all: Vec<_> = buffered.of((user_id, 1)).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn no_ack_says_anything_of_an_inbox() {
        let mut buffered = Buffered::new(10);
        assert!(buffered.ack(caller(1), Receipt::CURSOR, u64::MAX, None));
        assert_eq!(of(&buffered, 1), []);
        buffered.advance((1, 1), Slot(9));
        assert!(buffered.ack(caller(1), Receipt::CURSOR, u64::MAX, None));
        assert_eq!(of(&buffered, 1), [(Receipt::CURSOR, 9)]);
        assert_eq!(buffered.begin().receipts().count(), 2);
    }

    #[test]
    fn the_greatest_of_a_conversation_stays_and_counts_until_it_is_written() {
        let mut buffered = Buffered::new(10);
        for seq in [3, 5, 4] {
            assert!(buffered.ack(caller(1), 7, seq, None));
        }
        assert_eq!(of(&buffered, 1), [(7, 5)]);
        assert_eq!(of(&buffered, 2), []);
        let writing = buffered.begin();
        assert_eq!(writing.receipts().count(), 1);
        assert!(buffered.ack(caller(1), 7, 6, None));
        assert!(buffered.ack(caller(1), 8, 1, None));
        assert_eq!(of(&buffered, 1), [(7, 5), (7, 6), (8, 1)]);
        // It failed: the same again, and what came meanwhile after it.
        assert_eq!(buffered.begin().receipts().count(), 1);
        buffered.end();
        assert_eq!(buffered.begin().receipts().count(), 2);
        buffered.end();
        assert_eq!(of(&buffered, 1), []);
        assert!(buffered.begin().is_empty());
    }

    #[test]
    fn what_has_no_room_is_refused_and_what_is_there_moves_on() {
        let mut buffered = Buffered::new(4);
        for user_id in 1..=2 {
            buffered.advance((user_id, 1), Slot(1));
        }
        // The other half is for acks.
        buffered.advance((3, 1), Slot(1));
        assert_eq!(of(&buffered, 3), []);
        assert!(buffered.ack(caller(3), 9, 1, None) && buffered.ack(caller(4), 9, 1, None));
        drop(buffered.begin());
        assert!(!buffered.ack(caller(5), 9, 1, None));
        // Even one that is known, while its older one is being written: it is another entry.
        assert!(!buffered.ack(caller(4), 9, 2, None));
        buffered.end();
        assert!(buffered.ack(caller(4), 9, 2, None) && buffered.ack(caller(4), 9, 3, None));
        assert_eq!(of(&buffered, 4), [(9, 3)]);
    }

    #[test]
    fn what_is_above_the_head_is_cut_to_it() {
        let mut buffered = Buffered::new(4);
        assert!(buffered.ack(caller(1), 7, u64::MAX, Some(3)));
        assert!(buffered.ack(caller(1), 8, 9, None));
        assert_eq!(of(&buffered, 1), [(7, 3), (8, 9)]);
        let writing = buffered.begin();
        // The store may be behind what was counted; of what is not known it says what there is.
        let mut written: Vec<_> = writing
            .receipts()
            .map(|(receipt, entry)| (receipt.conversation_id, entry.cut(2)))
            .collect();
        written.sort_unstable();
        assert_eq!(written, [(7, 3), (8, 2)]);
    }

    #[test]
    fn a_device_has_its_share() {
        let mut buffered = Buffered::new(1 << 20);
        let acked = |buffered: &mut Buffered, user_id| {
            (0..2 * DEVICE_MAX as u64)
                .filter(|&id| buffered.ack(caller(user_id), id, 1, None))
                .count()
        };
        assert_eq!(acked(&mut buffered, 1), DEVICE_MAX);
        assert_eq!(acked(&mut buffered, 2), DEVICE_MAX);
        assert!(buffered.ack(caller(1), 5, 9, None), "it moves on");
    }
}
