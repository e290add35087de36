//! The slot table of a shard, in chunks, so that memory follows the connections both ways.
//!
//! Index = ring * slots_per_ring + slot, as the kernel numbers them. A chunk is made when its first
//! slot is used and dropped when its last one is released (one empty chunk is kept). Generations
//! outlive chunks: a chunk that is made again starts above every generation that it ever gave.

use super::{Slot, State};
use crate::ConnId;
use crate::id::GENERATION_MASK;
use crate::wheel::{Link, Links};

/// Slots of a chunk. The edge's are a cache line each: 256 of them are an allocator's class of 16 KiB, which
/// begins at a page. Half a chunk per ring is wasted on average.
const CHUNK: u32 = 256;

struct Chunk<C> {
    slots: Box<[Slot<C>]>,
    used: u32,
}

/// What is left of a chunk that is not there.
struct Place<C> {
    chunk: Option<Chunk<C>>,
    first_generation: u32,
}

/// The table.
pub(crate) struct Table<C> {
    places: Vec<Place<C>>,
    empty_kept: Option<u32>,
    stray: Link,
}

impl<C: Default> Table<C> {
    /// For slots with indices below `slots`.
    pub(crate) fn new(slots: u32) -> Self {
        let place = || Place {
            chunk: None,
            first_generation: 1,
        };
        Table {
            places: (0..slots.div_ceil(CHUNK)).map(|_| place()).collect(),
            empty_kept: None,
            stray: Link::default(),
        }
    }

    /// The slot at an index, made if need be; `None` for an index outside of the table.
    pub(crate) fn claim(&mut self, index: u32) -> Option<&mut Slot<C>> {
        let number = index / CHUNK;
        let place = self.places.get_mut(number as usize)?;
        let first = place.first_generation;
        let chunk = place.chunk.get_or_insert_with(|| Chunk {
            slots: (0..CHUNK).map(|_| Slot::new(first)).collect(),
            used: 0,
        });
        let slot = &mut chunk.slots[(index % CHUNK) as usize];
        if slot.state == State::Free {
            chunk.used += 1;
            if self.empty_kept == Some(number) {
                self.empty_kept = None;
            }
        }
        Some(slot)
    }

    /// The slot of a connection, whatever its state; `None` once its generation is over.
    pub(crate) fn find(&mut self, conn: ConnId) -> Option<&mut Slot<C>> {
        self.at(conn.index())
            .filter(|slot| slot.generation == conn.generation() && slot.state != State::Free)
    }

    /// The slot at an index.
    pub(crate) fn at(&mut self, index: u32) -> Option<&mut Slot<C>> {
        let chunk = self
            .places
            .get_mut((index / CHUNK) as usize)?
            .chunk
            .as_mut()?;
        Some(&mut chunk.slots[(index % CHUNK) as usize])
    }

    /// As [`Table::find`], to look only.
    pub(crate) fn peek(&self, conn: ConnId) -> Option<&Slot<C>> {
        let slot = self.slot(conn.index())?;
        (slot.generation == conn.generation() && slot.state != State::Free).then_some(slot)
    }

    /// Who is in the slot at an index, where it is not free.
    pub(crate) fn peek_at(&self, index: u32) -> Option<(ConnId, &C)> {
        let slot = self.slot(index)?;
        let conn = ConnId::new(slot.generation, index);
        (slot.state != State::Free).then_some((conn, &slot.conn))
    }

    fn slot(&self, index: u32) -> Option<&Slot<C>> {
        let place = self.places.get((index / CHUNK) as usize)?;
        Some(&place.chunk.as_ref()?.slots[(index % CHUNK) as usize])
    }

    /// Ends the slot's generation. Its state must be `Free` by now.
    pub(crate) fn release(&mut self, index: u32) {
        let number = index / CHUNK;
        let Some(place) = self.places.get_mut(number as usize) else {
            return;
        };
        let Some(chunk) = place.chunk.as_mut() else {
            return;
        };
        let slot = &mut chunk.slots[(index % CHUNK) as usize];
        *slot = Slot::new(slot.generation.wrapping_add(1) & GENERATION_MASK);
        chunk.used -= 1;
        if chunk.used == 0 {
            match self.empty_kept {
                None => self.empty_kept = Some(number),
                Some(_) => place.drop_chunk(),
            }
        }
    }

