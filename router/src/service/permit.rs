//! Whether ids and stamps may be given at this moment, in a form that shares its log: the host's clock is
//! right ([`Skew`]), and what is given is below the [`Ceiling`].
//!
//! A host whose clock is off would hand its ids on to others: in a log's records, in conversations' ids, in
//! stamps by which clients order what they show. So it gives none until the clock is right; and what it writes
//! for others meanwhile, the slots of inboxes, has the time that it was told ([`Permit`] is a [`Clock`]). Who
//! tells the time: the log with each answer to an append, and the store where nothing is appended. Intake asks;
//! the log's thread answers; a thread of its own asks the store and raises the ceiling ahead of need.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError};

use super::ceiling::Ceiling;
use super::clock::Clock;
use super::config::Config;
use super::counters::Counters;
use super::error::StartError;
use super::skew::{Own, Skew, Told, Verdict};
use crate::admission::Refusal;
use crate::log::Ticket;
use crate::store::{Position, Store, StoreError};

/// How often it is looked at the clock and the ceiling.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The store is asked where nobody has told the time for so long, or the clock is off.
const ASK_AFTER_MS: u64 = 10_000;

/// See the module.
pub(super) struct Permit {
    clock: Arc<dyn Clock>,
    ceiling: Ceiling,
    skew: Mutex<Skew>,
    /// The append whose answer is to tell the time, and when it was made, by the steady clock.
    asked: Mutex<Option<(Ticket, u64)>>,
    is_off: AtomicBool,
    raise_fails: AtomicBool,
    counters: Arc<Counters>,
}

impl Permit {
    /// Of the data directory, which is the caller's, and of the node as the store knows it.
    pub(super) fn open(
        config: &Config,
        stored: Position,
        counters: &Arc<Counters>,
    ) -> Result<Arc<Permit>, StartError> {
        Ok(Arc::new(Permit {
            clock: Arc::clone(&config.clock),
            ceiling: Ceiling::open(&config.data_dir, stored)?,
            skew: Mutex::default(),
            asked: Mutex::default(),
            is_off: AtomicBool::new(false),
            raise_fails: AtomicBool::new(false),
            counters: Arc::clone(counters),
        }))
    }

    /// Whether a batch may be given ids and stamps of this time, of its own clock. Waits for the disk only where
    /// that has jumped to the ceiling.
    pub(super) fn check(&self, now_ms: u64) -> Result<(), Refusal> {
        if self.judge().1 != Verdict::Right {
            return Err(Refusal::CLOCK_OFF);
        }
        if self.ceiling.is_above(now_ms) || self.raise(now_ms) {
            return Ok(());
        }
        Err(Refusal::NOT_DURABLE)
    }

    /// Something of this time is given.
    pub(super) fn give(&self, ms: u64) {
        self.ceiling.give(ms);
    }

    /// As the store keeps it.
    pub(super) fn ceiling(&self) -> Position {
        self.ceiling.position()
    }

    /// An append is about to be made. One at a time tells the time.
    pub(super) fn appends(&self, ticket: Ticket) {
        self.asked()
            .get_or_insert_with(|| (ticket, self.clock.steady_ms()));
    }

    /// The log has answered an append, and says when it took the record; 0 where it does not.
    pub(super) fn answered(&self, ticket: Ticket, at_ms: u64) {
        let asked = self.asked().take_if(|(of, _)| *of == ticket);
        if let Some((_, asked_ms)) = asked
            && at_ms > 0
        {
            self.hear(at_ms, asked_ms);
        }
    }

    /// Looks once, and gives what looks again every second until whoever holds the other end lets go of
    /// it.
    pub(super) fn looks(
        self: Arc<Self>,
        store: &Arc<dyn Store>,
        ended: Receiver<()>,
    ) -> impl FnOnce() + Send + use<> {
        if let Err(error) = self.look(&**store) {
            tracing::warn!(%error, "the store does not tell the time; sends are refused until it does");
        }
        let store = Arc::clone(store);
        move || {
            while ended.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                if let Err(error) = self.look(&*store) {
                    tracing::debug!(%error, "the store does not tell the time");
                }
            }
        }
    }

    /// Asks the store for the time where that is to be known, and raises the ceiling ahead of need.
    fn look(&self, store: &dyn Store) -> Result<(), StoreError> {
        let is_right = self.judge().1 == Verdict::Right;
        let told = match is_right && self.was_told_lately() {
            true => Ok(()),
            false => self.ask(store),
        };
        let (now_ms, verdict) = self.judge();
        // Raised with a wrong clock it would stay wrong.
        if verdict == Verdict::Right && self.ceiling.is_low(now_ms) {
            self.raise(now_ms);
        }
        told
    }

    fn was_told_lately(&self) -> bool {
        let heard_ms = self.skew().heard_ms();
        let since = |heard_ms| self.clock.steady_ms().saturating_sub(heard_ms);
        heard_ms.is_some_and(|heard_ms| since(heard_ms) < ASK_AFTER_MS)
    }

    fn ask(&self, store: &dyn Store) -> Result<(), StoreError> {
        let asked_ms = self.clock.steady_ms();
        if let Some(theirs_ms) = store.now_ms()? {
            self.hear(theirs_ms, asked_ms);
        }
        Ok(())
    }

    fn hear(&self, theirs_ms: u64, asked_ms: u64) {
        let own = self.own();
        let told = Told {
            theirs_ms,
            asked_ms,
            heard_ms: own.steady_ms,
        };
        self.skew().hear(told, own);
    }

    fn own(&self) -> Own {
        Own {
            wall_ms: self.clock.now_ms(),
            steady_ms: self.clock.steady_ms(),
        }
    }

    /// What the wall clock says, and what is to be thought of it. Says so where it is off, and where it is right
    /// again: once.
    fn judge(&self) -> (u64, Verdict) {
        let own = self.own();
        let verdict = self.skew().judge(own);
        let is_off = matches!(verdict, Verdict::Off(_));
        if self.is_off.swap(is_off, Ordering::Relaxed) != is_off {
            self.counters.clock_off.set(is_off.into());
            match verdict {
                Verdict::Off(ms) => tracing::error!(
                    ahead_s = ms / 1_000,
                    "this host's clock is not that of the log and the store: sends and openings are refused \
                     until it is. Set it right (NTP); or, if it is right, theirs"
                ),
                _ => tracing::info!("this host's clock is right: sends are taken"),
            }
        }
        (own.wall_ms, verdict)
    }

    fn raise(&self, now_ms: u64) -> bool {
        let raised = self.ceiling.raise(now_ms);
        if self.raise_fails.swap(raised.is_err(), Ordering::Relaxed) != raised.is_err() {
            match &raised {
                Err(error) => tracing::error!(
                    %error,
                    "the ceiling of ids cannot be written into the data directory; sends are refused when \
                     it is reached"
                ),
                Ok(()) => tracing::info!("the ceiling of ids is written again"),
            }
        }
        raised.is_ok()
    }

    fn skew(&self) -> MutexGuard<'_, Skew> {
        self.skew.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked(&self) -> MutexGuard<'_, Option<(Ticket, u64)>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The host's clock, put right where it is off.
impl Clock for Permit {
    fn now_ms(&self) -> u64 {
        match self.judge() {
            (now_ms, Verdict::Off(ahead_ms)) => {
                now_ms.saturating_add_signed(ahead_ms.saturating_neg())
            }
            (now_ms, Verdict::Right | Verdict::Unknown) => now_ms,
        }
    }

    fn steady_ms(&self) -> u64 {
        self.clock.steady_ms()
    }
}
