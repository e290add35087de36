//! A bounded cache of two generations: what was used since the last turn, and what before it.
//!
//! When the young generation reaches its bound it becomes the old one, and the old one is dropped;
//! a hit in the old one moves to the young. So the cache holds at most twice its bound, in O(1)
//! per use, and nothing is dropped but in [`Generations::turn`].

use std::collections::HashMap;
use std::hash::Hash;

/// See the module.
#[derive(Debug)]
pub(crate) struct Generations<K, V> {
    young: HashMap<K, (V, usize)>,
    old: HashMap<K, (V, usize)>,
    weight: usize,
    weight_max: usize,
}

impl<K: Eq + Hash + Copy, V> Generations<K, V> {
    /// An empty cache that turns when the young generation weighs `weight_max`.
    pub(crate) fn new(weight_max: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            weight: 0,
            weight_max,
        }
    }

    /// Looks up, and keeps what was found for another generation.
    pub(crate) fn hit(&mut self, key: K) -> Option<&mut V> {
        if let Some((value, weight)) = self.old.remove(&key) {
            self.insert(key, value, weight);
        }
        self.young.get_mut(&key).map(|(value, _)| value)
    }

    /// Puts into the young generation; an older value of the key goes.
    pub(crate) fn insert(&mut self, key: K, value: V, weight: usize) {
        self.old.remove(&key);
        self.weight += weight;
        if let Some((_, replaced)) = self.young.insert(key, (value, weight)) {
            self.weight -= replaced;
        }
    }

    /// Ages, where the young generation has reached its bound.
    pub(crate) fn turn(&mut self) {
        if self.weight >= self.weight_max {
            self.age();
        }
    }

    /// Ages, however young it is: for what runs out with time.
    pub(crate) fn age(&mut self) {
        self.old = std::mem::take(&mut self.young);
        self.weight = 0;
    }

    /// How many are kept.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Lets go of everything.
    pub(crate) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
        self.weight = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let mut cache = Generations::new(4);
        for round in 0..10_u64 {
            cache.insert(round + 100, round, 1);
            cache.insert(1, 1, 1);
            assert!(cache.hit(1).is_some());
            cache.turn();
            assert!(cache.young.len() + cache.old.len() <= 8);
        }
        assert!(cache.hit(1).is_some() && cache.hit(100).is_none());
    }

    #[test]
    fn a_newer_value_stands_though_an_older_one_has_aged() {
        let mut cache = Generations::new(1);
        cache.insert(1, "old", 1);
        cache.turn();
        cache.insert(1, "new", 1);
        assert_eq!(cache.hit(1), Some(&mut "new"));
        cache.turn();
        assert_eq!(cache.hit(1), Some(&mut "new"));
    }
}
