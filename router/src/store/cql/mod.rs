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
mod identity;
mod inbox;
mod messages;
mod migrations;
mod nodes;
mod options;
mod plan;
mod receipts;
mod sends;
mod session;
mod since;
mod spans;
mod statements;
mod tail;
#[cfg(test)]
mod tail_tests;
mod tails;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

pub use check::check;
pub use identity::{identity, write_identity};
pub use migrations::{migrate, pending};
pub use options::{Caps, Options, Replication};
pub(in crate::store) use tails::INBOX_MEMBERS_MAX;

use self::session::{Link, Live};
use self::tails::Tails;
use super::{
    Below, Bound, InboxRow, Numbered, Placed, Position, Receipt, Received, Slice, StoreError,
};
use crate::admission::Known;
use crate::bucket;
use crate::sequencer::Head;

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

/// The greatest id below another one, 0 for all. Ids have the top bit clear, so one that has it asks for
/// the newest as well.
fn newest_before(before: u64) -> u64 {
    before.wrapping_sub(1).min(i64::MAX as u64)
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
        let newest = newest_before(before);
        before::read(self.live().await?, conversation_id, newest, bound).await
    }

    /// The same of many, in their order.
    pub async fn below(&self, asked: &[Below]) -> Result<Vec<Slice>, StoreError> {
        stream::iter(asked)
            .map(|it| self.before(it.conversation_id, it.message_id, it.bound))
            .buffered(self.options.in_flight_max)
            .try_collect()
            .await
    }

    /// Only the ids and seqs of these messages.
    pub async fn numbers_below(&self, asked: &[Below]) -> Result<Vec<Vec<Numbered>>, StoreError> {
        let live = self.live().await?;
        stream::iter(asked)
            .map(|it| {
                let newest = newest_before(it.message_id);
                before::numbers(live, it.conversation_id, newest, it.bound.messages_max)
            })
            .buffered(self.options.in_flight_max)
            .try_collect()
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

    /// What a device has received.
    pub async fn receipts(
        &self,
        user_id: u64,
        device_id: u32,
    ) -> Result<Vec<Received>, StoreError> {
        receipts::read(self.live().await?, user_id, device_id).await
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

    /// The conversations of a user that have a message above the seq in `received`: by what is stored,
    /// and what this process has applied and not persisted yet. Conversations of more than 256 members
    /// are not among them.
    pub async fn unread(
        &self,
        user_id: u64,
        received: &HashMap<u64, u64>,
    ) -> Result<Vec<InboxRow>, StoreError> {
        // Before the stored rows: what is persisted in between is in those.
        let unwritten = self.tails().inbox_of(user_id);
        let mut rows = inbox::unread(self.live().await?, user_id, received).await?;
        let places: HashMap<u64, usize> = rows
            .iter()
            .enumerate()
            .map(|(place, row)| (row.conversation_id, place))
            .collect();
        for newer in unwritten {
            match places.get(&newer.conversation_id) {
                Some(&place) if rows[place].last_seq < newer.last_seq => rows[place] = newer,
                None if newer.is_above(received) => rows.push(newer),
                _ => {}
            }
        }
        Ok(rows)
    }

    /// The inbox rows that many conversations would have, in their order: from their heads. For
    /// conversations that have none.
    pub async fn inbox_rows(&self, conversation_ids: &[u64]) -> Result<Vec<InboxRow>, StoreError> {
        stream::iter(conversation_ids.iter().copied())
            .map(async |conversation_id| {
                let kept = self.tails().find(conversation_id);
                let tail = match kept {
                    Some(tail) => tail,
                    None => heads::read(self.live().await?, conversation_id).await?,
                };
                Ok(InboxRow {
                    conversation_id,
                    last_seq: tail.head.last_seq,
                    last_message_id: tail.last_message_id,
                })
            })
            .buffered(self.options.in_flight_max)
            .try_collect()
            .await
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
