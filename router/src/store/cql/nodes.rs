//! The rows of `nodes`: what a node's ids and stamps are below, so that its own grow through a restart. Not
//! those that it consumed: a host whose clock is wrong would hand it on. And the clock of the servers.

use super::session::Live;
use super::{bits, from_bits};
use crate::store::{Position, StoreError};

/// By the clock of the server that answers, Unix ms.
pub(super) async fn now_ms(live: &Live) -> Result<u64, StoreError> {
    let row = live.row::<(i64,)>(&live.statements.now, (), &[]).await?;
    Ok(row.map_or(0, |(ms,)| from_bits(ms)))
}

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

/// An HLC stamp in microseconds since 1970, which is what servers take write times for.
fn micros_of_hlc(hlc: u64) -> i64 {
    let (ms, counter) = (hlc >> 16, hlc & 0xffff);
    bits(ms * 1_000 + counter.min(999))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_times_are_microseconds_and_never_fall() {
        let at = |ms: u64, counter: u64| micros_of_hlc((ms << 16) | counter);
        assert_eq!(at(1_735_689_600_000, 7), 1_735_689_600_000_007);
        assert!(at(5, 65_535) < at(6, 0));
        assert!(at(5, 998) < at(5, 999) && at(5, 999) == at(5, 1_000));
    }
}
