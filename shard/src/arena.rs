//! A chunked arena for what handlers keep beside a slot: values by `u32` index, in chunks that are
//! allocated when first needed and freed when they are empty again.
//!
//! Not a `Vec`: growing never copies what is there (a doubling `Vec` of two million TLS sessions needs
//! half as much memory again and stops the shard while it copies), and after a storm the memory goes
//! back. The lowest free chunk is filled first, so that the upper ones can become empty.
//!
//! A value can be lent: taken out while its place stays reserved, so that its user holds it by value
//! and everything else stays reachable.

use std::collections::BTreeSet;

/// Values in a chunk, in words of 64. 320 TLS sessions of 88 B are an allocator's class of 28 KiB to 512 B,
/// where 256 would leave a twelfth of one unused.
const CHUNK: u32 = 320;
const WORDS: usize = CHUNK as usize / 64;

#[derive(Debug)]
struct Chunk<T> {
    values: Box<[Option<T>]>,
    /// A bit for each place that is taken, lent ones included.
    taken: [u64; WORDS],
}

impl<T> Chunk<T> {
    fn new() -> Self {
        Self {
            values: std::iter::repeat_with(|| None)
                .take(CHUNK as usize)
                .collect(),
            taken: [0; WORDS],
        }
    }

    fn take_free_place(&mut self) -> Option<u32> {
        let word = self.taken.iter().position(|&bits| bits != u64::MAX)?;
        let bit = self.taken[word].trailing_ones();
        self.taken[word] |= 1 << bit;
        Some(word as u32 * 64 + bit)
    }

    fn release(&mut self, place: u32) -> bool {
        let (word, bit) = (place as usize / 64, 1u64 << (place % 64));
        let was_taken = self.taken[word] & bit != 0;
        self.taken[word] &= !bit;
        was_taken
    }

    fn is_full(&self) -> bool {
        self.taken == [u64::MAX; WORDS]
    }

    fn is_empty(&self) -> bool {
        self.taken == [0; WORDS]
    }
}

/// See the module.
#[derive(Debug)]
pub struct Arena<T> {
    chunks: Vec<Option<Chunk<T>>>,
    /// Chunks with a free place, those without memory included.
    roomy: BTreeSet<u32>,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            roomy: BTreeSet::new(),
        }
    }
}

impl<T> Arena<T> {
    /// Puts a value in and gives its index.
    pub fn insert(&mut self, value: T) -> u32 {
        let at = match self.roomy.first() {
            Some(&at) => at,
            None => {
                self.chunks.push(None);
                let at = self.chunks.len() as u32 - 1;
                self.roomy.insert(at);
                at
            }
        };
        let chunk = self.chunks[at as usize].get_or_insert_with(Chunk::new);
        let place = chunk
            .take_free_place()
            .expect("a chunk in `roomy` has a free place");
        chunk.values[place as usize] = Some(value);
        if chunk.is_full() {
            self.roomy.remove(&at);
        }
        at * CHUNK + place
    }

    /// Takes a value out and frees its place; also frees the place of a lent one.
    pub fn remove(&mut self, index: u32) -> Option<T> {
        let value = self.value_mut(index)?.take();
        self.free(index);
        value
    }

    /// Drops a value where it lies and frees its place, as [`remove`](Self::remove) does: what wipes itself when it
    /// is dropped leaves nothing there.
    pub fn discard(&mut self, index: u32) {
        if let Some(value) = self.value_mut(index) {
            *value = None;
            self.free(index);
        }
    }

    /// Takes a value out and frees its place, as [`remove`](Self::remove) does, but drops `blank` in it: a move leaves
    /// the bytes of what went, and what wipes itself when it is dropped wipes those.
    pub fn remove_over(&mut self, index: u32, blank: T) -> Option<T> {
        let place = self.value_mut(index)?;
        let value = place.replace(blank);
        *place = None;
        self.free(index);
        value
    }

    fn free(&mut self, index: u32) {
        let (at, place) = (index / CHUNK, index % CHUNK);
        let Some(home) = self.chunks.get_mut(at as usize) else {
            return;
        };
        if let Some(chunk) = home
            && chunk.release(place)
        {
            if chunk.is_empty() {
                *home = None;
            }
            self.roomy.insert(at);
        }
    }

