//! Where a shard tells who is here: the way to the directory. It never waits: a note that finds the queue
//! full is dropped and counted. The next heartbeat says the same again, and a user who went unnoticed
//! runs out of the directory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// What a shard tells of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// A device has logged in.
    Login {
        /// The user.
        user_id: u64,
        /// The device.
        device_id: u32,
    },
    /// The user is connected still.
    Here(u64),
    /// The user's last connection has gone.
    Gone(u64),
}

/// See the module. Clones tell the same directory.
#[derive(Clone)]
pub struct Presence {
    notes: SyncSender<Note>,
    dropped: Arc<AtomicU64>,
}

impl Presence {
    /// The way in, the way out, and how many notes were dropped between. The queue holds `notes_max`.
    pub fn channel(notes_max: usize) -> (Self, Receiver<Note>, Arc<AtomicU64>) {
        let (notes, taken) = sync_channel(notes_max);
        let dropped = Arc::new(AtomicU64::new(0));
        let presence = Self {
            notes,
            dropped: Arc::clone(&dropped),
        };
        (presence, taken, dropped)
    }

    /// Tells; or counts that it could not.
    pub(crate) fn tell(&self, note: Note) {
        if self.notes.try_send(note).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (presence, taken, dropped) = Presence::channel(2);
        for user in 1..=5 {
            presence.tell(Note::Here(user));
        }
        assert_eq!(dropped.load(Ordering::Relaxed), 3);
        let notes: Vec<Note> = taken.try_iter().collect();
        assert_eq!(notes, [Note::Here(1), Note::Here(2)]);
        presence.tell(Note::Gone(1));
        assert_eq!(taken.try_recv(), Ok(Note::Gone(1)));
    }
}
