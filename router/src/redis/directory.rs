//! Which node a user is connected to.
//!
//! Each entry lives for a time ([`USER_TTL`] unless said) after its last refresh, so a node that dies takes its users along.
//! A user with devices on two nodes is found on the one that refreshed last.

use std::time::Duration;

use redis::{cmd, pipe};

use super::Options;
use super::keys::Keys;
use super::lane::Lane;
use crate::store::StoreError;

/// How long an entry lives without a refresh: clients' heartbeats come more often.
pub const USER_TTL: Duration = Duration::from_secs(60);

/// Users in one round trip.
const CHUNK: usize = 1_000;

/// Deletes what is still this node's: a user who moved meanwhile is another's. KEYS: users. ARGV: node.
const GONE: &str = "\
    for _, key in ipairs(KEYS) do
        if redis.call('GET', key) == ARGV[1] then redis.call('DEL', key) end
    end
    return 1";

/// See the module. Clones share a connection.
#[derive(Clone)]
pub struct Directory {
    lane: Lane,
    keys: Keys,
    node_id: u16,
    ttl: Duration,
}

impl Directory {
    /// The directory as `node_id` writes it. Connects when it is first asked.
    pub fn new(options: &Options, node_id: u16) -> Result<Directory, StoreError> {
        Ok(Directory {
            lane: Lane::new(options)?,
            keys: options.keys(),
            node_id,
            ttl: USER_TTL,
        })
    }

    /// For clients whose heartbeats come less often than [`USER_TTL`].
    #[must_use]
    pub fn with_ttl(self, ttl: Duration) -> Directory {
        Directory { ttl, ..self }
    }

    /// Users that are connected here.
    pub async fn refresh(&self, user_ids: &[u64]) -> Result<(), StoreError> {
        for chunk in user_ids.chunks(CHUNK) {
            let mut pipeline = pipe();
            for &user_id in chunk {
                let set = pipeline.cmd("SET").arg(self.keys.user(user_id));
                set.arg(self.node_id).arg("EX").arg(self.ttl.as_secs());
                set.ignore();
            }
            self.lane
                .call(async |connection| pipeline.query_async::<()>(connection).await)
                .await?;
        }
        Ok(())
    }

    /// Users of whom no device is connected here any more.
    pub async fn gone(&self, user_ids: &[u64]) -> Result<(), StoreError> {
        for chunk in user_ids.chunks(CHUNK) {
            let mut script = cmd("EVAL");
            script.arg(GONE).arg(chunk.len());
            for &user_id in chunk {
                script.arg(self.keys.user(user_id));
            }
            script.arg(self.node_id);
            self.lane
                .call(async |connection| script.query_async::<()>(connection).await)
                .await?;
        }
        Ok(())
    }

    /// The node of each user, in order; `None` for one who is connected nowhere.
    pub async fn find(&self, user_ids: &[u64]) -> Result<Vec<Option<u16>>, StoreError> {
        let mut nodes = Vec::with_capacity(user_ids.len());
        for chunk in user_ids.chunks(CHUNK) {
            let mut get = cmd("MGET");
            for &user_id in chunk {
                get.arg(self.keys.user(user_id));
            }
            let found: Vec<Option<u16>> = self
                .lane
                .call(async |connection| get.query_async(connection).await)
                .await?;
            nodes.extend(found);
        }
        Ok(nodes)
    }
}
