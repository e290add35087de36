//! The distributed store, on CQL: Cassandra or ScyllaDB, by the `scylla` driver. Messages by seq, their sends,
//! inboxes, receipts, and how far all of that is in the log; conversations and members are not here.
//! `docs/store-cql.md` has the tables.
//!
//! Async, for the threads of a `tokio` runtime; without memory of its own. One consumer writes a conversation
//! (`apply`); anybody reads. The invariant: what is stored is derived from the log and written with the log's
//! own order as write times, so writing it again, or late, or from a process that was deposed, changes
//! nothing.

mod apply;
mod block;
mod check;
mod fault;
mod heads;
mod identity;
mod inbox;
mod messages;
mod migrations;
mod nodes;
mod options;
mod positions;
mod receipts;
mod sends;
mod session;
mod statements;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::OnceCell;

pub use check::check;
pub use identity::{identity, write_identity};
pub use migrations::{migrate, pending};
pub use options::{Options, Replication};

use self::session::{Link, Live};
use super::{
    Below, Bound, Place, Position, Reached, Receipt, Received, SegmentRow, Sent, Slice, Slot,
    StoreError,
};
use crate::admission::SendKey;
use crate::log::{Offset, Partition};
use crate::sequencer::Head;

/// See the module.
#[derive(Debug)]
pub struct Cql {
    options: Options,
    link: Link,
    /// The keyspace's own number as this process met it.
    store_id: OnceCell<u64>,
}

/// An id as a column.
fn bits(id: u64) -> i64 {
    id.cast_signed()
}

/// A column as an id.
fn from_bits(column: i64) -> u64 {
    column.cast_unsigned()
}

impl Cql {
    /// Connects, or leaves that to the first call where the cluster cannot be reached yet: a server may
    /// start before it. Refuses options that cannot work.
    pub async fn connect(options: &Options) -> Result<Cql, StoreError> {
        options.check()?;
        let cql = Cql {
            options: options.clone(),
            link: Link::new(),
            store_id: OnceCell::new(),
        };
        if let Err(error) = cql.live().await {
            tracing::warn!(%error, nodes = ?options.nodes, "cql is not there yet");
        }
        Ok(cql)
    }

    async fn live(&self) -> Result<&Live, StoreError> {
        self.link.live(&self.options).await
    }

    /// Asks for many at once, and answers in their order.
    async fn each<A: Copy, T>(
        &self,
        asked: &[A],
        ask: impl AsyncFn(&Live, A) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let live = self.live().await?;
        stream::iter(asked.iter().copied())
            .map(|it| ask(live, it))
            .buffered(self.options.in_flight_max)
            .try_collect()
            .await
    }

    /// The heads of many, in their order; zeros where there is no message.
    pub async fn heads(&self, conversation_ids: &[u64]) -> Result<Vec<Head>, StoreError> {
        self.each(conversation_ids, heads::read).await
    }

    /// The heads as they were below offsets.
    pub async fn bases(&self, asked: &[(u64, Offset)]) -> Result<Vec<Head>, StoreError> {
        self.each(asked, async |live, (id, next)| {
            heads::base(live, id, next).await
        })
        .await
    }

    /// The records that took a seq under names, in their order.
    pub async fn sent(&self, names: &[SendKey]) -> Result<Vec<Vec<Sent>>, StoreError> {
        self.each(names, sends::read).await
    }

    /// How far partitions are.
    pub async fn reached(&self, partitions: &[Partition]) -> Result<Vec<Reached>, StoreError> {
        let store_id = self.store_id().await?;
        self.each(partitions, async |live, partition| {
            positions::read(live, store_id, partition).await
        })
        .await
    }

    /// That of the keyspace which was there first: one that is made in its place begins with nothing.
    async fn store_id(&self) -> Result<u64, StoreError> {
        let number = async || {
            let identity = self.identity().await?;
            Ok(identity.map_or(0, |identity| identity.store_id))
        };
        self.store_id.get_or_try_init(number).await.copied()
    }

    /// The head and the messages with a seq above `have_seq`, ascending.
    pub async fn since(
        &self,
        conversation_id: u64,
        have_seq: u64,
        bound: Bound,
    ) -> Result<(Head, Slice), StoreError> {
        let live = self.live().await?;
        if have_seq >= block::SEQ_MAX {
            let head = heads::read(live, conversation_id).await?;
            return Ok((head, Slice::default()));
        }
        messages::since(live, conversation_id, have_seq + 1, bound).await
    }

    /// Messages below seqs, descending, of many conversations in their order.
    pub async fn before_many(&self, asked: &[Below]) -> Result<Vec<Slice>, StoreError> {
        self.each(asked, async |live, below| {
            messages::before(live, &below).await
        })
        .await
    }

    /// Writes receipts.
    pub async fn receive(&self, receipts: &[Receipt], now_ms: u64) -> Result<(), StoreError> {
        let live = self.live().await?;
        stream::iter(receipts)
            .map(|receipt| receipts::write(live, receipt, now_ms))
            .buffer_unordered(self.options.in_flight_max)
            .try_collect()
            .await
    }

    /// What a device has received of some conversations.
    pub async fn received(
        &self,
        device: (u64, u32),
        conversation_ids: &[u64],
    ) -> Result<Vec<Received>, StoreError> {
        receipts::read(self.live().await?, device, conversation_ids).await
    }

    /// Whether a device has received anything.
    pub async fn has_received(&self, device: (u64, u32)) -> Result<bool, StoreError> {
        receipts::has_any(self.live().await?, device).await
    }

    /// The segments of a user's inbox from a slot on and below a place.
    pub async fn segments(
        &self,
        user_id: u64,
        from: Slot,
        below: Place,
        rows_max: usize,
    ) -> Result<(Vec<SegmentRow>, bool), StoreError> {
        inbox::read(self.live().await?, user_id, from, below, rows_max).await
    }

    /// The time by the clock of one of the servers, Unix ms.
    pub async fn now_ms(&self) -> Result<u64, StoreError> {
        nodes::now_ms(self.live().await?).await
    }

    /// What ids and stamps of a node are below; its offset is the log's business and 0 here.
    pub async fn position(&self, node_id: u16) -> Result<Position, StoreError> {
        nodes::read(self.live().await?, node_id).await
    }
}
