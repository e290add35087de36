//! Partitions that came here and do not know yet where they begin: the router tells, which takes as long
//! as its store does. Nothing of them is read before that.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam::channel::{Receiver, Sender, bounded};

use crate::log::{Offset, Partition};

/// What of one assignment is still here, and where it will be told.
#[derive(Debug)]
struct Awaited {
    partitions: Vec<Partition>,
    told: Receiver<Vec<(Partition, Offset)>>,
}

#[derive(Debug, Default)]
struct State {
    awaited: Vec<Awaited>,
    /// Told, and not set going yet.
    due: BTreeMap<Partition, Offset>,
}

#[derive(Debug, Default)]
pub(super) struct Begins(Mutex<State>);

impl Begins {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// They came: whoever has the other end is to tell.
    pub(super) fn expect(&self, partitions: Vec<Partition>) -> Sender<Vec<(Partition, Offset)>> {
        let (begin, told) = bounded(1);
        self.lock().awaited.push(Awaited { partitions, told });
        begin
    }

    /// They went: what is told of them from now on is void.
    pub(super) fn forget(&self, gone: &[Partition]) {
        let mut state = self.lock();
        for awaited in &mut state.awaited {
            awaited.partitions.retain(|it| !gone.contains(it));
        }
        state.due.retain(|it, _| !gone.contains(it));
    }

    /// Those that were told where they begin and do not [go](Self::goes) yet.
    pub(super) fn due(&self) -> Vec<(Partition, Offset)> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let due = &mut state.due;
        state
            .awaited
            .retain(|awaited| match awaited.told.try_recv() {
                Ok(begin) => {
                    let ours = begin
                        .into_iter()
                        .filter(|(it, _)| awaited.partitions.contains(it));
                    due.extend(ours);
                    false
                }
                // Where nobody tells, the router ends, and what is left of them stands still until it has.
                Err(_) => !awaited.partitions.is_empty(),
            });
        due.iter().map(|(it, offset)| (*it, *offset)).collect()
    }

    /// It is read from where it was told.
    pub(super) fn goes(&self, partition: Partition) {
        self.lock().due.remove(&partition);
    }

    /// Whether everything that is here is read.
    pub(super) fn is_done(&self) -> bool {
        let state = self.lock();
        state.awaited.is_empty() && state.due.is_empty()
    }

    /// Whether it is here and is not read yet.
    pub(super) fn waits(&self, partition: Partition) -> bool {
        let state = self.lock();
        let mut awaited = state.awaited.iter();
        state.due.contains_key(&partition) || awaited.any(|it| it.partitions.contains(&partition))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_waits_until_it_is_told_and_set_going() {
        let begins = Begins::default();
        let (one, two) = (Partition(1), Partition(2));
        let first = begins.expect(vec![one]);
        let second = begins.expect(vec![two]);
        assert_eq!(begins.due(), []);
        second.send(vec![(two, Offset(7))]).unwrap();
        assert_eq!(begins.due(), [(two, Offset(7))], "one does not hold up two");
        assert!(begins.waits(one) && begins.waits(two));
        assert_eq!(begins.due(), [(two, Offset(7))], "until it goes");
        begins.goes(two);
        assert!(begins.due().is_empty() && !begins.waits(two) && !begins.is_done());
        drop(first);
        assert!(begins.due().is_empty() && begins.waits(one), "nobody tells");
    }

    #[test]
    fn what_is_told_of_a_partition_that_went_is_void_also_where_it_came_again() {
        let begins = Begins::default();
        let one = Partition(1);
        let first = begins.expect(vec![one]);
        begins.forget(&[one]);
        let again = begins.expect(vec![one]);
        drop(first.send(vec![(one, Offset(3))]));
        assert_eq!(begins.due(), []);
        again.send(vec![(one, Offset(5))]).unwrap();
        assert_eq!(begins.due(), [(one, Offset(5))]);
        begins.forget(&[one]);
        assert!(begins.due().is_empty() && !begins.waits(one) && begins.is_done());
    }
}
