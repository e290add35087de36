//! What admission counts, for all shards. A shard adds at the beginning or the end of a connection
//! only, never on a message's way.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts since the start.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub $name: AtomicU64,)* }

        impl Counters {
            /// Names and values, for an exporter.
            pub fn fields(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name.load(Relaxed)),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Connections that were let in.
    admitted,
    /// Parts of a handshake that waited for a later turn.
    delayed,
    /// Refused: as many connections as `limits.connections_max`.
    refused_full,
    /// Refused: as much memory as `limits.memory_max_bytes`.
    refused_memory,
    /// Refused: as many connections as `limits.connections_per_address_max`.
    refused_address,
    /// Refused: the server is drained.
    refused_drained,
    /// Refused after the upgrade, at the login (1013): memory.
    refused_login,
    /// Cut off: as many handshakes as `limits.handshakes_per_address_per_second_max`.
    cut_off_rate,
    /// Cut off: refused, and not told in time.
    cut_off_waiting,
    /// Cut off: silent for longest when `limits.handshakes_max` were under way.
    cut_off_silent,
    /// Connections whose address was not limited because the table's bucket was full.
    untracked,
    /// Connections that were moved to a shard with more room before their handshake.
    rebalanced,
}

/// Adds one.
pub(crate) fn add_one(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// What changed between two looks at the counters, by name.
#[derive(Debug, Default)]
pub struct Since(Vec<u64>);

impl Since {
    /// What has been added since the last look; nothing where that is nothing but admissions.
    pub fn look(&mut self, counters: &Counters) -> Vec<(&'static str, u64)> {
        let now: Vec<(&'static str, u64)> = counters.fields().collect();
        self.0.resize(now.len(), 0);
        let added: Vec<(&'static str, u64)> = now
            .iter()
            .zip(&self.0)
            .map(|((name, value), before)| (*name, value - before))
            .filter(|(_, added)| *added > 0)
            .collect();
        self.0 = now.into_iter().map(|(_, value)| value).collect();
        if added.iter().all(|(name, _)| *name == "admitted") {
            return Vec::new();
        }
        added
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_tells_what_was_added_since_the_last() {
        let (counters, mut since) = (Counters::default(), Since::default());
        add_one(&counters.admitted);
        assert_eq!(since.look(&counters), []);
        add_one(&counters.admitted);
        add_one(&counters.refused_full);
        add_one(&counters.refused_full);
        assert_eq!(
            since.look(&counters),
            [("admitted", 1), ("refused_full", 2)]
        );
        assert_eq!(since.look(&counters), []);
    }
}
