//! The rows of `nodes`: the greatest id and stamp that a node has given or consumed, so that its own grow
//! through a restart. Where a consumer is in the log is not here: the log keeps that.

use super::sends::micros_of_hlc;
use super::session::Live;
use super::{bits, from_bits};
use crate::store::{Position, StoreError};

pub(super) async fn read(live: &Live, node_id: u16) -> Result<Position, StoreError> {
    let key = [u64::from(node_id)];
    let row = live
        .row::<(i64, i64)>(&live.statements.node, (i32::from(node_id),), &key)
        .await?;
    Ok(
        row.map_or(Position::default(), |(last_id, last_hlc)| Position {
            next_offset: 0,
            last_id: from_bits(last_id),
            last_hlc: from_bits(last_hlc),
        }),
    )
}

/// Writes with the stamp's time, so that an older position never takes the place of a newer one.
pub(super) async fn write(
    live: &Live,
    node_id: u16,
    position: &Position,
) -> Result<(), StoreError> {
    let values = (
        i32::from(node_id),
        bits(position.last_id),
        bits(position.last_hlc),
        micros_of_hlc(position.last_hlc),
    );
    live.write(&live.statements.put_node, values).await
}
