//! Which clients a shard holds. Pairs stay together: client 2k and 2k+1 of the run are the pair k, and
//! pair k belongs to shard k mod shards. Within its shard a client has a local number, without gaps.

/// One shard's share of the clients.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// This shard.
    pub(super) shard: u16,
    /// All of them.
    pub(super) shards: u16,
}

impl Share {
    /// How many of the run's first `clients` are here.
    pub(super) fn of(self, clients: u32) -> u32 {
        let (shard, shards) = (u32::from(self.shard), u32::from(self.shards));
        let pairs = clients / 2;
        let here = pairs / shards + u32::from(pairs % shards > shard);
        let odd = clients % 2 == 1 && pairs % shards == shard;
        2 * here + u32::from(odd)
    }

    /// The run's number of a client that is here.
    pub(super) fn global(self, local: u32) -> u32 {
        let pair = local / 2 * u32::from(self.shards) + u32::from(self.shard);
        2 * pair + local % 2
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Share;

    #[test]
    fn each_client_is_on_one_shard_beside_its_peer() {
        let mut looked_at = 0;
        for shards in 1..5 {
            for clients in 0..40 {
                let mut all = BTreeSet::new();
                for shard in 0..shards {
                    let share = Share { shard, shards };
                    for local in 0..share.of(clients) {
                        let global = share.global(local);
                        assert_eq!(share.global(local ^ 1), global ^ 1);
                        assert!(all.insert(global));
                        looked_at += 1;
                    }
                }
                assert!(all.iter().copied().eq(0..clients), "{clients} on {shards}");
            }
        }
        assert_eq!(looked_at, 4 * (0..40).sum::<u32>());
    }
}
