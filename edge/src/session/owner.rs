//! Which shard owns a user.

/// The owner of a user among `shards` shards: MurmurHash3's 64-bit finalizer, so that consecutive user
/// ids spread evenly, then a multiply instead of a modulo (Lemire 2016, arXiv:1805.10941).
pub fn owner(user_id: u64, shards: u16) -> u16 {
    let mut hash = user_id;
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 33;
    ((u128::from(hash) * u128::from(shards)) >> 64) as u16
}

#[cfg(test)]
mod tests {
    use super::owner;

    #[test]
    fn users_spread_evenly() {
        for shards in [1u16, 2, 3, 16, 64] {
            let mut users = vec![0u32; usize::from(shards)];
            for user in 1..=100_000 {
                users[usize::from(owner(user, shards))] += 1;
            }
            let even = 100_000 / u32::from(shards);
            assert!(
                users.iter().all(|&n| n.abs_diff(even) < even / 8 + 1),
                "{shards}: {users:?}"
            );
        }
    }
}
