//! Which connections a user has on this shard. A user belongs to one shard, so this is all of them.
//!
//! Nearly every user has one device online, so the common case is one map entry and no allocation.

use std::collections::HashMap;

use rookery_shard::ConnId;

/// See the module.
#[derive(Default)]
pub(crate) struct Users {
    /// Users with one connection.
    single: HashMap<u64, ConnId>,
    /// Users with two or more, oldest first.
    several: HashMap<u64, Vec<ConnId>>,
}

impl Users {
    /// Adds a connection as the user's newest.
    pub(crate) fn add(&mut self, user_id: u64, conn: ConnId) {
        if let Some(list) = self.several.get_mut(&user_id) {
            list.push(conn);
        } else if let Some(first) = self.single.remove(&user_id) {
            self.several.insert(user_id, vec![first, conn]);
        } else {
            self.single.insert(user_id, conn);
        }
    }

    /// Forgets a connection.
    pub(crate) fn remove(&mut self, user_id: u64, conn: ConnId) {
        if self.single.get(&user_id) == Some(&conn) {
            self.single.remove(&user_id);
            self.shrink();
            return;
        }
        let Some(list) = self.several.get_mut(&user_id) else {
            return;
        };
        list.retain(|&other| other != conn);
        if let [last] = list[..] {
            self.several.remove(&user_id);
            self.single.insert(user_id, last);
        }
    }

    /// The user's connections, oldest first.
    pub(crate) fn connections(&self, user_id: u64) -> &[ConnId] {
        match self.single.get(&user_id) {
            Some(conn) => std::slice::from_ref(conn),
            None => self.several.get(&user_id).map_or(&[], Vec::as_slice),
        }
    }

    /// Gives memory back after many users left; the hysteresis keeps this off the ordinary path.
    fn shrink(&mut self) {
        if self.single.capacity() > 4096 && self.single.len() < self.single.capacity() / 8 {
            self.single.shrink_to(self.single.capacity() / 4);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_with_several_devices() {
        let mut users = Users::default();
        let conns: Vec<ConnId> = (1..=3).map(ConnId::from_u64).collect();
        for &conn in &conns {
            users.add(7, conn);
        }
        users.add(8, ConnId::from_u64(9));
        assert_eq!(users.connections(7), &conns[..]);
        users.remove(7, conns[1]);
        assert_eq!(users.connections(7), &[conns[0], conns[2]]);
        users.remove(7, conns[0]);
        assert_eq!(users.connections(7), &conns[2..]);
        users.remove(7, conns[0]);
        assert_eq!(users.connections(7), &conns[2..]);
        users.remove(7, conns[2]);
        assert!(users.connections(7).is_empty());
        assert_eq!(users.connections(8).len(), 1);
    }
}
