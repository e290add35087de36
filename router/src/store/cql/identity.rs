//! What the keyspace knows of itself and of the log that it is filled from: the rows of `meta` and
//! `epochs`. `rookery migrate` writes them, once; a start and its watch read them, so nothing is prepared.

use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;
use scylla::serialize::row::SerializeRow;

use super::options::Options;
use super::{Cql, bits, fault, from_bits, session};
use crate::identity::Identity;
use crate::placement::Placement;
use crate::store::StoreError;

/// Rows that are written once have one time, so that of two who write at once the same one is left with
/// everybody.
const ONCE: i64 = 1;
/// The key of the one row of `meta`.
const ONE: i32 = 1;

impl Cql {
    /// The keyspace's identity; none where `rookery migrate` gave it none.
    pub async fn identity(&self) -> Result<Option<Identity>, StoreError> {
        read(&self.live().await?.session, &self.options.keyspace).await
    }
}

/// The keyspace's identity; none where it, or the keyspace, is missing.
pub async fn identity(options: &Options) -> Result<Option<Identity>, StoreError> {
    let session = session::open(options).await.map_err(fault::away)?;
    let text = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ? AND table_name = 'meta'";
    let found: Vec<(String,)> = rows(&session, text, (&options.keyspace,)).await?;
    match found.is_empty() {
        true => Ok(None),
        false => read(&session, &options.keyspace).await,
    }
}

/// Writes it, the epochs first: who finds the row of `meta` finds those too. What is there is not changed.
pub async fn write_identity(options: &Options, identity: &Identity) -> Result<(), StoreError> {
    let session = session::open(options).await.map_err(fault::away)?;
    let keyspace = &options.keyspace;
    let text = format!(
        "INSERT INTO \"{keyspace}\".epochs (log_id, epoch, partitions) VALUES (?, ?, ?) USING TIMESTAMP ?"
    );
    for (epoch, partitions) in (0_i8..).zip(identity.placement.counts()) {
        let values = (bits(identity.log_id), epoch, partitions.cast_signed(), ONCE);
        write(&session, &text, values).await?;
    }
    let text = format!(
        "INSERT INTO \"{keyspace}\".meta (one, log_id, store_id) VALUES (?, ?, ?) USING TIMESTAMP ?"
    );
    let values = (ONE, bits(identity.log_id), bits(identity.store_id), ONCE);
    write(&session, &text, values).await
}

async fn read(session: &Session, keyspace: &str) -> Result<Option<Identity>, StoreError> {
    let text = format!("SELECT log_id, store_id FROM \"{keyspace}\".meta WHERE one = ?");
    let found: Vec<(i64, i64)> = rows(session, &text, (ONE,)).await?;
    let Some((log_id, store_id)) = found.into_iter().next() else {
        return Ok(None);
    };
    let text = format!("SELECT epoch, partitions FROM \"{keyspace}\".epochs WHERE log_id = ?");
    let epochs: Vec<(i8, i32)> = rows(session, &text, (log_id,)).await?;
    let damaged = || fault::damaged("epochs", &[from_bits(log_id)]);
    let counts = (0_i8..).zip(epochs).map(|(expected, (epoch, partitions))| {
        let partitions = u32::try_from(partitions).ok()?;
        (epoch == expected).then_some(partitions)
    });
    let counts: Option<Vec<u32>> = counts.collect();
    let placement = counts.and_then(|counts| Placement::new(counts).ok());
    Ok(Some(Identity {
        log_id: from_bits(log_id),
        store_id: from_bits(store_id),
        placement: placement.ok_or_else(damaged)?,
    }))
}

async fn rows<R>(
    session: &Session,
    text: &str,
    values: impl SerializeRow,
) -> Result<Vec<R>, StoreError>
where
    R: for<'f, 'm> DeserializeRow<'f, 'm>,
{
    const DOING: &str = "read the store's identity";
    let result = session.query_unpaged(text, values).await;
    let result = result.map_err(|error| fault::of_execution(DOING, &error))?;
    let failed = |error: &dyn std::fmt::Display| fault::failed(DOING, error);
    let result = result.into_rows_result().map_err(|error| failed(&error))?;
    let rows = result.rows::<R>().map_err(|error| failed(&error))?;
    rows.collect::<Result<_, _>>()
        .map_err(|error| failed(&error))
}

async fn write(session: &Session, text: &str, values: impl SerializeRow) -> Result<(), StoreError> {
    let written = session.query_unpaged(text, values).await;
    written
        .map(drop)
        .map_err(|error| fault::of_execution("write the store's identity", &error))
}
