//! The connections of a shard of which something waits to be done before their login is over.
//!
//! First those who have been answered already: each that gets through gives back what a handshake
//! takes. Then those who are new, oldest first. Those that are to be refused get every eighth place
//! (or what the others leave): being refused is no way past those that are let in.

use std::collections::VecDeque;

/// Of so many served, one is a refused one.
const REFUSED_SHARE: u32 = 8;

/// Entries that are kept when the lobby is empty; what a storm added goes back.
const KEPT_MAX: usize = 1_024;

/// How far a waiting connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It was answered before.
    Begun,
    /// Its first bytes wait.
    Fresh,
    /// It is to be refused.
    Refused,
}

/// See the module. An entry may be of a connection that is gone.
#[derive(Debug)]
pub struct Lobby<T> {
    begun: VecDeque<(T, u64)>,
    fresh: VecDeque<(T, u64)>,
    refused: VecDeque<(T, u64)>,
    served: u32,
}

impl<T> Default for Lobby<T> {
    fn default() -> Self {
        Self {
            begun: VecDeque::new(),
            fresh: VecDeque::new(),
            refused: VecDeque::new(),
            served: 0,
        }
    }
}

impl<T: Copy> Lobby<T> {
    fn line(&mut self, class: Class) -> &mut VecDeque<(T, u64)> {
        match class {
            Class::Begun => &mut self.begun,
            Class::Fresh => &mut self.fresh,
            Class::Refused => &mut self.refused,
        }
    }

    /// Has a connection wait from now on.
    pub fn enter(&mut self, conn: T, class: Class, now_ns: u64) {
        self.line(class).push_back((conn, now_ns));
    }

    /// Takes out who is next, and since when it has waited.
    pub fn take_next(&mut self) -> Option<(T, u64)> {
        self.served = self.served.wrapping_add(1);
        let order = if self.served.is_multiple_of(REFUSED_SHARE) {
            [Class::Refused, Class::Begun, Class::Fresh]
        } else {
            [Class::Begun, Class::Fresh, Class::Refused]
        };
        let next = order
            .into_iter()
            .find_map(|class| self.line(class).pop_front());
        if next.is_none() {
            for line in [Class::Begun, Class::Fresh, Class::Refused] {
                let line = self.line(line);
                if line.capacity() > KEPT_MAX {
                    line.shrink_to(KEPT_MAX);
                }
            }
        }
        next
    }

    /// A refused one that has waited longer than `longest_ns`, or of which there are more than `most`.
    pub fn next_overdue(&mut self, now_ns: u64, longest_ns: u64, most: usize) -> Option<T> {
        let &(_, since_ns) = self.refused.front()?;
        let overdue = now_ns.saturating_sub(since_ns) > longest_ns || self.refused.len() > most;
        overdue.then(|| self.refused.pop_front().map(|(conn, _)| conn))?
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.begun.len() + self.fresh.len() + self.refused.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_answered_comes_first_and_the_refused_get_an_eighth() {
        let mut lobby = Lobby::default();
        for number in 0..100u32 {
            lobby.enter(number, Class::Fresh, 0);
            lobby.enter(100 + number, Class::Begun, 0);
            lobby.enter(200 + number, Class::Refused, 0);
        }
        let first: Vec<u32> = (0..80)
            .filter_map(|_| lobby.take_next())
            .map(|(n, _)| n)
            .collect();
        assert_eq!(first.iter().filter(|n| **n >= 200).count(), 10);
        assert_eq!(first.iter().filter(|n| **n < 100).count(), 0);
        assert_eq!(lobby.len(), 220);
        let rest = std::iter::from_fn(|| lobby.take_next()).count();
        assert_eq!((rest, lobby.is_empty()), (220, true));
    }

    #[test]
    fn the_refused_do_not_wait_for_ever() {
        let mut lobby = Lobby::default();
        for number in 0..5u64 {
            lobby.enter(number, Class::Refused, number * 100);
        }
        assert_eq!(lobby.next_overdue(150, 100, 10), Some(0));
        assert_eq!(lobby.next_overdue(150, 100, 10), None);
        assert_eq!(lobby.next_overdue(150, 100, 3), Some(1), "too many");
        assert_eq!(lobby.next_overdue(150, 100, 3), None);
        assert_eq!(lobby.len(), 3);
    }
}
