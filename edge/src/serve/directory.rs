//! The directory's thread: gathers what the shards tell of their users, a tenth of a second at a time, and
//! writes it: which edge holds a user (Redis), and which devices logged in (PostgreSQL).
//!
//! Nobody waits for it. Where a service is away, what it was to be told is dropped: heartbeats say it
//! again, and what nobody repeats runs out.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crate::session::{Note, Presence};
use crate::unix_time::unix_ms;

/// Notes that wait: what two million users tell in a second where each is heard of every 30 s. 16 bytes
/// each.
const NOTES_MAX: usize = 65_536;
/// Notes that are taken together: a few pipelines of a thousand.
const BATCH_MAX: usize = 8_192;
/// Between two looks. The thread sleeps rather than waits on the queue, so that a shard that tells it
/// something never pays for a wake.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two lines of the log.
const QUIET: Duration = Duration::from_secs(10);

/// Where the directory is written to. Calls block, for a bounded time.
pub(super) trait Places: Send + 'static {
    /// These users are connected here.
    fn here(&mut self, users: &[u64]) -> Result<(), String>;
    /// These users are connected here no more.
    fn gone(&mut self, users: &[u64]) -> Result<(), String>;
    /// These devices logged in: user, device, Unix ms.
    fn devices(&mut self, devices: &[(u64, u32, u64)]) -> Result<(), String>;
}

/// The thread, and the way to it.
pub(super) struct Directory {
    presence: Presence,
    thread: JoinHandle<()>,
}

impl Directory {
    /// Starts it.
    pub(super) fn start(places: impl Places) -> io::Result<Self> {
        let (presence, notes, dropped) = Presence::channel(NOTES_MAX);
        let mut keeper = Keeper {
            places,
            notes,
            dropped,
            failed: 0,
            told: None,
        };
        let thread = std::thread::Builder::new()
            .name("directory".into())
            .spawn(move || while keeper.turn() {})?;
        Ok(Self { presence, thread })
    }

    /// For the sessions.
    pub(super) fn presence(&self) -> Presence {
        self.presence.clone()
    }

    /// Ends it, once nobody has a [`Presence`] any more and what was told is written.
    pub(super) fn join(self) {
        drop(self.presence);
        if self.thread.join().is_err() {
            tracing::error!("the directory's thread had panicked");
        }
    }
}

/// What some notes come to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Batch {
    /// Whether a user is here; the last note of each counts.
    users: HashMap<u64, bool>,
    /// User and device of each login.
    logins: Vec<(u64, u32)>,
    /// How many there were.
    notes: usize,
}

impl Batch {
    fn add(&mut self, note: Note) {
        self.notes += 1;
        match note {
            Note::Login { user_id, device_id } => {
                self.users.insert(user_id, true);
                self.logins.push((user_id, device_id));
            }
            Note::Here(user_id) => drop(self.users.insert(user_id, true)),
            Note::Gone(user_id) => drop(self.users.insert(user_id, false)),
        }
    }

    fn users(&self, here: bool) -> Vec<u64> {
        let users = self.users.iter().filter(|&(_, &is)| is == here);
        users.map(|(&user, _)| user).collect()
    }

    /// The logins, each device once, at this time.
    fn devices(&self, now_ms: u64) -> Vec<(u64, u32, u64)> {
        let mut devices = self.logins.clone();
        devices.sort_unstable();
        devices.dedup();
        let at = |(user, device)| (user, device, now_ms);
        devices.into_iter().map(at).collect()
    }
}

struct Keeper<P> {
    places: P,
    notes: Receiver<Note>,
    dropped: Arc<AtomicU64>,
    /// Calls that failed since the log was told.
    failed: u64,
    told: Option<Instant>,
}

impl<P: Places> Keeper<P> {
    /// Takes what has come, and writes it. False at the end.
    fn turn(&mut self) -> bool {
        let (batch, goes_on) = self.take();
        if !batch.users.is_empty() {
            self.write(&batch);
        }
        if goes_on && batch.notes < BATCH_MAX {
            std::thread::sleep(PAUSE);
        }
        goes_on
    }

    fn take(&self) -> (Batch, bool) {
        let mut batch = Batch::default();
        for _ in 0..BATCH_MAX {
            match self.notes.try_recv() {
                Ok(note) => batch.add(note),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return (batch, false),
            }
        }
        (batch, true)
    }