    /// The connection at an index, where its slot is not free; and the index to look at next: the one
    /// behind it, or behind the chunk where there is none. `None` at the table's end.
    pub(crate) fn look(&self, index: u32) -> (Option<ConnId>, Option<u32>) {
        let number = index / CHUNK;
        let chunk = self.places.get(number as usize).map(|place| &place.chunk);
        let next_chunk = number.saturating_add(1);
        let behind = |chunk: u32| ((chunk as usize) < self.places.len()).then(|| chunk * CHUNK);
        let Some(Some(chunk)) = chunk else {
            return (None, behind(next_chunk));
        };
        let offset = index % CHUNK;
        let slot = &chunk.slots[offset as usize];
        let found = (slot.state != State::Free).then(|| ConnId::new(slot.generation, index));
        let next = if offset + 1 < CHUNK {
            Some(index + 1)
        } else {
            behind(next_chunk)
        };
        (found, next)
    }

    #[cfg(test)]
    /// Every connection whose slot is not free.
    pub(crate) fn ids(&self) -> Vec<ConnId> {
        let mut ids = Vec::new();
        let mut next = Some(0);
        while let Some(index) = next {
            let (found, behind) = self.look(index);
            ids.extend(found);
            next = behind;
        }
        ids
    }
}

impl<C> Place<C> {
    fn drop_chunk(&mut self) {
        if let Some(chunk) = self.chunk.take() {
            let highest = chunk.slots.iter().map(|slot| slot.generation).max();
            self.first_generation = highest.unwrap_or(0).wrapping_add(1) & GENERATION_MASK;
        }
    }
}

impl<C: Default> Links for Table<C> {
    fn link(&mut self, index: u32) -> &mut Link {
        // A link that is set keeps its slot, and with it the chunk, in use; the stray one is never
        // reached, and stands here so that no index can panic.
        let Some(place) = self.places.get_mut((index / CHUNK) as usize) else {
            return &mut self.stray;
        };
        match place.chunk.as_mut() {
            Some(chunk) => &mut chunk.slots[(index % CHUNK) as usize].link,
            None => &mut self.stray,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occupy(table: &mut Table<u64>, index: u32) -> ConnId {
        let slot = table.claim(index).unwrap();
        assert_eq!(slot.state, State::Free);
        slot.state = State::Parked;
        ConnId::new(slot.generation, index)
    }

    fn vacate(table: &mut Table<u64>, index: u32) {
        table.at(index).unwrap().state = State::Free;
        table.release(index);
    }

    #[test]
    fn an_id_is_never_given_twice() {
        let mut table = Table::<u64>::new(2_048);
        let mut seen = std::collections::HashSet::new();
        // Two chunks emptied in turn, so that one is dropped and made again each time.
        for _ in 0..50 {
            for index in [0, 5, 300, 1_000] {
                assert!(seen.insert(occupy(&mut table, index)));
            }
            for index in [0, 5, 300, 1_000] {
                vacate(&mut table, index);
            }
        }
        assert_eq!(seen.len(), 200);
        assert!(seen.iter().all(|id| table.find(*id).is_none()));
    }

    #[test]
    fn empty_chunks_go_back_but_one() {
        let mut table = Table::<u64>::new(65_536);
        (0..65_536).for_each(|index| {
            occupy(&mut table, index);
        });
        assert_eq!(table.ids().len(), 65_536);
        (0..65_536).for_each(|index| vacate(&mut table, index));
        let left = table.places.iter().filter(|p| p.chunk.is_some()).count();
        assert_eq!(left, 1);
    }

    #[test]
    fn a_look_at_each_index_meets_everybody_once_and_passes_over_what_is_empty() {
        let mut table = Table::<u64>::new(100 * CHUNK);
        let indices = [0, 1, CHUNK - 1, CHUNK, 50 * CHUNK + 7, 100 * CHUNK - 1];
        let there = indices.map(|index| occupy(&mut table, index));
        assert_eq!(table.ids(), there);
        let (mut looks, mut next) = (0, Some(0));
        while let Some(index) = next {
            looks += 1;
            next = table.look(index).1;
        }
        assert_eq!(
            looks,
            4 * CHUNK + 96,
            "a chunk that is not there is one look"
        );
        assert_eq!(table.look(u32::MAX), (None, None));
        assert_eq!(Table::<u64>::new(0).look(0), (None, None));
    }

    #[test]
    fn indices_outside_are_no_slots() {
        let mut table = Table::<u64>::new(CHUNK);
        assert!(table.claim(CHUNK).is_none());
        assert!(table.find(ConnId::from_u64(u64::MAX)).is_none());
    }
}