    /// Takes a value out; its place stays reserved for [`give_back`](Self::give_back).
    pub fn lend(&mut self, index: u32) -> Option<T> {
        self.value_mut(index)?.take()
    }

    /// Ends a [`lend`](Self::lend).
    pub fn give_back(&mut self, index: u32, value: T) {
        if let Some(place) = self.value_mut(index) {
            *place = Some(value);
        }
    }

    /// A value that is not lent.
    pub fn find(&self, index: u32) -> Option<&T> {
        let chunk = self.chunks.get((index / CHUNK) as usize)?.as_ref()?;
        chunk.values.get((index % CHUNK) as usize)?.as_ref()
    }

    /// A value that is not lent, to be changed.
    pub fn find_mut(&mut self, index: u32) -> Option<&mut T> {
        self.value_mut(index)?.as_mut()
    }

    fn value_mut(&mut self, index: u32) -> Option<&mut Option<T>> {
        let chunk = self.chunks.get_mut((index / CHUNK) as usize)?.as_mut()?;
        chunk.values.get_mut((index % CHUNK) as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn chunks_in_memory<T>(arena: &Arena<T>) -> usize {
        arena.chunks.iter().flatten().count()
    }

    #[test]
    fn values_stay_where_they_are_and_memory_goes_back() {
        let mut arena = Arena::default();
        let indices: Vec<u32> = (0..10 * CHUNK).map(|n| arena.insert(n)).collect();
        assert_eq!(chunks_in_memory(&arena), 10);
        for &index in &indices[CHUNK as usize..] {
            assert!(arena.remove(index).is_some());
            assert!(arena.remove(index).is_none());
        }
        assert_eq!(chunks_in_memory(&arena), 1);
        assert_eq!(arena.remove(indices[3]), Some(3));
    }

    /// Says where it was dropped.
    struct Secret<'a>(&'a Cell<*const u8>);
    impl Drop for Secret<'_> {
        fn drop(&mut self) {
            self.0.set(std::ptr::from_mut(self).cast_const().cast());
        }
    }

    #[test]
    fn where_a_value_was_that_moved_away_a_blank_one_is_dropped() {
        let (moved, blank) = (Cell::new(std::ptr::null()), Cell::new(std::ptr::null()));
        let mut arena = Arena::default();
        let index = arena.insert(Secret(&moved));
        let place = std::ptr::from_ref(arena.find(index).unwrap()).cast();
        let value = arena.remove_over(index, Secret(&blank));
        assert_eq!((moved.get(), blank.get()), (std::ptr::null(), place));
        assert!(value.is_some() && arena.find(index).is_none());
        assert_eq!(chunks_in_memory(&arena), 0);
        assert!(arena.remove_over(index, Secret(&blank)).is_none());
    }

    #[test]
    fn what_is_discarded_is_dropped_where_it_lies() {
        let dropped = Cell::new(std::ptr::null());
        let mut arena = Arena::default();
        let index = arena.insert(Secret(&dropped));
        let place = std::ptr::from_ref(arena.find(index).unwrap()).cast();
        arena.discard(index);
        assert_eq!(dropped.get(), place);
        assert!(arena.find(index).is_none());
        assert_eq!(chunks_in_memory(&arena), 0);
        arena.discard(index);
    }

    #[test]
    fn the_lowest_free_place_is_filled_first() {
        let mut arena = Arena::default();
        let indices: Vec<u32> = (0..3 * CHUNK).map(|n| arena.insert(n)).collect();
        arena.remove(indices[517]);
        arena.remove(indices[7]);
        assert_eq!(arena.insert(0), indices[7]);
        assert_eq!(arena.insert(0), indices[517]);
        assert_eq!(arena.insert(0), 3 * CHUNK);
    }

    #[test]
    fn a_lent_place_is_not_given_to_another() {
        let mut arena = Arena::default();
        let first = arena.insert("first");
        assert_eq!(arena.lend(first), Some("first"));
        assert_eq!(arena.lend(first), None);
        assert_ne!(arena.insert("second"), first);
        arena.give_back(first, "first again");
        assert_eq!(arena.lend(first), Some("first again"));
        assert_eq!(arena.remove(first), None);
        assert_eq!(arena.insert("third"), first);
    }
}
