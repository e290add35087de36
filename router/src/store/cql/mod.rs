//! The distributed store, on CQL: Cassandra or ScyllaDB, by the `scylla` driver. Messages, their sends,
//! heads and inboxes; conversations and members are not here. `docs/store-cql.md` has the tables.
//!
//! Async, for the threads of a `tokio` runtime. One applier writes (`apply`, `persist`, `forget`);
//! anybody reads. The invariant: what is stored is derived from the log and written with the log's own
//! order as write times, so writing it again, or late, or from a process that was deposed, changes
//! nothing. Heads are written after their messages, so they may be behind them, never ahead.

mod apply;
mod before;
mod check;
mod fault;
mod heads;
mod inbox;
mod messages;
mod migrations;
mod nodes;
mod options;
mod plan;
mod sends;
mod session;
mod since;
mod spans;
mod statements;
mod tail;
#[cfg(test)]
mod tail_tests;
mod tails;

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

pub use check::check;
pub use migrations::{migrate, pending};
pub use options::{Caps, Options, Replication};

use self::session::{Link, Live};
use self::tails::Tails;
use super::{Bound, Placed, Position, Slice, StoreError};
use crate::admission::Known;
use crate::bucket;
use crate::sequencer::Head;

/// A conversation in a user's inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxRow {
    /// Which.
    pub conversation_id: u64,
    /// The seq of its last message, 0 for none.
    pub last_seq: u64,
    /// The greatest id of its messages, 0 for none.
    pub last_message_id: u64,
}

impl InboxRow {
    /// What inboxes are ordered by: the newest message, or the conversation itself where it has none.
    /// Both ids begin with their time.
    fn newest_id(&self) -> u64 {
        self.last_message_id.max(self.conversation_id)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Cql {
    options: Options,
    link: Link,
    tails: Mutex<Tails>,
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
            tails: Mutex::new(Tails::new()),
        };
        if let Err(error) = cql.live().await {
            tracing::warn!(%error, nodes = ?options.nodes, "cql is not there yet");
        }
        Ok(cql)
    }

    async fn live(&self) -> Result<&Live, StoreError> {
        self.link.live(&self.options).await
    }

    fn tails(&self) -> MutexGuard<'_, Tails> {
        self.tails.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A conversation's head; zeros where it has no message. That of this process while it consumes the
    /// conversation; otherwise the stored one, which lags by what its consumer has not persisted.
    pub async fn head(&self, conversation_id: u64) -> Result<Head, StoreError> {
        let kept = self.tails().find(conversation_id);
        match kept {
            Some(tail) => Ok(tail.head),
            None => Ok(heads::read(self.live().await?, conversation_id).await?.head),
        }
    }

    /// The heads of many, in their order.
    pub async fn heads(&self, conversation_ids: &[u64]) -> Result<Vec<Head>, StoreError> {
        stream::iter(conversation_ids.iter().copied())
            .map(|id| self.head(id))
            .buffered(self.options.in_flight_max)
            .try_collect()
            .await
    }

    /// The message that a `client_msg_id` stands for.
    pub async fn known(
        &self,
        sender: u64,
        client_msg_id: u64,
    ) -> Result<Option<Known>, StoreError> {
        let sent = sends::read(self.live().await?, sender, client_msg_id).await?;
        Ok(sent.map(|sent| sent.known))
    }

    /// The messages that many (sender, `client_msg_id`) stand for, in their order.
    pub async fn known_many(&self, sends: &[(u64, u64)]) -> Result<Vec<Option<Known>>, StoreError> {
        stream::iter(sends.iter().copied())
            .map(|(sender, client_msg_id)| self.known(sender, client_msg_id))
            .buffered(self.options.in_flight_max)
            .try_collect()
            .await
    }

    /// Where a message is, if it is stored.
    pub async fn placed(
        &self,
        conversation_id: u64,
        message_id: u64,
    ) -> Result<Option<Placed>, StoreError> {
        let live = self.live().await?;
        let bucket = bucket::of_message(message_id);
        let spans = spans::of_bucket(live, conversation_id, bucket).await?;
        match tail::holding(spans.iter(), message_id) {
            Some(part) => messages::placed(live, conversation_id, part, message_id).await,
            None => Ok(None),
        }
    }

    /// Where the message that a `client_msg_id` stands for is.
    pub async fn placed_by_sender(
        &self,
        sender: u64,
        client_msg_id: u64,
    ) -> Result<Option<Placed>, StoreError> {
        let sent = sends::read(self.live().await?, sender, client_msg_id).await?;
        Ok(sent.map(|sent| sent.placed))
    }

    /// The head and the messages with a seq above `have_seq`, ascending: all of them up to the head, and
    /// those beyond the stored head that are there without a gap, which the answered head counts too.
    pub async fn since(
        &self,
        conversation_id: u64,
        have_seq: u64,
        bound: Bound,
    ) -> Result<(Head, Slice), StoreError> {
        let kept = self.tails().find(conversation_id);
        let nothing_new = kept.is_some_and(|tail| have_seq >= tail.head.last_seq);
        if nothing_new || have_seq >= i64::MAX as u64 {
            return Ok((self.head(conversation_id).await?, Slice::default()));
        }
        let live = self.live().await?;
        since::read(live, conversation_id, have_seq + 1, bound, kept).await
    }

    /// The messages with an id below `before` (0: the newest), descending.
    pub async fn before(
        &self,
        conversation_id: u64,
        before: u64,
        bound: Bound,
    ) -> Result<Slice, StoreError> {
        // Ids have the top bit clear, so a greater one asks for the newest as well.
        let newest = before.wrapping_sub(1).min(i64::MAX as u64);
        before::read(self.live().await?, conversation_id, newest, bound).await
    }

    /// The newest `rows_max` of a user's conversations, newest first. Conversations of more than 256
    /// members are not among them.
    pub async fn inbox_of(
        &self,
        user_id: u64,
        rows_max: usize,
    ) -> Result<Vec<InboxRow>, StoreError> {
        inbox::read(self.live().await?, user_id, rows_max).await
    }

    /// The greatest id and stamp that a node has persisted; its offset is the log's business and 0 here.
    pub async fn position(&self, node_id: u16) -> Result<Position, StoreError> {
        nodes::read(self.live().await?, node_id).await
    }

    /// Lets go of all heads in memory, and of what was not persisted: other processes may write those
    /// conversations from now on.
    pub fn forget(&self) {
        self.tails().forget();
    }
}
