//! Connections in the order in which they came. Who is through, or gone, says nothing here: it is dropped when
//! others come, so that the list is never longer than all who came since the first who is still in it.

use std::collections::VecDeque;

/// See the module.
#[derive(Debug)]
pub struct Arrivals<T>(VecDeque<T>);

impl<T> Default for Arrivals<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T: Copy> Arrivals<T> {
    /// One more, behind all others.
    pub fn join(&mut self, one: T, mut is_in: impl FnMut(T) -> bool) {
        while let Some(&first) = self.0.front()
            && !is_in(first)
        {
            self.0.pop_front();
        }
        self.0.push_back(one);
    }

    /// Takes out the first who is still in it.
    pub fn take_first(&mut self, mut is_in: impl FnMut(T) -> bool) -> Option<T> {
        std::iter::from_fn(|| self.0.pop_front()).find(|one| is_in(*one))
    }

    /// How many, those included who are in it no more.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_gone_is_dropped_when_others_come() {
        let mut arrivals = Arrivals::default();
        for number in 0..1_000_000u32 {
            // Each is in it for as long as ten come.
            arrivals.join(number, |one| one + 10 > number);
            assert!(arrivals.len() <= 11, "{}", arrivals.len());
        }
    }

    #[test]
    fn the_first_who_is_in_it_is_taken() {
        let mut arrivals = Arrivals::default();
        (0..10u32).for_each(|number| arrivals.join(number, |_| true));
        assert_eq!(arrivals.take_first(|one| one > 3), Some(4));
        assert_eq!(arrivals.take_first(|_| true), Some(5));
        assert_eq!(arrivals.take_first(|_| false), None);
        assert!(arrivals.is_empty());
    }
}
