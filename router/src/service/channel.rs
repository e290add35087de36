//! Bounded channels between the router's threads: crossbeam's, with a [`Bell`] for the one that reads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{self, RecvTimeoutError, SendError, TryRecvError, TrySendError};

use crate::bell::Bell;

/// A channel that holds so many.
pub(super) fn bounded<T>(places: usize) -> (Sender<T>, Receiver<T>) {
    let (give, take) = channel::bounded(places);
    let bell = Arc::new(Bell::default());
    let sender = Sender {
        give: Some(give),
        bell: Arc::clone(&bell),
    };
    (sender, Receiver { take, bell })
}

/// The way in; clones are as good.
#[derive(Debug)]
pub(super) struct Sender<T> {
    /// None only while it is dropped.
    give: Option<channel::Sender<T>>,
    bell: Arc<Bell>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self {
            give: self.give.clone(),
            bell: Arc::clone(&self.bell),
        }
    }
}

impl<T> Sender<T> {
    /// Puts a value in, or gives it back.
    pub(super) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        match &self.give {
            Some(give) => give.try_send(value)?,
            None => return Err(TrySendError::Disconnected(value)),
        }
        self.bell.ring();
        Ok(())
    }

    /// Puts a value in, and waits for room.
    pub(super) fn send(&self, value: T) -> Result<(), SendError<T>> {
        match &self.give {
            Some(give) => give.send(value)?,
            None => return Err(SendError(value)),
        }
        self.bell.ring();
        Ok(())
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.give.as_ref().map_or(0, channel::Sender::len)
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // In this order: who is woken finds the end.
        drop(self.give.take());
        self.bell.ring();
    }
}

/// The way out, for one thread.
#[derive(Debug)]
pub(super) struct Receiver<T> {
    take: channel::Receiver<T>,
    bell: Arc<Bell>,
}

impl<T> Receiver<T> {
    /// The next value, where there is one.
    pub(super) fn try_recv(&self) -> Result<T, TryRecvError> {
        self.take.try_recv()
    }

    /// What wakes the one that reads.
    pub(super) fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.bell)
    }

    /// The next value; waits so long for it.
    pub(super) fn recv_timeout(&self, at_most: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_timeout_or(at_most, || false)
    }

    /// The same, but no longer than until there is `other` work, of which the bell tells as well.
    pub(super) fn recv_timeout_or(
        &self,
        at_most: Duration,
        other: impl Fn() -> bool,
    ) -> Result<T, RecvTimeoutError> {
        self.bell.serve();
        let end = now() + at_most;
        loop {
            match self.take.try_recv() {
                Ok(value) => return Ok(value),
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) => {}
            }
            let left = end.saturating_duration_since(now());
            if left.is_zero() || other() {
                return Err(RecvTimeoutError::Timeout);
            }
            self.bell
                .sleep(Some(left), || !self.take.is_empty() || other());
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a wait has an end; nothing is decided by it"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_sent_arrives_in_order_and_the_end_is_told() {
        let (sender, receiver) = bounded(4);
        let senders: Vec<_> = (0..4).map(|_| sender.clone()).collect();
        drop(sender);
        let threads: Vec<_> = senders
            .into_iter()
            .map(|sender| {
                std::thread::spawn(move || (0..20_000).for_each(|n| sender.send(n).unwrap()))
            })
            .collect();
        let (mut sum, mut count) = (0u64, 0);
        let end = loop {
            match receiver.recv_timeout(LONG) {
                Ok(n) => (sum, count) = (sum + n, count + 1),
                Err(end) => break end,
            }
        };
        assert_eq!(end, RecvTimeoutError::Disconnected);
        assert_eq!((count, sum), (80_000, 4 * (19_999 * 20_000 / 2)));
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn a_full_channel_gives_the_value_back_and_an_empty_one_times_out() {
        let (sender, receiver) = bounded(1);
        assert!(sender.try_send(1).is_ok());
        assert!(matches!(sender.try_send(2), Err(TrySendError::Full(2))));
        assert_eq!(sender.len(), 1);
        assert_eq!(receiver.recv_timeout(LONG), Ok(1));
        let short = Duration::from_millis(1);
        assert_eq!(receiver.recv_timeout(short), Err(RecvTimeoutError::Timeout));
    }
}
