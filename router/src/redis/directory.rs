//! Which nodes a user is connected to: several, where devices of the user are.
//!
//! A sorted set for each user, of nodes with the time until which each counts ([`USER_TTL`] after its last
//! refresh unless said), by Redis's own clock: a node that dies takes its users along. No node touches what
//! another one wrote, so a goodbye ends nothing but its own.

use std::time::Duration;

use redis::{Cmd, FromRedisValue, cmd};

use super::Options;
use super::keys::Keys;
use super::lane::Lane;
use crate::store::StoreError;

/// How long an entry lives without a refresh: clients' heartbeats come more often.
pub const USER_TTL: Duration = Duration::from_secs(60);

/// Users in one script: Redis does nothing else meanwhile, for about a millisecond.
const CHUNK: usize = 250;

/// Redis's clock, in ms. (Numbers of Lua hold 53 bits.)
const NOW: &str = "\
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    ";

/// KEYS: users. ARGV: node, ms to live.
const REFRESH: &str = "\
    local ttl = tonumber(ARGV[2])
    for _, key in ipairs(KEYS) do
        redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
        redis.call('ZADD', key, now + ttl, ARGV[1])
        redis.call('PEXPIRE', key, math.max(ttl, redis.call('PTTL', key)))
    end
    return 1";

/// KEYS: users. ARGV: node.
const GONE: &str = "\
    for _, key in ipairs(KEYS) do redis.call('ZREM', key, ARGV[1]) end
    return 1";

/// KEYS: users. Gives the nodes of each.
const FIND: &str = "\
    local found = {}
    for at, key in ipairs(KEYS) do
        found[at] = redis.call('ZRANGEBYSCORE', key, '(' .. now, '+inf')
    end
    return found";

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
        let ttl_ms = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX);
        for chunk in user_ids.chunks(CHUNK) {
            let mut script = self.script(&format!("{NOW}{REFRESH}"), chunk);
            script.arg(self.node_id).arg(ttl_ms);
            self.run::<()>(&script).await?;
        }
        Ok(())
    }

    /// Users of whom no device is connected here any more.
    pub async fn gone(&self, user_ids: &[u64]) -> Result<(), StoreError> {
        for chunk in user_ids.chunks(CHUNK) {
            let mut script = self.script(GONE, chunk);
            script.arg(self.node_id);
            self.run::<()>(&script).await?;
        }
        Ok(())
    }

    /// The nodes of each user, in order; none for one who is connected nowhere.
    pub async fn find(&self, user_ids: &[u64]) -> Result<Vec<Vec<u16>>, StoreError> {
        let mut nodes = Vec::with_capacity(user_ids.len());
        for chunk in user_ids.chunks(CHUNK) {
            let script = self.script(&format!("{NOW}{FIND}"), chunk);
            nodes.extend(self.run::<Vec<Vec<u16>>>(&script).await?);
        }
        Ok(nodes)
    }

    /// A script with these users as its keys.
    fn script(&self, text: &str, user_ids: &[u64]) -> Cmd {
        let mut script = cmd("EVAL");
        script.arg(text).arg(user_ids.len());
        for &user_id in user_ids {
            script.arg(self.keys.user(user_id));
        }
        script
    }

    async fn run<T: FromRedisValue>(&self, script: &Cmd) -> Result<T, StoreError> {
        self.lane
            .call(async |connection| script.query_async(connection).await)
            .await
    }
}
