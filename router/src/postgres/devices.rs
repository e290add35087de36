//! Which devices a user has logged in from, and when.

use super::Postgres;
use crate::store::StoreError;

/// One statement for a batch. A device that is in it twice counts once; rows are written in one order
/// by everybody, so that two batches never wait for each other in a circle.
const TOUCH: &str = "\
    INSERT INTO devices AS kept (user_id, device_id, first_seen, last_seen) \
    SELECT user_id, device_id, \
           to_timestamp(min(at_ms) / 1000.0), to_timestamp(max(at_ms) / 1000.0) \
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS seen (user_id, device_id, at_ms) \
    GROUP BY user_id, device_id ORDER BY user_id, device_id \
    ON CONFLICT (user_id, device_id) DO UPDATE SET \
        first_seen = least(kept.first_seen, excluded.first_seen), \
        last_seen = greatest(kept.last_seen, excluded.last_seen)";

impl Postgres {
    /// Notes that devices logged in: user, device, Unix ms. In any order: the first and the last time
    /// are kept.
    pub async fn touch_devices(&self, seen: &[(u64, u32, u64)]) -> Result<(), StoreError> {
        if seen.is_empty() {
            return Ok(());
        }
        let users: Vec<i64> = seen.iter().map(|seen| seen.0.cast_signed()).collect();
        let devices: Vec<i64> = seen.iter().map(|seen| i64::from(seen.1)).collect();
        let times: Vec<i64> = seen.iter().map(|seen| seen.2.cast_signed()).collect();
        self.run("note devices", async |client| {
            let touch = client.prepare_cached(TOUCH).await?;
            client.execute(&touch, &[&users, &devices, &times]).await
        })
        .await?;
        Ok(())
    }
}
