//! A bounded queue whose users take turns: who has much in it waits for itself.
//!
//! Any thread puts in, without waiting; several take out. The invariants: a user's entries come in their
//! order; between two of one user's everybody else who waits has had a turn; nobody holds more than a share
//! of the places.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A user's share of the places is this part of them.
const SHARE: usize = 16;

/// See the module.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    places: usize,
    state: Mutex<State<T>>,
    came: Condvar,
}

#[derive(Debug)]
struct State<T> {
    of: HashMap<u64, VecDeque<T>>,
    /// Those who have something here, each once.
    turns: VecDeque<u64>,
    len: usize,
    closed: bool,
}

impl<T> State<T> {
    fn pop(&mut self) -> Option<T> {
        let user_id = self.turns.pop_front()?;
        let entries = self.of.get_mut(&user_id)?;
        let next = entries.pop_front()?;
        self.len -= 1;
        if entries.is_empty() {
            self.of.remove(&user_id);
        } else {
            self.turns.push_back(user_id);
        }
        Some(next)
    }
}

impl<T> FairQueue<T> {
    pub(super) fn new(places: usize) -> FairQueue<T> {
        let state = State {
            of: HashMap::new(),
            turns: VecDeque::new(),
            len: 0,
            closed: false,
        };
        FairQueue {
            places,
            state: Mutex::new(state),
            came: Condvar::new(),
        }
    }

    /// Puts an entry in; false where the user's share, or the queue, is full or at its end.
    pub(super) fn push(&self, user_id: u64, entry: T) -> bool {
        let mut state = self.state();
        if state.closed || state.len >= self.places {
            return false;
        }
        let held = state.of.get(&user_id).map_or(0, VecDeque::len);
        if held >= self.places.div_ceil(SHARE) {
            return false;
        }
        if held == 0 {
            state.turns.push_back(user_id);
        }
        state.of.entry(user_id).or_default().push_back(entry);
        state.len += 1;
        drop(state);
        self.came.notify_one();
        true
    }

    /// The next entry, once there is one; none at the end.
    pub(super) fn pop(&self) -> Option<T> {
        let mut state = self
            .came
            .wait_while(self.state(), |state| state.len == 0 && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        state.pop()
    }

    /// The next entry, where there is one.
    pub(super) fn try_pop(&self) -> Option<T> {
        self.state().pop()
    }

    /// Lets go of those entries of a user.
    pub(super) fn remove(&self, user_id: u64, is_gone: impl Fn(&T) -> bool) {
        let mut state = self.state();
        let state = &mut *state;
        let Some(entries) = state.of.get_mut(&user_id) else {
            return;
        };
        let before = entries.len();
        entries.retain(|entry| !is_gone(entry));
        state.len -= before - entries.len();
        if entries.is_empty() {
            state.of.remove(&user_id);
            state.turns.retain(|turn| *turn != user_id);
        }
    }

    /// Takes no more; what is here is still given out.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.came.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_take_turns_and_nobody_holds_more_than_a_share() {
        let queue = FairQueue::new(64);
        let taken = (0..100).filter(|&n| queue.push(1, (1, n))).count();
        assert_eq!(taken, 4);
        assert!(queue.push(2, (2, 0)) && queue.push(2, (2, 1)) && queue.push(3, (3, 0)));
        queue.close();
        assert!(!queue.push(4, (4, 0)));
        let all: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        let expected = [(1, 0), (2, 0), (3, 0), (1, 1), (2, 1), (1, 2), (1, 3)];
        assert_eq!(all, expected);
    }

    #[test]
    fn who_is_gone_has_no_turn() {
        let queue = FairQueue::new(64);
        for n in 0..4 {
            assert!(queue.push(1, n) && queue.push(2, 10 + n));
        }
        queue.remove(1, |n| *n != 2);
        queue.remove(2, |_| true);
        queue.remove(3, |_| true);
        assert!(queue.push(2, 20));
        assert_eq!([2, 20].map(Some), [queue.try_pop(), queue.try_pop()]);
        assert_eq!(queue.try_pop(), None);
    }

    #[test]
    fn all_of_them_together_are_bounded_and_the_end_wakes_who_waits() {
        let queue = FairQueue::new(20);
        let taken = (0..100).filter(|&user_id| queue.push(user_id, user_id));
        assert_eq!(taken.count(), 20);
        assert!((0..20).all(|user_id| queue.try_pop() == Some(user_id)));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| queue.pop());
            queue.close();
            assert_eq!(waits.join().unwrap(), None);
        });
    }
}
