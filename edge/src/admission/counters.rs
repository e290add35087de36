//! What admission counts, for all shards. A shard adds at the beginning or the end of a connection
//! only, never on a message's way.

use rookery_metrics::{Counter, Reading};

rookery_metrics::metrics! {
    /// Counts since the start.
    pub struct Counters {
        /// Connections that were let in.
        pub admitted: Counter,
        /// Parts of a handshake that waited for a later turn.
        pub delayed: Counter,
        /// Refused: as many connections as `limits.connections_max`.
        pub refused_full: Counter,
        /// Refused: as much memory as `limits.memory_max_bytes`.
        pub refused_memory: Counter,
        /// Refused: as many connections as `limits.connections_per_address_max`.
        pub refused_address: Counter,
        /// Refused: the server is drained.
        pub refused_drained: Counter,
        /// Refused after the upgrade, at the login (1013): memory.
        pub refused_login: Counter,
        /// Cut off: as many handshakes as `limits.handshakes_per_address_per_second_max`.
        pub cut_off_rate: Counter,
        /// Cut off: refused, and not told in time.
        pub cut_off_waiting: Counter,
        /// Cut off: silent for longest when `limits.handshakes_max` were under way.
        pub cut_off_silent: Counter,
        /// Connections whose address was not limited because the table's bucket was full.
        pub untracked: Counter,
        /// Closed: the peer is none of `listen.proxies`, and its listener is for them.
        pub proxy_stranger: Counter,
        /// Closed: a proxy sent nothing in time, or something else than a PROXY header.
        pub proxy_header_absent: Counter,
        /// Closed: a PROXY header was begun and not ended, in time or before the proxy went.
        pub proxy_header_cut: Counter,
        /// Closed: a PROXY header was too long.
        pub proxy_header_too_long: Counter,
        /// Closed: a PROXY header broke the rules of its version.
        pub proxy_header_malformed: Counter,
        /// Ended: of those for whom most was queued, when `limits.buffer_bytes_max` was nearly used (counted as 4002).
        pub shed_queue: Counter,
        /// Ended (1013): of those who had sent most of messages that were not whole, at the same time.
        pub shed_input: Counter,
        /// Connections that were moved to a shard with more room before their handshake.
        pub rebalanced: Counter,
    }
}

/// Adds one.
pub(crate) fn add_one(counter: &Counter) {
    counter.add(1);
}

/// What changed between two looks at the counters, by name.
#[derive(Debug, Default)]
pub struct Since(Vec<u64>);

impl Since {
    /// What has been added since the last look; nothing where that is nothing but admissions.
    pub fn look(&mut self, counters: &Counters) -> Vec<(&'static str, u64)> {
        let now: Vec<Reading> = counters.readings().collect();
        self.0.resize(now.len(), 0);
        let added: Vec<(&'static str, u64)> = now
            .iter()
            .zip(&self.0)
            .map(|(now, before)| (now.name, now.value.number() - before))
            .filter(|(_, added)| *added > 0)
            .collect();
        self.0 = now.into_iter().map(|now| now.value.number()).collect();
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
