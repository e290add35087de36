//! Which connections a user has on this shard. A user belongs to one shard, so this is all of them.
//!
//! Nearly every user has one device online, so the common case is the number of its slot, four bytes: whose
//! it is and which life of the slot it is are read there. Invariant: a connection is taken out before another
//! one can have its slot, and until then its slot knows its user, but for the one that is being taken out.
//!
//! The table is in many parts: one that holds a million users takes some 90 ms to grow, and everybody on the
//! shard waits meanwhile; a part of it takes about one.

use std::collections::HashMap;
use std::ops::Deref;

use hashbrown::HashTable;
use rookery_shard::{ConnId, Shard};

use super::Sessions;

/// Parts of the table: four thousand users in each at a million.
const PARTS: usize = 256;

/// Mixes a user id: one wide multiplication, folded. Ids come from signed tokens, not from strangers,
/// and this is not the hash that chooses the shard, of which all users here share some bits.
fn hash(user_id: u64) -> u64 {
    let wide = u128::from(user_id ^ 0x2d35_8dcc_aa6c_78a5) * 0x8bb8_4b93_962e_acc9;
    (wide >> 64) as u64 ^ wide as u64
}

/// Where connections are.
pub(super) trait Slots {
    /// The connection in a slot and its user.
    fn look(&self, slot: u32) -> Option<(ConnId, u64)>;

    /// The hash of the user in a slot.
    fn hash(&self, slot: u32) -> u64 {
        hash(self.look(slot).map_or(0, |(_, user_id)| user_id))
    }

    /// Whether it is the user's.
    fn is_of(&self, slot: u32, user_id: u64) -> bool {
        self.look(slot).is_some_and(|(_, of)| of == user_id)
    }
}

impl Slots for Shard<Sessions> {
    fn look(&self, slot: u32) -> Option<(ConnId, u64)> {
        self.conn_in(slot)
            .map(|(conn, state)| (conn, state.user_id))
    }
}

/// The connections of one user.
pub(super) enum Connections<'a> {
    Single([ConnId; 1]),
    Several(&'a [ConnId]),
}

impl Deref for Connections<'_> {
    type Target = [ConnId];

    fn deref(&self) -> &[ConnId] {
        match self {
            Self::Single(conn) => conn,
            Self::Several(list) => list,
        }
    }
}

type Part = HashTable<u32>;

/// See the module.
pub(crate) struct Users {
    /// Slots of the users with one connection, in parts by the middle bits of the hash (a part uses the first
    /// and the last).
    single: Box<[Part]>,
    /// Users with two or more, oldest first.
    several: HashMap<u64, Vec<ConnId>>,
    /// Users with any.
    all: usize,
}

impl Default for Users {
    fn default() -> Self {
        Self {
            single: (0..PARTS).map(|_| Part::new()).collect(),
            several: HashMap::new(),
            all: 0,
        }
    }
}

/// The part of a user. The first parts get twice as many users as the last: a part doubles when it is
/// full, and so they do it one after the other, and are two thirds full on average at any number of
/// users, where equal parts would all be less than half full just behind their doubling.
fn part(hash: u64) -> usize {
    // With x even in [0, 1), (2x + x^2) / 3 has a density that falls from 3/2 to 3/4.
    let x = u128::from(hash << 7 >> 32);
    let uneven = ((x << 33) + x * x) / 3;
    ((uneven * PARTS as u128) >> 64) as usize
}

impl Users {
    /// Users with a connection.
    pub(crate) fn len(&self) -> usize {
        self.all
    }

    /// Adds a connection as the user's newest.
    pub(super) fn add(&mut self, user_id: u64, conn: ConnId, slots: &impl Slots) {
        if let Some(list) = self.several.get_mut(&user_id) {
            return list.push(conn);
        }
        let hash = hash(user_id);
        let part = &mut self.single[part(hash)];
        let before = part.find_entry(hash, |&slot| slots.is_of(slot, user_id));
        let first = before.ok().map(|entry| entry.remove().0);
        if let Some((first, _)) = first.and_then(|slot| slots.look(slot)) {
            self.several.insert(user_id, vec![first, conn]);
        } else {
            part.insert_unique(hash, conn.index(), |&slot| slots.hash(slot));
            self.all += 1;
        }
    }

