//! The task that keeps the claims' connection: connects, finds out whether that Redis can be trusted,
//! tells it what it lacks, and only then lets claims use it.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{InfoDict, cmd, pipe};
use tokio::time::sleep;

use super::claims::{RETRY, Shared};
use super::connect::{away, connect, within};
use super::keys::claim_value;
use super::recent::{AGE_MAX_MS, Chunk};
use crate::admission::DEDUP_TTL_MS;
use crate::store::StoreError;

/// Claims written at once.
const CHUNK: usize = 1_000;

/// Run by Redis as a whole, so that no other node claims in the midst of it. Another instance than
/// the one that took the last claims may lack its last seconds: ids are doubted until every node had
/// the time to write again what it remembers. That is so where it came back with its append-only file.
/// Without one it has what its last snapshot had: hours may be missing, more than any node remembers.
/// There, and where claims are lost for good, completeness begins anew.
///
/// An append-only file that somebody put back from a backup looks like the last one: whoever does that
/// deletes `complete_since`.
///
/// KEYS: run_id, suspect, complete_since. ARGV: run_id, now, ms of doubt, whether claims are lost,
/// whether there is no append-only file.
const GREET: &str = "\
    local before = redis.call('GET', KEYS[1])
    redis.call('SET', KEYS[1], ARGV[1])
    local another = before and before ~= ARGV[1]
    if another then
        redis.call('SET', KEYS[2], 1, 'PX', ARGV[3])
    end
    if ARGV[4] == '1' or (another and ARGV[5] == '1') then
        redis.call('SET', KEYS[3], ARGV[2])
    else
        redis.call('SET', KEYS[3], ARGV[2], 'NX')
    end
    return 1";

/// Works until it is aborted.
pub(super) async fn keep(shared: Arc<Shared>) {
    let mut told = false;
    loop {
        match mend(&shared).await {
            Ok(()) => {
                told = false;
                shared.broken.notified().await;
            }
            Err(error) => {
                if !told {
                    tracing::warn!(%error, "redis cannot be used; trying again every second");
                    told = true;
                }
                sleep(RETRY).await;
            }
        }
    }
}

/// Leaves with a connection that claims use and that lacks nothing.
async fn mend(shared: &Shared) -> Result<(), StoreError> {
    let held = shared.link().connection.clone();
    let mut connection = match held {
        Some(connection) => connection,
        None => {
            let mut connection = connect(&shared.server, shared.timeout).await?;
            greet(shared, &mut connection).await?;
            connection
        }
    };
    loop {
        let chunk = {
            let mut link = shared.link();
            if link.recent.lost().is_some() {
                // Dropped since the greeting: the next one tells it.
                link.connection = None;
                return Err(away("more was claimed than is remembered"));
            }
            match link.recent.chunk(CHUNK) {
                Some(chunk) => chunk,
                None => {
                    if link.connection.is_none() {
                        link.connection = Some(connection);
                        link.epoch += 1;
                        tracing::info!("redis takes claims");
                    }
                    return Ok(());
                }
            }
        };
        if let Err(error) = write(shared, &mut connection, &chunk).await {
            shared.link().connection = None;
            return Err(error);
        }
        shared.link().recent.wrote(&chunk);
    }
}

async fn greet(shared: &Shared, connection: &mut MultiplexedConnection) -> Result<(), StoreError> {
    let mut info = cmd("INFO");
    info.arg("server").arg("persistence");
    let info: InfoDict = within(shared.timeout, info.query_async(connection)).await?;
    let run_id: String = info
        .get("run_id")
        .ok_or_else(|| away("INFO names no run_id: this is not Redis 7 or newer"))?;
    let snapshots_only = info.get::<String>("aof_enabled").as_deref() != Some("1");
    let lost = {
        let mut link = shared.link();
        if link.run_id.as_ref().is_some_and(|last| *last != run_id) {
            link.recent.write_again();
        }
        link.recent.lost()
    };
    let mut script = cmd("EVAL");
    script.arg(GREET).arg(3);
    script.arg(shared.keys.run_id()).arg(shared.keys.suspect());
    script.arg(shared.keys.complete_since());
    script.arg(&run_id).arg(shared.clock.now_ms());
    script.arg(AGE_MAX_MS).arg(u8::from(lost.is_some()));
    script.arg(u8::from(snapshots_only));
    within(shared.timeout, script.query_async::<()>(connection)).await?;
    let mut link = shared.link();
    link.run_id = Some(run_id);
    if let Some(lost) = lost {
        link.recent.loss_is_told(lost);
    }
    Ok(())
}

async fn write(
    shared: &Shared,
    connection: &mut MultiplexedConnection,
    chunk: &Chunk,
) -> Result<(), StoreError> {
    let mut pipeline = pipe();
    for claim in &chunk.claims {
        let key = shared.keys.claim(claim.name());
        let value = claim_value(claim);
        let set = pipeline.cmd("SET").arg(key).arg(&value[..]).arg("NX");
        set.arg("PX").arg(DEDUP_TTL_MS).ignore();
    }
    within(shared.timeout, pipeline.query_async::<()>(connection)).await
}
