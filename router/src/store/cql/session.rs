//! The connection: made when it is first needed, and again until it is there; kept by the driver then.
//!
//! Policies. Which node: one that has the row (token-aware; of ScyllaDB also the right shard), in the
//! chosen datacenter and in no other. Retry: the driver's default, that is once on another node where
//! a node is broken, overloaded or thinks too many are down, within the request's time. No speculative
//! second request: coordinators have their own (`speculative_retry` of the table), and under load a
//! doubled write is what the cluster needs least.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::cluster::ClusterState;
use scylla::deserialize::row::DeserializeRow;
use scylla::errors::NewSessionError;
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::response::query_result::QueryResult;
use scylla::response::{PagingState, PagingStateResponse};
use scylla::serialize::row::SerializeRow;
use scylla::statement::Consistency;
use scylla::statement::batch::{Batch, BatchType};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::options::Options;
use super::statements::{Query, Statements};
use super::{check, fault};
use crate::store::StoreError;

/// After a failed attempt to connect, callers are told so at once for this long.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Connection, topology and some 20 statements: so many times the time for one connection.
const ATTEMPT_CONNECTS: u32 = 4;

/// A session without anything prepared.
pub(super) async fn open(options: &Options) -> Result<Session, NewSessionError> {
    let mut policy = DefaultPolicy::builder()
        .token_aware(true)
        .permit_dc_failover(false);
    if let Some(datacenter) = &options.datacenter {
        policy = policy.prefer_datacenter(datacenter.clone());
    }
    let profile = ExecutionProfile::builder()
        .consistency(Consistency::LocalQuorum)
        .request_timeout(Some(options.request_timeout))
        .load_balancing_policy(policy.build())
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&options.nodes)
        .connection_timeout(options.connect_timeout)
        .default_execution_profile_handle(profile.into_handle())
        .tcp_nodelay(true)
        // A node that hangs is noticed without traffic too.
        .keepalive_interval(Duration::from_secs(5))
        .keepalive_timeout(Duration::from_secs(5))
        // Only token maps are needed of the schema.
        .fetch_full_schema_metadata(false);
    if let Some(tls) = &options.tls {
        builder = builder.tls_context(Some(tls.config()));
    }
    if !options.username.is_empty() {
        builder = builder.user(&options.username, &options.password);
    }
    builder.build().await
}

/// A session with its statements.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) session: Session,
    pub(super) statements: Statements,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Link {
    live: OnceCell<Arc<Live>>,
    born: Instant,
    /// Milliseconds after `born` until which nobody tries again.
    closed_until_ms: AtomicU64,
}

impl Link {
    pub(super) fn new() -> Link {
        Link {
            live: OnceCell::new(),
            born: Instant::now(),
            closed_until_ms: AtomicU64::new(0),
        }
    }

    /// The session. Callers that come while one connects wait for it.
    pub(super) async fn live(&self, options: &Options) -> Result<&Live, StoreError> {
        let live = self.live.get_or_try_init(async || {
            let now_ms = || u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
            if now_ms() < self.closed_until_ms.load(Ordering::Relaxed) {
                return Err(fault::away(
                    "not connected; the last attempt failed just now",
                ));
            }
            let limit = options.connect_timeout * ATTEMPT_CONNECTS;
            let live = match tokio::time::timeout(limit, connect(options)).await {
                Ok(live) => live,
                Err(_) => Err(fault::away(format_args!("no session within {limit:?}"))),
            };
            if live.is_err() {
                let until = now_ms() + RETRY_AFTER.as_millis() as u64;
                self.closed_until_ms.store(until, Ordering::Relaxed);
            }
            live.map(Arc::new)
        });
        Ok(live.await?)
    }
}

async fn connect(options: &Options) -> Result<Live, StoreError> {
    // Wrong credentials too are answered as "away": an operator may set them right meanwhile.
    let session = open(options).await.map_err(fault::away)?;
    if let Some(reason) = check::undecided(&session, options).await? {
        let reason = format!("{reason}. {}", check::CHOOSE);
        return Err(fault::failed("choose a datacenter", reason));
    }
    let statements = Statements::prepare(&session, &options.quoted_keyspace()).await?;
    Ok(Live {
        session,
        statements,
    })
}