    fn write(&mut self, batch: &Batch) {
        let (here, gone) = (batch.users(true), batch.users(false));
        let devices = batch.devices(unix_ms(SystemTime::now()));
        if !here.is_empty() {
            let outcome = self.places.here(&here);
            self.note(outcome);
        }
        if !gone.is_empty() {
            let outcome = self.places.gone(&gone);
            self.note(outcome);
        }
        if !devices.is_empty() {
            let outcome = self.places.devices(&devices);
            self.note(outcome);
        }
    }

    /// Tells a failure, but not every one of a service that is away.
    fn note(&mut self, outcome: Result<(), String>) {
        let Err(error) = outcome else {
            return;
        };
        self.failed += 1;
        if self.told.is_some_and(|told| told.elapsed() < QUIET) {
            return;
        }
        self.told = Some(Instant::now());
        tracing::warn!(
            failed = std::mem::take(&mut self.failed),
            notes_dropped = self.dropped.load(Ordering::Relaxed),
            %error,
            "the directory is not written; heartbeats will say it again"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// What was written: the name of the call and its users.
    type Calls = Arc<Mutex<Vec<(&'static str, Vec<u64>)>>>;

    struct Fake {
        calls: Calls,
        is_away: bool,
    }

    impl Fake {
        fn call(&self, name: &'static str, mut users: Vec<u64>) -> Result<(), String> {
            users.sort_unstable();
            self.calls.lock().unwrap().push((name, users));
            match self.is_away {
                true => Err("away".into()),
                false => Ok(()),
            }
        }
    }

    impl Places for Fake {
        fn here(&mut self, users: &[u64]) -> Result<(), String> {
            self.call("here", users.to_vec())
        }

        fn gone(&mut self, users: &[u64]) -> Result<(), String> {
            self.call("gone", users.to_vec())
        }

        fn devices(&mut self, devices: &[(u64, u32, u64)]) -> Result<(), String> {
            assert!(devices.iter().all(|&(.., at_ms)| at_ms > 1_700_000_000_000));
            self.call("devices", devices.iter().map(|&(user, ..)| user).collect())
        }
    }

    fn login(user_id: u64, device_id: u32) -> Note {
        Note::Login { user_id, device_id }
    }

    fn written(notes: &[Note], is_away: bool) -> Vec<(&'static str, Vec<u64>)> {
        let calls = Calls::default();
        let fake = Fake {
            calls: Arc::clone(&calls),
            is_away,
        };
        // What waits when the last sender goes is written all the same.
        let directory = Directory::start(fake).unwrap();
        let presence = directory.presence();
        notes.iter().for_each(|&note| presence.tell(note));
        drop(presence);
        directory.join();
        std::mem::take(&mut calls.lock().unwrap())
    }

    #[test]
    fn the_last_word_about_a_user_counts() {
        let mut batch = Batch::default();
        let notes = [login(1, 1), Note::Gone(1), login(2, 1), Note::Here(3)];
        notes.into_iter().for_each(|note| batch.add(note));
        // A device that was replaced: gone and here again.
        let notes = [Note::Here(4), Note::Gone(4), login(4, 2), login(4, 2)];
        notes.into_iter().for_each(|note| batch.add(note));
        let mut here = batch.users(true);
        here.sort_unstable();
        assert_eq!((here, batch.users(false)), (vec![2, 3, 4], vec![1]));
        assert_eq!(batch.devices(9), [(1, 1, 9), (2, 1, 9), (4, 2, 9)]);
    }

    #[test]
    fn everything_told_is_written_before_the_end() {
        let mut users: Vec<(&str, Vec<u64>)> =
            written(&[login(7, 1), Note::Here(8), Note::Gone(9)], false);
        users.sort_unstable();
        assert!(users.contains(&("devices", vec![7])), "{users:?}");
        let all = |name: &str| -> Vec<u64> {
            let calls = users.iter().filter(|(call, _)| *call == name);
            calls.flat_map(|(_, users)| users.clone()).collect()
        };
        assert_eq!((all("here"), all("gone")), (vec![7, 8], vec![9]));
    }

    #[test]
    fn a_service_that_is_away_stops_nothing() {
        let calls = written(&[login(7, 1), Note::Gone(9)], true);
        assert_eq!(
            calls.iter().map(|(_, users)| users.len()).sum::<usize>(),
            3,
            "{calls:?}"
        );
    }
}
