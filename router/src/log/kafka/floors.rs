//! Below which offset of a partition nothing is appended any more: what was acked here or stored. An ack
//! below it is of another log under the same name, made anew or cut off, and counts for nothing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::log::{Offset, Partition};

#[derive(Debug, Default)]
pub(super) struct Floors(Mutex<HashMap<Partition, u64>>);

impl Floors {
    /// Everything below was there once.
    pub(super) fn raise(&self, partition: Partition, below: Offset) {
        let mut floors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let floor = floors.entry(partition).or_default();
        *floor = (*floor).max(below.0);
    }

    /// A record was taken here. An error, the floor, where one was there before. To be told of a
    /// partition's records in order.
    pub(super) fn take(&self, partition: Partition, offset: Offset) -> Result<(), Offset> {
        let mut floors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let floor = floors.entry(partition).or_default();
        if offset.0 < *floor {
            return Err(Offset(*floor));
        }
        *floor = offset.0 + 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_taken_once() {
        let (floors, one) = (Floors::default(), Partition(1));
        assert_eq!(floors.take(one, Offset(5)), Ok(()));
        assert_eq!(floors.take(one, Offset(9)), Ok(()));
        assert_eq!(floors.take(one, Offset(9)), Err(Offset(10)));
        assert_eq!(floors.take(Partition(2), Offset(0)), Ok(()));
        floors.raise(one, Offset(50));
        floors.raise(one, Offset(20));
        assert_eq!(floors.take(one, Offset(49)), Err(Offset(50)));
        assert_eq!(floors.take(one, Offset(50)), Ok(()));
    }
}