/// Rows as this module reads them.
pub(super) trait Row: for<'f, 'm> DeserializeRow<'f, 'm> {}
impl<R: for<'f, 'm> DeserializeRow<'f, 'm>> Row for R {}

impl Live {
    /// Runs a write.
    pub(super) async fn write(
        &self,
        query: &Query,
        values: impl SerializeRow,
    ) -> Result<(), StoreError> {
        self.session
            .execute_unpaged(&query.prepared, values)
            .await
            .map(drop)
            .map_err(|error| fault::of_execution(query.doing, &error))
    }

    /// Runs a write of many rows as one request, not empty; no row waits for another one's.
    pub(super) async fn write_all(
        &self,
        query: &Query,
        mut rows: Vec<impl SerializeRow>,
    ) -> Result<(), StoreError> {
        if rows.len() == 1
            && let Some(row) = rows.pop()
        {
            return self.write(query, row).await;
        }
        let mut statements = Batch::new(BatchType::Unlogged);
        for _ in &rows {
            statements.append_statement(query.prepared.clone());
        }
        statements.set_is_idempotent(true);
        let result = self.session.batch(&statements, rows).await;
        result
            .map(drop)
            .map_err(|error| fault::of_execution(query.doing, &error))
    }

    /// Where the rows of a statement's table lie, as of now.
    pub(super) fn ring<'a>(&self, query: &'a Query) -> Ring<'a> {
        Ring {
            state: self.session.get_cluster_state(),
            query,
        }
    }

    /// Runs a read whose rows are few. `key` names the row where it is damaged.
    pub(super) async fn rows<R: Row>(
        &self,
        query: &Query,
        values: impl SerializeRow,
        key: &[u64],
    ) -> Result<Vec<R>, StoreError> {
        let result = self
            .session
            .execute_unpaged(&query.prepared, values)
            .await
            .map_err(|error| fault::of_execution(query.doing, &error))?;
        parse(query, result, key)
    }

    /// The row of a key, if there is one.
    pub(super) async fn row<R: Row>(
        &self,
        query: &Query,
        values: impl SerializeRow,
        key: &[u64],
    ) -> Result<Option<R>, StoreError> {
        Ok(self.rows(query, values, key).await?.into_iter().next())
    }

    /// Runs one page of a read, of about so many rows, and tells where the next one begins.
    pub(super) async fn page<R: Row>(
        &self,
        query: &Query,
        values: impl SerializeRow,
        key: &[u64],
        rows: usize,
        state: PagingState,
    ) -> Result<(Vec<R>, Option<PagingState>), StoreError> {
        let mut prepared = query.prepared.clone();
        prepared.set_page_size(i32::try_from(rows.max(1)).unwrap_or(i32::MAX));
        let (result, next) = self
            .session
            .execute_single_page(&prepared, values, state)
            .await
            .map_err(|error| fault::of_execution(query.doing, &error))?;
        let next = match next {
            PagingStateResponse::HasMorePages { state } => Some(state),
            PagingStateResponse::NoMorePages => None,
        };
        Ok((parse(query, result, key)?, next))
    }
}

/// A node, and its shard where it is ScyllaDB's.
pub(super) type Replica = (u128, u32);

/// See [`Live::ring`].
pub(super) struct Ring<'a> {
    state: Arc<ClusterState>,
    query: &'a Query,
}

impl Ring<'_> {
    /// The first replica of a row.
    pub(super) fn replica(&self, row: &impl SerializeRow) -> Option<Replica> {
        let prepared = &self.query.prepared;
        let token = prepared.calculate_token(row).ok().flatten()?;
        let table = prepared.get_table_spec()?;
        let replicas = self
            .state
            .get_token_endpoints(table.ks_name(), table.table_name(), token);
        let (node, shard) = replicas.first()?;
        Some((node.host_id.as_u128(), *shard))
    }
}

fn parse<R: Row>(query: &Query, result: QueryResult, key: &[u64]) -> Result<Vec<R>, StoreError> {
    let result = result
        .into_rows_result()
        .map_err(|error| fault::failed(query.doing, error))?;
    let rows = result
        .rows::<R>()
        .map_err(|error| fault::failed(query.doing, error))?;
    rows.collect::<Result<_, _>>()
        .map_err(|_| fault::damaged(query.table, key))
}
