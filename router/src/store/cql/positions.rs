//! The rows of `positions`: how far each partition of the log is stored.

use super::session::Live;
use super::{bits, from_bits};
use crate::log::{Offset, Partition};
use crate::store::{Reached, StoreError};

fn column(partition: Partition) -> i32 {
    partition.0.cast_signed()
}

pub(super) async fn read(
    live: &Live,
    store_id: u64,
    partition: Partition,
) -> Result<Reached, StoreError> {
    let query = &live.statements.position;
    let key = [store_id, u64::from(partition.0)];
    let values = (bits(store_id), column(partition));
    let row = live
        .row::<(Option<i64>, Option<i64>)>(query, values, &key)
        .await?;
    let offset = |column: Option<i64>| Offset(column.map_or(0, from_bits));
    Ok(row.map_or(Reached::default(), |(next, inbox)| Reached {
        next: offset(next),
        inbox: offset(inbox),
    }))
}

/// Writes with the offset as time: what is stored is so, whoever says it, and a lower one always loses. Of two
/// with one offset servers keep the greater value, which is the later one.
pub(super) async fn write(
    live: &Live,
    store_id: u64,
    partition: Partition,
    reached: &Reached,
) -> Result<(), StoreError> {
    let values = (
        bits(store_id),
        column(partition),
        bits(reached.next.0),
        bits(reached.inbox.0),
        bits(reached.next.0 + 1),
    );
    live.write(&live.statements.put_position, values).await
}
