//! Which connections a user has on this shard. A user belongs to one shard, so this is all of them.
//!
//! Nearly every user has one device online, so the common case is one map entry and no allocation.
//! The map is in many parts: a map that holds a million users takes some 90 ms to grow, and everybody on
//! the shard waits meanwhile; a part of it takes a fraction of one.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use rookery_shard::ConnId;

/// Parts of the map: four thousand users in each at a million.
const PARTS: usize = 256;

/// Mixes a user id: one wide multiplication, folded. Ids come from signed tokens, not from strangers,
/// and this is not the hash that chooses the shard, of which all users here share some bits.
#[derive(Clone, Copy, Default)]
struct UserHasher(u64);

impl Hasher for UserHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        let wide = u128::from(value ^ 0x2d35_8dcc_aa6c_78a5) * 0x8bb8_4b93_962e_acc9;
        self.0 = (wide >> 64) as u64 ^ wide as u64;
    }
}

type Part = HashMap<u64, ConnId, BuildHasherDefault<UserHasher>>;

/// See the module.
pub(crate) struct Users {
    /// Users with one connection, in parts by the middle bits of the hash (a part uses the first and the last).
    single: Box<[Part]>,
    /// Users with two or more, oldest first.
    several: HashMap<u64, Vec<ConnId>>,
    /// Users with any.
    all: usize,
}

impl Default for Users {
    fn default() -> Self {
        Self {
            single: (0..PARTS).map(|_| Part::default()).collect(),
            several: HashMap::new(),
            all: 0,
        }
    }
}

impl Users {
    /// The part of a user. The first parts get twice as many users as the last: a part doubles when it is
    /// full, and so they do it one after the other, and are two thirds full on average at any number of
    /// users, where equal parts would all be less than half full just behind their doubling.
    fn part(&self, user_id: u64) -> usize {
        let mut hasher = UserHasher::default();
        hasher.write_u64(user_id);
        // With x even in [0, 1), (2x + x^2) / 3 has a density that falls from 3/2 to 3/4.
        let x = u128::from(hasher.finish() << 7 >> 32);
        let uneven = ((x << 33) + x * x) / 3;
        ((uneven * PARTS as u128) >> 64) as usize
    }

    /// Users with a connection.
    pub(crate) fn len(&self) -> usize {
        self.all
    }

    /// Adds a connection as the user's newest.
    pub(crate) fn add(&mut self, user_id: u64, conn: ConnId) {
        let part = self.part(user_id);
        if let Some(list) = self.several.get_mut(&user_id) {
            list.push(conn);
        } else if let Some(first) = self.single[part].remove(&user_id) {
            self.several.insert(user_id, vec![first, conn]);
        } else {
            self.single[part].insert(user_id, conn);
            self.all += 1;
        }
    }

    /// Forgets a connection; whether it was the user's last one.
    pub(crate) fn remove(&mut self, user_id: u64, conn: ConnId) -> bool {
        let part = self.part(user_id);
        if self.single[part].get(&user_id) == Some(&conn) {
            self.single[part].remove(&user_id);
            shrink(&mut self.single[part]);
            self.all -= 1;
            return true;
        }
        let Some(list) = self.several.get_mut(&user_id) else {
            return false;
        };
        list.retain(|&other| other != conn);
        if let [last] = list[..] {
            self.several.remove(&user_id);
            self.single[part].insert(user_id, last);
        }
        false
    }

    /// The user's connections, oldest first.
    pub(crate) fn connections(&self, user_id: u64) -> &[ConnId] {
        match self.single[self.part(user_id)].get(&user_id) {
            Some(conn) => std::slice::from_ref(conn),
            None => self.several.get(&user_id).map_or(&[], Vec::as_slice),
        }
    }
}

/// Gives memory back after many users left; the hysteresis keeps this off the ordinary path.
fn shrink(part: &mut Part) {
    if part.capacity() > 64 && part.len() < part.capacity() / 8 {
        part.shrink_to(part.capacity() / 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_fill_one_after_the_other_and_give_memory_back() {
        let mut users = Users::default();
        // Those of one shard of two, as everywhere where this map is used.
        let here = |user: &u64| crate::session::owner(*user, 2) == 0;
        let conn = ConnId::from_u64;
        (1..=400_000)
            .filter(here)
            .for_each(|user| users.add(user, conn(user)));
        let sizes = || users.single.iter().map(Part::len);
        let (least, most) = (sizes().min(), sizes().max());
        let even = 200_000 / PARTS;
        assert!(
            least > Some(even * 6 / 10) && most < Some(even * 17 / 10),
            "{least:?} to {most:?}"
        );
        let places: usize = users.single.iter().map(Part::capacity).sum();
        assert!(places < 200_000 * 3 / 2, "{places} places");
        (1..=400_000)
            .filter(here)
            .for_each(|user| assert!(users.remove(user, conn(user))));
        let left: usize = users.single.iter().map(Part::capacity).sum();
        assert!(left <= PARTS * 64, "{left} places are kept for nobody");
    }

    #[test]
    fn one_user_with_several_devices() {
        let mut users = Users::default();
        let conns: Vec<ConnId> = (1..=3).map(ConnId::from_u64).collect();
        for &conn in &conns {
            users.add(7, conn);
        }
        users.add(8, ConnId::from_u64(9));
        assert_eq!(users.connections(7), &conns[..]);
        assert!(!users.remove(7, conns[1]));
        assert_eq!(users.connections(7), &[conns[0], conns[2]]);
        assert!(!users.remove(7, conns[0]));
        assert_eq!(users.connections(7), &conns[2..]);
        assert!(!users.remove(7, conns[0]));
        assert_eq!(users.connections(7), &conns[2..]);
        assert!(users.remove(7, conns[2]));
        assert!(users.connections(7).is_empty());
        assert_eq!(users.connections(8).len(), 1);
    }
}
