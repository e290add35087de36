//! Records that wait for the ones before them, a lane per partition.
//!
//! Why not in librdkafka, which has a queue per partition itself: while five records of a partition are
//! unanswered an idempotent producer of its sends no more of it, and while more wait it does not sleep but
//! polls its sockets without end (`rd_kafka_toppar_producer_serve` in 2.12: the wake-up time stays "now").
//! That is a core for each broker, just when the brokers are late. So it is given no more than it can send;
//! what arrives meanwhile goes out together, when the records before it are answered, as one request.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::log::{AppendError, Partition, Ticket};

/// With so many records unanswered librdkafka sends more of a partition: one less than its limit
/// (`RD_KAFKA_IDEMP_MAX_INFLIGHT`), which it counts in records.
const UNANSWERED_MAX: usize = 4;
/// Partitions may be added while the log is open. With more of them than this it still works, and keeps
/// some apart that need not be.
const LANES: usize = 1024;

/// What is to be appended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) partition: Partition,
    pub(super) key: u64,
    pub(super) body: Vec<u8>,
    pub(super) ticket: Ticket,
}

#[derive(Debug, Default)]
struct Lane {
    /// Records that librdkafka has and has not answered.
    unanswered: usize,
    waiting: VecDeque<Pending>,
}

#[derive(Debug)]
pub(super) struct Lanes {
    lanes: Box<[Mutex<Lane>]>,
}

impl Lanes {
    pub(super) fn new() -> Self {
        Self {
            lanes: (0..LANES).map(|_| Mutex::default()).collect(),
        }
    }

    fn of(&self, partition: Partition) -> MutexGuard<'_, Lane> {
        self.lanes[partition.0 as usize % LANES]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends it, or has it wait. After an error of `send` it is not here.
    pub(super) fn append(
        &self,
        pending: Pending,
        send: impl FnOnce(&Pending) -> Result<(), AppendError>,
    ) -> Result<(), AppendError> {
        let mut lane = self.of(pending.partition);
        if lane.waiting.is_empty() && lane.unanswered < UNANSWERED_MAX {
            send(&pending)?;
            lane.unanswered += 1;
        } else {
            lane.waiting.push_back(pending);
        }
        Ok(())
    }

    /// A record of this partition was answered: those behind it go on their way. A record that cannot be sent is
    /// handed to `refused` and is to be answered like the others.
    pub(super) fn answered(
        &self,
        partition: Partition,
        mut send: impl FnMut(&Pending) -> Result<(), AppendError>,
        mut refused: impl FnMut(Pending, AppendError),
    ) {
        let mut lane = self.of(partition);
        lane.unanswered = lane.unanswered.saturating_sub(1);
        if lane.unanswered >= UNANSWERED_MAX {
            return;
        }
        while let Some(pending) = lane.waiting.pop_front() {
            lane.unanswered += 1;
            if let Err(error) = send(&pending) {
                refused(pending, error);
            }
        }
    }

    /// The brokers did not take a record of this partition in time: those behind it have waited too, and are not
    /// to wait as long again. Each is to be answered like the others.
    pub(super) fn give_up(&self, partition: Partition, refused: impl FnMut(Pending)) {
        self.of(partition).give_up(refused);
    }

    /// The same of all lanes.
    pub(super) fn give_up_all(&self, mut refused: impl FnMut(Pending)) {
        for lane in &self.lanes {
            let mut lane = lane.lock().unwrap_or_else(PoisonError::into_inner);
            lane.give_up(&mut refused);
        }
    }
}

impl Lane {
    fn give_up(&mut self, refused: impl FnMut(Pending)) {
        self.unanswered += self.waiting.len();
        self.waiting.drain(..).for_each(refused);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was sent, by ticket.
    #[derive(Default)]
    struct Sent(Vec<Ticket>);

    impl Sent {
        fn send(&mut self, pending: &Pending) -> Result<(), AppendError> {
            self.0.push(pending.ticket);
            Ok(())
        }
    }

    const HERE: Partition = Partition(1);

    fn pending(partition: Partition, ticket: Ticket) -> Pending {
        Pending {
            partition,
            key: ticket % 2,
            body: vec![1],
            ticket,
        }
    }

    fn nothing_refused(pending: Pending, error: AppendError) {
        panic!("{pending:?}: {error}");
    }

    #[test]
    fn what_waits_goes_out_together_and_in_order() {
        let (lanes, mut sent) = (Lanes::new(), Sent::default());
        for ticket in 0..10 {
            let waiting = pending(HERE, ticket);
            lanes.append(waiting, |p| sent.send(p)).unwrap();
        }
        assert_eq!(sent.0, [0, 1, 2, 3]);
        lanes.answered(HERE, |p| sent.send(p), nothing_refused);
        assert_eq!(sent.0, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        for _ in 0..5 {
            lanes.append(pending(HERE, 10), |p| sent.send(p)).unwrap();
            lanes.answered(HERE, |p| sent.send(p), nothing_refused);
        }
        assert_eq!(sent.0.len(), 10, "9 to 4 are unanswered");
        lanes.answered(HERE, |p| sent.send(p), nothing_refused);
        assert_eq!(sent.0.len(), 15, "3 are");
    }

    #[test]
    fn lanes_do_not_wait_for_each_other() {
        let (lanes, mut sent) = (Lanes::new(), Sent::default());
        for ticket in 0..9 {
            lanes
                .append(pending(HERE, ticket), |p| sent.send(p))
                .unwrap();
        }
        let other = pending(Partition(2), 9);
        lanes.append(other, |p| sent.send(p)).unwrap();
        assert_eq!(sent.0, [0, 1, 2, 3, 9]);
    }

    #[test]
    fn every_record_that_is_refused_is_handed_back_once() {
        let lanes = Lanes::new();
        let full = |_: &Pending| Err(AppendError::Full);
        assert_eq!(lanes.append(pending(HERE, 0), full), Err(AppendError::Full));
        for ticket in 1..=8 {
            lanes.append(pending(HERE, ticket), |_| Ok(())).unwrap();
        }
        let mut refused = Vec::new();
        lanes.give_up(HERE, |pending| refused.push(pending.ticket));
        assert_eq!(refused, [5, 6, 7, 8]);
        for ticket in 9..=10 {
            lanes.append(pending(HERE, ticket), |_| Ok(())).unwrap();
        }
        // The four that were sent and the four that were given up are answered.
        for _ in 0..8 {
            lanes.answered(HERE, full, |pending, _| refused.push(pending.ticket));
        }
        assert_eq!(refused, [5, 6, 7, 8, 9, 10]);
        lanes.append(pending(HERE, 11), |_| Ok(())).unwrap();
        lanes.give_up_all(|pending| refused.push(pending.ticket));
        assert_eq!(refused.len(), 6, "it was sent at once");
    }
}
