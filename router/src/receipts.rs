//! Receipts on their way to the store: the newest of each device and conversation, and no more.
//!
//! Pure. Devices ack far more often than is worth writing, so acks gather here between two writes. The
//! invariant: an entry counts for its device's outbox until the store has it. Bounded: what finds no
//! room is dropped, and the messages come again.

use std::collections::HashMap;
use std::sync::Arc;

use crate::api::Caller;
use crate::store::Receipt;

/// Times that an entry above the store's head is kept for the next write: the store may be behind what
/// was delivered.
const WAITS_MAX: u8 = 5;

/// A device.
pub(crate) type Device = (u64, u32);

/// What a device says of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) seq: u64,
    /// Who hears that it is refused; nobody where the entry is not an ack.
    pub(crate) from: Option<Caller>,
    /// Writes that it was put off at.
    waited: u8,
}

/// Entries by device and conversation.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    by_device: HashMap<Device, HashMap<u64, Entry>>,
    len: usize,
}

impl Entries {
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of them.
    pub(crate) fn receipts(&self) -> impl Iterator<Item = (Receipt, Entry)> {
        self.by_device.iter().flat_map(|(&device, conversations)| {
            conversations.iter().map(move |(&conversation_id, &entry)| {
                let receipt = Receipt {
                    user_id: device.0,
                    device_id: device.1,
                    conversation_id,
                    seq: entry.seq,
                };
                (receipt, entry)
            })
        })
    }

    /// Takes an entry; false where there is none of its device and conversation and no room for one.
    fn put(&mut self, device: Device, conversation_id: u64, entry: Entry, room: bool) -> bool {
        if let Some(kept) = self
            .by_device
            .get_mut(&device)
            .and_then(|conversations| conversations.get_mut(&conversation_id))
        {
            if entry.seq > kept.seq {
                *kept = entry;
            }
            return true;
        }
        if room {
            let conversations = self.by_device.entry(device).or_default();
            conversations.insert(conversation_id, entry);
            self.len += 1;
        }
        room
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

    /// A device has acked; false where that had no room.
    pub(crate) fn ack(&mut self, from: Caller, conversation_id: u64, seq: u64) -> bool {
        let entry = Entry {
            seq,
            from: Some(from),
            waited: 0,
        };
        let room = self.has_room(self.entries_max);
        let device = (from.user_id, from.device_id);
        self.fresh.put(device, conversation_id, entry, room)
    }

    /// A stored receipt is to live on. Takes only room that acks do not need.
    pub(crate) fn refresh(&mut self, device: Device, conversation_id: u64, seq: u64) {
        let entry = Entry {
            seq,
            from: None,
            waited: 0,
        };
        let room = self.has_room(self.entries_max / 2);
        self.fresh.put(device, conversation_id, entry, room);
    }

    /// What a device has acked and the store may lack.
    pub(crate) fn of(&self, device: Device) -> impl Iterator<Item = (u64, u64)> {
        let both = [&self.fresh, &*self.writing];
        both.into_iter()
            .filter_map(move |entries| entries.by_device.get(&device))
            .flatten()
            .map(|(&conversation_id, entry)| (conversation_id, entry.seq))
    }

    /// What is to be written: what failed before, or else all that has gathered since.
    pub(crate) fn begin(&mut self) -> Arc<Entries> {
        if self.writing.is_empty() {
            self.writing = Arc::new(std::mem::take(&mut self.fresh));
        }
        Arc::clone(&self.writing)
    }

    /// It was written, but for those that were put off.
    pub(crate) fn end(&mut self, put_off: Vec<(Receipt, Entry)>) {
        self.writing = Arc::default();
        for (receipt, entry) in put_off {
            let device = (receipt.user_id, receipt.device_id);
            let room = self.has_room(self.entries_max);
            let entry = Entry {
                waited: entry.waited + 1,
                ..entry
            };
            self.fresh.put(device, receipt.conversation_id, entry, room);
        }
    }
}

/// What is done with an entry whose conversation's head is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// Write this seq.
    Write(u64),
    /// The store does not have the message yet: look again at the next write.
    PutOff,
    /// There is nothing that could have been received.
    Drop,
}

impl Entry {
    /// Against the head that the store has: what is above it is cut, after some patience.
    pub(crate) fn judge(&self, last_seq: u64) -> Judged {
        if self.seq > last_seq && self.waited < WAITS_MAX {
            return Judged::PutOff;
        }
        match self.seq.min(last_seq) {
            0 => Judged::Drop,
            seq => Judged::Write(seq),
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
    fn the_greatest_of_a_conversation_stays_and_counts_until_it_is_written() {
        let mut buffered = Buffered::new(10);
        for seq in [3, 5, 4] {
            assert!(buffered.ack(caller(1), 7, seq));
        }
        assert_eq!(of(&buffered, 1), [(7, 5)]);
        assert_eq!(of(&buffered, 2), []);
        let writing = buffered.begin();
        assert_eq!(writing.receipts().count(), 1);
        assert!(buffered.ack(caller(1), 7, 6));
        assert!(buffered.ack(caller(1), 8, 1));
        assert_eq!(of(&buffered, 1), [(7, 5), (7, 6), (8, 1)]);
        // It failed: the same again, and what came meanwhile after it.
        assert_eq!(buffered.begin().receipts().count(), 1);
        buffered.end(Vec::new());
        assert_eq!(buffered.begin().receipts().count(), 2);
        buffered.end(Vec::new());
        assert_eq!(of(&buffered, 1), []);
        assert!(buffered.begin().is_empty());
    }

    #[test]
    fn what_has_no_room_is_refused_and_what_is_there_moves_on() {
        let mut buffered = Buffered::new(4);
        for user_id in 1..=2 {
            buffered.refresh((user_id, 1), 9, 1);
        }
        // The other half is for acks.
        buffered.refresh((3, 1), 9, 1);
        assert_eq!(of(&buffered, 3), []);
        assert!(buffered.ack(caller(3), 9, 1) && buffered.ack(caller(4), 9, 1));
        drop(buffered.begin());
        assert!(!buffered.ack(caller(5), 9, 1));
        // Even one that is known, while its older one is being written: it is another entry.
        assert!(!buffered.ack(caller(4), 9, 2));
        buffered.end(Vec::new());
        assert!(buffered.ack(caller(4), 9, 2) && buffered.ack(caller(4), 9, 3));
        assert_eq!(of(&buffered, 4), [(9, 3)]);
    }

    #[test]
    fn what_is_above_the_head_waits_and_is_cut_then() {
        let mut buffered = Buffered::new(4);
        assert!(buffered.ack(caller(1), 7, u64::MAX));
        for _ in 0..WAITS_MAX {
            let writing = buffered.begin();
            let put_off: Vec<_> = writing.receipts().collect();
            assert_eq!(put_off[0].1.judge(3), Judged::PutOff);
            buffered.end(put_off);
        }
        let (_, entry) = buffered.begin().receipts().next().unwrap();
        assert_eq!(entry.judge(3), Judged::Write(3));
        assert_eq!(entry.judge(0), Judged::Drop);
        assert_eq!(entry.judge(u64::MAX), Judged::Write(u64::MAX));
    }
}