    /// Forgets a connection; whether it was the user's last one.
    pub(super) fn remove(&mut self, user_id: u64, conn: ConnId, slots: &impl Slots) -> bool {
        let hash = hash(user_id);
        let part = &mut self.single[part(hash)];
        // Not by the slot's user: it may have forgotten it.
        if let Ok(entry) = part.find_entry(hash, |&slot| slot == conn.index()) {
            entry.remove();
            shrink(part, slots);
            self.all -= 1;
            return true;
        }
        let Some(list) = self.several.get_mut(&user_id) else {
            return false;
        };
        list.retain(|&other| other != conn);
        if let [last] = list[..] {
            self.several.remove(&user_id);
            part.insert_unique(hash, last.index(), |&slot| slots.hash(slot));
        }
        false
    }

    /// The user's connections, oldest first.
    pub(super) fn connections(&self, user_id: u64, slots: &impl Slots) -> Connections<'_> {
        let hash = hash(user_id);
        let part = &self.single[part(hash)];
        let single = part.find(hash, |&slot| slots.is_of(slot, user_id));
        match single.and_then(|&slot| slots.look(slot)) {
            Some((conn, _)) => Connections::Single([conn]),
            None => Connections::Several(self.several.get(&user_id).map_or(&[], Vec::as_slice)),
        }
    }
}

/// Gives memory back after many users left; the hysteresis keeps this off the ordinary path.
fn shrink(part: &mut Part, slots: &impl Slots) {
    if part.capacity() > 64 && part.len() < part.capacity() / 8 {
        part.shrink_to(part.capacity() / 4, |&slot| slots.hash(slot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slots by their number, with their generation and user.
    #[derive(Default)]
    struct Table(HashMap<u32, (ConnId, u64)>);

    impl Slots for Table {
        fn look(&self, slot: u32) -> Option<(ConnId, u64)> {
            self.0.get(&slot).copied()
        }
    }

    impl Table {
        fn fill(&mut self, slot: u32, user_id: u64) -> ConnId {
            let conn = ConnId::from_u64(u64::from(slot) | 3 << 32);
            assert_eq!(conn.index(), slot);
            self.0.insert(slot, (conn, user_id));
            conn
        }

        /// As a slot whose connection has ended.
        fn forget_user(&mut self, conn: ConnId) {
            self.0.insert(conn.index(), (conn, 0));
        }
    }

    #[test]
    fn the_parts_fill_one_after_the_other_and_give_memory_back() {
        let (mut users, mut slots) = (Users::default(), Table::default());
        // Those of one shard of two, as everywhere where this is used.
        let here = |user: &u64| crate::session::owner(*user, 2) == 0;
        for user in (1..=400_000).filter(here) {
            let conn = slots.fill(user as u32, user);
            users.add(user, conn, &slots);
        }
        let sizes = || users.single.iter().map(Part::len);
        let (least, most) = (sizes().min(), sizes().max());
        let even = 200_000 / PARTS;
        assert!(
            least > Some(even * 6 / 10) && most < Some(even * 17 / 10),
            "{least:?} to {most:?}"
        );
        let bytes: usize = users.single.iter().map(Part::allocation_size).sum();
        assert!(bytes < 200_000 * 9, "{bytes} bytes");
        for user in (1..=400_000).filter(here) {
            let conn = slots.look(user as u32).unwrap().0;
            assert_eq!(&*users.connections(user, &slots), &[conn]);
            slots.forget_user(conn);
            assert!(users.remove(user, conn, &slots));
        }
        assert_eq!(users.len(), 0);
        let left: usize = users.single.iter().map(Part::capacity).sum();
        assert!(left <= PARTS * 64, "{left} places are kept for nobody");
    }

    #[test]
    fn one_user_with_several_devices() {
        let (mut users, mut slots) = (Users::default(), Table::default());
        let conns: Vec<ConnId> = (1..=3).map(|slot| slots.fill(slot, 7)).collect();
        for &conn in &conns {
            users.add(7, conn, &slots);
        }
        let other = slots.fill(9, 8);
        users.add(8, other, &slots);
        assert_eq!(&*users.connections(7, &slots), &conns[..]);
        let mut leave = |users: &mut Users, conn| {
            slots.forget_user(conn);
            let was_last = users.remove(7, conn, &slots);
            (was_last, users.connections(7, &slots).to_vec())
        };
        assert_eq!(
            leave(&mut users, conns[1]),
            (false, vec![conns[0], conns[2]])
        );
        assert_eq!(leave(&mut users, conns[0]), (false, vec![conns[2]]));
        assert_eq!(leave(&mut users, conns[0]), (false, vec![conns[2]]));
        assert_eq!(leave(&mut users, conns[2]), (true, vec![]));
        assert_eq!(&*users.connections(8, &slots), &[other]);
    }
}
